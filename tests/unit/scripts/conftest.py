"""A script of scripts/ in this process."""

import runpy
import sys
from collections.abc import Callable

import pytest
from programs import ROOT


@pytest.fixture
def script(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a script by its name: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return run
