"""The layers of a network as a table."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from torch import nn

from snntrain.model import Net
from snntrain.neuron import BaseNode


def layer_rows(net: nn.Module) -> list[dict[str, Any]]:
    """One row per layer: path, name, output shape of one sample and step, parameters, neuron settings."""
    if not isinstance(net, Net):  # a model class of the user's: no list to walk
        named = list(_innermost(net))
        shapes: list[tuple[int, ...]] = [()] * len(named)
    else:
        named = [(f"layers.{index}", layer) for index, layer in enumerate(net.layers)]
        shapes = list(net.output_shapes)
    return [
        {
            "path": path,
            "name": type(layer).__name__,
            "output_shape": list(shape),
            "parameters": sum(parameter.numel() for parameter in layer.parameters()),
            "neuron": _settings(layer) if isinstance(layer, BaseNode) else "",
        }
        for (path, layer), shape in zip(named, shapes, strict=True)
    ]


def _innermost(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of what has no modules inside; a neuron counts as one, its surrogate is a setting of it."""
    if isinstance(module, BaseNode) or not list(module.children()):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _innermost(child, f"{path}.{name}" if path else name)


def layer_table(rows: list[dict[str, Any]]) -> Table:
    """The rows for the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header, justify in (
        ("layer", "left"),
        ("", "left"),
        ("output", "right"),
        ("parameters", "right"),
        ("neuron", "left"),
    ):
        table.add_column(header, justify=justify)
    for row in rows:
        shape = "×".join(map(str, row["output_shape"]))
        table.add_row(
            row["path"], row["name"], shape, f"{row['parameters']:,}" if row["parameters"] else "", row["neuron"]
        )
    table.add_section()
    table.add_row("", "", "", f"{sum(row['parameters'] for row in rows):,}", "")
    return table


def _settings(layer: BaseNode) -> str:
    """What distinguishes one neuron from another, as name=value pairs."""
    hidden = ("step_mode", "backend", "store_v_seq")
    shown = {name: value for name, value in layer.settings().items() if name not in hidden}
    surrogate = type(layer.surrogate_function).__name__
    return ", ".join([*(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items()), surrogate])
