"""Recurrent nets, forward and backward, against their own loop, other libraries and the products that they consist of.

python scripts/bench_recurrent.py                                    three shapes and a net for SHD, some minutes
python scripts/bench_recurrent.py --cases 100x64x140x256 --rounds 20
python scripts/bench_recurrent.py --cases shd --no-memory

Inputs are random spikes, and the weights such that 5 to 10 % of the hidden neurons fire in a step, which is checked for
every library. The reference is the time of the matrix products of inputs, feedback and readout, forward and backward,
in the same run. The peer libraries come with: pip install -c constraints.txt -e '.[bench]'
"""

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import torch
from benchmark import console
from recurrent_peers import LAYERS, Net, Products, Size, Weights
from rich.progress import track
from rich.table import Table
from torch import Tensor

from snntrain import terminal
from snntrain.run.memory import keep_freed_memory

SHAPES = (Size(100, 64, 140, 256), Size(250, 32, 700, 512), Size(100, 256, 140, 128))
SHD = Size(100, 128, 700, 128, classes=20)
DENSITY = 0.05  # share of the inputs that are spikes, at each step
FIRING = (0.05, 0.10)
PRODUCTS, FUSED, LOOP = "products", "fused", "torch"


# --- one size --------------------------------------------------------------------------------------------------------


def inputs_of(size: Size) -> tuple[Weights, Tensor, Tensor]:
    """Weights, spikes [T, N, inputs] and the gradient of the output, the same in every process."""
    torch.manual_seed(1)
    weights = Weights.of(size, DENSITY)
    x = (torch.rand(size.T, size.N, size.inputs) < DENSITY).float()
    return weights, x, torch.randn(size.T, size.N, size.classes or size.neurons) / size.N


def contenders(weights: Weights, x: Tensor) -> tuple[dict[str, Net], dict[str, float], Tensor, dict[str, str]]:
    """The nets that can run, the share of their hidden neurons that fires, spikes of ours, and why others cannot run.

    Raises: SystemExit for a net that fires too little or too much to be compared.
    """
    nets: dict[str, Net] = {}
    rates: dict[str, float] = {}
    missing: dict[str, str] = {}
    for title, make in LAYERS.items():
        try:
            net = Net(make(weights), weights)
            with torch.no_grad():
                spikes = net.hidden(x)
        except Exception as error:  # any error of a library: the others are still measured
            missing[title] = " ".join(f"{error}".split()) or type(error).__name__
            continue
        nets[title], rates[title] = net, spikes.mean().item()
        if not FIRING[0] <= rates[title] <= FIRING[1]:
            raise SystemExit(f"error: {title} fires in {100 * rates[title]:.2f} % of the steps, not in 5 to 10 %.")
        if title == FUSED:
            ours = spikes
    return nets, rates, ours, missing


def measure(size: Size, rounds: int, memory: bool) -> dict[str, Any]:
    """One row of results: seconds per round, memory, ratios and targets."""
    weights, x, g = inputs_of(size)
    nets, rates, spikes, missing = contenders(weights, x)
    products = Products(weights, x, spikes)
    calls = {title: partial(net.train_step, x, g) for title, net in nets.items()}
    seconds = benchmark.interleaved(
        {
            title: partial(benchmark.seconds_of, call)
            for title, call in {PRODUCTS: products.train_step, **calls}.items()
        },
        rounds,
    )
    row: dict[str, Any] = {"size": str(size), "firing": rates, "unavailable": missing, "seconds": seconds}
    row["to_products"] = {title: benchmark.ratio(seconds[title], seconds[PRODUCTS]) for title in nets}
    row["to_fused"] = {title: benchmark.ratio(seconds[title], seconds[FUSED]) for title in nets}
    limit = 1.5 if size.classes else 1.3
    row["targets"] = {"to_products": {"limit": limit, "met": row["to_products"][FUSED] <= limit}}
    if memory:
        row["memory_bytes"] = {title: memory_of(title, size) for title in nets}
        share = row["memory_bytes"][FUSED] / row["memory_bytes"][LOOP]
        row["targets"]["memory"] = {"share": share, "limit": 0.5, "met": share <= 0.5}
    return row


