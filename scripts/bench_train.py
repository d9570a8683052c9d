"""One training step of the conv SNN: in a plain loop, fused or not, as train.py runs it, and in SpikingJelly.

python scripts/bench_train.py                                        IF neurons, T = 4, batches of 64: about a minute
python scripts/bench_train.py --neuron plif --T 8 --rounds 11
python scripts/bench_train.py --data /path/to/data                   Fashion-MNIST instead of random pictures
python scripts/bench_train.py --over-T 2,4,8,16,32,64                also: how a step's time grows with T
python scripts/bench_train.py --variants bare,spikingjelly --steps 50

SpikingJelly comes with: pip install -c constraints.txt -e '.[bench]'
"""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch loads: the profiler reports its start and stop

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import numpy as np
import peers
import torch
from benchmark import console, milliseconds
from matplotlib.figure import Figure
from rich.table import Table
from training_steps import (
    BARE,
    FAST,
    FRAMEWORK,
    SPIKINGJELLY,
    UNFUSED,
    WARM_UP,
    Framework,
    PlainLoop,
    largest_difference,
    plain_loop,
    settings_of,
    some_batches,
)

from snntrain import terminal
from snntrain.error import UsageError
from snntrain.run.memory import keep_freed_memory
from snntrain.run.provenance import version_of
from snntrain.run.run import quieten_lightning

TITLES = {
    BARE: "snntrain, plain loop",
    FAST: "snntrain, fuse=fast",
    UNFUSED: "snntrain, fuse=off",
    FRAMEWORK: "snntrain, as train.py",
    SPIKINGJELLY: "SpikingJelly, plain loop",
}
LABELS = {name: title.replace(", ", ",\n") for name, title in TITLES.items()}
COLORS = dict(zip(TITLES, ("#0072b2", "#cc79a7", "#009e73", "#56b4e9", "#d55e00"), strict=True))


# --- memory ----------------------------------------------------------------------------------------------------------


def train_and_report_memory(name: str, options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """In a fresh process: resident memory before the model is built, and its peak while it trains."""
    settings = settings_of(options, folder, WARM_UP + options.steps)
    batches = [] if name == FRAMEWORK else some_batches(settings)
    if name == SPIKINGJELLY:
        peers.spikingjelly_module("neuron")  # imported before counting, as ours is
    before = benchmark.forget_peak()
    if name == FRAMEWORK:
        Framework(settings).seconds_per_step()
    else:
        plain_loop(name, settings, batches).seconds_per_step(options.steps)
    return {"before_bytes": before, "peak_bytes": benchmark.own_memory("VmHWM")}


def peak_memory(names: list[str]) -> dict[str, dict[str, int]]:
    """Peak memory that each variant adds; the processes run side by side, which disturbs only their speed."""
    if not Path("/proc/self/clear_refs").exists():
        console.print("memory: not measured, this system has no /proc", style="dim")
        return {}
    processes = {name: benchmark.start_again(*sys.argv[1:], "--memory-of", name) for name in names}
    measured = {name: benchmark.answer_of(process) for name, process in processes.items()}
    for row in measured.values():
        row["bytes"] = row["peak_bytes"] - row["before_bytes"]
    return measured


# --- where the time goes ---------------------------------------------------------------------------------------------

KINDS = ("convolution", "neuron", "matmul", "pooling", "normalization", "copies", "zeroing", "optimizer", "other")
_BY_PATTERN = (
    ("convolution", r"conv|mkldnn"),
    ("pooling", r"pool"),
    ("normalization", r"batch_norm"),
    ("matmul", r"mm$|^linear|^matmul"),
    ("zeroing", r"^zero|^new_zeros|^fill_|^full"),
    ("copies", r"^copy_|^clone|^contiguous|^_to_copy|^to$|^reshape"),
    # In this net only neurons do elementwise arithmetic, stack or split, apart from the loss, which is tiny.
    ("neuron", r"^(add|sub|rsub|mul|div|neg|abs|exp|reciprocal|pow|where|ge|gt|le|lt|eq|sum)_?$|^sigmoid|^clamp"),
    ("neuron", r"^(stack|cat|unbind|select|select_backward|unsqueeze|ones_like|maximum|minimum)$"),
)


def kind_of(event: Any) -> str:
    """The kind of work of a profiler event, by its name; inside the optimizer's step everything is the optimizer's."""
    ancestor = event
    while ancestor is not None:
        if ancestor.name.startswith("Optimizer."):
            return "optimizer"
        ancestor = ancestor.cpu_parent
    if event.name.startswith("sj_"):  # SpikingJelly's own operators
        return "neuron"
    if not event.name.startswith("aten::"):
        # A library's autograd.Function is named after its class; the names of torch's own nodes end in a digit.
        return "neuron" if re.fullmatch(r"\w*[A-Za-z]", event.name) else "other"
    name = event.name.removeprefix("aten::")
    return next((kind for kind, pattern in _BY_PATTERN if re.search(pattern, name)), "other")


def shares(loop: PlainLoop, steps: int) -> dict[str, float]:
    """Kind of operation → its share of a step's time, as torch's profiler sees it on the main thread."""
    for _ in range(WARM_UP):
        loop.step(loop.T)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(steps):
            loop.step(loop.T)
    times = dict.fromkeys(KINDS, 0.0)
    for event in profile.events():
        times[kind_of(event)] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: time_of_kind / total for kind, time_of_kind in times.items()}


