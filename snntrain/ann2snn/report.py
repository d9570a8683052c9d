"""What became of every node of a net, and with which thresholds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import fx

from snntrain.ann2snn.converted import SpikingNet
from snntrain.ann2snn.node import SpikingRectifier

_COLUMNS = ("node", "type", "became", "θ min", "θ mean", "θ max", "v₀", "dead")


@dataclass
class ReportRow:
    """One node of the traced net.

    Numbers are those of neurons, None elsewhere: the smallest, mean and largest threshold, the mean start potential in
    parts of the threshold, and the channels whose input was never positive.
    """

    node: str
    type: str
    became: str
    theta_min: float | None = None
    theta_mean: float | None = None
    theta_max: float | None = None
    v_init: float | None = None
    dead_channels: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class ConversionReport:
    """A conversion, node by node; str() gives a table.

    Args:
        net: class of the ANN.
        rows: in order of execution.
        settings: how the conversion was done, name → value.
        warnings: about the net as a whole.
    """

    net: str
    rows: list[ReportRow]
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        gm: fx.GraphModule,
        snn: SpikingNet,
        settings: dict[str, Any] | None = None,
        notes: dict[str, str] | None = None,
        warnings: Sequence[str] = (),
    ) -> "ConversionReport":
        """The report of a net that to_spiking made.

        Args:
            gm: what prepare returned.
            settings: method, T and so on, plain values.
            notes: name of neurons → a remark of the method.
            warnings: about the net as a whole.
        """
        places = gm.meta.get("places", {})
        rows = []
        for name, (node, kind) in gm.meta.get("origin", {}).items():
            path, what = places.get(name, (node, ""))
            rows.append(_row(node, kind, path, what, snn, notes or {}))
        return cls(type(gm).__name__, rows, dict(settings or {}), list(warnings))

    @property
    def all_warnings(self) -> list[str]:
        """Those of the net and those of its nodes, with their names."""
        return self.warnings + [f"{row.node}: {text}" for row in self.rows for text in row.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [_COLUMNS, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        table.insert(1, "  ".join("─" * width for width in widths))
        title = ", ".join([self.net, *(f"{name} {value}" for name, value in self.settings.items())])
        return "\n".join([title, *table, *(f"! {text}" for text in self.all_warnings)])


def _row(node: str, kind: str, path: str, what: str, snn: SpikingNet, notes: dict[str, str]) -> ReportRow:
    if what:
        return ReportRow(node, kind, f"{what} {path}".rstrip())
    try:
        module = snn.net.get_submodule(path)
    except AttributeError:  # a function
        return ReportRow(node, kind, "kept")
    if not isinstance(module, SpikingRectifier):
        same = type(module).__name__ == kind
        return ReportRow(node, kind, "kept" if same else type(module).__name__)
    theta = module.theta.detach().double()
    # A start potential for each neuron has the channels first as well.
    per_value = theta.view(-1, *[1] * (module.v_init.dim() - 1)) if theta.dim() and module.v_init.dim() else theta
    start = module.v_init.detach().double() / per_value
    dead = snn.dead.get(path, [])
    warnings = (
        [f"{len(dead)} of {max(theta.numel(), 1)} thresholds were not positive and got a safe value"] if dead else []
    )
    if notes.get(path):
        warnings.append(notes[path])
    numbers = (float(value) for value in (theta.min(), theta.mean(), theta.max(), start.mean()))
    return ReportRow(node, kind, "spiking neurons", *numbers, dead_channels=dead, warnings=warnings)


def _cells(row: ReportRow) -> tuple[str, ...]:
    numbers = (row.theta_min, row.theta_mean, row.theta_max, row.v_init)
    texts = ("" if number is None else f"{number:.4g}" for number in numbers)
    return row.node, row.type, row.became, *texts, str(len(row.dead_channels)) if row.dead_channels else ""
