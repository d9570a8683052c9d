"""A list of layers, as a model YAML holds it, → a network with every size inferred from the data's sample shape."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional, registry
from snntrain.base import MemoryModule

# Constructor arguments that need not be written: the dimension of the incoming [C, H, W] (or [F]) that they equal.
_SIZE_FROM_DIMENSION = {"in_channels": 0, "num_features": 0, "num_channels": 0, "in_features": -1}

Entry = str | Mapping[str, Any]
NeuronChoice = str | Mapping[str, Any] | Callable[[], nn.Module]


class LayerError(ValueError):
    """A layer that cannot be built or cannot take what reaches it; the text names its place in the list."""


class Net(nn.Module):
    """Layers applied one after the other to a sequence.

    Args:
        layers: in step mode 'm'.
        output_shapes: shape of each layer's output for one sample and step, e.g. (32, 28, 28).

    Shapes: [T, N, *sample_shape] → [T, N, *output_shapes[-1]].
    """

    def __init__(self, layers: Sequence[nn.Module], output_shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        # Convolution, pooling and normalisation are faster with the channels innermost, and pass the layout on.
        for parameter in self.parameters():
            if parameter.dim() == 4:
                # Not contiguous(): it keeps the strides of weights with a single channel, where both layouts are one.
                channels_last = torch.empty_like(parameter, memory_format=torch.channels_last)
                parameter.data = channels_last.copy_(parameter.data)
        self.output_shapes = tuple(output_shapes)

    @property
    def is_stateful(self) -> bool:
        """Whether any layer carries state over time; an ANN twin has none."""
        return any(isinstance(module, MemoryModule) for module in self.modules())

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.layers(x_seq)


def build(layers: Sequence[Entry], sample_shape: Sequence[int], neuron: NeuronChoice = "LIFNode") -> Net:
    """Build a network.

    Args:
        layers: entries such as "BatchNorm2d", {"name": "Conv2d", "out_channels": 32, "kernel_size": 3}, "neuron" (the
            chosen neuron) or {"name": "neuron", "tau": 4.0} (the same with another setting). Input sizes may be left
            out.
        sample_shape: shape of one sample at one step, e.g. (1, 28, 28).
        neuron: what "neuron" stands for: a registered name, {"name": …, arguments}, or a function that makes a new one.

    Returns: the network in step mode 'm'.
    Raises: LayerError (a ValueError) naming the layer's index, its text and the shape that reached it.
    """
    shape = tuple(int(size) for size in sample_shape)
    built: list[nn.Module] = []
    shapes: list[tuple[int, ...]] = []
    for index, entry in enumerate(layers):
        place = f"model.layers[{index}] {_text(entry)}"
        try:
            layer = _build_entry(entry, shape, neuron)
            functional.set_step_mode(layer, "m")
        except Exception as error:  # whatever a constructor raises, perhaps a user's own
            raise LayerError(f"{place}: {error}") from error
        try:
            shape = _output_shape(layer, shape)
        except Exception as error:
            received = ", ".join(map(str, ("T", "N", *shape)))
            raise LayerError(f"{place} cannot take an input of shape [{received}]: {_first_line(error)}") from error
        built.append(layer)
        shapes.append(shape)
    if not built:
        raise LayerError("model.layers is empty: a model needs at least one layer.")
    return Net(built, shapes)


def inferred_arguments(target: Callable[..., Any]) -> list[str]:
    """Arguments of a layer's constructor that the builder fills in from the incoming shape."""
    return [name for name in inspect.signature(target).parameters if name in _SIZE_FROM_DIMENSION]


def _build_entry(entry: Entry, shape: tuple[int, ...], neuron: NeuronChoice) -> nn.Module:
    arguments = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ValueError("a layer is a name, or a mapping with the key name.")
    if name == "neuron":
        return build_neuron(neuron, arguments)
    for argument in inferred_arguments(registry.get("layer", name)):
        arguments.setdefault(argument, shape[_SIZE_FROM_DIMENSION[argument]])
    return registry.build("layer", name, **arguments)


def build_neuron(neuron: NeuronChoice, overrides: Mapping[str, Any] | None = None) -> nn.Module:
    """A new neuron of the chosen kind, with some arguments replaced.

    Raises: ValueError if arguments are to be replaced but the choice is a function.
    """
    overrides = overrides or {}
    if callable(neuron):
        if overrides:
            raise ValueError(f"the neuron comes from a function, which leaves no way to set {', '.join(overrides)}.")
        return neuron()
    arguments = {"name": neuron} if isinstance(neuron, str) else dict(neuron)
    if arguments.get("name") == "ReLU":
        overrides = {}  # the ANN twin has no time constants or thresholds to override
    arguments |= overrides
    surrogate = arguments.get("surrogate_function")
    if isinstance(surrogate, Mapping):
        arguments["surrogate_function"] = registry.build("surrogate", **surrogate)
    return registry.build("neuron", **arguments)


@torch.no_grad()
def _output_shape(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Run zeros through the layer; its parameters, statistics and state stay as they were."""
    was_training = layer.training
    parameter = next(layer.parameters(), None)
    device = None if parameter is None else parameter.device
    # A parallel neuron takes sequences of its own length T only; a BatchNorm1d without running statistics refuses a
    # single sample.
    steps = next((module.T for module in layer.modules() if isinstance(getattr(module, "T", None), int)), 1)
    out = layer.eval()(torch.zeros(steps, 2, *shape, device=device))
    layer.train(was_training)
    functional.reset_net(layer)
    if not isinstance(out, Tensor):
        raise TypeError("it returns several tensors; a list of layers passes one on.")
    return tuple(out.shape[2:])


def _text(entry: Entry) -> str:
    if not isinstance(entry, Mapping):
        return str(entry)
    return "{" + ", ".join(f"{key}: {value}" for key, value in entry.items()) + "}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
