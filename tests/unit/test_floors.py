"""The house has floors: a file imports from its own floor and from those below it, never from one above."""

import ast
import functools
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import snntrain

ROOT = Path(snntrain.__file__).parent
# From the ground up. The library half, plain torch, is everything up to "after training".
FLOORS: dict[str, tuple[str, ...]] = {
    "ground": (
        *(
            "arguments",
            "binding",
            "cache_folder",
            "download",
            "error",
            "figure",
            "files",
            "headline",
            "installation",
            "number_format",
            "process",
        ),
        *("randomness", "ranges", "registry", "signature", "spreadsheet", "terminal", "torchvision_operators", "tree"),
    ),
    "net": (
        *("animation", "base", "bounded", "encoding", "functional", "hooks", "leftover", "module_settings"),
        *("monitor", "plot", "surrogate", "surrogate_function"),
        *("kernel", "lava_exchange", "layer", "model", "neuron"),  # models are made of Loihi's blocks, too
    ),
    "after training": ("ann2snn", "audit", "export", "graph", "quantize"),
    "samples": ("data", "stream"),
    "learning": ("callback", "task"),
    "one run": ("config", "run"),
    "many runs": ("lab", "__main__"),
}
HEIGHT = {part: height for height, parts in enumerate(FLOORS.values()) for part in parts}
#: What draws or prints loads matplotlib or rich, and nothing else loads it.
PICTURES = ("animation", "figure", "plot", "terminal")
NOT_IN_THE_LIBRARY = ("lightning", "pytorch_lightning", "lightning_fabric", "torchmetrics", "hydra", "omegaconf")
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")
_WORKERS = ("lava_worker.py", "hdf5_worker.py")  # programs of their own
LIBRARY = [
    path
    for path in SOURCES
    if path.name not in _WORKERS and HEIGHT.get(path.relative_to(ROOT).parts[0].removesuffix(".py"), 9) <= 2
]


def part_of(path: Path) -> str:
    """The package or module directly below snntrain that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names that a file of a package imports anywhere: at its top, in functions, for type checkers, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (str(value.value) for value in ast.walk(node) if isinstance(value, ast.Constant))


@functools.cache
def imported_by(path: Path) -> list[str]:
    package = ".".join(["snntrain", *path.relative_to(ROOT).parts[:-1]])
    return list(imported(path.read_text(encoding="utf-8"), package))


def parts_imported(path: Path) -> dict[str, str]:
    """Part of snntrain that a file imports from → one such import."""
    names = [name.split(".") for name in imported_by(path) if name.startswith("snntrain.")]
    return {name[1]: ".".join(name) for name in names if name[1] in HEIGHT}


def test_every_part_stands_on_one_floor():
    assert {part_of(path) for path in SOURCES} == set(HEIGHT)
    assert len([part for part in HEIGHT if (ROOT / part).is_dir()]) <= 17


def test_no_file_imports_from_a_floor_above():
    found = {path: parts_imported(path) for path in SOURCES}
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path, parts in found.items()
        for part, name in parts.items()
        if HEIGHT[part] > HEIGHT[part_of(path)]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from snntrain import run", "snntrain.run"),
        ("from .. import model", "snntrain.model"),
        ("from ..task import classification", "snntrain.task.classification"),
        ("def later():\n    from snntrain.config import compose", "snntrain.config.compose"),
        ("if TYPE_CHECKING:\n    import snntrain.lab.sweep", "snntrain.lab.sweep"),
        ("import importlib\nimportlib.import_module('snntrain.callback')", "snntrain.callback"),
    ],
)
def test_every_way_to_import_is_seen(line, name):
    assert name in list(imported(line, "snntrain.neuron"))


def test_no_packages_import_each_other_in_a_ring():
    needs: dict[str, set[str]] = {part: set() for part in HEIGHT}
    for path in SOURCES:
        needs[part_of(path)] |= parts_imported(path).keys() - {part_of(path)}
    while free := [part for part, needed in needs.items() if not needed & needs.keys()]:
        for part in free:
            del needs[part]
    assert needs == {}


def test_the_library_half_is_plain_torch():
    found = [(str(path.relative_to(ROOT)), name) for path in LIBRARY for name in imported_by(path)]
    assert [(path, name) for path, name in found if name.split(".")[0] in NOT_IN_THE_LIBRARY] == []


def test_using_the_library_loads_nothing_of_the_framework():
    modules = [".".join(("snntrain", *path.relative_to(ROOT).with_suffix("").parts)) for path in LIBRARY]
    modules = [name.removesuffix(".__init__") for name in modules if name.split(".")[1] not in PICTURES]
    script = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
from snntrain import registry
import torch
for kind in ("neuron", "layer", "surrogate", "encoder"):
    assert registry.names(kind)
registry.build("neuron", "LIFNode", step_mode="m")(torch.rand(3, 2))
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    roots = {name.split(".")[0] for name in loaded}
    assert set(modules) <= loaded
    assert not roots & {*NOT_IN_THE_LIBRARY, "torchvision", "matplotlib", "sklearn", "rich", "jinja2"}
    above = {part for part, height in HEIGHT.items() if height > HEIGHT["export"]}
    assert not {name.split(".")[1] for name in loaded if name.startswith("snntrain.")} & above
