"""What the examples of README, CONTRIBUTING and docs/, and the tutorials, import is public."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import snntrain

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (ROOT / "docs/python.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name} {number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```py(?:thon)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]
TUTORIALS = [
    pytest.param(page.read_text(encoding="utf-8"), id=page.stem)
    for page in sorted((ROOT / "docs" / "tutorials").glob("*.py"))
]
(PUBLIC,) = re.findall(r"^Public are (.*?)Everything else", PYTHON, re.DOTALL | re.MULTILINE)
TOP = {name.removeprefix("snntrain.") for name in re.findall(r"`([\w.]+)`", PUBLIC.partition("the modules")[0])}
MODULES, PACKAGES = (
    set(re.search(rf"the {kind}\s+`([\w\s]+)`", PUBLIC)[1].split()) for kind in ("modules", "packages")
)


def imported(code: str) -> Iterator[str]:
    """What a text imports of snntrain, such as snntrain.neuron.LIFNode, and the attributes of snntrain that it uses."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "snntrain":
            yield f"snntrain.{node.attr}"


def is_public(name: str) -> bool:
    _, *parts = name.split(".")
    if not parts or parts[0] in TOP or ".".join(parts) in TOP:
        return True
    if parts[0] in MODULES:
        return not any(part.startswith("_") for part in parts)
    module = importlib.import_module(f"snntrain.{parts[0]}")
    return parts[0] in PACKAGES and (len(parts) == 1 or (len(parts) == 2 and parts[1] in module.__all__))


def test_there_are_examples_and_public_names_to_check():
    assert (
        len(EXAMPLES) >= 10
        and len(TUTORIALS) >= 12
        and {"train", "load", "sweep", "registry.register"} <= TOP
        and len(PACKAGES) >= 10
    )
    assert all(hasattr(snntrain, name) for name in TOP if "." not in name)
    assert {*MODULES, *PACKAGES} <= {path.stem for path in (ROOT / "snntrain").iterdir()}


@pytest.mark.parametrize("name", ["run.evaluate.rebuild", "kernel.backend.plan_for", "neuron._x", "terminal.terminal"])
def test_what_is_internal_is_told_from_what_is_public(name):
    assert not is_public(f"snntrain.{name}")


@pytest.mark.parametrize("code", EXAMPLES + TUTORIALS)
def test_an_example_imports_only_public_names(code):
    theirs = [name for name in imported(code) if name.split(".")[0] == "snntrain"]
    assert [name for name in theirs if not is_public(name)] == []
