"""The page of a sweep, and that of any set of runs: one HTML file that sorts, filters and compares by itself."""

import math
import os
import pathlib
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from snntrain.files import write_text
from snntrain.lab.run_rows import Row, shared_monitor, sweep_rows
from snntrain.lab.run_table import (
    MAIN,
    csv_of,
    different,
    joined,
    metric_names,
    repetitions,
    shared,
    sort_rows,
    table_of,
    value_of,
    varied,
)
from snntrain.lab.runs_curves import curves_of_rows
from snntrain.number_format import is_share, metric
from snntrain.run.folder import RunFolder
from snntrain.run.report.page import render
from snntrain.terminal import print_line

GENERATOR = "snntrain runs"  # says in a page that it may be written over
_MOST_METRICS, _METRICS_SHOWN = 24, 6  # columns that can be chosen, and those that are there at first
_MOST_GIVEN = 20
_HERE = pathlib.Path(__file__).parent


def print_sweep(folder: pathlib.Path, console: Console) -> None:
    """Print the results of a sweep, from its folder alone."""
    console.print()
    console.print(table_of(sweep_rows(folder), "job", console.width))
    print_line(console, f"sweep: {folder / 'sweep.html'}")


def write_sweep_report(folder: pathlib.Path) -> pathlib.Path:
    """Write sweep.csv and sweep.html of a sweep, from its folder alone; returns the page's path.

    Raises: FileNotFoundError or DamagedFile, if sweep.json is missing or damaged.
    """
    rows = sweep_rows(folder)
    write_text(folder / "sweep.csv", csv_of(rows, "job"))
    return write_page(folder / "sweep.html", rows, title=folder.resolve().name, first="job")


def write_page(path: pathlib.Path, rows: Sequence[Row], *, title: str, first: str) -> pathlib.Path:
    """Write a page of runs, which needs no server and loads nothing; returns its path.

    Links to reports are relative to the page. `first` is the header of the first column, such as "job".
    """
    columns, common, best = _columns(rows, first), shared(rows), _best(rows)
    page = render(
        _HERE / "runs.html.j2",
        title=title,
        heading=title,
        tiles=_tiles(rows, first, best),
        script=(_HERE / "runs.js").read_text(encoding="utf-8"),
        first=first,
        shared=common,
        columns=columns,
        rows=[_cells(row, columns, path, common, best) for row in rows],
        statuses=list(dict.fromkeys(row.status for row in rows)),
        configs=_configs(rows),
        curves=curves_of_rows(rows),
        groups=repetitions(rows),
        failures=[row for row in rows if row.error],
        plots=_plots(rows) if first == "job" else [],
    )
    write_text(path, page)
    return path


def _tiles(rows: Sequence[Row], first: str, best: Row | None) -> list[tuple[str, Any, str]]:
    """How many runs have each status, and the best run."""
    statuses = [row.status for row in rows]
    total = f"of {len(rows)} {first}{'s' * (len(rows) != 1)}"
    counts = [(status, statuses.count(status), "") for status in dict.fromkeys(["finished", *statuses])]
    tiles: list[tuple[str, Any, str]] = [(*counts[0][:2], total), *counts[1:]]
    if best is not None:
        name = best.monitor[0]
        given = " ".join(f"{key}={value_of(best, key)}" for key in varied(rows)) if len(varied(rows)) <= 6 else ""
        tiles.append((f"best {name}", metric(best.metrics[name], name), f"{best.name}   {given}".strip()))
    return tiles


def _best(rows: Sequence[Row]) -> Row | None:
    """The finished run whose monitored metric is best: the test data choose nothing."""
    finished = [row for row in rows if row.status == "finished"]
    monitor = shared_monitor(finished)
    scored = [row for row in finished if monitor and math.isfinite(row.metrics.get(monitor[0], math.nan))]
    return sort_rows(scored, monitor[0])[0] if monitor and scored else None


