"""Every tutorial runs to its end as a script, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT

SCRIPTS = sorted((ROOT / "docs" / "tutorials").glob("[0-9]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_tutorial_runs(script: Path, tmp_path: Path):
    environment = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_tutorial_is_listed_in_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = (ROOT / "docs/tutorials/index.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 12
    for script in SCRIPTS:
        title = script.read_text(encoding="utf-8").splitlines()[1].removeprefix("# # ")
        assert f"{title}: tutorials/{script.stem}.md" in navigation
        assert f"[{title}]({script.stem}.md)" in listed
