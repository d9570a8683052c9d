"""The library half is plain torch: it imports nothing of the framework half, nor what that is built on."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import snntrain

ROOT = Path(snntrain.__file__).parent
LIBRARY = {
    *("arguments", "base", "cache_folder", "checksums", "download", "encoding", "error", "files", "hooks"),
    *("functional", "leftover", "process", "randomness", "registry", "signature", "surrogate", "tree"),
    *("neuron", "kernel", "layer", "ann2snn", "graph", "quantize", "lava_exchange", "export"),
}
FRAMEWORK = {
    *("config", "model", "data", "task", "callback", "figure", "checkpoint", "spreadsheet", "terminal"),
    *("run", "report", "sweep", "search", "experiment", "parallel"),
}
FORBIDDEN = {
    *(f"snntrain.{part}" for part in FRAMEWORK),
    *("lightning", "pytorch_lightning", "lightning_fabric", "torchmetrics", "hydra", "omegaconf"),
}


def module_name(path: Path) -> str:
    parts = ["snntrain", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path for part in LIBRARY for path in [*ROOT.glob(f"{part}.py"), *ROOT.glob(f"{part}/**/*.py"), ROOT / "__init__.py"]
)
SOURCES = sorted(set(SOURCES))


def imported_names(source: str, name: str, is_package: bool) -> set[str]:
    """Dotted names that a module imports anywhere: at its top, inside functions, under TYPE_CHECKING, by string."""
    package = name if is_package else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found |= {value.value for value in ast.walk(node) if isinstance(value, ast.Constant)}
    return found


def forbidden(names: set[str]) -> set[str]:
    return {name for name in names if any(name == bad or str(name).startswith(f"{bad}.") for bad in FORBIDDEN)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_of_the_library_names_the_framework_in_an_import(path):
    names = imported_names(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py")
    assert forbidden(names) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import lightning",
        "import lightning.pytorch as L",
        "from omegaconf import OmegaConf",
        "from snntrain import run",
        "from snntrain.data.mnist import MNIST",
        "import snntrain.config.check",
        "from .. import model",
        "from ..task import classification",
        "def later():\n    from hydra import compose",
        "import importlib\nimportlib.import_module('snntrain.callback')",
    ],
)
def test_the_check_sees_every_way_to_import_the_framework(line):
    assert forbidden(imported_names(line, "snntrain.neuron.lif", False))


@pytest.mark.parametrize("line", ["import snntrain.models", "from snntrain import registry", "from . import model"])
def test_the_check_lets_other_imports_pass(line):
    assert not forbidden(imported_names(line, "snntrain.neuron.lif", False))


def test_every_part_of_snntrain_belongs_to_one_half():
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} <= LIBRARY | FRAMEWORK
    assert {"base", "neuron", "layer"} <= parts


def test_importing_and_using_the_library_loads_nothing_of_the_framework():
    modules = [module_name(path) for path in SOURCES]
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
    assert set(modules) <= loaded and forbidden(loaded) == set()
    assert not loaded & {"torchvision", "matplotlib", "sklearn", "rich", "jinja2"}
