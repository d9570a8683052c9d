"""What the benchmark scripts share: the machine they ran on, interleaved timing, arguments, results on disk."""

import argparse
import datetime
import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from snntrain.files import write_json

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("spikingjelly", "snntorch", "norse")
_PACKAGES = ("snntrain", "torch", "numba", "numpy", "lightning", *PEERS, "cupy-cuda12x", "cupy-cuda13x", "triton")

# Wide enough for the tables where the output is a file; a terminal keeps its own width.
console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=180)


# --- where it ran ----------------------------------------------------------------------------------------------------


def describe_run(threads: int, device: str = "cpu") -> dict[str, Any]:
    """What a figure depends on besides the code that is measured; call it before measuring, for the load average."""
    run = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "commit": _commit(),
        "cpu": _first_value("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "ram_gib": _ram_gib(),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "versions": {package: version for package in _PACKAGES if (version := installed(package))},
    }
    if device == "cuda":
        run["gpu"] = torch.cuda.get_device_name()
        run["cuda"] = torch.version.cuda
    return run


def installed(package: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_value(file: str, key: str) -> str | None:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _ram_gib() -> float | None:
    kilobytes = _first_value("/proc/meminfo", "MemTotal")
    return round(int(kilobytes.split()[0]) / 2**20, 1) if kilobytes else None


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


# --- timing ----------------------------------------------------------------------------------------------------------


def interleaved(measurements: Mapping[Any, Callable[[], float]], rounds: int) -> dict[Any, list[float]]:
    """Take every measurement once per round: a neighbour that slows the machine down then slows all of them.

    Args:
        measurements: name → function that returns seconds.
        rounds: how many times.

    Returns: name → one value per round. Each round starts with another measurement, so that none always follows the
    same one, whose caches and freed memory it would find.
    """
    names = list(measurements)
    seconds: dict[Any, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            seconds[name].append(measurements[name]())
    return seconds


def seconds_of(call: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds of one call, the device's work included."""
    synchronize(device)
    began = time.perf_counter()
    result = call()
    synchronize(device)
    seconds = time.perf_counter() - began
    del result  # only now: freeing it is not part of the call
    return seconds


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over rounds of the quotient within a round, which a slow round leaves as it is."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


# --- arguments -------------------------------------------------------------------------------------------------------


def positive(text: str) -> int:
    """An argument that is an integer ≥ 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer ≥ 1, got {text!r}")
    return int(text)


def positives(text: str) -> list[int]:
    """An argument that is a list of different integers ≥ 1, e.g. 2,4,8."""
    values = [positive(part) for part in text.split(",")]
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"names a value twice: {text!r}")
    return values


def output_folder(text: str) -> Path:
    """An argument that is a folder, or may become one."""
    folder = Path(text)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise argparse.ArgumentTypeError(f"{existing} is not a folder that can be written to")
    return folder


def parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--threads", type=positive, default=2, help="of torch and of our kernels (default %(default)s)")
    made.add_argument(
        "--output", type=output_folder, default="benchmarks", help="folder of the results (default %(default)s)"
    )
    return made


# --- results ---------------------------------------------------------------------------------------------------------


def write_results(folder: Path, name: str, results: dict[str, Any], plot: Callable[[Path], None]) -> None:
    """Write <name>.json and <name>.png and say where they are.

    Args:
        plot: draws into the file it is given.
    """
    write_json(folder / f"{name}.json", results)
    plot(folder / f"{name}.png")
    console.print(f"{folder / name}.json, {folder / name}.png", soft_wrap=True)


def introduce(run: Mapping[str, Any]) -> None:
    """One line about the machine."""
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("torch", *PEERS) if name in run["versions"])
    load = run["load_average_before"][0]
    console.print(
        f"{run.get('gpu') or run['cpu']}, {run['cores']} cores, {run['threads']} threads, {run['ram_gib']} GiB; "
        f"{versions}; load average {load}",
        soft_wrap=True,
    )
    if load > 0.5:
        console.print("[yellow]Other processes are running: figures will be slower and vary more.[/yellow]")
