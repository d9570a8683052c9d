"""What a result may depend on besides the config: package versions and the class of the hardware."""

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from snntrain.run.provenance import hardware, version_of
from snntrain.terminal import table

# Not in a lock file: the checkout itself, installers and test tools.
_NOT_LOCKED = {
    *("snntrain", "pip", "setuptools", "wheel"),
    *("pytest", "pluggy", "iniconfig", "hypothesis", "pytest-xdist", "execnet", "ruff"),
}
# The locked packages that compute or read data. The others cannot change a result.
_COMPUTING = {
    *("torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn", "numba", "llvmlite"),
    *("tonic", "h5py", "pillow", "expelliarmus", "aedat", "importrosbag", "hydra-core", "omegaconf", "cupy-cuda12x"),
}
_CLASS = ("processor", "model", "instructions", "torch_threads", "gpus")

Row = tuple[str, Any, Any]  # what, recorded, here


def imported_packages() -> dict[str, str]:
    """Package → version of every installed package that this process has imported, sorted."""
    owners = metadata.packages_distributions()
    modules = {name.split(".")[0] for name in sys.modules}
    packages = {package for module in modules for package in owners.get(module, ())}
    return {package: version_of(package) for package in sorted(packages - _NOT_LOCKED, key=str.lower)}


def lock_text(packages: Mapping[str, str]) -> str:
    """Packages as a constraints file for pip."""
    lines = ["# Installed when this was measured: pip install -c lock.txt -e ."]
    return "\n".join([*lines, *(f"{package}=={version}" for package, version in packages.items())]) + "\n"


def read_lock(text: str) -> dict[str, str]:
    """Package → version of a constraints file."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {
        package.strip(): version.strip() for package, _, version in (line.partition("==") for line in lines if line)
    }


def hardware_class(facts: Mapping[str, Any], accelerator: str | None = "cpu") -> dict[str, Any]:
    """The part of the hardware in provenance.json on which rounding depends; no GPUs for a run on the CPU."""
    keys = [key for key in _CLASS if key in facts and (key != "gpus" or accelerator != "cpu")]
    return {key: facts[key] for key in keys}


def match_threads(recorded: Mapping[str, Any]) -> None:
    """Let torch compute with the recorded number of threads, if this machine has as many cores."""
    threads = recorded.get("torch_threads")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= available:
        torch.set_num_threads(threads)


def compared_versions(recorded: Mapping[str, str | None]) -> list[Row]:
    """Recorded and installed version of every recorded package."""
    here = {package: version_of(package) for package in recorded if package != "python"}
    return [(package, recorded[package], here[package]) for package in here]


def compared_hardware(recorded: Mapping[str, Any], accelerator: str | None) -> list[Row]:
    """Recorded and present class of the hardware, without what was not recorded."""
    here = hardware_class(hardware(), accelerator)
    return [(key, recorded[key], here.get(key)) for key in hardware_class(recorded, accelerator)]


def is_same(rows: list[Row]) -> bool:
    """Whether nothing differs."""
    return all(before == now for _, before, now in rows)


def computing(packages: list[Row]) -> list[Row]:
    """The packages on which a result can depend."""
    return [row for row in packages if row[0].lower() in _COMPUTING]


def comparison_table(rows: list[Row], headers: tuple[str, str] = ("recorded", "here")) -> Table:
    """Rows as a table, what differs in red."""
    compared = table("", *headers)
    for name, before, now in rows:
        style = "" if before == now else "red"
        compared.add_row(*(Text(str(cell), style=style) for cell in (name, before, now)))
    return compared
