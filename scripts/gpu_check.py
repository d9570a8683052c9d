"""Check and measure snntrain on one GPU, within minutes: tests, kernels, training steps, each beside SpikingJelly.

python scripts/gpu_check.py                          at most 8 minutes; Ctrl-C at any time keeps what was measured
python scripts/gpu_check.py --steps devices,kernels --minutes 3
python scripts/gpu_check.py --device cpu --small     every line of it without a GPU, at sizes that say nothing

It needs: pip install -e '.[bench]' pytest hypothesis, beside a torch built for CUDA; cupy is not needed.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import benchmark
import psutil
import torch
from benchmark import console
from gpu_steps import STEPS, run_step
from rich.table import Table
from rich.text import Text

from snntrain import terminal
from snntrain.files import write_json
from snntrain.kernel.cuda_launcher import VARIABLE

#: The order of the steps, what matters most first, and the most seconds of each if 8 minutes are given. "kernels, cupy"
#: is a step with another launcher than the first one.
LIMITS = {
    "devices": 40,
    "first command": 60,
    "tests": 150,
    "kernels": 150,
    "copy": 40,
    "csnn": 60,
    "SEW-ResNet-18": 90,
    "tests, cupy": 150,
    "kernels, cupy": 150,
}
LEAST = 10  # seconds that must be left to begin a step


class Check:
    """The results so far, in a file that is whole after every row."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.file = options.output / "gpu_check.json"
        self.began = time.monotonic()
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        self.results: dict[str, Any] = {
            "benchmark": "gpu_check",
            "run": benchmark.begin(options),
            "settings": settings,
            "status": "running",
            "steps": {},
        }

    def left(self) -> float:
        """Seconds of the time given."""
        return 60 * self.options.minutes - (time.monotonic() - self.began)

    def write(self) -> None:
        """Write the file."""
        self.results["seconds"] = round(time.monotonic() - self.began, 1)
        write_json(self.file, self.results)

    def run(self, name: str) -> None:
        """One step in a process of its own, so that an error on the GPU ends it alone."""
        step: dict[str, Any] = {"status": "running", "rows": []}
        self.results["steps"][name] = step
        limit = min(LIMITS[name] * self.options.minutes / 8, self.left())
        began = time.monotonic()
        try:
            if limit < LEAST:
                step["status"] = f"skipped: the {self.options.minutes:g} minutes are over"
            else:
                step |= self._measure(name, limit, step["rows"])
        except BaseException:
            step["status"] = "interrupted"
            raise
        finally:
            step["seconds"] = round(time.monotonic() - began, 1)
            self.write()

    def _measure(self, name: str, limit: float, rows: list[dict[str, Any]]) -> dict[str, str]:
        """Take a step's rows as they come; its status, and its error if it failed."""
        overdue = threading.Event()

        def expire() -> None:
            overdue.set()
            end(process)

        with tempfile.TemporaryFile("w+") as errors, started(name, self.options, errors) as process:
            timer = threading.Timer(limit, expire)
            timer.start()
            try:
                for line in process.stdout:
                    if line.startswith('{"what"'):  # a library may print, too
                        _add(rows, json.loads(line))
                        self.write()
            finally:
                timer.cancel()
            code = process.wait()
            errors.seek(0)
            said = errors.read().strip()
        if overdue.is_set():
            return {"status": f"stopped after {limit:.0f} s"}
        return {"status": "failed", "error": said[-4000:]} if code else {"status": "finished"}


@contextlib.contextmanager
def started(name: str, options: argparse.Namespace, errors: IO[str]) -> Iterator[subprocess.Popen]:
    """This script for one step, which is killed with whatever it started if it still runs at the end."""
    step, _, launcher = name.partition(", ")
    words = ["--device", options.device, "--rounds", str(options.rounds), "--threads", str(options.threads)]
    command = [sys.executable, __file__, "--step", step, *words, *(["--small"] if options.small else [])]
    environment = os.environ | ({VARIABLE: launcher} if launcher else {})
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    )  # in a session of its own: Ctrl-C reaches this process alone
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """Kill a process that still runs, with whatever it started."""
    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            for child in (*psutil.Process(process.pid).children(recursive=True), process):
                child.kill()
        process.wait()


def _add(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """A row may replace an earlier one that counts the same."""
    for index, old in enumerate(rows):
        if row.get("replaces") and old["what"] == row["what"]:
            rows[index] = row
            return
    rows.append(row)


def table(results: dict[str, Any]) -> Table:
    """Every row of every step."""
    made = terminal.table("step", "what", "result")
    for name, step in results["steps"].items():
        first = Text(name)
        for row in step["rows"]:
            made.add_row(first, Text(row["what"]), Text(row["result"]))
            first = Text("")
        if step["status"] != "finished":
            reason = f": {step['error'].splitlines()[-1]}" if step.get("error") else ""
            made.add_row(first, "", Text(step["status"] + reason, style="red"))
    return made


def chosen(text: str) -> list[str]:
    """The argument --steps."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in STEPS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(STEPS)}")
    return [name for name in LIMITS if name.partition(", ")[0] in names]


def read_options() -> argparse.Namespace:
    """The command line, checked."""
    parser = benchmark.parser(__doc__, rounds=7)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default %(default)s")
    parser.add_argument("--small", action="store_true", help="sizes that only show that everything runs")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything (default %(default)g)")
    parser.add_argument("--steps", type=chosen, default=",".join(STEPS), help="of %(default)s, which is the default")
    parser.add_argument("--step", choices=tuple(STEPS), help=argparse.SUPPRESS)  # one step, in this process
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: torch finds no GPU; --device cpu --small tries everything without one")
    if not options.minutes > 0:
        parser.error(f"argument --minutes: must be > 0, got {options.minutes:g}")
    return options


def main() -> int:
    """Run every step that the time allows; 1 if one failed."""
    options = read_options()
    if options.step:
        torch.set_num_threads(options.threads)
        run_step(options.step, options)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job's time is over: as Ctrl-C
    check = Check(options)
    has_cupy = options.device == "cuda" and importlib.util.find_spec("cupy") is not None
    try:
        for name in options.steps:
            if has_cupy or not name.endswith(", cupy"):
                console.print(f"{name} …", style="dim")
                check.run(name)
        check.results["status"] = "finished"
    except KeyboardInterrupt:
        check.results["status"] = "interrupted"
    check.write()
    console.print("", table(check.results), "")
    console.print(f"{check.results['status']} after {check.results['seconds']} s: {check.file}", soft_wrap=True)
    failed = any(step["status"] == "failed" for step in check.results["steps"].values())
    failed |= any(
        row["result"] in ("failed", "error") for step in check.results["steps"].values() for row in step["rows"]
    )
    return 130 if check.results["status"] == "interrupted" else int(failed)


if __name__ == "__main__":
    sys.exit(main())
