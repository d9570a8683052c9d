"""Where a result comes from: code, versions, hardware, data, command."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

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


def provenance(overrides: list[str], data_hashes: dict[str, str]) -> dict[str, Any]:
    """Facts needed to find a result's cause again.

    Args:
        overrides: the run's part of the command line.
        data_hashes: file → SHA-256.
    """
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", Path(sys.argv[0]).name, *overrides]),
        "code": _code(),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": _hardware(),
        "data": data_hashes,
    }


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _code() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "note": "not run from a git checkout"}
    diff = _git("diff", "HEAD") or ""
    untracked = (_git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    code: dict[str, Any] = {"commit": commit.strip(), "dirty": bool(diff or untracked), "untracked": untracked}
    if diff:
        code["diff"] = diff if len(diff) <= _LONGEST_DIFF else diff[:_LONGEST_DIFF] + "\n… cut here"
    return code


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _hardware() -> dict[str, Any]:
    hardware: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        hardware["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        hardware["cuda"] = torch.version.cuda
    return hardware


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
