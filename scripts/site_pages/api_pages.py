"""The reference of the library: a page for each public package and module, in the order of the floors."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import snntrain
from site_pages.markdown import table, text
from snntrain.config.sentences import first_paragraph

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "reference/api"
#: The classes of what snntrain.train, load and sweep return, and of a sweep's jobs.
RETURNED = ("snntrain.run.trained.Trained", "snntrain.lab.sweep.from_python.Sweep", "snntrain.lab.sweep.jobs.Job")
_OPTIONS = "    options: {{members: [{members}], show_root_heading: false, show_root_toc_entry: false}}\n"


def pages() -> dict[str, str]:
    """Path → text of the pages, in the order of the menu."""
    parts = public_parts()
    found = {f"{FOLDER}/index.md": _index(parts), f"{FOLDER}/snntrain.md": _top()}
    for part in parts:
        found[f"{FOLDER}/{part}.md"] = _page(part)
    return found


def public_parts() -> dict[str, str]:
    """Public package or module → its floor, in the order of CONTRIBUTING.md's table; docs/python.md says which."""
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    public = re.search(r"^Public are (.*?)Everything else", page, re.DOTALL | re.MULTILINE)[1]
    listed = set(re.search(r"modules\s+`([\w\s]+)`", public)[1].split())
    listed |= set(re.search(r"packages\s+`([\w\s]+)`", public)[1].split())
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| ((?:`\w+` ?)+)\| ", contributing, re.MULTILINE)
    return {part: floor for floor, parts in rows for part in re.findall(r"\w+", parts) if part in listed}


def public_names(part: str) -> list[str]:
    """What a package lists as public; of a module, what it defines."""
    module = importlib.import_module(f"snntrain.{part}")
    return sorted(getattr(module, "__all__", None) or _defined(module), key=str.lower)


def _defined(module: ModuleType) -> list[str]:
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return [name for name in own if not name.startswith("_")]


def _index(parts: dict[str, str]) -> str:
    rows = [
        [
            f"[`snntrain.{part}`]({part}.md)",
            floor,
            str(len(public_names(part))),
            text(first_paragraph(importlib.import_module(f"snntrain.{part}").__doc__)),
        ]
        for part, floor in parts.items()
    ]
    return f"""# Library

[`snntrain`](snntrain.md) itself trains, loads and sweeps. These packages and modules are public beside it; each imports
only from its own floor and from those above it in this table. The floors *net* and *after training* are plain torch:
they need no config and no Lightning.

{table(["module", "floor", "names", "what it holds"], rows)}
Everything else may change without notice.
"""


def _top() -> str:
    offered = [f"{home}.{name}" for name, home in sorted(snntrain._HOMES.items())] + ["snntrain.registry.register"]
    options = "    options: {show_root_heading: true, show_root_full_path: false, heading_level: %d}\n"
    before = "`import snntrain` offers these by name, `snntrain.train(…)`; each is imported on its first use.\n"
    sections = [f"::: {name}\n{options % 2}" for name in offered]
    results = [f"::: {name}\n{options % 3}" for name in RETURNED]
    return "\n".join(["# snntrain\n", before, *sections, "## What these return\n", *results])


def _page(part: str) -> str:
    options = _OPTIONS.format(members=", ".join(public_names(part)))
    return f"# snntrain.{part}\n\n::: snntrain.{part}\n{options}"
