"""Rows of runs compared: what was varied, mean and spread over seeds and folds, as a terminal table and as CSV."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from snntrain.error import UsageError
from snntrain.headline import HEADLINES
from snntrain.lab.run_rows import Row, shared_monitor
from snntrain.number_format import binomial_error, metric, plus_minus
from snntrain.registry import did_you_mean
from snntrain.run.folder import RunFolder
from snntrain.spreadsheet import csv_text
from snntrain.terminal import table

_HEADLINES = tuple(f"{stage}/{name}" for name in HEADLINES for stage in ("test", "val"))
_IN_MEANS = (*_HEADLINES, "test/loss", "test/firing_rate")  # over repetitions, which a terminal has room for
MAIN = (*_IN_MEANS, "test/energy_uJ")
_SMALL_IS_GOOD = ("loss", "energy", "seconds", "mismatches", "error", "mse", "mae")  # rmse, too
REPEATED = ("seed", "data.fold")  # what differs between repetitions of the same settings
_NOT_VARIED = ("sweep.resume", "resume", "paths.runs", "launch")
_FEWEST, _LISTED = 2, 4  # metrics of a table in the terminal, and of a run that is listed
_WIDEST = 24  # characters of a value in the terminal before it goes on in the next line
COLORS = {"finished": "", "running": "blue", "waiting": "dim"} | dict.fromkeys(
    ("interrupted", "pruned", "unfinished"), "yellow"
)


@dataclass
class Repetitions:
    """Runs that differ in their seed or their fold of a cross-validation only.

    Attributes:
        values: of the varied parameters, seed and fold left out.
        count: finished runs.
        metrics: name → (mean, sample standard deviation, NaN of one run).
        test_samples: that the accuracy is a share of; None where it is not known.
    """

    values: dict[str, str]
    count: int
    metrics: dict[str, tuple[float, float]]
    test_samples: int | None = None

    def told(self, name: str) -> str:
        """A metric as 'mean ± std', the accuracy of the test with its binomial error in brackets."""
        if name not in self.metrics:
            return ""
        mean, deviation = self.metrics[name]
        is_known = name == "test/acc" and self.test_samples is not None and not math.isnan(mean)
        return plus_minus(name, mean, deviation, binomial_error(mean, self.test_samples) if is_known else None)


def varied(rows: Sequence[Row]) -> list[str]:
    """Keys whose values differ among the rows' command lines, in the order of the command line."""
    compared = [row for row in rows if row.overrides] or list(rows)
    keys = dict.fromkeys(key for row in compared for key in row.overrides if key not in _NOT_VARIED)
    return [key for key in keys if len({value_of(row, key) for row in compared}) > 1]


def value_of(row: Row, key: str) -> str:
    """What a run had for a key: as it was typed, else as its config says, else 'default'; '' where nothing is known.

    Equal numbers read the same, however they were typed.
    """
    value = row.overrides.get(key, row.config.get(key, "default" if row.overrides or row.config else ""))
    try:
        return f"{float(value):.12g}"
    except ValueError:
        return value


def shared(rows: Sequence[Row]) -> list[str]:
    """Overrides that all rows have; rows of which nothing is known, such as damaged ones, do not count."""
    known = [row for row in rows if row.overrides or row.config]
    if not known:
        return []
    keys = varied(rows)
    return [
        joined(key, value)
        for key, value in known[0].overrides.items()
        if key not in keys and key not in _NOT_VARIED and all(row.overrides.get(key) == value for row in known)
    ]


def different(row: Row, common: Sequence[str]) -> list[str]:
    """The overrides of a row without those that all have, which are `common`, and without those that vary nothing."""
    given = (joined(key, value) for key, value in row.overrides.items() if key not in _NOT_VARIED)
    return [override for override in given if override not in common]


def joined(key: str, value: str) -> str:
    """An override as it is typed."""
    return f"{key}={value}" if value else key


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Metrics worth a column: those that choose among runs, the well-known ones, then those of the stages."""
    present = dict.fromkeys(name for row in rows for name in row.metrics)
    first = dict.fromkeys(name for name in (*(row.monitor[0] for row in rows), *MAIN) if name in present)
    stages = [name for name in present if name.count("/") == 1 and not name.startswith(("train/", "val/", "test/"))]
    return list(dict.fromkeys([*first, *stages]))


def repetitions(rows: Sequence[Row]) -> list[Repetitions]:
    """Groups of runs that differ in seed or fold only; [] unless one of them has two finished runs."""
    keys = varied(rows)
    others = [key for key in keys if key not in REPEATED]
    if others == keys:
        return []
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.status == "finished":
            groups.setdefault(tuple(value_of(row, key) for key in others), []).append(row)
    found = []
    for values, members in groups.items():
        metrics = {}
        for name in metric_names(members):
            numbers = [row.metrics[name] for row in members if name in row.metrics]
            if len(numbers) == len(members):
                metrics[name] = mean_and_deviation(numbers)
        folder = members[0].folder
        samples = None if folder is None else RunFolder(folder).test_samples()
        found.append(Repetitions(dict(zip(others, values, strict=True)), len(members), metrics, samples))
    return found if any(group.count > 1 for group in found) else []


def mean_and_deviation(numbers: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; NaN for that of one number."""
    if not all(map(math.isfinite, numbers)):
        return math.nan, math.nan
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else math.nan


