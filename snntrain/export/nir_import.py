"""Import of NIR graphs: the net that computes what NIR's equations say, or an error that names node and parameter.

Nothing is rounded but thresholds, and weights before neurons whose gains or thresholds differ.

Source: Pedersen et al., Nature Communications 2024, 10.1038/s41467-024-52259-9.
"""

import inspect
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain import functional, layer
from snntrain.arguments import choice, real
from snntrain.error import DamagedFile
from snntrain.export import sinabs
from snntrain.export.error import NirImportError
from snntrain.export.hdf5 import opened
from snntrain.export.nir import library
from snntrain.export.nir_layers import LAYERS, Read, Reader
from snntrain.export.nir_net import NirNet, Scale
from snntrain.export.nir_neurons import NEURONS
from snntrain.export.nir_node import LARGEST_STEP, NirNode, Shape, node_error, shown
from snntrain.export.nir_topology import Place, Topology, topology
from snntrain.neuron import BaseNode

_SINABS_LAYERS = ("Affine", "Conv1d", "Conv2d", "SumPool2d", "Flatten")


def _leaky_in_sinabs(node: NirNode, shape: Shape, dt: float) -> Read:
    module, factor = sinabs.read_integrator(node, shape)
    return Read(module, shape, factor)


_AS_READ_BY: dict[str, dict[str, Reader]] = {
    "nir": {**LAYERS, **NEURONS},
    "sinabs": {name: LAYERS[name] for name in _SINABS_LAYERS}
    | dict.fromkeys(("IF", "LIF"), lambda node, shape, dt: Read(sinabs.read_node(node, shape), shape))
    | {"LI": _leaky_in_sinabs},
}
_WEIGHTS = (layer.Linear, layer.Conv1d, layer.Conv2d)


def import_nir(
    graph: Any,
    dt: float = 1e-4,
    *,
    surrogate_function: Callable[[], Callable[[Tensor], Tensor]] | None = None,
    reader: str = "nir",
) -> nn.Module:
    """A net from a NIR graph or file.

    Args:
        graph: a nir.NIRGraph, or the path of a file; of Affine, Linear, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten,
            Scale, Threshold, Delay, IF, LIF, LI, I, CubaLIF and CubaLI nodes, which may branch, be summed, be nested,
            and lead from a neuron through weights back to it. Parameters may be arrays or tensors of any real dtype;
            they are computed with as float32.
        dt: seconds that a step stands for: what time constants and delays are divided by.
        surrogate_function: makes a new one for each neuron; None: the neurons' default.
        reader: 'nir': what the equations say; 'sinabs': what sinabs computes of IF and LIF nodes, which gives the
            spikes that it would give, and cannot be trained.

    Returns: the net in step mode 'm', [T, N, *] → [T, N, *]: an nn.Sequential of a chain, else a NirNet; its
    `input_shape` is that of a step, or None where the graph does not say it.
    Raises: ExportError naming the node and the parameter that is not known, not finite, or does not fit; DamagedFile
    naming a file that cannot be read; ImportError if the package nir is not installed.
    """
    nir = library()
    real("import_nir", "dt", dt, above=0)
    choice("import_nir", "reader", reader, tuple(_AS_READ_BY))
    if not isinstance(graph, (str, os.PathLike)):
        return _net_of(nir, graph, dt, surrogate_function, reader)
    path = Path(graph)
    read = _read(nir, path)
    try:
        return _net_of(nir, read, dt, surrogate_function, reader)
    except NirImportError as error:
        place = f"{path}: {error.place}" if error.place else str(path)
        raise NirImportError(place, error.reason, error.remedy) from error


def _read(nir: Any, path: Path) -> Any:
    with opened(path):
        # Without nir's own inference of types, which does not end on a cycle; shapes are checked here.
        unchecked = {"type_check": False} if "type_check" in inspect.signature(nir.read).parameters else {}
        try:
            return nir.read(path, **unchecked)
        except Exception as error:  # the package raises whatever a missing or odd entry provokes in it
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise DamagedFile(
                f"{path} holds no NIR graph that the package nir reads ({type(error).__name__}: {reason})."
            ) from error


def _net_of(nir: Any, graph: Any, dt: float, surrogate_function: Callable | None, reader: str) -> nn.Module:
    if not isinstance(graph, nir.NIRGraph):
        raise NirImportError("", f"graph must be a nir.NIRGraph or the path of a file, got {type(graph).__name__}")
    plan = topology(nir, graph)
    builder = _Builder(plan, dt, _AS_READ_BY[reader])
    for place in plan.places:
        builder.add(place)
    net = builder.net()
    if surrogate_function is not None:
        for neuron in (module for module in net.modules() if isinstance(module, BaseNode)):
            neuron.surrogate_function = surrogate_function()
    return net


