"""Every neuron, forward and backward, against its own plain loop, other libraries and the floor that memory sets.

python scripts/bench_neuron.py                                       all pointwise neurons, three shapes, some minutes
python scripts/bench_neuron.py --neurons LIF,ParametricLIF --shapes 16x64x16384 --rounds 20
python scripts/bench_neuron.py --neurons all                         with those that have no fused kernel
python scripts/bench_neuron.py --cold                                also first calls, compiled or from the cache
python scripts/bench_neuron.py --device cuda --shapes 64x64x16384

The peer libraries come with: pip install -c constraints.txt -e '.[bench]'
"""

import argparse
import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import peers
import torch
from benchmark import console
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from peers import Case, Contender
from rich.progress import track
from rich.table import Table

from snntrain import terminal
from snntrain.run.provenance import version_of

SHAPES = ((4, 64, 100352), (16, 64, 16384), (100, 64, 1024))
CACHE_SIZED = 32 * 2**20  # bytes; the speed of larger sequences is limited by main memory, not by the cache
SPIKINGJELLY, FUSED, LOOP, FLOOR = "SpikingJelly", "fused", "torch", "x*1"


# --- one neuron at one shape -----------------------------------------------------------------------------------------


def contenders(
    case: Case, T: int, device: str, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders that can run on inputs of a dtype, and why the others cannot."""
    makers: dict[str, Callable[[], Contender]] = {
        FLOOR: peers.floor,
        FUSED: partial(peers.ours, case, "fused", T, device),
        LOOP: partial(peers.ours, case, "torch", T, device),
    }
    missing: dict[str, str] = {}
    if device == "cuda" and case.kernel and version_of("spikingjelly"):
        for provider, reason in peers.providers(case):
            title = f"{SPIKINGJELLY} {provider}"
            if reason is None:
                makers[title] = partial(peers.spikingjelly, case, T, device, provider)
            else:
                missing[title] = reason
    else:
        makers[SPIKINGJELLY] = partial(peers.spikingjelly, case, T, device)
    if case.name == "LIFNode" and case.arguments["tau"] == 2:
        makers |= {"snnTorch": partial(peers.snntorch, device), "norse": partial(peers.norse, device)}
    ready: dict[str, Contender] = {}
    for title, make in makers.items():
        try:
            ready[title] = make()
            _try(ready[title], T, device, dtype)
        except Exception as error:  # any error of a library: the others are still measured
            ready.pop(title, None)
            missing[title] = " ".join(f"{error}".split()) or type(error).__name__
    return ready, missing


def _try(contender: Contender, T: int, device: str, dtype: torch.dtype) -> None:
    """One pass over a small input, which compiles kernels."""
    contender.prepare()
    x = torch.rand(T, 2, 64, device=device, dtype=dtype, requires_grad=True)
    contender.train(x, torch.ones_like(x))
    contender.infer(x.detach())


def measure(
    case: Case, shape: tuple[int, ...], rounds: int, device: str, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """One row of results: seconds per round, memory, ratios, targets."""
    source = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=source).add_(0.5).to(device, dtype).requires_grad_()
    g = torch.rand(shape, generator=source).to(device, dtype)
    ready, missing = contenders(case, shape[0], device, dtype)
    row: dict[str, Any] = {"neuron": case.name, "shape": list(shape), "unavailable": missing, "contenders": {}}
    for title, contender in ready.items():
        contender.prepare()
        kept = contender.kept_bytes(x)  # also the first pass at this size
        row["contenders"][title] = {"kept_bytes": kept, "kept_share": kept / (x.numel() * x.element_size())}
    seconds = benchmark.interleaved(
        {
            (title, kind): partial(_timed, contender, call, device)
            for title, contender in ready.items()
            for kind, call in (
                ("training", partial(contender.train, x, g)),
                ("inference", partial(contender.infer, x.detach())),
            )
        },
        rounds,
        warm_up=False,  # kept_bytes and _try were one
    )
    for (title, kind), values in seconds.items():
        row["contenders"][title][f"{kind}_seconds"] = values
    reference = _spikingjelly_in(row)
    if reference and FUSED in ready:
        row["equal_outputs"] = peers.agreement(ready[FUSED], ready[reference], shape[0], device)
    row["figures"] = figures(case, row, device)
    return row


def _timed(contender: Contender, call: Callable[[], Any], device: str) -> float:
    contender.prepare()
    return benchmark.seconds_of(call, device)


def _spikingjelly_in(row: Mapping[str, Any]) -> str | None:
    """SpikingJelly's title among the contenders; on CUDA the fastest of its implementations."""
    measured = {
        title: statistics.median(values["training_seconds"])
        for title, values in row["contenders"].items()
        if title.startswith(SPIKINGJELLY)
    }
    return min(measured, key=measured.get) if measured else None


# --- ratios and targets ----------------------------------------------------------------------------------------------


def figures(case: Case, row: Mapping[str, Any], device: str) -> dict[str, dict[str, Any]]:
    """The fused kernels' ratios, each with its limit and whether it is met; empty without fused kernels."""
    measured = row["contenders"]
    if FUSED not in measured:
        return {}
    fused, least = measured[FUSED], measured[FLOOR]
    values = {
        "training_to_floor": benchmark.ratio(fused["training_seconds"], least["training_seconds"]),
        "inference_to_floor": benchmark.ratio(fused["inference_seconds"], least["inference_seconds"]),
        "kept_share": fused["kept_share"],
    }
    reference = _spikingjelly_in(row)
    if reference:
        peer = measured[reference]
        values["speedup"] = benchmark.ratio(peer["training_seconds"], fused["training_seconds"])
    limits = targets(case, row["shape"], device)
    return {name: _judged(name, value, limits.get(name)) for name, value in values.items()}


def targets(case: Case, shape: list[int], device: str) -> dict[str, float]:
    """Limits of the figures: the least for a speedup, the most for all others."""
    if not case.pointwise:
        return {}
    speedup = {} if not case.same else {"speedup": 3.0}
    if device == "cuda":  # as fast as SpikingJelly's fastest, at 80 % of the bandwidth of a copy
        return {"kept_share": 1 / 8, "inference_to_floor": 1.25, **({"speedup": 1.0} if speedup else {})}
    in_cache = 4 * math.prod(shape) <= CACHE_SIZED
    if in_cache and speedup:
        speedup = {"speedup": 4.0}
    to_floor = (2.5 if in_cache else 1.4) if case.light else (4.0 if in_cache else 2.5)
    return {"training_to_floor": to_floor, "inference_to_floor": 1.5, "kept_share": 1 / 8, **speedup}


def _judged(name: str, value: float, limit: float | None) -> dict[str, Any]:
    shown = round(value, 4)  # ignore a few scalars that are kept beside the sequences
    met = None if limit is None else (shown >= limit if name == "speedup" else shown <= limit)
    return {"value": value, "limit": limit, "met": met}


# --- first call ------------------------------------------------------------------------------------------------------


def first_call(name: str) -> dict[str, Any]:
    """In a fresh process: seconds of a neuron's first forward and backward, and whether imports compiled anything."""
    case, shape = peers.find(name), (4, 64, 1024)
    x = torch.rand(shape, requires_grad=True)
    peers.floor().train(x, torch.ones_like(x))  # so that torch's own first call is not measured
    contender = peers.ours(case, "fused", shape[0])
    cache = Path(os.environ["SNNTRAIN_CACHE"])
    compiled_before = sum(path.is_file() for path in cache.rglob("*")) if cache.is_dir() else 0
    seconds = benchmark.seconds_of(partial(contender.train, x, torch.ones_like(x)))
    return {"seconds": seconds, "files_in_cache_before": compiled_before}


def cold_and_warm(case: Case, threads: int) -> dict[str, Any]:
    """Time the first call with an empty kernel cache, and again in another process with the filled cache."""
    row: dict[str, Any] = {"neuron": case.name}
    with tempfile.TemporaryDirectory(prefix="snntrain-kernels-") as cache:
        for name, limit in (("cold", 5.0), ("warm", 0.5)):
            process = benchmark.start_again("--first-call", case.name, "--threads", str(threads), SNNTRAIN_CACHE=cache)
            try:
                call = benchmark.answer_of(process)
            except RuntimeError as error:
                row["unavailable"] = str(error).rsplit("\n", 1)[-1]
                return row
            row[name] = {"value": call["seconds"], "limit": limit, "met": call["seconds"] < limit}
            if name == "cold":
                row["imports_compile"] = call["files_in_cache_before"] > 0
    return row


# --- output ----------------------------------------------------------------------------------------------------------


def tables_of(rows: list[dict[str, Any]]) -> tuple[Table, Table]:
    """The rows of one shape: the fused kernels' ratios, and everybody's milliseconds."""
    ratios = terminal.table("neuron", f"÷ {FLOOR}", "faster than SJ", f"forward ÷ {FLOOR}", "kept ÷ input", texts=1)
    times = terminal.table("neuron, ms", FUSED, LOOP, "SJ", FLOOR, "snnTorch", "norse", texts=1)
    for row in rows:
        name = row["neuron"].removesuffix("Node")
        named = ("training_to_floor", "speedup", "inference_to_floor", "kept_share")
        ratios.add_row(name, *(_shown(row["figures"].get(key), "≥" if key == "speedup" else "≤") for key in named))
        titles = (FUSED, LOOP, _spikingjelly_in(row), FLOOR, "snnTorch", "norse")
        times.add_row(name, *(_milliseconds(row, title) for title in titles))
    return ratios, times


def _milliseconds(row: Mapping[str, Any], title: str | None) -> str:
    measured = row["contenders"].get(title)
    return f"{1e3 * statistics.median(measured['training_seconds']):.3g}" if measured else "-"


def _shown(figure: Mapping[str, Any] | None, sign: str, unit: str = "") -> str:
    if figure is None:
        return "-"
    value = f"{round(figure['value'], 4):.3g}{unit}"
    if figure["limit"] is None:
        return value
    mark = "[green]✓[/green]" if figure["met"] else "[red]✗[/red]"
    return f"{value} {sign} {figure['limit']:.3g}{unit} {mark}"


def print_reasons(rows: list[dict[str, Any]]) -> None:
    """Print why contenders were not measured, each reason once."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        missing = row["unavailable"].items()
        for title, reason in missing:
            reasons.setdefault(f"{title}: {reason}", []).append(row["neuron"].removesuffix("Node"))
    for reason, names in reasons.items():
        console.print(f"- {', '.join(dict.fromkeys(names))}: {reason}", style="dim", markup=False, soft_wrap=True)
    unlike = [row["neuron"] for row in rows if not peers.CASES[row["neuron"]].same and "speedup" in row["figures"]]
    if unlike:
        names = ", ".join(dict.fromkeys(name.removesuffix("Node") for name in unlike))
        console.print(f"- {names}: SpikingJelly's has other equations, so there is no target", style="dim")
    for row in rows:
        if peers.CASES[row["neuron"]].same and row.get("equal_outputs", 1) < 0.999:
            share = f"{100 * row['equal_outputs']:.1f} %"
            console.print(f"- {row['neuron']}: only {share} of the outputs equal SpikingJelly's", style="red")


def print_verdict(rows: list[dict[str, Any]]) -> None:
    """Print how many targets are met."""
    judged = [figure["met"] for row in rows for figure in row["figures"].values() if figure["met"] is not None]
    if judged:
        console.print(f"{sum(judged)} of {len(judged)} targets met", "")


def cold_table(rows: list[dict[str, Any]]) -> Table:
    """First calls, one row per neuron."""
    table = terminal.table("neuron", "first call ever", "in the next process", "", texts=1)
    table.columns[-1].justify = "left"
    for row in rows:
        notes = row.get("unavailable") or ("[red]importing snntrain compiled[/red]" if row["imports_compile"] else "")
        cells = (_shown(row.get(name), "<", " s") for name in ("cold", "warm"))
        table.add_row(row["neuron"].removesuffix("Node"), *cells, notes)
    return table


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Forward + backward as a multiple of the floor, one panel per shape."""
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    neurons = list(dict.fromkeys(row["neuron"] for row in rows))
    title = "Forward + backward, as a multiple of the time of x*1 (read, write, autograd)"
    figure, panels = benchmark.axes(len(shapes), 1.5 + 4 * len(shapes), 1.6 + 0.5 * len(neurons), title, sharey=True)
    for panel, shape in zip(panels, shapes, strict=True):
        of_shape = {row["neuron"]: row for row in rows if tuple(row["shape"]) == shape}
        _draw(panel, [of_shape[name] for name in neurons])
        panel.set_title("T = {}, N = {}, {} features".format(*shape), fontsize=10)
    panels[0].set_yticks(range(len(neurons)), [name.removesuffix("Node") for name in neurons])
    handles = {label: bar for panel in panels for bar, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw(panel: Any, rows: list[dict[str, Any]]) -> None:
    series = ((FUSED, "fused kernels", "#0072b2"), (LOOP, "plain torch", "#999999"))
    series += ((SPIKINGJELLY, "SpikingJelly 2.0.0", "#d55e00"),)
    for place, (title, label, color) in enumerate(series):
        positions, values = [], []
        for number, row in enumerate(rows):
            key = _spikingjelly_in(row) if title == SPIKINGJELLY else title
            if key in row["contenders"]:
                measured, least = row["contenders"][key], row["contenders"][FLOOR]
                positions.append(number + 0.27 * (place - 1))
                values.append(benchmark.ratio(measured["training_seconds"], least["training_seconds"]))
        bars = panel.barh(positions, values, height=0.25, label=label, color=color)
        panel.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
    for number, row in enumerate(rows):
        limit = row["figures"].get("training_to_floor", {}).get("limit")
        if limit:
            panel.plot([limit] * 2, [number - 0.42, number + 0.42], color="black", linewidth=1.2, label="target")
    panel.set_xscale("log")
    panel.set_xlim(1, 2 * panel.get_xlim()[1])  # start at the floor, and leave room for the numbers
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


# --- command line ----------------------------------------------------------------------------------------------------


def neurons(text: str) -> list[str]:
    """The argument --neurons."""
    if text in ("all", "pointwise"):
        return list(peers.CASES if text == "all" else peers.DEFAULT)
    try:
        return list(dict.fromkeys(peers.find(part).name for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def shapes(text: str) -> list[tuple[int, ...]]:
    """The argument --shapes."""
    found = []
    for part in text.split(","):
        sizes = part.split("x")
        if len(sizes) != 3:
            raise argparse.ArgumentTypeError(f"a shape is TxNxFEATURES, such as 4x64x1024, got {part!r}")
        found.append(tuple(benchmark.positive(size) for size in sizes))
    return list(dict.fromkeys(found))


def read_options() -> argparse.Namespace:
    """The command line, checked."""
    parser = benchmark.parser(__doc__, rounds=10)
    parser.add_argument(
        "--neurons", type=neurons, default="pointwise", help="names such as LIF,KLIF; pointwise (default); all"
    )
    default = ",".join("x".join(map(str, shape)) for shape in SHAPES)
    parser.add_argument("--shapes", type=shapes, default=default, help="TxNxFEATURES, … (default %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default %(default)s")
    parser.add_argument("--cold", action="store_true", help="also time first calls, in fresh processes")
    parser.add_argument("--tau", type=float, help="time constant of LIF, CLIF and ternary LIF; default 2")
    parser.add_argument("--first-call", help=argparse.SUPPRESS)  # used by --cold
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: torch finds no CUDA device; use --device cpu")
    if options.device == "cuda" and options.cold:
        parser.error("argument --cold: first calls are timed on the CPU only; leave out --device cuda")
    return options


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    if options.first_call:
        torch.set_num_threads(options.threads)
        print(json.dumps(first_call(options.first_call)))
        return
    run = benchmark.begin(options)
    cases = {name: peers.with_tau(peers.CASES[name], options.tau) for name in options.neurons}
    rows: list[dict[str, Any]] = []
    for shape in options.shapes:
        work = track(options.neurons, f"{'x'.join(map(str, shape))}", console=console, transient=True)
        of_shape = [measure(cases[name], shape, options.rounds, options.device) for name in work]
        ratios, times = tables_of(of_shape)
        console.print("T = {}, N = {}, {} features".format(*shape), ratios, "", times, "", sep="\n")
        rows += of_shape
    print_reasons(rows)
    print_verdict(rows)
    results: dict[str, Any] = {"rows": rows}
    if options.cold:
        work = track(options.neurons, "first calls", console=console, transient=True)
        results["cold"] = [cold_and_warm(peers.CASES[name], options.threads) for name in work]
        console.print(cold_table(results["cold"]), "")
    benchmark.finish(options, "neuron", run, results, plot(rows))


if __name__ == "__main__":
    main()
