"""show=data: print what a data set holds and draw samples of it, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from snntrain.data import Augmentation, DataModule, Split, Target, source
from snntrain.data.mackey_glass import InputNoise
from snntrain.functional import real_steps
from snntrain.run.build import build_data
from snntrain.run.sample_figure import sample_figure
from snntrain.terminal import bold, print_line, terminal

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
    print_line(console, f"samples: {path}")
    return path


def _form(split: Split) -> str:
    shape = "×".join(map(str, split.shape))
    return {3: f"pictures {shape} (channels, height, width)", 4: f"frames {shape} (time, channels, height, width)"}.get(
        len(split.shape), f"channels {shape}" + (" (time, channels)" if len(split.shape) == 2 else "")
    )


def _counts(data: DataModule) -> Table:
    """Samples, or steps, of each class or label; mean and spread of each value."""
    of_values = data.TARGET in (Target.VALUES, Target.STEP_VALUES)
    unit = {Target.LABELS: "label", Target.STEP_CLASSES: "class, in steps"}.get(data.TARGET, "class")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("value, mean ± std" if of_values else unit, overflow="fold")
    for name in data.splits:
        table.add_column(name, justify="right", no_wrap=True)
    found = [_values(split) if of_values else _per_class(data, split) for split in data.splits.values()]
    for number, label in enumerate(data.CLASSES[:CLASSES_LISTED]):
        cells = (f"{row[number][0]:.4g} ± {row[number][1]:.4g}" if of_values else f"{row[number]:,}" for row in found)
        table.add_row(Text(str(label)), *cells)
    rest = [counts[CLASSES_LISTED:] for counts in found]
    if rest[0] and of_values:
        table.add_row(f"{len(rest[0])} more", style="dim")
    elif rest[0]:
        spans = (
            f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} – {max(counts):,}"
            for counts in rest
        )
        table.add_row(f"{len(rest[0])} more, each", *spans, style="dim")
    table.add_section()
    all_of = "all" if data.TARGET is Target.CLASS else "samples"
    table.add_row(all_of, *(f"{len(split):,}" for split in data.splits.values()), style="bold")
    return table


def _real(split: Split) -> Tensor:
    """Targets of a split; of sequences those of all real steps, one after the other."""
    lengths, labels = getattr(split, "lengths", None), split.labels
    return labels.flatten(0, 1) if lengths is None else labels[real_steps(lengths, labels.shape[1]).T]


def _per_class(data: DataModule, split: Split) -> list[int]:
    """How many samples, or steps, have each class or label."""
    if data.TARGET is Target.LABELS:
        return split.labels.sum(0).int().tolist()
    classes = _real(split) if data.TARGET is Target.STEP_CLASSES else split.labels
    return torch.bincount(classes, minlength=len(data.CLASSES)).tolist()


def _values(split: Split) -> list[tuple[float, float]]:
    """Mean and standard deviation of each value."""
    values = (_real(split) if split.labels.dim() == 3 else split.labels).double()
    return list(zip(values.mean(0).tolist(), values.std(0, correction=0).tolist(), strict=True))


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
    if (dt := getattr(data, "dt", None)) is not None and len(data.splits["train"].shape) != 3:
        steps = data.splits["train"].shape[0]
        table.add_row("time", f"T={steps} steps of {dt:g} ms, {steps * dt:g} ms together")
    if data.splits["train"].is_augmented:
        how = repr(data.augment) if isinstance(data.augment, (Augmentation, InputNoise)) else "data.augment"
        table.add_row("training", Text(f"changed at random by {how}"))
    if getattr(data, "MADE_UP", False):
        table.add_row("license", "none: these data are made up by a formula, here")
        return table
    try:
        known = source.find(_known_as(type(data)))
    except ValueError:
        table.add_row("license", "unknown: these are data of your own, or ask the person who made them")
        return table
    for key in ("title", "license", "citation", "homepage"):
        table.add_row("data set" if key == "title" else key, Text(getattr(known, key)))
    return table


def _known_as(kind: type) -> str:
    """The name of the data set that one of ours is made of; that of a class of the user's itself."""
    ours = (one.__name__ for one in kind.__mro__ if kind.__module__.startswith("snntrain."))
    return next((name for name in ours if name in source.names()), kind.__name__)


def _ranges(data: DataModule) -> dict[str, tuple[float, float]]:
    found = {}
    for name, split in data.splits.items():
        count = min(SAMPLES_MEASURED, len(split))
        x, *_ = split.__getitems__(torch.linspace(0, len(split) - 1, count).long().tolist())
        found[name] = tuple(map(float, x.aminmax()))
    return found


def _draw(data: DataModule, name: str, path: Path) -> None:
    split = data.splits["train"]
    names, places, which = _drawn(data, split)
    rows = []
    for positions in places:
        x, *_ = split.__getitems__([(0, position) for position in positions])
        rows.append(x.numpy())
    note = f"{which}{_form(split)}" + (", changed as in the first epoch" if split.is_augmented else "")
    colors = ", ON blue, OFF red" if len(split.shape) == 4 else ""
    sample_figure(
        path, f"{name}: training samples", note + colors, names, rows, split.shape, dt=getattr(data, "dt", None)
    )


def _drawn(data: DataModule, split: Split) -> tuple[list[str], list[list[int]], str]:
    """Names of the rows, positions of their samples, and a remark: those of a class or label, else one sample a row."""
    many = SAMPLES_DRAWN if len(split.shape) == 3 else 1
    if data.TARGET not in (Target.CLASS, Target.LABELS):
        chosen = torch.linspace(0, len(split) - 1, min(CLASSES_DRAWN, len(split))).long().unique().tolist()
        return [_titled(data, split.labels[one], one) for one in chosen], [[one] for one in chosen], ""
    of_labels = data.TARGET is Target.LABELS
    present = split.labels.any(0).nonzero().flatten() if of_labels else split.labels.unique()
    chosen = present[torch.linspace(0, len(present) - 1, min(CLASSES_DRAWN, len(present))).long()].tolist()
    which = (
        ""
        if len(chosen) == len(present)
        else f"{len(chosen)} of {len(present)} {'labels' if of_labels else 'classes'}, "
    )
    has = [split.labels[:, one] > 0 if of_labels else split.labels.eq(one) for one in chosen]
    places = [mask.nonzero().flatten()[:many].tolist() for mask in has]
    return [str(data.CLASSES[one]) for one in chosen], places, which


def _titled(data: DataModule, target: Tensor, position: int) -> str:
    """The name of a row of one sample: its values, if it has a few."""
    if data.TARGET is Target.VALUES and len(target) <= 2:
        return f"{position}: " + ", ".join(f"{value:.3g}" for value in target.tolist())
    return f"sample {position}"
