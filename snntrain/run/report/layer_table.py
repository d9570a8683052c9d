"""The layers of a network as a table for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from snntrain.terminal import ModulePath


def layer_table(rows: Sequence[dict[str, Any]]) -> Group:
    """The rows of snntrain.model.profile, with totals; settings that several neurons share are listed once below.

    Numbers and the classes' names are never cut; in a narrow terminal long paths wrap.
    """
    marks = neuron_marks([row["neuron"] for row in rows])
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("path", overflow="fold", min_width=12)
    table.add_column("layer", overflow="fold", min_width=12)
    table.add_column("output", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MACs / step", justify="right", no_wrap=True)
    for row in rows:
        mark = marks.get(row["neuron"], "")
        table.add_row(
            ModulePath(row["path"]),
            Text.assemble(row["name"], (f" {mark}", "dim")) if mark else Text(row["name"]),
            "×".join(map(str, row["output_shape"])),
            _number(row["parameters"]),
            _number(row["macs"]),
        )
    table.add_section()
    totals = (f"{sum(row[key] for row in rows):,}" for key in ("parameters", "macs"))
    table.add_row("total", "", "", *totals, style="bold")
    notes = Table(box=None, show_header=False, pad_edge=False)
    notes.add_column(style="dim")
    notes.add_column()
    for settings, mark in marks.items():
        notes.add_row(mark, Text(settings))
    return Group(table, notes) if marks else Group(table)


def neuron_marks(settings: Sequence[str]) -> dict[str, str]:
    """Settings of neurons → (a), (b), … in the order in which they come; after 26 of them (27), (28), …"""
    different = list(dict.fromkeys(filter(None, settings)))
    return {text: f"({chr(ord('a') + i) if i < 26 else i + 1})" for i, text in enumerate(different)}


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
