"""The report of a run: one self-contained HTML page, built only from the files in the run folder."""

import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from snntrain.files import read_text, write_text
from snntrain.report.layer_table import neuron_marks
from snntrain.report.page import render
from snntrain.report.run_files import RunFiles, Unavailable, in_one_line
from snntrain.report.stages import STAGE_SECTIONS, chosen_callbacks
from snntrain.run.contents import Curve, as_number
from snntrain.run.folder import RunFolder

_CONFIG_AS_WRITTEN = replace(RunFolder.config, parse=read_text)
_TEMPLATE = pathlib.Path(__file__).with_name("report.html.j2")
_SHARES = ("acc", "firing_rate", "sparsity", "recall")  # metrics that are shown as percentages


def write_report(run_dir: pathlib.Path) -> pathlib.Path:
    """Build report.html from the files of a run folder; a file that is missing or damaged costs its section only.

    Args:
        run_dir: the run folder; a report that is already there is replaced in one step.

    Returns: the path of the page.
    Raises: NotADirectoryError if run_dir is not a folder; OSError if the page cannot be written.
    """
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise NotADirectoryError(f"report: {run_dir} is not a folder. Give the folder of a run, with its results.json.")
    path = RunFolder(run_dir).report
    write_text(path, _render(RunFiles(run_dir)))
    return path


def _render(run: RunFiles) -> str:
    sections = []
    chosen = chosen_callbacks(run)
    for key, (title, build) in _SECTIONS.items():
        if key in STAGE_SECTIONS and key not in chosen:
            continue
        try:
            content, note = build(run), ""
        except Unavailable as reason:
            content, note = None, str(reason)
        except Exception as error:  # readable, but not what the section expects
            content, note = None, f"{title} could not be drawn from the run's files: {in_one_line(error)}"
        sections.append({"key": key, "title": title, "content": content, "note": note})
    results = run.read_or(RunFolder.results, {"metrics": {}, "seconds": {}, "throughput": {}})
    name, status = run.folder.path.resolve().name, str(results.get("status") or "incomplete")
    return render(
        _TEMPLATE,
        title=f"{name} · {status}",
        heading=name,
        tiles=[*_quality_tiles(run, results), *_cost_tiles(run, results)],
        links=[(section["key"], section["title"]) for section in sections],
        filters={"percent": _percent, "number": _format_number, "metric": _format_metric, "whole": _format_whole},
        status=status,
        message=str(results.get("message") or ""),
        sections=sections,
    )


