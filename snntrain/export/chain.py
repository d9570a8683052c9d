"""The parts of a net one after the other, joined into layers of weights and neurons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snntrain.export.error import ExportError, ExportErrors
from snntrain.export.synapse import (
    Pair,
    Pool,
    Synapse,
    conv_before_pool,
    diagonal,
    of_pool,
    pool_before_conv,
    pool_before_dense,
)

NO_NEURONS = ("", "the net has no neurons", "Put some between its layers.")


@dataclass
class Row:
    """What becomes of one part of a net.

    Attributes:
        name, kind: path and class in the net.
        becomes: what it is in the file.
        problem: why the net cannot be exported; None if this part is fine.
    """

    name: str
    kind: str
    becomes: str = ""
    problem: ExportError | None = None

    @property
    def place(self) -> str:
        """This part as the place of an error."""
        return f"{self.name} ({self.kind})"


def check_rows(rows: Sequence[Row]) -> None:
    """Raises: ExportError with all problems, where there are any."""
    problems = [row.problem for row in rows if row.problem]
    if problems:
        raise ExportErrors(*problems)


def step_shape(example: Tensor) -> tuple[int, ...]:
    """The shape of one step of an example [T, N, *], [C, H, W] or [N].

    Raises: ExportError for an example that has another.
    """
    if example.dim() not in (3, 5) or 0 in example.shape:
        raise ExportError("", f"example must be [T, N, F] or [T, N, C, H, W], got shape {list(example.shape)}")
    return tuple(example.shape[2:])


class Chain:
    """Receives the parts of a net in order, and folds poolings into the layers beside them.

    A subclass writes what comes out, in `emit_flatten`, `emit` and `emit_readout`.

    Args:
        shape: of the input for one step, [C, H, W] or [N].

    Attributes:
        shape: of the spikes that the next layer reads.
        count: of the layers of neurons so far.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.restart(shape)

    def emit_flatten(self) -> None:
        """Flatten self.shape, before a dense layer."""
        raise NotImplementedError

    def emit(self, row: Row, synapse: Synapse, neuron: Any, shape: tuple[int, ...]) -> str:
        """A layer of neurons, whose output for a step has this shape; returns its name for the plan."""
        raise NotImplementedError

    def emit_readout(self, synapse: Synapse) -> str:
        """A last dense layer without neurons; returns its name for the plan."""
        raise NotImplementedError

    # --- parts -------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> tuple[int, ...]:
        """Shape of one step at this place of the net."""
        if self.synapse is not None:
            shape = self.synapse.output_shape(self.shape)
            return (math.prod(shape),) if self.flat_after else shape
        shape = self._pooled_shapes()[-1]
        return (math.prod(shape),) if self.flat else shape

    def restart(self, shape: tuple[int, ...]) -> None:
        """Go on with spikes of this shape, whatever was before."""
        self.shape = shape
        self.pools: list[Pool] = []
        self.flat = False
        self.synapse: Synapse | None = None
        self.flat_after = False
        self.delay: Tensor | None = None  # of each channel that the coming weights read
        self.waiting: list[tuple[Row, str]] = []  # rows whose layer has no name yet, and how they go into it

    def pool(self, row: Row, pool: Pool) -> None:
        """A pooling that adds or averages."""
        if len(self.now) != 3:
            raise ExportError(row.place, f"it pools a step of shape {list(self.now)}", "Pool pictures [C, H, W].")
        if self.delay is not None:
            raise ExportError(row.place, "it pools what was delayed", "Delay what it gives instead.")
        if self.synapse is None:
            self.pools.append(pool)
        else:
            self.synapse = _folded(row, lambda: conv_before_pool(self.synapse, pool))
        self.waiting.append((row, "folded into "))

    def flatten(self, row: Row) -> None:
        """All dims of a step into one."""
        if self.delay is not None:
            raise ExportError(row.place, "it flattens what was delayed", "Delay what it gives instead.")
        if self.synapse is None:
            self.flat = True
        else:
            self.flat_after = True
        row.becomes = "flatten"

    def maximum(self, row: Row, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> None:
        """A maximum over windows."""
        raise ExportError(row.place, "there is no maximum", "Use AvgPool2d.")

    def delays(self, row: Row, steps: Tensor) -> None:
        """Delays, in whole steps, of the channels that the coming weights read."""
        if self.synapse is not None or self.delay is not None:
            reason = f"it delays what {'other delays give' if self.synapse is None else self.synapse.name + ' gives'}"
            raise ExportError(row.place, reason, "Delay the input of a layer, or what neurons give.")
        if self.now[0] != steps.numel():
            reason = f"it delays {steps.numel()} channels, and a step has the shape {list(self.now)}"
            raise ExportError(row.place, reason, "Delay the first dim of a step.")
        self.delay = steps.cpu()
        self.waiting.append((row, "delays before "))

    def weights(self, row: Row, synapse: Synapse) -> None:
        """A layer with weights."""
        if self.synapse is not None:
            reason = f"no neurons lie between it and {self.synapse.name}"
            raise ExportError(row.place, reason, "Put neurons between the two, or make them one layer.")
        if len(self.now) != (3 if synapse.is_conv else 1):
            reason = f"it reads a step of shape {list(self.now)}"
            raise ExportError(row.place, reason, "Put Flatten before Linear.")
        synapse, self.delay = replace(synapse, delay=self.delay), None
        fold = pool_before_conv if synapse.is_conv else pool_before_dense
        for pool, shape in zip(reversed(self.pools), reversed(self._pooled_shapes()[:-1]), strict=True):
            synapse = _folded(row, lambda pool=pool, shape=shape, last=synapse: fold(pool, last, shape))
        self.pools = []
        self.synapse = synapse
        self.waiting.append((row, ""))

    def recurrent(self, row: Row, weight_rec: Tensor) -> None:
        """A connection from the coming neurons' last spikes to their input."""
        if self.synapse is None:
            self._pass_through(row)
        if self.synapse.is_conv:
            raise ExportError(row.place, "only dense layers may be recurrent", "Put Flatten and Linear before it.")
        self.synapse = replace(self.synapse, weight_rec=weight_rec)

    def neurons(self, row: Row, neuron: Any) -> None:
        """Neurons, which end a layer."""
        if self.synapse is None:
            self._pass_through(row)
        self.flatten_now()
        shape = self.synapse.output_shape(self.shape)
        layer = self.emit(row, self.synapse, neuron, shape)
        self.count += 1
        flat = self.flat_after
        self._name_waiting(layer)
        self.restart(shape)
        self.flat = flat

    def readout(self) -> None:
        """The end of the net."""
        if self.synapse is None and self.pools:
            outputs = math.prod(self.now)
            self.flat = True
            last = Row("the last pooling", "pooling")
            self.weights(last, diagonal(last.name, torch.ones(outputs, dtype=torch.float64), self.now))
        if self.synapse is None and self.delay is not None:
            raise ExportError("the last layer (AxonalDelay)", "nothing reads what it delays", "Leave it out.")
        if self.synapse is None:
            return
        if self.synapse.is_conv:
            remedy = "End the net with neurons or with Linear."
            raise ExportError(f"{self.synapse.name} (convolution)", "no neurons come after it", remedy)
        self._name_waiting(self.emit_readout(self.synapse))

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _pooled_shapes(self) -> list[tuple[int, ...]]:
        shapes = [self.shape]
        for pool in self.pools:
            shapes.append(pool.output_shape(shapes[-1]))
        return shapes

    def _pass_through(self, row: Row) -> None:
        """A layer of weights 1, or of the poolings, for neurons that have none before them."""
        if self.delay is not None:
            raise ExportError(row.place, "no weights lie between it and the delays before it", "Put a layer there.")
        if len(self.shape) == 1:
            self.synapse = diagonal(row.name, torch.ones(self.shape[0], dtype=torch.float64), self.shape)
            return
        self.flat, self.flat_after = False, self.flat
        (first, *rest), self.pools = self.pools or [Pool((1, 1), (1, 1), (0, 0), False)], []
        self.synapse = of_pool(row.name, first, self.shape[0])
        for pool in rest:
            self.synapse = _folded(row, lambda pool=pool: conv_before_pool(self.synapse, pool))

    def flatten_now(self) -> None:
        """Emit a flatten that is due."""
        if self.flat and len(self.shape) == 3:
            self.emit_flatten()
            self.shape = (math.prod(self.shape),)
        self.flat = False

    def _name_waiting(self, layer: str) -> None:
        for row, how in self.waiting:
            row.becomes = row.becomes or f"{how}{layer}"


def _folded(row: Row, fold: Any) -> Synapse:
    try:
        return fold()
    except ValueError as error:
        reason = f"it cannot be joined with a pooling: {error}"
        raise ExportError(row.place, reason, "Use windows that tile the input, and no padding.") from None