def _plots(rows: Sequence[Row]) -> list[tuple[str, str]]:
    from snntrain.lab.runs_plots import sweep_plots

    present = {name for row in rows for name in row.metrics}
    monitor = shared_monitor(rows)
    main = next((name for name in (monitor[0] if monitor else "", *MAIN) if name in present), None)
    drawn = [name for name in (main, "test/firing_rate") if name is not None]
    return sweep_plots(rows, drawn)


def _columns(rows: Sequence[Row], first: str) -> list[dict[str, Any]]:
    """What can be shown, in this order.

    "shown" says which columns are there at first, "wide" which of these a narrow screen leaves out: the less important.
    """
    is_sweep, keys = first == "job", varied(rows)
    are_few = is_sweep or len(keys) <= 6  # runs of all kinds differ in too many to give each a column
    made = [_column("name", "name", title=first), _column("status", "status")]
    made += [_column(key, "given", shown=are_few, wide=index > 0) for index, key in enumerate(keys[:_MOST_GIVEN])]
    if keys:
        made.append(_column("overrides", "overrides", shown=not are_few, wide=True))
    for index, name in enumerate(metric_names(rows)[:_MOST_METRICS]):
        made.append(_column(name, "metric", shown=index < _METRICS_SHOWN, wide=index > 0))
    made.append(_column("seconds", "metric", wide=True))
    return [*made, _column("when", "when", shown=not is_sweep, wide=True)]


def _column(key: str, kind: str, *, title: str = "", shown: bool = True, wide: bool = False) -> dict[str, Any]:
    classes = [*(["right"] if kind == "metric" else [kind]), *(["wide"] if wide else []), *([] if shown else ["off"])]
    unit = "share" if kind == "metric" and is_share(key) else ""
    return {"key": key, "kind": kind, "title": title or key, "classes": " ".join(classes), "unit": unit}


def _cells(
    row: Row, columns: Sequence[dict[str, Any]], page: pathlib.Path, common: Sequence[str], best: Row | None
) -> dict[str, Any]:
    return {
        "name": row.name,
        "cells": [_cell(row, column["key"], column["kind"], common) | column for column in columns],
        "error": row.error,
        "status": row.status,
        "when": row.when,
        "more": " ".join(joined(key, value) for key, value in row.overrides.items()),
        "report": _link(row, page),
        "is_best": row is best,
    }


def _cell(row: Row, key: str, kind: str, common: Sequence[str]) -> dict[str, str]:
    """What a cell shows, and the value by which its column is sorted."""
    if kind == "metric":
        value = row.seconds if key == "seconds" else row.metrics.get(key)
        text = "" if value is None else f"{value:.1f}" if key == "seconds" else metric(value, key)
        return {"text": text, "value": "" if value is None or math.isnan(value) else repr(float(value))}
    if kind == "overrides":
        text = " ".join(different(row, common))
    else:
        text = value_of(row, key) if kind == "given" else getattr(row, key)
    return {"text": text, "value": text}


def _link(row: Row, page: pathlib.Path) -> str:
    """The address of a run's report from the page, '' if there is none."""
    if row.folder is None or not (report := RunFolder(row.folder).report).is_file():
        return ""
    relative = os.path.relpath(report.resolve(), page.resolve().parent)
    return "./" + urllib.parse.quote(pathlib.Path(relative).as_posix())


def _configs(rows: Sequence[Row]) -> dict[str, Any]:
    """What the page compares: each key's most frequent value once, and for each run what differs from it.

    None stands for a key that a run does not have, and for a run without a config.
    """
    configs = [row.config for row in rows if row.config]
    usual = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        ((value, _),) = Counter(config.get(key) for config in configs).most_common(1)
        usual[key] = value
    runs = [
        {key: c.get(key) for key in usual if c.get(key) != usual[key]} if c else None for c in (r.config for r in rows)
    ]
    return {"usual": usual, "runs": runs}