# --- growth with T ---------------------------------------------------------------------------------------------------


def over_T(loop: PlainLoop, values: list[int], steps: int, rounds: int) -> dict[str, Any]:
    """Seconds per step for several T, and the straight line through their medians."""
    seconds = benchmark.interleaved(
        {T: partial(loop.seconds_per_step, steps, T) for T in values}, rounds, warm_up=False
    )
    medians = np.array([statistics.median(seconds[T]) for T in values])
    slope, intercept = np.polyfit(values, medians, 1)
    residuals = medians - (slope * np.array(values) + intercept)
    r_squared = 1 - float(residuals @ residuals) / float(((medians - medians.mean()) ** 2).sum())
    fit = {"slope": float(slope), "intercept": float(intercept), "r_squared": r_squared}
    return {"seconds_per_step": {str(T): seconds[T] for T in values}, "fit": fit}


# --- output ----------------------------------------------------------------------------------------------------------


def summarize(seconds: Mapping[str, list[float]], memory: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Per variant: speed, memory, and both as ratios to SpikingJelly."""
    variants = {}
    for name, values in seconds.items():
        row: dict[str, Any] = {
            "seconds_per_step": values,
            "images_per_second": benchmark.spread([batch / value for value in values]),
        }
        if SPIKINGJELLY in seconds:
            row["times_as_fast"] = benchmark.ratio(seconds[SPIKINGJELLY], values)
        if name in memory:
            row["peak_memory"] = memory[name]
            if SPIKINGJELLY in memory:
                row["memory_ratio"] = memory[name]["bytes"] / memory[SPIKINGJELLY]["bytes"]
        variants[name] = row
    return variants


def speed_table(variants: Mapping[str, Any]) -> Table:
    """One row per variant."""
    table = terminal.table("", "img/s", "min", "max", "× SJ", "ms/step", "peak memory", "÷ SJ", texts=1)
    for name, row in variants.items():
        speed = row["images_per_second"]
        memory = row.get("peak_memory")
        table.add_row(
            TITLES[name],
            *(f"{speed[key]:,.0f}" for key in ("median", "min", "max")),
            f"{row['times_as_fast']:.2f}" if "times_as_fast" in row else "-",
            milliseconds(row["seconds_per_step"]),
            f"{memory['bytes'] / 2**20:,.0f} MiB" if memory else "-",
            f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else "-",
        )
    return table


def shares_table(by_variant: Mapping[str, Mapping[str, float]]) -> Table:
    """Kinds of operations against variants."""
    table = terminal.table("", *(TITLES[name] for name in by_variant), texts=1)
    for kind in KINDS:
        table.add_row(kind, *(f"{100 * by_variant[name][kind]:.1f} %" for name in by_variant))
    return table


def growth_table(growth: Mapping[str, Any]) -> Table:
    """T against time per step, measured and on the line."""
    fit = growth["fit"]
    table = terminal.table("T", "ms/step", "line", texts=0)
    for T, values in growth["seconds_per_step"].items():
        expected = fit["slope"] * int(T) + fit["intercept"]
        table.add_row(T, milliseconds(values), milliseconds(expected))
    return table


def plot(results: Mapping[str, Any], options: argparse.Namespace) -> Figure:
    """Speed, time by kind of operation and, if measured, time over T, side by side."""
    panels = [partial(_draw_speed, results["variants"])]
    if results["shares"]:
        panels.append(partial(_draw_kinds, results["variants"], results["shares"]))
    if results["over_T"]:
        panels.append(partial(_draw_growth, results["over_T"]))
    title = (
        f"One training step of the csnn: {options.neuron.upper()}, {options.channels} channels, "
        f"T = {options.T}, batch {options.batch}, {options.threads} threads"
    )
    figure, axes = benchmark.axes(len(panels), 5 * len(panels), 4, title)
    for axis, draw in zip(axes, panels, strict=True):
        draw(axis)
    return figure


def _draw_speed(variants: Mapping[str, Any], axis: Any) -> None:
    speeds = [row["images_per_second"] for row in variants.values()]
    medians = [speed["median"] for speed in speeds]
    below = [speed["median"] - speed["min"] for speed in speeds]
    above = [speed["max"] - speed["median"] for speed in speeds]
    labels, colors = [LABELS[name] for name in variants], [COLORS[name] for name in variants]
    bars = axis.bar(labels, medians, yerr=[below, above], color=colors, capsize=4)
    axis.bar_label(bars, fmt="{:,.0f}", label_type="center", color="white")
    axis.set_ylabel("images per second (median, min, max)")


def _draw_kinds(variants: Mapping[str, Any], by_variant: Mapping[str, Mapping[str, float]], axis: Any) -> None:
    bottom = np.zeros(len(by_variant))
    labels = [LABELS[name] for name in by_variant]
    steps = np.array([1e3 * statistics.median(variants[name]["seconds_per_step"]) for name in by_variant])
    for kind in KINDS:
        heights = steps * [by_variant[name][kind] for name in by_variant]
        axis.bar(labels, heights, bottom=bottom, label=kind, width=0.6)
        bottom += heights
    axis.set_ylabel("ms per step, split by the profiler's shares")
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_growth(growth: Mapping[str, Any], axis: Any) -> None:
    values = [int(T) for T in growth["seconds_per_step"]]
    measured = [1e3 * statistics.median(seconds) for seconds in growth["seconds_per_step"].values()]
    fit = growth["fit"]
    line = [1e3 * (fit["slope"] * T + fit["intercept"]) for T in values]
    axis.plot(values, line, color="#999999", label=f"line, R² = {fit['r_squared']:.4f}")
    axis.plot(values, measured, "o", color=COLORS[BARE], label=TITLES[BARE])
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("time steps T")
    axis.set_ylabel("ms per training step")
    axis.legend(frameon=False)


# --- command line ----------------------------------------------------------------------------------------------------


def variants_of(text: str) -> list[str]:
    """The argument --variants."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in TITLES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(TITLES)}")
    return [name for name in TITLES if name in names]


