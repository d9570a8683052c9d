"""Test accuracy of converted nets over T: snntrain's methods, and SpikingJelly's recipes on the same ANN and data.

python train.py neuron=relu data=fashion_mnist seed=1 hydra.run.dir=runs/ann_1        and with seed=2, seed=3
python scripts/bench_ann2snn.py run=runs/ann_1
python scripts/bench_ann2snn.py run=runs/ann_1 run=runs/ann_2 run=runs/ann_3          mean and deviation over the runs
python scripts/bench_ann2snn.py run=runs/ann_1 T=4,8 methods=channel_mse+bias,qcfs test_images=1000
"""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # SpikingJelly shows a bar for every calibration

import argparse
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import matplotlib
import torch
from ann2snn_peers import CALIBRATION_PASSES, Contender, Source, chosen_contenders, contenders, missing_peers
from benchmark import console
from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from snntrain import terminal
from snntrain.ann2snn import ConversionError, ConversionWarning
from snntrain.callback.fit_end.ann_to_snn import analog_net
from snntrain.config.check import check_resolved
from snntrain.data import DataModule
from snntrain.error import UsageError
from snntrain.randomness import generator
from snntrain.run.build import build_data, build_task
from snntrain.run.checkpoint import read_checkpoint

BATCH = 256  # of the test images
CALIBRATION_BATCH = 128
OPTIONS = ("run", "T", "methods", "calibration_images", "test_images", "output", "threads")


# --- the ANN and its data --------------------------------------------------------------------------------------------


def load(run: Path, calibration_images: int, test_images: int) -> Source:
    """Rebuild the ANN of a run folder from its best checkpoint, and its data."""
    content = read_checkpoint(run / "checkpoints" / "best.ckpt")
    config = content["snntrain"]["config"]
    if config["plugins"]:
        raise UsageError(f"run: {run} imports {', '.join(config['plugins'])}. Give a run without plugins.")
    check_resolved(config)
    task = build_task(config)
    if getattr(task.net, "is_stateful", True) or config["encoder"]["name"] != "DirectEncoder":
        raise UsageError(
            f"run: {run} is no ANN on still images (neuron {config['neuron']['name']}, encoder "
            f"{config['encoder']['name']}). Train one with neuron=relu encoder=direct."
        )
    task.load_state_dict(content["state_dict"])
    data = build_data(config)
    data.splits["train"].augment = None
    calibration, test = _calibration(data, calibration_images, config["seed"]), _test(data, test_images)
    return Source(run, config, analog_net(task.net), calibration, data.train_dataloader(), test)


def _calibration(data: DataModule, count: int, seed: int) -> list[Tensor]:
    """Batches of `count` training images, drawn with the run's seed."""
    split = data.splits["train"]
    order = torch.randperm(len(split), generator=generator(seed, "ann2snn"))[:count]
    return [split.__getitems__(part.tolist())[0] for part in order.split(CALIBRATION_BATCH)]