class _Builder:
    """From the nodes of a graph, in their order, to the layers of a net."""

    def __init__(self, plan: Topology, dt: float, known: Mapping[str, Reader]) -> None:
        self.plan, self.dt, self.known = plan, dt, known
        self.layers: list[nn.Module] = []
        self.numbers = {"": -1}
        self.shapes: dict[str, Shape] = {"": _end_shape(*plan.entrance, "input_type", "input")}
        self.readers = [source for place in plan.places for source in place.sources] + list(plan.ends)

    def add(self, place: Place) -> None:
        read = self.read(place.name, self.summed(place.name, place.node, place.sources))
        module, factor = read.module, read.factor
        if place.loop is not None:
            module = self.loop(place, read)
        functional.set_step_mode(module, "m")
        if np.any(np.not_equal(factor, 1.0)) and not self.scale_weights(place.sources, factor, read.shape):
            module = nn.Sequential(Scale(factor), module)
        self.numbers[place.name] = len(self.layers)
        self.layers.append(module)
        self.shapes[place.name] = read.shape

    def read(self, name: str, shape: Shape) -> Read:
        node = self.plan.nodes[name]
        reader = self.known.get(type(node).__name__)
        if reader is None:
            raise node_error(name, node, f"it is not one of {', '.join(self.known)}")
        return reader(NirNode(name, node), shape, self.dt)

    def summed(self, name: str, node: Any, sources: tuple[str, ...]) -> Shape:
        """The shape of what reaches a node."""
        shapes = {self.shapes[source] for source in sources} - {None}
        if len(shapes) > 1:
            raise node_error(name, node, f"the inputs that it adds have the shapes {sorted(map(list, shapes))}")
        return next(iter(shapes), None)

    def scale_weights(self, sources: tuple[str, ...], factor: float | np.ndarray, shape: Shape) -> bool:
        """Multiply the weights before a node, where it alone reads them."""
        if len(sources) != 1 or not sources[0] or self.readers.count(sources[0]) != 1:
            return False
        return _scaled(self.layers[self.numbers[sources[0]]], factor)

    def loop(self, place: Place, read: Read) -> nn.Module:
        """A neuron with what leads from its last output back to it."""
        neuron, back, shape = read.module, [], read.shape
        for name in place.loop:
            part = self.read(name, shape)
            back.append(part.module)
            shape = part.shape
        if shape != read.shape:
            reason = f"it gives {list(read.shape or ())}, and what leads back to it {list(shape or ())}"
            raise node_error(place.name, place.node, reason)
        if np.any(np.not_equal(read.factor, 1.0)) and not (back and _scaled(back[-1], read.factor)):
            back.append(Scale(read.factor))
        functional.set_step_mode(neuron, "s")
        for part in back:
            functional.set_step_mode(part, "s")
        function = operator.add
        if back:
            function = layer.FeedbackSum(back[0] if len(back) == 1 else nn.Sequential(*back))
        return layer.ElementWiseRecurrentContainer(neuron, function, step_mode="m")

    def net(self) -> nn.Module:
        name, node = self.plan.exit
        shape = self.summed(name, node, self.plan.ends)
        expected = _end_shape(name, node, "output_type", "output")
        if None not in (shape, expected) and math.prod(shape) != math.prod(expected):
            raise node_error(name, node, f"its shape is {list(expected)}, and it gets {list(shape)}")
        sources = [[self.numbers[source] for source in place.sources] for place in self.plan.places]
        ends = [self.numbers[name] for name in self.plan.ends]
        if [*sources, ends] == [[number - 1] for number in range(len(sources) + 1)]:
            made: nn.Module = nn.Sequential(*self.layers)
        else:
            names = [shown(place.name) for place in self.plan.places]
            made = NirNet(self.layers, sources=sources, ends=ends, names=names)
        made.input_shape = self.shapes[""]
        return made


@torch.no_grad()
def _scaled(module: nn.Module, factor: float | np.ndarray) -> bool:
    """Multiply what a layer of weights gives, if it is one, and its channels are all multiplied alike."""
    if not isinstance(module, _WEIGHTS):
        return False
    values = np.asarray(factor, dtype=np.float64)
    if values.ndim:
        channels = values.reshape(len(values), -1)
        if (channels != channels[:, :1]).any():
            return False
        values = channels[:, 0]
    for parameter in (module.weight, module.bias):
        if parameter is not None:
            shape = (-1, *[1] * (parameter.dim() - 1)) if values.ndim else ()
            parameter.copy_(parameter.double() * torch.as_tensor(values).reshape(shape))
    return True


def _end_shape(name: str, node: Any, attribute: str, key: str) -> Shape:
    """The shape of one step at an input or an output."""
    types = getattr(node, attribute, None)
    value = types.get(key) if isinstance(types, Mapping) else None
    if value is None:
        return None
    sizes = NirNode(name, node).integers(attribute, value=value)
    if min(sizes, default=0) < 1:
        raise node_error(name, node, f"its shape must be positive, it is {sizes}")
    if math.prod(sizes) > LARGEST_STEP:
        raise node_error(name, node, f"its shape is {sizes}, and at most 2²⁶ elements are read")
    return tuple(sizes)