def data_folder(text: str) -> Path:
    """The argument --data."""
    folder = Path(text).resolve()
    if not (folder / "FashionMNIST" / "raw").is_dir():
        raise argparse.ArgumentTypeError(f"{folder} holds no FashionMNIST/raw, the layout of torchvision")
    return folder


def read_options() -> argparse.Namespace:
    """The command line, checked."""
    parser = benchmark.parser(__doc__, T=4, batch=64, rounds=7)
    parser.add_argument("--neuron", choices=("if", "lif", "plif"), default="if", help="default %(default)s")
    parser.add_argument("--surrogate", choices=("atan", "sigmoid"), default="atan", help="default %(default)s")
    benchmark.add_count(parser, "channels", 32, "of both convolutions")
    benchmark.add_count(parser, "steps", 20, f"per round, after {WARM_UP} that do not count")
    parser.add_argument("--over-T", type=benchmark.positives, metavar="T,T,…", help="also time the plain loop over T")
    parser.add_argument(
        "--data", type=data_folder, metavar="FOLDER", help="folder of Fashion-MNIST (default: random pictures)"
    )
    parser.add_argument(
        "--variants", type=variants_of, default=",".join(TITLES), help="of %(default)s, which is the default"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure peak memory")
    parser.add_argument("--memory-of", choices=tuple(TITLES), help=argparse.SUPPRESS)  # used by peak_memory
    options = parser.parse_args()
    if options.over_T and len(options.over_T) < 3:
        parser.error("argument --over-T: a line needs at least three values")
    if options.steps + WARM_UP > 800:
        parser.error("argument --steps: an epoch has to hold them; at most 797")
    return options


def available(names: list[str]) -> Iterator[str]:
    """Yield the variants that can be measured; print why another cannot."""
    for name in names:
        if name == SPIKINGJELLY and not version_of("spikingjelly"):
            console.print(
                "SpikingJelly: not installed; pip install -c constraints.txt -e '.[bench]'", style="dim", markup=False
            )
        else:
            yield name


def compare(options: argparse.Namespace, names: list[str], folder: Path) -> dict[str, Any]:
    """Measure everything that the options ask for."""
    settings = settings_of(options, folder, WARM_UP + options.steps)
    batches = some_batches(settings)
    loops = {name: plain_loop(name, settings, batches) for name in names if name != FRAMEWORK}
    results: dict[str, Any] = {"framework_overhead": None, "largest_difference": None, "shares": {}, "over_T": None}
    results |= {"fused_to_unfused": None, "fast_to_exact": None}
    if {BARE, SPIKINGJELLY} <= loops.keys():
        results["largest_difference"] = largest_difference(loops[BARE], loops[SPIKINGJELLY])
    measurements = {name: partial(loop.seconds_per_step, options.steps) for name, loop in loops.items()}
    if FRAMEWORK in names:
        measurements[FRAMEWORK] = Framework(settings).seconds_per_step
    measurements = {name: measurements[name] for name in names}
    seconds = benchmark.interleaved(measurements, options.rounds, warm_up=False)
    if {BARE, FRAMEWORK} <= seconds.keys():
        results["framework_overhead"] = benchmark.ratio(seconds[FRAMEWORK], seconds[BARE]) - 1
    if {BARE, UNFUSED} <= seconds.keys():
        results["fused_to_unfused"] = benchmark.ratio(seconds[UNFUSED], seconds[BARE])
    if {BARE, FAST} <= seconds.keys():
        results["fast_to_exact"] = benchmark.ratio(seconds[BARE], seconds[FAST])
    results["shares"] = {name: shares(loop, min(options.steps, 10)) for name, loop in loops.items()}
    if options.over_T and BARE in loops:
        results["over_T"] = over_T(loops[BARE], options.over_T, options.steps, options.rounds)
    memory = {} if options.no_memory else peak_memory(names)
    results["variants"] = summarize(seconds, memory, options.batch)
    return results


def report(results: Mapping[str, Any]) -> None:
    """The tables."""
    console.print("", speed_table(results["variants"]), "")
    if results["framework_overhead"] is not None:
        console.print(f"train.py's machinery adds {100 * results['framework_overhead']:.1f} % to a step")
    if results["fused_to_unfused"] is not None:
        console.print(f"fuse=exact takes a step {results['fused_to_unfused']:.2f} times as fast as fuse=off")
    if results["fast_to_exact"] is not None:
        console.print(f"fuse=fast takes a step {results['fast_to_exact']:.2f} times as fast as fuse=exact")
    if results["largest_difference"] is not None:
        console.print(
            f"largest difference of the two libraries' scores before training: {results['largest_difference']:.1e}"
        )
    if results["shares"]:
        console.print("\nWhere the time of a step goes", shares_table(results["shares"]), "")
    if results["over_T"]:
        fit = results["over_T"]["fit"]
        line = f"{1e3 * fit['slope']:.2f} ms × T + {1e3 * fit['intercept']:.2f} ms, R² = {fit['r_squared']:.5f}"
        console.print(f"Time of a step of the plain loop: {line}", growth_table(results["over_T"]), "")


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    quieten_lightning()
    keep_freed_memory()  # as train.py does; here it serves every variant
    with tempfile.TemporaryDirectory(prefix="snntrain-bench-") as folder:
        if options.memory_of:
            torch.set_num_threads(options.threads)
            print(json.dumps(train_and_report_memory(options.memory_of, options, Path(folder))))
            return
        run = benchmark.begin(options)
        names = list(available(options.variants))
        if not names:
            sys.exit("error: none of the variants asked for can be measured")
        try:
            results = compare(options, names, Path(folder))
        except UsageError as error:
            sys.exit(f"error: {error}")
    report(results)
    benchmark.finish(options, "train", run, results, plot(results, options))


if __name__ == "__main__":
    main()
