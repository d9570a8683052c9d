"""The page of a sweep, and that of any set of runs: one HTML file that sorts, filters and compares by itself."""

import math
import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from snntrain.files import write_text
from snntrain.lab.run_rows import Row, shared_monitor, sweep_rows
from snntrain.lab.run_table import (
    MAIN,
    csv_of,
    metric_names,
    number,
    repetitions,
    shared,
    sort_rows,
    table_of,
    value_of,
    varied,
)
from snntrain.run.folder import RunFolder
from snntrain.run.report.page import render
from snntrain.terminal import print_line

GENERATOR = "snntrain runs"  # says in a page that it may be written over
_MOST_METRICS = 10
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
    columns = _columns(rows, first)
    page = render(
        _HERE / "runs.html.j2",
        title=title,
        heading=title,
        tiles=_tiles(rows, first),
        script=(_HERE / "runs.js").read_text(encoding="utf-8"),
        first=first,
        shared=shared(rows),
        columns=columns,
        rows=[_cells(row, columns, path) for row in rows],
        configs=_configs(rows),
        groups=repetitions(rows),
        failures=[row for row in rows if row.error],
        plots=_plots(rows) if first == "job" else [],
    )
    write_text(path, page)
    return path


def _tiles(rows: Sequence[Row], first: str) -> list[tuple[str, Any, str]]:
    """How many runs have each status, and the best run."""
    statuses = [row.status for row in rows]
    total = f"of {len(rows)} {first}{'s' * (len(rows) != 1)}"
    counts = [(status, statuses.count(status), "") for status in dict.fromkeys(["finished", *statuses])]
    return [(*counts[0][:2], total), *counts[1:], *_best(rows)]


def _best(rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """A tile for the finished run whose monitored metric is best: the test data choose nothing."""
    finished = [row for row in rows if row.status == "finished"]
    monitor = shared_monitor(finished)
    scored = [row for row in finished if monitor and math.isfinite(row.metrics.get(monitor[0], math.nan))]
    if monitor is None or not scored:
        return
    row = sort_rows(scored, monitor[0])[0]
    given = " ".join(f"{key}={value_of(row, key)}" for key in varied(rows)) if len(varied(rows)) <= 6 else ""
    yield f"best {monitor[0]}", number(row.metrics[monitor[0]]), f"{row.name}   {given}".strip()


def _plots(rows: Sequence[Row]) -> list[tuple[str, str]]:
    from snntrain.lab.runs_plots import sweep_plots

    present = {name for row in rows for name in row.metrics}
    monitor = shared_monitor(rows)
    main = next((name for name in (monitor[0] if monitor else "", *MAIN) if name in present), None)
    drawn = [name for name in (main, "test/firing_rate") if name is not None]
    return sweep_plots(rows, drawn)


def _columns(rows: Sequence[Row], first: str) -> list[dict[str, Any]]:
    keys = varied(rows)
    few = keys if first == "job" or len(keys) <= 6 else []  # runs of all kinds differ in too many to give each a column
    kinds = [("name", "name"), ("status", "status"), *((key, "given") for key in few)]
    if keys and not few:
        kinds.append(("overrides", "overrides"))
    kinds += [(name, "metric") for name in (*metric_names(rows)[:_MOST_METRICS], "seconds")]
    if first != "job":
        kinds.append(("when", "when"))
    return [{"key": key, "title": first if kind == "name" else key, "kind": kind} for key, kind in kinds]


def _cells(row: Row, columns: Sequence[dict[str, Any]], page: pathlib.Path) -> dict[str, Any]:
    return {
        "name": row.name,
        "cells": [_cell(row, column["key"], column["kind"]) for column in columns],
        "error": row.error,
        "status": row.status,
        "more": _joined(row),
        "report": _link(row, page),
    }


def _cell(row: Row, key: str, kind: str) -> dict[str, str]:
    """What a cell shows, and the value by which its column is sorted."""
    if kind == "metric":
        value = row.seconds if key == "seconds" else row.metrics.get(key)
        text = "" if value is None else f"{value:.1f}" if key == "seconds" else number(value)
        return {"kind": kind, "text": text, "value": "" if value is None or math.isnan(value) else repr(float(value))}
    text = value_of(row, key) if kind == "given" else _joined(row) if kind == "overrides" else getattr(row, key)
    return {"kind": kind, "text": text, "value": text}


def _joined(row: Row) -> str:
    return " ".join(f"{key}={value}" if value else key for key, value in row.overrides.items())


def _link(row: Row, page: pathlib.Path) -> str:
    """The address of a run's report from the page, '' if there is none."""
    if row.folder is None or not (report := RunFolder(row.folder).report).is_file():
        return ""
    relative = os.path.relpath(report.resolve(), page.resolve().parent)
    return "./" + urllib.parse.quote(pathlib.Path(relative).as_posix())


def _configs(rows: Sequence[Row]) -> dict[str, Any]:
    """What the page compares: the keys that all runs share once, the others for each run."""
    configs = [row.config for row in rows if row.config]
    common = {
        key: value
        for key, value in (configs[0] if configs else {}).items()
        if all(c.get(key) == value for c in configs)
    }
    runs = [
        {key: value for key, value in row.config.items() if key not in common} if row.config else None for row in rows
    ]
    return {"common": common, "runs": runs}
