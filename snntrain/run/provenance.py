"""Record where a result comes from: code, versions, hardware, data, command."""

import datetime
import os
import platform
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snntrain.config.folders import search_path
from snntrain.config.migration import FORMAT
from snntrain.installation import CHECKOUT, command_of
from snntrain.kernel.device_status import gpu_launcher

_PACKAGES = (
    "snntrain",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
)
_LONGEST_DIFF = 1_000_000


def provenance(overrides: list[str], data_hashes: dict[str, str], command: str | None = None) -> dict[str, Any]:
    """Everything that is needed to obtain a result again.

    Args:
        overrides: the run's part of the command line.
        data_hashes: file → SHA-256.
        command: that repeats the run; None: train with the overrides.
    """
    return {
        "format": FORMAT,
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command or train_command(overrides),
        "code": _code(),
        "versions": versions(),
        "hardware": hardware(),
        "data": data_hashes,
    }


def continued(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a finished run to which something is added, with the command that does it."""
    added = {key: now[key] for key in ("time", "command", "code", "versions")}
    return {**before, "format": now["format"], "continued": [*before.get("continued", []), added]}


def train_command(overrides: list[str]) -> str:
    """The command line that starts a run with these overrides here."""
    return f"{command_of('train')} {shlex.join([*search_path(), *overrides])}".rstrip()


def git(*arguments: str, root: Path | None = CHECKOUT) -> str | None:
    """The output of a git command in a checkout; None if it fails or there is none."""
    if root is None:  # the package may be installed into a folder that some other repository holds
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _code() -> dict[str, Any]:
    with ThreadPoolExecutor() as pool:  # the three wait for processes of their own
        commit, diff, others = pool.map(
            lambda command: git(*command.split()),
            ("rev-parse HEAD", "diff HEAD", "ls-files --others --exclude-standard"),
        )
    if commit is None:
        return {"commit": None, "note": "not run from a git checkout"}
    diff, untracked = diff or "", (others or "").splitlines()
    code: dict[str, Any] = {"commit": commit.strip(), "dirty": bool(diff or untracked), "untracked": untracked}
    if diff:
        code["diff"] = diff if len(diff) <= _LONGEST_DIFF else diff[:_LONGEST_DIFF] + "\n… cut here"
    return code


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a run depends on most."""
    return {"python": platform.python_version(), **{package: version_of(package) for package in _PACKAGES}}


def version_of(package: str) -> str | None:
    """Version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):  # a name that no package can have
        return None


def hardware() -> dict[str, Any]:
    """The hardware of this machine, as far as results may depend on it."""
    hardware: dict[str, Any] = {
        "platform": platform.platform(),
        **_processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # what torch's kernels use, e.g. AVX2
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        hardware["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        hardware["cuda"] = torch.version.cuda
        by, reason = gpu_launcher()
        hardware["gpu_kernels"] = by or f"none: {reason}"
    return hardware


def _processor() -> dict[str, str | None]:
    """Its name, and family, model and stepping: in a virtual machine the name often says little."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    facts = dict(re.findall(r"^(model name|cpu family|model|stepping)\s*: (.*)$", text, re.M))
    name = facts.pop("model name", platform.processor()).strip()
    return {"processor": name, "model": ", ".join(f"{key} {value}" for key, value in facts.items()) or None}
