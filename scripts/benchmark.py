"""The harness of scripts/bench_*: command line, interleaved timing, tables, figures, and results on disk.

A script imports this module before torch; see OMP_WAIT_POLICY below. What it holds itself is what it measures.
"""

import os

# As train.py does, before torch loads: threads that wait sleep instead of spinning, so that a neighbor costs less.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import datetime
import gc
import json
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from matplotlib.figure import Figure
from rich.console import Console

from snntrain.figure import new_figure
from snntrain.files import write_json
from snntrain.run.provenance import git, hardware, version_of

PEERS = ("spikingjelly", "snntorch", "norse")
_PACKAGES = ("snntrain", "torch", "numba", "numpy", "lightning", *PEERS, "cupy-cuda12x", "cupy-cuda13x", "triton")

# Wide enough for the tables where the output is a file; a terminal keeps its own width.
console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=180)


# --- where it ran ----------------------------------------------------------------------------------------------------


def begin(options: argparse.Namespace) -> dict[str, Any]:
    """Set the number of threads; describe and print the machine. Call it before measuring, for the load average."""
    torch.set_num_threads(options.threads)
    run = describe_run(options.threads, getattr(options, "device", "cpu"))
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("torch", *PEERS) if name in run["versions"])
    load = run["load_average_before"][0]
    console.print(
        f"{run.get('gpu') or run['cpu']}, {run['cores']} cores, {run['threads']} threads, {run['ram_gib']} GiB; "
        f"{versions}; load average {load}",
        soft_wrap=True,
    )
    if load > 0.5:
        console.print("[yellow]Other processes are running: figures will be slower and vary more.[/yellow]")
    return run


def describe_run(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Everything a figure depends on besides the code that is measured."""
    commit, machine = (git("rev-parse", "HEAD") or "").strip(), hardware()
    run = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "commit": f"{commit} with changes" if git("status", "--porcelain") else commit or None,
        "cpu": machine["processor"],
        "cores": machine["cores"],
        "threads": threads,
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "platform": machine["platform"],
        "python": platform.python_version(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "versions": {package: version for package in _PACKAGES if (version := version_of(package))},
    }
    if device == "cuda":
        run["gpu"] = torch.cuda.get_device_name()
        run["cuda"] = torch.version.cuda
    return run


# --- timing ----------------------------------------------------------------------------------------------------------


def interleaved(
    measurements: Mapping[Any, Callable[[], float]], rounds: int, warm_up: bool = True
) -> dict[Any, list[float]]:
    """Take every measurement once per round: a neighbor that slows the machine down then slows all of them.

    Args:
        measurements: name → function that returns seconds.
        rounds: how many times each is taken.
        warm_up: take each once before and drop its value, since the first call compiles kernels and allocates memory.

    Returns: name → one value per round. Each round starts with another measurement: otherwise one would always find
    the caches and the freed memory of the same predecessor.
    """
    names = list(measurements)
    if warm_up:
        for measure in measurements.values():
            measure()
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
    """Wait until the device has finished its queued work."""
    if device == "cuda":
        torch.cuda.synchronize()


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over rounds of the quotient within each round: a round that is slow as a whole does not change it."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def start_again(*arguments: str, **environment: str) -> subprocess.Popen:
    """Run this script in a fresh process, for what depends on a process's past: memory, compiled kernels."""
    command = [sys.executable, sys.argv[0], *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True)


def answer_of(process: subprocess.Popen) -> dict[str, Any]:
    """The JSON object that a process prints as its last line.

    Raises: RuntimeError with what it wrote to stderr, if it fails.
    """
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors.strip())
    return json.loads(output.splitlines()[-1])


def own_memory(field: str) -> int:
    """VmRSS or VmHWM (the peak) of this process, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(rf"^{field}:\s+(\d+)", status, re.MULTILINE)[1])


def forget_peak() -> int:
    """Start to measure VmHWM anew, which was that of the imports; returns VmRSS, what is in use now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return own_memory("VmRSS")


# --- command line ----------------------------------------------------------------------------------------------------

_COUNTS = {
    "T": "time steps",
    "batch": "samples per batch",
    "rounds": "each takes every measurement once",
}


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
    """An argument that is a writable folder, existing or not."""
    folder = Path(text)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise argparse.ArgumentTypeError(f"{existing} is not a folder that can be written to")
    return folder


def parser(doc: str, **counts: int) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        doc: the script's docstring: its first line says what is measured, the rest gives examples.
        counts: defaults of options that are integers ≥ 1, of T, batch, rounds.
    """
    description, _, examples = doc.partition("\n\n")
    made = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, value in counts.items():
        add_count(made, name, value, _COUNTS[name])
    made.add_argument("--threads", type=positive, default=2, help="of torch and of our kernels (default %(default)s)")
    made.add_argument(
        "--output", type=output_folder, default="benchmarks", help="folder of the results (default %(default)s)"
    )
    return made


def add_count(parser: argparse.ArgumentParser, name: str, value: int, description: str) -> None:
    """An option that is an integer ≥ 1, with its default."""
    parser.add_argument(f"--{name}", type=positive, default=value, help=f"{description} (default %(default)s)")


# --- results ---------------------------------------------------------------------------------------------------------


def milliseconds(seconds: Sequence[float] | float, digits: int = 1) -> str:
    """A cell of a table: the median of several values, or one value."""
    value = seconds if isinstance(seconds, float) else statistics.median(seconds)
    return f"{1e3 * value:.{digits}f}"


def axes(count: int, width: float, height: float, title: str, **layout: Any) -> tuple[Figure, Sequence[Any]]:
    """A figure of several panels side by side, in inches."""
    figure = new_figure(width, height)
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, count, squeeze=False, **layout)[0]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def finish(
    options: argparse.Namespace, name: str, run: dict[str, Any], results: dict[str, Any], figure: Figure | None = None
) -> None:
    """Write <name>.json, and <name>.png where there is a figure, and say where they are."""
    files = [options.output / f"{name}.json"]
    settings = {key: value for key, value in vars(options).items() if value is not None and key != "output"}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    write_json(files[0], {"benchmark": name, "run": run, "settings": settings, **results})
    if figure is not None:
        files.append(files[0].with_suffix(".png"))
        figure.savefig(files[1], dpi=120)
    console.print(", ".join(map(str, files)), soft_wrap=True)
