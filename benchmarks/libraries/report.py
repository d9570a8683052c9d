"""Tables and the plot of benchmarks/libraries/run.py."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmark import console, milliseconds
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.markup import escape

from libraries.cases import CASES, Case
from libraries.contenders import FLOOR, OURS
from snntrain import terminal
from snntrain.figure import new_figure

COLORS = {"forward": "#56b4e9", "backward": "#0072b2", "step": "#999999"}


def print_case(case: Case, result: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """One table, the fastest first, and below it who has no figures."""
    parts = ("forward", "backward", *(("step",) if case.is_net else ()), "both")
    agree = "scores as ours" if case.is_net else "spikes as stated"
    table = terminal.table(
        case.title, *(f"{part} ms" for part in parts), "÷ ours", "memory MB", "firing", agree, texts=1
    )
    rows = result["rows"]
    for name in ranked(rows):
        row = rows[name]
        seconds = row["seconds"]
        ratio = to_ours(rows, name)
        memory = row["memory_bytes"]
        table.add_row(
            described[name]["title"],
            *(milliseconds(seconds[part], digits=2 if case.name == "lif64" else 1) for part in parts),
            "-" if ratio is None else f"{ratio:.2f}",
            "-" if memory is None else f"{memory / 1e6:,.0f}",
            firing(row),
            "" if name == FLOOR else equality(row),
        )
    console.print(table)
    for name, reason in result["left_out"].items():
        console.print(f"- {described[name]['title']}: {reason}", style="dim", markup=False, soft_wrap=True)
    console.print()


def to_ours(rows: Mapping[str, Any], name: str) -> float | None:
    """Median of the quotients within the rounds that both took part in; None without ours."""
    if OURS not in rows:
        return None
    ours = dict(zip(rows[OURS]["rounds"], rows[OURS]["seconds"]["both"], strict=True))
    timed = zip(rows[name]["rounds"], rows[name]["seconds"]["both"], strict=True)
    return statistics.median(value / ours[number] for number, value in timed if number in ours)


def ranked(rows: Mapping[str, Any]) -> list[str]:
    """Names of contenders, the fastest first."""
    return sorted(rows, key=lambda name: statistics.median(rows[name]["seconds"]["both"]))


def firing(row: Mapping[str, Any]) -> str:
    """Share of steps in which neurons fire: of the layer, or from the least to the most of a net's layers."""
    if not row["rates"]:
        return "-"
    low, high = 100 * min(row["rates"]), 100 * max(row["rates"])
    return f"{low:.1f} %" if low == high else f"{low:.1f}–{high:.1f} %"


def equality(row: Mapping[str, Any]) -> str:
    """The share of spikes that its equations have, or of scores that ours has."""
    if "spikes" in row:
        found = row["spikes"]
        return share(found["own"]) + ("" if found["same"] else " ✗")
    return share(row["scores"]["equal"]) if "scores" in row else "-"


def share(value: float) -> str:
    """A share in percent, which says 100 only if all are equal."""
    percent = 100 * value
    if value == 1:
        return "100 %"
    return f"{min(percent, 99.9999):.4f} %" if percent > 99.9 else f"{percent:.1f} %"


def print_missing(described: Mapping[str, Any]) -> None:
    """Who could not run, and the versions of those that did."""
    for name, facts in described.items():
        if "missing" in facts:
            console.print(f"[yellow]{name}[/yellow]: {escape(facts['missing'])}", soft_wrap=True)
        else:
            versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
            console.print(f"{facts['title']}: {versions}", style="dim", markup=False, soft_wrap=True)


def plot(results: Mapping[str, Any], described: Mapping[str, Any]) -> Figure:
    """A panel per case: a bar of milliseconds per contender, split into the parts of a step, with its ratio to ours."""
    count = len(results)
    columns = min(count, 4)
    lines = -(-count // columns)
    figure = new_figure(4.6 * columns, 0.6 + 3.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (name, result) in zip(panels, results.items(), strict=False):
        _draw(panel, CASES[name], result["rows"], described)
    for panel in panels[count:]:
        panel.set_visible(False)
    named = [(Patch(color=color), part.replace("step", "Adam")) for part, color in COLORS.items()]
    figure.legend(*zip(*named, strict=True), loc="outside upper center", ncols=len(named), frameon=False, fontsize=9)
    return figure


def _draw(panel: Any, case: Case, rows: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    names = ranked(rows)[::-1]  # the fastest on top
    titles = [described[name]["title"] for name in names]
    left = [0.0] * len(names)
    for part in ("forward", "backward", "step"):
        if part == "step" and not case.is_net:
            continue
        widths = [1e3 * statistics.median(rows[name]["seconds"][part]) for name in names]
        colors = ["#cccccc" if name == FLOOR else COLORS[part] for name in names]
        panel.barh(titles, widths, left=left, color=colors, edgecolor="white", linewidth=0.5)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for y, (name, end) in enumerate(zip(names, left, strict=True)):
        ratio = to_ours(rows, name)
        panel.text(end, y, f" {end:.3g} ms" + (f", {ratio:.2g}×" if ratio else ""), va="center", fontsize=7)
    panel.set_title(case.title, fontsize=10)
    panel.set_xlim(0, 1.35 * max(left, default=1))
    panel.tick_params(labelsize=8)
    panel.set_xlabel("ms", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