def sort_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """Rows by a metric, 'seconds', 'name', 'status' or a varied key, the best first; rows without it last.

    Which values of a metric are better, the rows' own monitor says, or else its name.

    Raises: UsageError for a key that no row has, with the nearest one.
    """
    columns = ["name", "status", "seconds", *varied(rows), *dict.fromkeys(name for row in rows for name in row.metrics)]
    if key not in columns:
        raise UsageError(
            f"{key!r} is not a column of these runs.{did_you_mean(key, columns)} There are: {', '.join(columns)}."
        )
    if key in ("name", "status") or key in varied(rows):
        return sorted(rows, key=lambda row: _natural(_cell(row, key)))
    monitor = shared_monitor(rows)
    if monitor is not None and monitor[0] == key:
        sign = -1 if monitor[1] == "max" else 1
    else:
        sign = 1 if any(word in key for word in _SMALL_IS_GOOD) else -1

    def place(row: Row) -> tuple[bool, float]:
        value = row.seconds if key == "seconds" else row.metrics.get(key)
        is_missing = value is None or math.isnan(value)
        return is_missing, 0.0 if is_missing else sign * value

    return sorted(rows, key=place)


def _cell(row: Row, key: str) -> str:
    return getattr(row, key) if key in ("name", "status") else value_of(row, key)


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def table_of(rows: Sequence[Row], first: str, width: int) -> Group:
    """For the terminal: the runs with as many metrics as fit its width, means over repetitions, and errors.

    Runs that differ in so much that a table of them would be wider are listed one below the other.
    """
    keys = varied(rows)
    room = _room(rows, keys, first, width)
    parts: list[RenderableType] = _listed(rows, keys) if room < _FEWEST else [_tabled(rows, keys, first, room)]
    if common := shared(rows):
        parts.append(Text("all with " + " ".join(common), style="dim"))
    if groups := repetitions(rows):
        parts += [Text(""), _mean_table(groups)]
    failed = [row for row in rows if row.error]
    if failed:
        parts += [Text(""), *(Text(f"{row.name} {row.status}: {row.error}", style="red") for row in failed)]
    return Group(*parts)


def _tabled(rows: Sequence[Row], keys: Sequence[str], first: str, room: int) -> Table:
    """A row for each run, with so many metrics."""
    metrics = metric_names(rows)[:room]
    runs = Table(box=None, header_style="bold", pad_edge=False)
    for header in (first, *keys, "status"):
        runs.add_column(header, overflow="fold")
    for header in (*metrics, "seconds"):
        runs.add_column(_header(header), justify="right", no_wrap=True)
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        numbers = [metric(row.metrics[name], name) if name in row.metrics else "" for name in metrics]
        status = Text(row.status, style=COLORS.get(row.status, "red"))
        runs.add_row(Text(row.name), *(Text(value_of(row, key)) for key in keys), status, *map(Text, numbers), seconds)
    return runs


def _listed(rows: Sequence[Row], keys: Sequence[str]) -> list[RenderableType]:
    """A few lines for each run: its name, status and main metrics, then what it was given."""
    lines: list[RenderableType] = []
    for row in rows:
        names = metric_names([row])[:_LISTED]
        seconds = [] if row.seconds is None else [f"{row.seconds:.1f} s"]
        told = [row.status, *(f"{name} {metric(row.metrics[name], name)}" for name in names), *seconds]
        given = [joined(key, row.overrides[key]) for key in keys if key in row.overrides]
        style = COLORS.get(row.status, "red")
        lines += [Text(row.name, style="bold"), _indented("   ".join(told), style)]
        lines += [_indented(" ".join(given), "dim")] if given else []
    return lines


def _indented(text: str, style: str) -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 2))


def _room(rows: Sequence[Row], keys: Sequence[str], first: str, width: int) -> int:
    """How many metrics fit beside the other columns."""
    names = max((len(row.name) for row in rows), default=0)
    values = [max([len(key), *(len(value_of(row, key)) for row in rows)]) for key in keys]
    others = sum(min(_WIDEST, length) + 2 for length in (max(len(first), names), *values)) + len("interrupted  seconds")
    return max(0, (width - others) // len("firing_rate  "))


def _mean_table(groups: Sequence[Repetitions]) -> Table:
    names = [name for name in groups[0].metrics if name in _IN_MEANS or name == next(iter(groups[0].metrics))]
    has_error = any(group.test_samples for group in groups)
    headers = [f"{_header(n)}\nmean ± std{' (binomial)' * (n == 'test/acc' and has_error)}" for n in names]
    means = table(*groups[0].values, "runs", *headers, texts=len(groups[0].values) + 1)
    for group in groups:
        means.add_row(*map(Text, group.values.values()), str(group.count), *map(group.told, names))
    return means


def _header(name: str) -> str:
    return name.replace("/", "/\n") if len(name) > 10 else name


def csv_of(rows: Sequence[Row], first: str) -> str:
    """All rows and metrics as CSV text; numbers as Python writes them, so that nothing is lost."""
    keys = varied(rows)
    metrics = list(dict.fromkeys(name for row in rows for name in sorted(row.metrics)))
    lines: list[list[object]] = [[first, *keys, "status", *metrics, "seconds", "error", "folder"]]
    for row in rows:
        given = [value_of(row, key) for key in keys]
        values = [repr(row.metrics[name]) if name in row.metrics else "" for name in metrics]
        lines.append([row.name, *given, row.status, *values, row.seconds, row.error, str(row.folder or "")])
    return csv_text(lines)
