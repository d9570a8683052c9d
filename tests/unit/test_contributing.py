"""CONTRIBUTING.md leads to files that exist, and shows the floors that the imports keep."""

import ast
import re
from pathlib import Path

import pytest
from test_floors import FLOORS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:[\w.<>-]+/)*[\w.<>-]*(?:/|\.py|\.md|\.yaml|\.toml|\.html\.j2))`", TEXT)))
PACKAGES = sorted((ROOT / "snntrain").rglob("__init__.py"))


def test_paths_are_recognized():
    assert {"train.py", "snntrain/task/loss.py", "snntrain/graph/", "conf/model/<name>.yaml"} <= set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_every_file_named_exists_and_every_new_one_has_a_folder_with_others_of_its_kind(name):
    before, placeholder, ending = name.partition("<name>")
    if not placeholder:
        assert (ROOT / name).exists()
    elif ending == "/":
        assert any(path.is_dir() for path in (ROOT / before).iterdir())
    else:
        assert list((ROOT / before).glob(f"*{ending}"))


def test_everything_that_can_be_added_has_a_row():
    added = re.findall(r"^\| (?:an? )([\w -]+?) \| ", TEXT, flags=re.MULTILINE)
    for kind in ("neuron", "layer", "loss", "readout", "metric", "task", "data set", "fit-end callback", "model"):
        assert kind in added
    assert {"exporter to a new chip", "report section", "experiment"} <= set(added)


def test_the_floors_are_those_that_the_imports_keep():
    rows = re.findall(r"^\| ([\w ]+) \| ((?:`\w+` ?)+)\| ", TEXT, flags=re.MULTILINE)
    assert {floor: set(re.findall(r"\w+", parts)) for floor, parts in rows} == {
        floor: set(parts) for floor, parts in FLOORS.items()
    }
    assert [floor for floor, _ in rows] == list(FLOORS)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_every_package_says_what_it_is_and_what_it_may_import(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    what, imports, *_ = text.split("\n\n")
    assert what.endswith(".") and re.search(r"\bimports?\b", imports) and imports.endswith(".")
