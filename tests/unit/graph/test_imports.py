"""Conversion, quantization and export meet in snntrain.graph, and know each other by their public names alone."""

import ast
from pathlib import Path

import pytest

import snntrain

ROOT = Path(snntrain.__file__).parent
#: Package → those of the others whose public names it may use.
MAY_USE = {
    "graph": {"lava_exchange"},  # whose blocks are layers of a net
    "ann2snn": {"graph"},
    "quantize": {"graph", "ann2snn"},
    "lava_exchange": set(),
    "export": {"graph", "quantize", "lava_exchange"},
}
INTERNALS = {("export", "lava_exchange.lava_shim")}  # the shim is a program's part as well, and has no other home


def imports(path: Path) -> list[tuple[str, str]]:
    """(module, name) of all imports from snntrain in a file, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "snntrain"]


@pytest.mark.parametrize("package", MAY_USE)
def test_a_package_uses_no_internals_of_another(package):
    wrong = []
    for path in sorted((ROOT / package).glob("*.py")):
        for module, name in imports(path):
            _, *parts = module.split(".") if module != "snntrain" else ("", name)
            if not parts or parts[0] == package or parts[0] not in MAY_USE:
                continue
            is_public = len(parts) == 1 and parts[0] in MAY_USE[package]
            if not is_public and (package, ".".join(parts)) not in INTERNALS:
                wrong.append(f"{path.name}: {module}")
    assert not wrong