def _test(data: DataModule, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of the first `count` test images, with their labels."""
    split = data.splits["test"]
    parts = torch.arange(min(count, len(split))).split(BATCH)
    return [split.__getitems__(part.tolist())[:2] for part in parts]


# --- measuring -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """Percentage of the images whose label has the largest output, for each of the outputs [S, N, K] of `predict`."""
    hits = [predict(x).argmax(2) == labels for x, labels in batches]
    return (100 * torch.cat(hits, 1).double().mean(1)).tolist()


def measure(contender: Contender, source: Source, T_list: list[int], done: Callable[[int], None]) -> dict[str, Any]:
    """Accuracy in percent and seconds of conversion for each T, or the error of another library.

    Args:
        done: called with the number of T that are done.
    """
    found: dict[str, Any] = {"accuracy": {}, "conversion_seconds": {}}
    for steps in [[T] for T in T_list] if contender.for_each_T else [T_list]:
        torch.manual_seed(source.config["seed"])
        began = time.perf_counter()
        try:
            predict = contender.convert(source, max(steps))
            seconds = time.perf_counter() - began
            values = accuracy(partial(predict, steps=steps), source.test)
        except Exception as error:  # any error of another library
            if not contender.is_peer:
                raise
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        found["accuracy"] |= dict(zip(steps, values, strict=True))
        found["conversion_seconds"] |= dict.fromkeys(steps, seconds)
        done(len(steps))
    return found


def measure_run(
    source: Source, chosen: Mapping[str, Contender], T_list: list[int], done: Callable[[int], None]
) -> dict[str, Any]:
    """Measure all contenders on one run; print a line for each."""
    (ann,) = accuracy(lambda x: source.net(x)[None], source.test)
    console.print(f"{source.run}: ANN {ann:.2f} %", soft_wrap=True)
    rows = {}
    for name, contender in chosen.items():
        rows[name] = row = measure(contender, source, T_list, done)
        text = row.get("error") or "  ".join(f"{value:6.2f}" for value in row["accuracy"].values())
        console.print(f"  {name:<28}{text}", markup=False)
    return {
        "run": str(source.run),
        "name": source.config["name"],
        "seed": source.config["seed"],
        "test_images": sum(len(labels) for _, labels in source.test),
        "max_pooling": any("MaxPool" in type(module).__name__ for module in source.net.modules()),
        "ann_accuracy": ann,
        "methods": rows,
    }


def summarize(runs: list[dict[str, Any]]) -> dict[str, dict[int, dict[str, float]]]:
    """Name → T → mean accuracy and mean gap to the ANN in points, with their deviations where there are several runs.

    A contender that failed in any of the runs is left out.
    """
    summary: dict[str, dict[int, dict[str, float]]] = {}
    for name in runs[0]["methods"]:
        if any("error" in run["methods"][name] for run in runs):
            continue
        summary[name] = {}
        for T in runs[0]["methods"][name]["accuracy"]:
            values = [run["methods"][name]["accuracy"][T] for run in runs]
            gaps = [run["ann_accuracy"] - value for run, value in zip(runs, values, strict=True)]
            summary[name][T] = {"accuracy": statistics.fmean(values), "gap": statistics.fmean(gaps)}
            if len(runs) > 1:
                deviations = {"accuracy_std": statistics.stdev(values), "gap_std": statistics.stdev(gaps)}
                summary[name][T] |= deviations
    return summary


# --- showing ---------------------------------------------------------------------------------------------------------


def notes(chosen: Mapping[str, Contender], runs: list[dict[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Notes that a reader of the table needs."""
    several = f", mean ± standard deviation of {len(runs)} runs" if len(runs) > 1 else ""
    texts = [
        f"Accuracy in percent of {runs[0]['test_images']:,} test images{several}; gap: ANN − SNN in points; s: "
        "seconds of the longest conversion.",
        f"Calibration: the same {settings['calibration_images']:,} training images for all. channel_mse and its "
        f"corrections ({CALIBRATION_PASSES} passes each) are made for each T separately, all others once. QCFS is "
        "fine-tuned on the whole training split, not augmented.",
    ]
    if any(contender.is_peer for contender in chosen.values()) and runs[0]["max_pooling"]:
        texts.append(
            "SpikingJelly pools the maximum of each time step, and the mean of these is not the maximum of the means: "
            "with max pooling after spiking layers its outputs do not approach the ANN's, however large T is."
        )
    if missing := missing_peers():
        texts.append(f"No peers: {missing}.")
    for name, contender in chosen.items():
        errors = [row["error"] for run in runs if "error" in (row := run["methods"][name])]
        texts += [f"{contender.title} failed: {errors[0]}"] if errors else []
    return texts


def table(chosen: Mapping[str, Contender], results: Mapping[str, Any]) -> Table:
    """Contenders against T."""
    runs, T_list = results["runs"], results["settings"]["T"]
    shown = terminal.table("method", *(title for T in T_list for title in (f"T = {T}", "gap")), "s", texts=1)
    ann = [run["ann_accuracy"] for run in runs]
    ann_values = {"accuracy": statistics.fmean(ann)} | ({"accuracy_std": statistics.stdev(ann)} if ann[1:] else {})
    shown.add_row("ANN", *[_cell(ann_values, "accuracy"), ""] * len(T_list), "")
    for name, contender in chosen.items():
        if name not in results["summary"]:
            shown.add_row(contender.title, "failed")
            continue
        by_T = results["summary"][name]
        cells = [_cell(by_T[T], key) for T in T_list for key in ("accuracy", "gap")]
        seconds = max(max(run["methods"][name]["conversion_seconds"].values()) for run in runs)
        shown.add_row(contender.title, *cells, f"{seconds:.1f}")
    return shown


def _cell(values: Mapping[str, float], key: str) -> str:
    deviation = f" ± {values[f'{key}_std']:.2f}" if f"{key}_std" in values else ""
    return f"{values[key]:.2f}{deviation}"


def plot(chosen: Mapping[str, Contender], results: Mapping[str, Any]) -> Figure:
    """Accuracy over T: the whole range, and the range near the ANN's."""
    T_list, colors = results["settings"]["T"], matplotlib.colormaps["tab20"]
    ann = statistics.fmean(run["ann_accuracy"] for run in results["runs"])
    title = f"Converted nets of {results['runs'][0]['name']}, runs: {len(results['runs'])}"
    figure, axes = benchmark.axes(2, 13, 5, title)
    for axis in axes:
        axis.axhline(ann, color="black", linewidth=1, label=f"ANN, {ann:.2f} %")
        for number, (name, by_T) in enumerate(results["summary"].items()):
            values = [by_T[T]["accuracy"] for T in T_list]
            errors = [by_T[T].get("accuracy_std", 0.0) for T in T_list]
            style = "--" if chosen[name].is_peer else "-"
            title, color = chosen[name].title, colors(number % 20)
            axis.errorbar(T_list, values, errors, fmt=style, marker="o", markersize=3, color=color, label=title)
        axis.set_xscale("log", base=2)
        axis.set_xticks(T_list, [str(T) for T in T_list])
        axis.set_xlabel("T, time steps")
    axes[0].set_ylabel("test accuracy, %")
    axes[1].set_ylim(ann - 5, ann + 1)
    axes[1].set_title("near the ANN", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return figure


# --- the command line ------------------------------------------------------------------------------------------------


def read_options() -> argparse.Namespace:
    """Read the command line: options as key=value or as --key value."""
    made = benchmark.parser(__doc__)
    made.add_argument(
        "--run", type=Path, action="append", required=True, help="folder of a finished run of neuron=relu; repeatable"
    )
    made.add_argument("--T", type=benchmark.positives, default=[4, 8, 16, 32], help="time steps (default 4,8,16,32)")
    made.add_argument("--methods", help=f"default all: {', '.join(contenders())}")
    benchmark.add_count(made, "calibration_images", 1024, "training images that every method calibrates on")
    benchmark.add_count(made, "test_images", 10_000, "how many, from the first on")
    pair = re.compile(f"({'|'.join(OPTIONS)})=")
    options = made.parse_args([f"--{text}" if pair.match(text) else text for text in sys.argv[1:]])
    options.T.sort()
    return options


def compare(options: argparse.Namespace, chosen: Mapping[str, Contender]) -> list[dict[str, Any]]:
    """The results of every run."""
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[dict[str, Any]] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("converting", total=len(options.run) * len(chosen) * len(options.T))
        for number, run in enumerate(options.run):
            source = load(run, options.calibration_images, options.test_images)
            if results and source.config["name"] != results[0]["name"]:
                raise UsageError(
                    f"run: {run} and {options.run[0]} differ in more than the seed. Measure them one by one."
                )
            results.append(measure_run(source, chosen, options.T, partial(progress.advance, bar)))
            progress.update(bar, completed=(number + 1) * len(chosen) * len(options.T))  # counts those that failed, too
    return results


def main() -> None:
    """Measure, show, write."""
    options = read_options()
    run = benchmark.begin(options)
    warnings.simplefilter(
        "ignore", ConversionWarning
    )  # about dead channels: the ANN has them, regardless of the method
    try:
        chosen = chosen_contenders(options.methods)
        runs = compare(options, chosen)
    except (UsageError, ConversionError) as error:
        sys.exit(f"error: {error}")
    settings = {name: getattr(options, name) for name in ("T", "calibration_images", "test_images")}
    settings |= {"calibration_batch": CALIBRATION_BATCH, "calibration_passes": CALIBRATION_PASSES}
    results = {"settings": settings, "summary": summarize(runs), "runs": runs}
    results["notes"] = notes(chosen, runs, settings)
    console.print(table(chosen, results))
    for text in results["notes"]:
        console.print(text, markup=False)
    benchmark.finish(options, "ann2snn", run, results, plot(chosen, results))


if __name__ == "__main__":
    main()
