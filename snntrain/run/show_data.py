"""show=data: print what a data set holds and draw samples of it, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from snntrain.data import Augmentation, DataModule, Split, source
from snntrain.run.build import build_data
from snntrain.run.sample_figure import sample_figure
from snntrain.terminal import bold, terminal

CLASSES_LISTED, CLASSES_DRAWN, SAMPLES_DRAWN = 30, 10, 10
SAMPLES_MEASURED = 256  # per split, to find the range of values: few enough to be made into frames at once

console = terminal()


def show_data(settings: dict[str, Any]) -> Path:
    """Print counts per class, shapes, ranges, license and citation, and draw samples of the training split.

    Returns: the figure's file in paths.runs, named after the data set's class.
    Raises: UsageError naming a missing or corrupt file.
    """
    data = build_data(settings)
    name = type(data).__name__
    console.print(bold(name, f"   {_form(data.splits['train'])}   batches of {data.batch_size}"))
    console.print(_counts(data))
    console.print(_facts(name, data))
    if assumed := data.assumed():
        console.print(bold("assumed"))
        console.print(_table(assumed))
    path = Path(settings["paths"]["runs"]) / f"show_data_{name}.png"
    _draw(data, name, path)
    console.print(f"samples: {path}", soft_wrap=True)
    return path


def _form(split: Split) -> str:
    shape = "×".join(map(str, split.shape))
    return {3: f"pictures {shape} (channels, height, width)", 4: f"frames {shape} (time, channels, height, width)"}.get(
        len(split.shape), f"channels {shape}" + (" (time, channels)" if len(split.shape) == 2 else "")
    )


def _counts(data: DataModule) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in data.splits:
        table.add_column(name, justify="right", no_wrap=True)
    per_class = {
        name: torch.bincount(split.labels, minlength=len(data.CLASSES)).tolist() for name, split in data.splits.items()
    }
    for number, label in enumerate(data.CLASSES[:CLASSES_LISTED]):
        table.add_row(Text(str(label)), *(f"{counts[number]:,}" for counts in per_class.values()))
    rest = [counts[CLASSES_LISTED:] for counts in per_class.values()]
    if rest[0]:
        spans = (
            f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} – {max(counts):,}"
            for counts in rest
        )
        table.add_row(f"{len(rest[0])} more, each", *spans, style="dim")
    table.add_section()
    table.add_row("all", *(f"{len(split):,}" for split in data.splits.values()), style="bold")
    return table


def _table(rows: Mapping[str, str]) -> Table:
    """One row for each label and its text."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows.items():
        table.add_row(label, Text(text))
    return table


def _facts(name: str, data: DataModule) -> Table:
    table = _table({})
    ranges = (f"{name} [{low:.4g}, {high:.4g}]" for name, (low, high) in _ranges(data).items())
    table.add_row("values", f"{', '.join(ranges)}, seen in up to {SAMPLES_MEASURED} samples each")
    if data.splits["train"].is_augmented:
        how = repr(data.augment) if isinstance(data.augment, Augmentation) else "data.augment"
        table.add_row("training", Text(f"changed at random by {how}"))
    try:
        known = source.find(name)
    except ValueError:
        table.add_row("license", "unknown: these are data of your own, or ask the person who made them")
        return table
    for key in ("title", "license", "citation", "homepage"):
        table.add_row("data set" if key == "title" else key, Text(getattr(known, key)))
    return table


def _ranges(data: DataModule) -> dict[str, tuple[float, float]]:
    found = {}
    for name, split in data.splits.items():
        count = min(SAMPLES_MEASURED, len(split))
        x, _, _ = split.__getitems__(torch.linspace(0, len(split) - 1, count).long().tolist())
        found[name] = tuple(map(float, x.aminmax()))
    return found


def _draw(data: DataModule, name: str, path: Path) -> None:
    split = data.splits["train"]
    present = split.labels.unique()
    drawn = present[torch.linspace(0, len(present) - 1, min(CLASSES_DRAWN, len(present))).long()].tolist()
    rows = []
    for label in drawn:
        positions = split.labels.eq(label).nonzero().flatten()[: SAMPLES_DRAWN if len(split.shape) == 3 else 1].tolist()
        x, _, _ = split.__getitems__([(0, position) for position in positions])
        rows.append(x.numpy())
    which = "" if len(drawn) == len(present) else f"{len(drawn)} of {len(present)} classes, "
    note = f"{which}{_form(split)}" + (", changed as in the first epoch" if split.is_augmented else "")
    colors = ", ON blue, OFF red" if len(split.shape) == 4 else ""
    classes = [str(data.CLASSES[label]) for label in drawn]
    sample_figure(path, f"{name}: training samples", note + colors, classes, rows, split.shape)
