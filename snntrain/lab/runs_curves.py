"""The validation curves that the page of runs overlays: small enough for a page of a thousand runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from snntrain.lab.run_rows import Row
from snntrain.number_format import is_share
from snntrain.run.folder import RunFolder
from snntrain.run.results import best_epoch

MOST_RUNS = 1000
"""The curves of so many rows are in the page, the first ones."""
MOST_NUMBERS = 120_000
"""So many values all curves together have, about a megabyte."""
FEWEST_EPOCHS, MOST_EPOCHS = 16, 200
_LOSSES = ("val/loss", "train/loss")


def curves_of_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """The monitored metric and the losses over the epochs of each row.

    Returns: "runs", for each row {"epoch": [n], "curves": {metric: [n]}} or None where there are no curves; "shares",
        the metrics that are shown in percent; "note", a sentence on what was left out, or "".
    """
    found = [_read(row) for row in rows[:MOST_RUNS]]
    count = sum(len(run["curves"]) for run in found if run)
    most = max(FEWEST_EPOCHS, min(MOST_EPOCHS, MOST_NUMBERS // max(1, count)))
    notes = []
    if any(run and len(run["epoch"]) > most for run in found):
        notes.append(f"Of longer runs, {most} epochs are drawn, the first, the best and the last one included.")
    if len(rows) > MOST_RUNS:
        notes.append(f"The page holds the curves of its first {MOST_RUNS:,} runs.")
    runs = [_thinned(run, row.monitor, most) if run else None for run, row in zip(found, rows, strict=False)]
    names = dict.fromkeys(name for run in runs if run for name in run["curves"])
    return {
        "runs": runs + [None] * (len(rows) - len(runs)),
        "shares": list(filter(is_share, names)),
        "note": " ".join(notes),
    }


def _read(row: Row) -> dict[str, Any] | None:
    epochs = [] if row.folder is None else RunFolder(row.folder).epochs()
    epochs = list({epoch["epoch"]: epoch for epoch in epochs}.values())  # the last row of an epoch that ran twice
    names = [name for name in dict.fromkeys((row.monitor[0], *_LOSSES)) if any(name in epoch for epoch in epochs)]
    if not names:
        return None
    curves = {name: [epoch.get(name, math.nan) for epoch in epochs] for name in names}
    return {"epoch": [epoch["epoch"] for epoch in epochs], "curves": curves}


def _thinned(run: Mapping[str, Any], monitor: tuple[str, str], most: int) -> dict[str, Any]:
    """The same with at most so many epochs, evenly spread."""
    count = len(run["epoch"])
    kept = list(range(count))
    if count > most:
        kept = sorted({round(place * (count - 1) / (most - 2)) for place in range(most - 1)})
        values = run["curves"].get(monitor[0], [])
        rows = [{"epoch": index, monitor[0]: value} for index, value in enumerate(values)]
        if (best := best_epoch(rows, *monitor)) and int(best["epoch"]) not in kept:
            kept = sorted([*kept, int(best["epoch"])])
    curves = {name: [_short(values[index]) for index in kept] for name, values in run["curves"].items()}
    return {"epoch": [_short(run["epoch"][index]) for index in kept], "curves": curves}


def _short(value: float) -> float | int | None:
    """Five digits, which is more than a screen shows; JSON has no NaN."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