def _quality_tiles(run: RunFiles, results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(label, value, detail) of what the net reached."""
    metrics = results["metrics"]
    for name, title in (("test/acc", "accuracy"), ("test/loss", "loss"), ("test/firing_rate", "firing rate")):
        if name in metrics:
            yield f"Test {title}", _format_metric(metrics[name], name, digits=4), ""
    monitored, best = run.folder.monitor()[0], run.folder.best_epoch()  # the epoch that was tested
    title = {"val/acc": "val accuracy", "val/loss": "val loss"}.get(monitored, monitored)
    if math.isfinite(best.get(monitored, math.nan)):
        detail = f"epoch {best['epoch']:g}"
        yield f"Best {title}", _format_metric(best[monitored], monitored, digits=4), detail
    elif monitored in metrics:
        yield title[:1].upper() + title[1:], _format_metric(metrics[monitored], monitored, digits=4), ""


def _cost_tiles(run: RunFiles, results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(label, value, detail) of what it took."""
    kept, columns = as_number(results.get("best_epoch")), run.curves_if_any()
    epochs = {epoch for curve in columns.values() for epoch, _ in curve}
    if epochs:
        yield "Epochs", f"{len(epochs)}", "" if kept is None else f"checkpoint of epoch {kept:g}"
    for name, rate in results["throughput"].items():
        stage, _, unit = str(name).partition("_")
        rate = f"{rate:,.0f}" if isinstance(rate, int | float) and rate >= 100 else _format_number(rate, digits=3)
        yield f"{unit.removesuffix('_per_second').capitalize()} / s", rate, f"in {stage}"
    seconds = {name: time for name in results["seconds"] if (time := as_number(results["seconds"][name])) is not None}
    if seconds:
        total = seconds.pop("total", None) or sum(seconds.values())
        yield "Time", _duration(total), " · ".join(f"{name} {_duration(time)}" for name, time in seconds.items())
    layers = run.read_or(RunFolder.layers, [])
    if layers:
        spiking = len(_layer_rates(run, columns)[1]) or sum(1 for layer in layers if layer["neuron"])
        parameters = sum(layer["parameters"] for layer in layers)
        yield "Parameters", f"{parameters:,}", f"{spiking} spiking layer{'s' * (spiking != 1)}"
    operations = run.read_or(RunFolder.operations, None)
    if operations:
        energy, ann = (_format_number(operations[key], digits=3) for key in ("energy_uJ", "energy_ann_uJ"))
        yield "Energy (estimate)", f"{energy} µJ", f"per sample; as an ANN {ann} µJ"


def _curves(run: RunFiles) -> dict[str, Any]:
    from snntrain.report import plots

    panels: dict[str, dict[str, Curve]] = {"loss": {}, "acc": {}}  # these two first
    rates, diverged = {}, []
    for column, curve in run.curves().items():
        split, _, metric = column.partition("/")
        if split.startswith("lr"):
            rates[column] = curve
        elif metric and "/" not in metric and metric != "firing_rate":
            panels.setdefault(metric, {})[split] = curve
            diverged += [f"{column} (epoch {epoch:g})" for epoch, value in curve if not math.isfinite(value)][:1]
    panels = {metric: curves for metric, curves in panels.items() if curves}
    if not panels and not rates:
        raise Unavailable("metrics.csv holds no learning curve: the first epoch was not completed, or none was logged.")
    best_epoch = as_number(run.read_or(RunFolder.results, {}).get("best_epoch"))
    drawn = []
    for metric, curves in panels.items():
        title = {"acc": "accuracy"}.get(metric, metric)
        style = {"percent": _is_share(metric), "best_epoch": best_epoch}
        name = metric if metric.isidentifier() else f"curve{len(drawn)}"
        drawn.append(plots.curve_plot(name, curves, title=title, **style))
    rate = plots.curve_plot("rate", rates, title="learning rate", small=True) if rates else ""
    return {"plots": drawn, "rate": rate, "diverged": diverged}


def _firing_rates(run: RunFiles) -> dict[str, Any]:
    from snntrain.report import plots

    columns = run.curves()
    split, layers = _layer_rates(run, columns)
    if not layers:
        raise Unavailable("metrics.csv holds no firing rate of a layer: none spikes, or their statistics were off.")
    silent = [path for path, curve in layers.items() if curve[-1][1] == 0]
    plot = plots.firing_rate_plot("firing", layers, columns.get(f"{split}/firing_rate", []))
    return {"plot": plot, "split": split, "silent": silent}


def _raster(run: RunFiles) -> dict[str, Any]:
    from snntrain.report import plots

    arrays = run.read(RunFolder.raster)
    sample, output = arrays["input"], arrays.get("output")
    label, predicted = (int(arrays[key]) if key in arrays else None for key in ("label", "predicted"))
    classes = _class_names(run.read_or(RunFolder.test, {}), 1 + max(label or 0, predicted or 0))
    names = {layer["path"]: layer["name"] for layer in run.read_or(RunFolder.layers, [])}
    paths = [key.removeprefix("spikes/") for key in arrays if key.startswith("spikes/")]
    spikes = {f"{path}  {names.get(path, '')}".rstrip(): arrays[f"spikes/{path}"] for path in paths}
    return {
        "input": plots.input_plot(sample),
        "input_shape": sample.shape,
        "raster": plots.raster_plot(spikes, output, classes, label, predicted),
        "subsampled": plots.NEURONS_SHOWN if any(a[0].size > plots.NEURONS_SHOWN for a in spikes.values()) else 0,
        "label": None if label is None else classes[label],
        "predicted": None if predicted is None else classes[predicted],
        "correct": label == predicted,
    }


def _confusion(run: RunFiles) -> dict[str, Any]:
    from snntrain.report import plots

    arrays = run.read(RunFolder.test)
    matrix = arrays["confusion"]
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"confusion must be [K, K], got {list(matrix.shape)}")
    classes = _class_names(arrays, len(matrix))
    totals, right = matrix.sum(axis=1).tolist(), matrix.diagonal().tolist()
    rows = [{"name": n, "total": t, "right": r} for n, t, r in zip(classes, totals, right, strict=True)]
    cells = np.argwhere(matrix * (1 - np.eye(len(matrix), dtype=int))).tolist()
    cells.sort(key=lambda cell: -matrix[tuple(cell)])  # ties stay in class order
    mistakes = [(classes[i], classes[j], int(matrix[i, j]), int(matrix[i, j]) / totals[i]) for i, j in cells[:10]]
    plot = plots.confusion_plot(matrix, classes)
    return {"plot": plot, "rows": rows, "mistakes": mistakes, "right": sum(right), "total": sum(totals)}


