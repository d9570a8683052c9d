"""Makes the nodes and edges of a NIR graph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.export.error import ExportError
from snntrain.export.nir_readers import NirReader
from snntrain.export.synapse import Pool, Synapse, diagonal, of_pool


@dataclass(frozen=True)
class Signal:
    """What a part of a net gives, in the graph that is written.

    Attributes:
        sources: names of the nodes whose outputs are added.
        shape: of one step.
        divisor: what their sum is still to be divided by: poolings add where the net averages.
        weights: the nodes that alone make it and that nothing else reads: what multiplies their weights multiplies it.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    divisor: float = 1.0
    weights: tuple[str, ...] = ()


class NirNodes:
    """Nodes and edges, in the order in which they are computed.

    Args:
        library: the package nir.
        shape: of one step of the input.
        dt: seconds of a step.
        reader: who is to read the graph.
    """

    def __init__(self, library: Any, shape: tuple[int, ...], dt: float, reader: NirReader) -> None:
        self.library, self.dt, self.reader = library, dt, reader
        self.nodes: dict[str, Any] = {"input": library.Input({"input": np.array(shape)})}
        self.edges: list[tuple[str, str]] = []
        self.places = {"input": "the input"}
        self.input = Signal(("input",), shape)

    def add(self, place: str, kind: str, node: Any, signal: Signal) -> str:
        """A node that reads a signal; returns its name. Raises: ExportError if the reader does not know it."""
        self.reader.check_kind(place, type(node).__name__)
        name = f"{kind}_{len(self.nodes)}"
        self.nodes[name], self.places[name] = node, place
        self.edges += [(source, name) for source in signal.sources]
        return name

    def weights(self, place: str, synapse: Synapse, signal: Signal) -> Signal:
        """A layer of weights."""
        synapse = replace(synapse, weight=synapse.weight / signal.divisor)
        node = self.weight_node(synapse, signal.shape)
        name = self.add(place, "conv" if synapse.is_conv else "affine", node, signal)
        return Signal((name,), synapse.output_shape(signal.shape), weights=(name,))

    def weight_node(self, synapse: Synapse, shape: tuple[int, ...]) -> Any:
        """Its weights stay float64 until the graph is complete, since factors may still reach them."""
        weight = synapse.weight.numpy()
        bias = np.zeros(len(weight)) if synapse.bias is None else synapse.bias.numpy().copy()
        if not synapse.is_conv:
            return self.library.Affine(weight, bias)
        weight = _without_groups(weight, synapse.groups)
        if len(shape) == 2:
            one = (int(value[0]) for value in (synapse.stride, synapse.padding, synapse.dilation))
            return self.library.Conv1d(shape[1], weight, *one, 1, bias)
        geometry = (synapse.stride, synapse.padding, synapse.dilation, 1)
        return self.library.Conv2d(tuple(shape[1:]), weight, *geometry, bias)

    def pool(self, place: str, pool: Pool, signal: Signal) -> Signal:
        """A pooling as sums, and as weights where it pads, which importers ignore."""
        if pool.padding != (0, 0):
            return self.weights(place, of_pool(place, pool, signal.shape[0]), signal)
        sizes = (np.array(pool.kernel), np.array(pool.stride), np.array((0, 0)))
        name = self.add(place, "pool", self.library.SumPool2d(*sizes), signal)
        divisor = signal.divisor * (pool.area if pool.average else 1)
        return Signal((name,), pool.output_shape(signal.shape), divisor, signal.weights)

    def passed(self, place: str, kind: str, node: Any, signal: Signal, shape: tuple[int, ...] | None = None) -> Signal:
        """A node that multiplies nothing: what is due before it is due behind it."""
        name = self.add(place, kind, node, signal)
        return replace(signal, sources=(name,), shape=signal.shape if shape is None else shape)

    def multiplied(self, signal: Signal, factor: float) -> bool:
        """Multiply a signal in the weights that make it, where there are such."""
        if factor != 1:
            for name in signal.weights:
                multiply(self.nodes[name], factor)
        return factor == 1 or bool(signal.weights)

    def scaled(self, place: str, signal: Signal, factor: float | Tensor) -> Signal:
        """A signal times a number, or one number for each element of a step, in a node of its own."""
        scale = torch.as_tensor(factor, dtype=torch.float64).expand(signal.shape) / signal.divisor
        if "Scale" in self.reader.kinds:
            return Signal((self.add(place, "scale", self.library.Scale(scale.numpy()), signal),), signal.shape)
        channels = scale.reshape(len(scale), -1)
        if len(signal.shape) == 2 or (channels != channels[:, :1]).any():
            self.reader.check_kind(place, "Scale")
        synapse = diagonal(place, channels[:, 0].contiguous(), signal.shape)
        return self.weights(place, synapse, replace(signal, divisor=1.0))

    def divided(self, place: str, signal: Signal) -> Signal:
        """A signal that nothing is due of any more."""
        if self.multiplied(signal, 1 / signal.divisor):
            return replace(signal, divisor=1.0)
        return self.scaled(place, signal, 1.0)

    def added(self, place: str, one: Signal, other: Signal) -> Signal:
        """The sum of two signals. Raises: ExportError where one would have to be repeated to fit the other."""
        if one.shape != other.shape:
            reason = f"it adds steps of the shapes {list(one.shape)} and {list(other.shape)}"
            raise ExportError(place, reason, "Add what has one shape.")
        if one.divisor != other.divisor:
            one, other = self.divided(place, one), self.divided(place, other)
        if not set(one.sources).isdisjoint(other.sources):  # an edge cannot be there twice
            one, other = (self.scaled(place, each, 1.0) for each in (one, other))
        weights = one.weights + other.weights if one.weights and other.weights else ()
        return Signal(one.sources + other.sources, one.shape, one.divisor, weights)

    def graph(self, signal: Signal) -> Any:
        """The graph that gives a signal. Raises: ExportError with what nir says, if it refuses the graph."""
        signal = self.divided("the output", signal)
        if len(signal.sources) > 1 and not self.reader.sums_at_output:
            reason = f"the net gives a sum, and the importer of {self.reader.name} adds nothing at the output"
            raise ExportError("the output", reason, "End the net with a layer, or use reader 'nir'.")
        nodes = self.nodes | {"output": self.library.Output({"output": np.array(signal.shape)})}
        edges = [*self.edges, *((source, "output") for source in signal.sources)]
        self.reader.check_order(edges, self.places | {"output": "the output"})
        for node in nodes.values():
            _round(node)
        try:
            return self.library.NIRGraph(nodes, edges)
        except ValueError as error:  # version 1.0.8 takes every kernel for square
            raise ExportError("", f"nir refuses the graph: {error}", "Use square kernels.") from error

    def inner_graph(self, place: str, nodes: dict[str, Any], edges: Sequence[tuple[str, str]], shape: Any) -> Any:
        """A graph within the graph, whose input and output have one shape."""
        self.reader.check_kind(place, "NIRGraph")
        ends = np.array(shape)
        nodes = {"input": self.library.Input({"input": ends}), **nodes, "output": self.library.Output({"output": ends})}
        for node in nodes.values():
            _round(node)
        return self.library.NIRGraph(nodes, list(edges))


def multiply(node: Any, factor: float) -> None:
    """Multiply what a weight node gives."""
    for name in ("weight", "bias", "scale"):
        if hasattr(node, name):
            setattr(node, name, getattr(node, name) * factor)


def _round(node: Any) -> None:
    for name in ("weight", "bias"):
        if hasattr(node, name):
            setattr(node, name, np.ascontiguousarray(getattr(node, name), dtype=np.float32))


def _without_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """The same convolution with zeros between the groups: nir 1.0.8 takes a group's inputs for all of them."""
    out, into = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((weight.shape[0], into * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        whole[rows, group * into : (group + 1) * into] = weight[rows]
    return whole
