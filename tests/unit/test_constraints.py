"""constraints.txt names a tested version of all that snntrain asks for by name."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from programs import ROOT

#: Extra → why it is not among the tested ones.
UNTESTED = {"cuda": "it needs a GPU", "parquet": "its test is skipped where pyarrow is not installed"}


def test_every_requirement_is_pinned_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    extras = {name: asked for name, asked in project["optional-dependencies"].items() if name not in UNTESTED}
    for asked in (*project["dependencies"], *(one for group in extras.values() for one in group)):
        requirement = Requirement(asked)
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "none")), asked
