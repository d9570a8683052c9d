"""The report of a run: one self-contained HTML page, built only from the files in the run folder."""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from snntrain import registry
from snntrain.files import write_text
from snntrain.headline import HEADLINES, long_name
from snntrain.number_format import binomial_error, duration, metric, number, percent
from snntrain.run.contents import as_number
from snntrain.run.folder import RunFolder
from snntrain.run.report.page import broken, environment, render
from snntrain.run.report.run_files import RunFiles, Unavailable, in_one_line
from snntrain.run.report.section import Section
from snntrain.run.report.tested import Units

_FILTERS = {"percent": percent, "number": number, "metric": metric, "whole": "{:,.0f}".format, "dotted": broken}
_TEMPLATE = pathlib.Path(__file__).with_name("report.html.j2")


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
    made = {name: registry.build("report section", name) for name in registry.names("report section")}
    shown = {name: section for name, section in made.items() if section.is_shown(run)}
    ordered = sorted(shown.items(), key=lambda item: item[1].place)
    sections = [_section(key, section, run) for key, section in ordered]
    results = run.read_or(RunFolder.results, {"metrics": {}, "seconds": {}, "throughput": {}, "memory": {}})
    name, status = run.folder.path.resolve().name, str(results.get("status") or "incomplete")
    return render(
        _TEMPLATE,
        title=f"{name} · {status}",
        heading=name,
        tiles=[*_quality_tiles(run, results), *_cost_tiles(run, results)],
        links=[(section["key"], section["title"]) for section in sections],
        status=status,
        message=str(results.get("message") or ""),
        sections=sections,
    )


def _section(key: str, section: Section, run: RunFiles) -> dict[str, str]:
    """A section for the page: its HTML, or a sentence that says why there is none."""
    html = note = ""
    try:
        templates = environment(section.folder(), filters=_FILTERS)
        is_text = section.template is not None
        template = templates.from_string(section.template) if is_text else templates.get_template(f"{key}.html.j2")
        html = template.render(content=section.content(run))
    except Unavailable as reason:
        note = str(reason)
    except Exception as error:  # readable, but not what the section expects
        note = f"{section.title} could not be drawn from the run's files: {in_one_line(error)}"
    return {"key": key, "title": section.title, "html": html, "note": note}


def _quality_tiles(run: RunFiles, results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(label, value, detail) of what the net reached."""
    metrics = results["metrics"]
    for name, title in {**HEADLINES, "loss": "loss", "firing_rate": "firing rate"}.items():
        if f"test/{name}" in metrics:
            yield f"Test {title}", metric(metrics[f"test/{name}"], name), _remark(run, name, metrics)
    monitored, best = run.folder.monitor()[0], run.folder.best_epoch()  # the epoch that was tested
    split, _, name = monitored.partition("/")
    title = f"{split} {long_name(name)}" if name in (*HEADLINES, "loss") else monitored
    if math.isfinite(best.get(monitored, math.nan)):
        detail = f"epoch {best['epoch']:g}"
        yield f"Best {title}", metric(best[monitored], monitored), detail
    elif monitored in metrics:
        yield title[:1].upper() + title[1:], metric(metrics[monitored], monitored), ""


def _remark(run: RunFiles, name: str, metrics: Mapping[str, Any]) -> str:
    """What stands below a tested metric: the error of an accuracy, the units of an RMSE."""
    samples = run.folder.test_samples() if name == "acc" else None
    if samples and 0 <= metrics["test/acc"] <= 1:
        return f"± {metric(binomial_error(metrics['test/acc'], samples), name)}, as of {samples:,} samples"
    return _in_units(run, name, metrics)


def _in_units(run: RunFiles, name: str, metrics: Mapping[str, Any]) -> str:
    """What is to say of an RMSE of standardized values: what it is in the units of the data, if it is of one value."""
    units = Units.of(tested := run.read_or(RunFolder.test, {}), 1)
    if name != "rmse" or not units.are_others:
        return ""
    if len(tested["value_std"]) > 1:
        return "of standardized values"
    return f"of standardized values; in their own units {number(metrics['test/rmse'] * units.std[0])}"


def _cost_tiles(run: RunFiles, results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(label, value, detail) of what it took."""
    kept, columns = as_number(results.get("best_epoch")), run.curves_if_any()
    epochs = {epoch for curve in columns.values() for epoch, _ in curve}
    if epochs:
        yield "Epochs", f"{len(epochs)}", "" if kept is None else f"checkpoint of epoch {kept:g}"
    for name, rate in results["throughput"].items():
        stage, _, unit = str(name).partition("_")
        rate = f"{rate:,.0f}" if isinstance(rate, int | float) and rate >= 100 else number(rate, digits=3)
        yield f"{unit.removesuffix('_per_second').capitalize()} / s", rate, f"in {stage}"
    seconds = {name: time for name in results["seconds"] if (time := as_number(results["seconds"][name])) is not None}
    if seconds:
        total = seconds.pop("total", None) or sum(seconds.values())
        yield "Time", duration(total), " · ".join(f"{name} {duration(time)}" for name, time in seconds.items())
    peaks = {where: f"{size / 2**20:,.0f} MiB" for where, size in results["memory"].items()}
    gpu, resident = peaks.get("gpu"), peaks.get("resident")
    if peak := gpu or resident:
        yield "Peak memory", peak, f"of the GPU; {resident} of RAM" if gpu and resident else ""
    layers = run.read_or(RunFolder.layers, [])
    if layers:
        spiking = len(run.layer_rates()[1]) or sum(1 for layer in layers if layer["neuron"])
        parameters = sum(layer["parameters"] for layer in layers)
        yield "Parameters", f"{parameters:,}", f"{spiking} spiking layer{'s' * (spiking != 1)}"
    operations = run.read_or(RunFolder.operations, None)
    if operations:
        energy, ann = (number(operations[key]) for key in ("energy_uJ", "energy_ann_uJ"))
        yield "Energy (estimate)", f"{energy} µJ", f"per sample; as an ANN {ann} µJ"