# --- memory ----------------------------------------------------------------------------------------------------------


def memory_of(title: str, size: Size) -> int:
    """Peak memory that a training step adds, measured in a process of its own."""
    numbers = "x".join(map(str, (size.T, size.N, size.inputs, size.neurons, size.classes)))
    process = benchmark.start_again("--memory-of", title, "--cases", numbers, "--threads", str(torch.get_num_threads()))
    return benchmark.answer_of(process)["bytes"]


def report_memory(title: str, size: Size) -> dict[str, int]:
    """In a fresh process: what a training step adds to the memory that is in use before it."""
    weights, x, g = inputs_of(size)
    net = Net(LAYERS[title](weights), weights)
    net.train_step(x[:2], g[:2])  # kernels are compiled, gradients have their memory
    before = benchmark.forget_peak()
    net.train_step(x, g)
    return {"bytes": benchmark.own_memory("VmHWM") - before}


# --- output ----------------------------------------------------------------------------------------------------------


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Milliseconds, ratios and memory of every net."""
    table = terminal.table("", "net", "firing", "ms", "÷ products", "÷ fused", "peak MB", texts=2)
    for row in rows:
        of_products = benchmark.milliseconds(row["seconds"][PRODUCTS])
        table.add_row(row["size"], PRODUCTS, "", of_products, "1", "", "")
        for title, ratio in row["to_products"].items():
            limit = row["targets"]["to_products"]["limit"]
            mark = f" ≤ {limit} {'✓' if ratio <= limit else '✗'}" if title == FUSED else ""
            memory = row.get("memory_bytes", {}).get(title)
            cells = (
                f"{100 * row['firing'][title]:.1f} %",
                benchmark.milliseconds(row["seconds"][title]),
                f"{ratio:.2f}{mark}",
                f"{row['to_fused'][title]:.2f}",
                "" if memory is None else f"{memory / 1e6:.0f}",
            )
            table.add_row("", title, *cells)
    return table


def cases(text: str) -> list[Size]:
    """The argument --cases: sizes TxNxINPUTSxNEURONS, of which a fifth number stands for classes, and shd."""
    found = []
    for part in text.split(","):
        if part == "shd":
            found.append(SHD)
            continue
        numbers = part.split("x")
        if len(numbers) not in (4, 5) or not all(n.isdecimal() for n in numbers) or not all(map(int, numbers[:4])):
            raise argparse.ArgumentTypeError(f"must be shd or TxNxINPUTSxNEURONS, e.g. 100x64x140x256, got {part!r}")
        found.append(Size(*map(int, numbers)))
    return found


def main() -> None:
    """Run the benchmark, or measure the memory of one net for it."""
    parser = benchmark.parser(__doc__, rounds=11)
    parser.add_argument(
        "--cases", type=cases, default=[*SHAPES, SHD], help="sizes TxNxINPUTSxNEURONS and shd, separated by commas"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure peak memory")
    parser.add_argument("--memory-of", choices=tuple(LAYERS), help=argparse.SUPPRESS)  # used by memory_of
    options = parser.parse_args()
    if options.memory_of:
        torch.set_num_threads(options.threads)
        print(json.dumps(report_memory(options.memory_of, options.cases[0])))
        return
    keep_freed_memory()  # as train.py does; here it serves every contender
    run = benchmark.begin(options)
    memory = not options.no_memory and Path("/proc/self/clear_refs").exists()
    rows = [measure(size, options.rounds, memory) for size in track(options.cases, console=console, transient=True)]
    console.print(table_of(rows))
    for title, reason in {title: reason for row in rows for title, reason in row["unavailable"].items()}.items():
        console.print(f"- {title}: {reason}", style="dim", markup=False, soft_wrap=True)
    judged = [target["met"] for row in rows for target in row["targets"].values()]
    console.print(f"{sum(judged)} of {len(judged)} targets met")
    options.cases = [str(size) for size in options.cases]
    medians = [{title: statistics.median(values) for title, values in row["seconds"].items()} for row in rows]
    for row, median in zip(rows, medians, strict=True):
        row["median_seconds"] = median
    benchmark.finish(options, "recurrent", run, {"density": DENSITY, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