def _layers(run: RunFiles) -> dict[str, Any]:
    layers = run.read(RunFolder.layers)
    tested = run.read_or(RunFolder.results, {"metrics": {}})["metrics"]
    rates = {path: as_number(tested.get(f"test/firing_rate/{path}")) for path in (layer["path"] for layer in layers)}
    stage = "test"
    if all(rate is None for rate in rates.values()):
        _, curves = _layer_rates(run, run.curves_if_any())
        rates, stage = {path: curve[-1][1] for path, curve in curves.items()}, "last epoch" if curves else ""
    operations = run.read_or(RunFolder.operations, None)
    counts = operations["layers"] if operations else {}
    marks = neuron_marks([layer["neuron"] for layer in layers])
    rows = [
        layer
        | {
            "rate": rates.get(layer["path"]),
            "counts": counts.get(layer["path"]),
            "mark": marks.get(layer["neuron"]),
        }
        for layer in layers
    ]
    totals = {key: sum(layer[key] for layer in layers) for key in ("parameters", "macs")}
    return {"rows": rows, "totals": totals, "rated": stage, "operations": operations, "marks": marks}


def _metrics(run: RunFiles) -> dict[str, Any]:
    results = run.read(RunFolder.results)
    if not results["metrics"]:
        raise Unavailable("results.json holds no metrics: this run ended before it measured any.")
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, value in results["metrics"].items():
        stage = name.partition("/")[0] if "/" in name else "run"
        groups.setdefault(stage, []).append({"name": name, "value": value, "hex": results["hex"].get(name, "")})
    order = {"test": 0, **dict.fromkeys(STAGE_SECTIONS, 1), "val": 2, "train": 3}
    return {"groups": sorted(groups.items(), key=lambda group: order.get(group[0], 4))}


def _provenance(run: RunFiles) -> dict[str, Any]:
    leaves = dict(_leaves(run.read(RunFolder.provenance)))
    by_name = {path[-1]: value for path, value in leaves.items()}  # code facts may be nested under a key of their own
    diff = by_name.pop("diff", "").strip("\n").splitlines()
    groups: dict[str, dict[str, str]] = {"": {}}
    for path, value in leaves.items():
        if path[-1] != "diff":
            groups.setdefault(path[0] if len(path) > 1 else "", {})[".".join(path[1:] or path)] = value
    commit = by_name.get("commit", "")[:12] or "unknown"
    return {"groups": groups, "diff": diff, "commit": commit, "dirty": by_name.get("dirty") == "True"}


_SECTIONS: dict[str, tuple[str, Callable[[RunFiles], dict[str, Any]]]] = {
    "curves": ("Learning curves", _curves),
    "firing": ("Firing rates", _firing_rates),
    "raster": ("Spike raster", _raster),
    "confusion": ("Confusion matrix", _confusion),
    **STAGE_SECTIONS,
    "layers": ("Layers", _layers),
    "metrics": ("Metrics", _metrics),
    "config": ("Config", lambda run: {"text": run.read(_CONFIG_AS_WRITTEN).strip("\n")}),
    "overrides": ("Overrides", lambda run: {"overrides": run.read(RunFolder.overrides)}),
    "provenance": ("Provenance", _provenance),
}


def _layer_rates(run: RunFiles, columns: Mapping[str, Curve]) -> tuple[str, dict[str, Curve]]:
    """('val' or 'train', path → firing rate per epoch), in the order of the net as far as it is known."""
    split = "val" if any(name.startswith("val/firing_rate/") for name in columns) else "train"
    prefix = f"{split}/firing_rate/"
    curves = {name.removeprefix(prefix): curve for name, curve in columns.items() if name.startswith(prefix)}
    layers = run.read_or(RunFolder.layers, [])

    def place(path: str) -> tuple[int, list[str]]:  # that of the listed layer that holds it, then 2 before 10
        holders = [depth for depth, layer in enumerate(layers) if f"{path}.".startswith(f"{layer['path']}.")]
        return max(holders, default=len(layers)), [part.zfill(9) for part in path.split(".")]

    return split, {path: curves[path] for path in sorted(curves, key=place)}


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, str(key)))
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
            yield (*path, str(key)), text


def _class_names(arrays: Mapping[str, np.ndarray], count: int) -> list[str]:
    """Names of the classes, their indices where there are no names."""
    names = [str(name) for name in arrays.get("classes", [])]
    return names + [str(index) for index in range(len(names), count)]


def _is_share(name: str) -> bool:
    return any(part.startswith(_SHARES) for part in name.split("/"))


def _percent(value: Any) -> str:
    share = as_number(value)
    return str(value) if share is None else f"{share:.2%}" if math.isfinite(share) else str(share)


def _format_number(value: Any, digits: int = 6) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _format_whole(value: float) -> str:
    return f"{value:,.0f}"


def _format_metric(value: Any, name: str, digits: int = 6) -> str:
    return _percent(value) if _is_share(name) else _format_number(value, digits)


def _duration(seconds: float) -> str:
    if not seconds >= 60 or seconds == math.inf:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"
