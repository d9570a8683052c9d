"""A list of layers, as a model YAML holds it, → a network with every size inferred from the data's sample shape."""

import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional, registry
from snntrain.arguments import choice
from snntrain.base import STEP_MODES
from snntrain.hooks import carries_state
from snntrain.lava_exchange import BlockContainer
from snntrain.layer import (
    Branches,
    Dropout,
    Dropout2d,
    ElementWiseRecurrentContainer,
    FeedbackSum,
    LinearRecurrentContainer,
    OTTTSequential,
    Residual,
    Sequential,
    Substeps,
    SynapticDelay,
    delay_lines,
    with_delay,
)
from snntrain.layer.per_step import per_step, sequences_reach
from snntrain.model.choice import Choice, build_neuron, chosen_norm, inner_neuron
from snntrain.model.delay_key import delay_settings, takes_delay
from snntrain.model.initializer import initialize
from snntrain.model.layer_class import layer_class
from snntrain.model.layer_list import Group, Layer, LayerError, Node, leaves, parse
from snntrain.neuron import BaseNode, OTTTLIFNode
from snntrain.signature import takes

# Constructor arguments that need not be written: the dimension of the incoming [C, H, W] (or [F]) that they equal.
_SIZE_FROM_DIMENSION = {
    **dict.fromkeys(("in_channels", "num_features", "num_channels", "dim", "C"), 0),
    **{"height": 1, "width": 2, "in_features": -1},
}

Entry = str | Mapping[str, Any]


class Net(nn.Module):
    """Layers applied one after the other.

    Args:
        layers: in the step mode of the network.
        output_shapes: shape of each layer's output for one sample and step, e.g. (32, 28, 28).

    Shapes: [T, N, *sample_shape] → [T, N, *output_shapes[-1]], or the same without T in step mode 's'.
    """

    def __init__(self, layers: Sequence[nn.Module], output_shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        sequential = OTTTSequential if _makes_pairs(layers) else Sequential
        self.layers = sequential(*layers)
        if sequential is OTTTSequential and (lines := delay_lines(self)):
            raise LayerError(
                f"model: {next(iter(lines))} delays what it reads, and an OTTT neuron trains step by step, without the "
                "past. Leave out delay, or choose another neuron."
            )
        # Convolution, pooling and normalization are faster with the channels innermost, and pass the layout on.
        for parameter in self.parameters():
            if parameter.dim() == 4:
                # Not contiguous(): it keeps the strides of weights with a single channel, where both layouts are one.
                channels_last = torch.empty_like(parameter, memory_format=torch.channels_last)
                parameter.data = channels_last.copy_(parameter.data)
        self.output_shapes = tuple(output_shapes)

    @property
    def is_stateful(self) -> bool:
        """Whether any layer carries over time what it has seen; an ANN twin has none."""
        return is_stateful(self)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return y[0] if isinstance(y, list) else y  # the pair [spikes, trace] of an OTTT neuron that comes last


def is_stateful(net: nn.Module) -> bool:
    """Whether any layer carries over time what it has seen, which the mask that a dropout keeps has not."""
    return any(carries_state(module) and not isinstance(module, (Dropout, Dropout2d)) for module in net.modules())


def build(
    layers: Sequence[Entry],
    sample_shape: Sequence[int],
    neuron: Choice = "LIFNode",
    *,
    norm: Choice = "BatchNorm2d",
    T: int | None = None,
    blocks: Mapping[str, Sequence[Entry]] | None = None,
    init: Mapping[str, Any] | None = None,
    step_mode: str = "m",
) -> Net:
    """Build a network.

    Args:
        layers: entries such as "Flatten", {"name": "Conv2d", "out_channels": 32, "kernel_size": 3}, "neuron" and "norm"
            (the chosen ones), {"name": "neuron", "tau": 4.0} (the same with another setting), {"residual": [...]} and
            the other groups of snntrain.model.layer_list. Input sizes may be left out. An entry's key `init` says how
            its parameters start, and `delay` how what it reads is delayed.
        sample_shape: shape of one sample at one step, e.g. (1, 28, 28).
        neuron: what "neuron" stands for: a registered name, {"name": …, arguments}, or a function that makes a new one.
        norm: what "norm" stands for, in the same forms; of its overrides those that only other normalizations know
            (such as alpha) are left out.
        T: time steps of a sequence, for layers that need it (such as TemporalEffectiveBatchNorm2d).
        blocks: name → entries, used like a layer.
        init: name of a layer → init of all layers of that name; an entry's own goes first.
        step_mode: 'm', or 's' for neurons that are trained online.

    Returns: the network.
    Raises: LayerError (a ValueError) naming the entry's place, its text and the shape that reached it.
    """
    choice("build", "step_mode", step_mode, STEP_MODES)
    shape = tuple(int(size) for size in sample_shape)
    nodes = parse(layers, blocks)
    if not nodes:
        raise LayerError("model.layers is empty: a model needs at least one layer.")
    init = init or {}
    for name in init:
        if name not in {leaf.name for leaf in leaves(nodes)}:
            raise LayerError(f"model.init.{name}: the model has no such layer.")
    builder = _Builder(neuron, norm, T, init, step_mode)
    built, shapes = builder.entries(nodes, shape)
    return Net(built, shapes)


def build_model(
    config: Mapping[str, Any], sample_shape: Sequence[int], neuron: Choice | None = None, step_mode: str = "m"
) -> nn.Module:
    """The network of a resolved config with the keys model, norm, neuron, task and T.

    Args:
        sample_shape: as in build.
        neuron: instead of the config's.
        step_mode: as in build; a registered model decides on its own.

    Raises: LayerError, as build; what the constructor of a registered model raises.
    """
    model = config["model"]
    if "layers" not in model:
        chosen = config["neuron"] if neuron is None else neuron
        facts = {
            "sample_shape": tuple(sample_shape),
            "num_classes": config["task"]["outputs"],
            "neuron": partial(build_neuron, chosen),
        }
        target = registry.get("model", model["name"])
        return registry.build("model", **{key: fact for key, fact in facts.items() if takes(target, key)}, **model)
    return build(
        model["layers"],
        sample_shape,
        config["neuron"] if neuron is None else neuron,
        norm=config["norm"],
        T=config["T"],
        blocks=model.get("blocks"),
        init=model.get("init"),
        step_mode=step_mode,
    )


class _Builder:
    """From nodes and the shape that reaches them to modules and the shape that leaves them."""

    def __init__(self, neuron: Choice, norm: Choice, T: int | None, init: Mapping[str, Any], step_mode: str) -> None:
        self.neuron, self.norm, self.T, self.init, self.step_mode = neuron, norm, T, init, step_mode

    def entries(self, nodes: Sequence[Node], shape: tuple[int, ...]) -> tuple[list[nn.Module], list[tuple[int, ...]]]:
        modules: list[nn.Module] = []
        shapes: list[tuple[int, ...]] = []
        for node in nodes:
            module, shape = self.entry(node, shape)
            modules.append(module)
            shapes.append(shape)
        return modules, shapes

    def entry(self, node: Node, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        return self.layer(node, shape) if isinstance(node, Layer) else self.group(node, shape)

    def sequence(self, nodes: Sequence[Node], shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        modules, shapes = self.entries(nodes, shape)
        sequential = OTTTSequential if _makes_pairs(modules) else Sequential
        return sequential(*modules), shapes[-1] if shapes else shape

    def layer(self, node: Layer, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        return self.made(node, shape, lambda: self.construct(node, shape))

    def made(
        self, node: Node, shape: tuple[int, ...], construct: Callable[[], nn.Module]
    ) -> tuple[nn.Module, tuple[int, ...]]:
        """A new module in the step mode of the net, and the shape that leaves it; errors name the entry's place."""
        place = f"{node.path} {node.text}"
        try:
            layer = construct()
            functional.set_step_mode(layer, self.step_mode)
        except LayerError:  # of an entry inside
            raise
        except Exception as error:  # whatever a constructor raises, perhaps a user's own
            raise LayerError(f"{place}: {error}") from error
        return layer, self.leaving(layer, shape, place)

    def construct(self, node: Layer, shape: tuple[int, ...]) -> nn.Module:
        if node.name == "neuron":
            layer = build_neuron(self.neuron, node.arguments, shape)
        elif node.name == "norm":
            layer = self.registered(*chosen_norm(self.norm, node.arguments), shape)
        else:
            own = {"delay": node.delay} if node.delay is not None and takes_delay(node) else {}
            layer = self.registered(layer_class(node.name), {**node.arguments, **own}, shape)
        layer = per_step(layer, shape)
        for init in (self.init.get(node.name), node.init):
            if init is not None:
                initialize(layer, init)
        return layer if node.delay is None or takes_delay(node) else with_delay(layer, delay_settings(node.delay))

    def registered(
        self, target: Callable[..., nn.Module], arguments: Mapping[str, Any], shape: tuple[int, ...]
    ) -> nn.Module:
        arguments = dict(arguments)
        for name in inferred_arguments(target):
            if name in _SIZE_FROM_DIMENSION:
                arguments.setdefault(name, shape[_SIZE_FROM_DIMENSION[name]])
            elif name == "T" and self.T is not None:
                arguments.setdefault(name, self.T)
            elif name == "neuron":
                arguments.setdefault(name, partial(inner_neuron, self.neuron))
        registry.check_arguments(target, arguments)
        return target(**arguments)

    def group(self, node: Group, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        if node.kind == "block":
            entries = next(iter(node.lists.values()))
            return self.entry(entries[0], shape) if len(entries) == 1 else self.sequence(entries, shape)
        if node.kind == "repeat":
            return self.sequence([*node.lists["repeat"]] * node.settings["times"], shape)
        if node.kind == "min_size":
            smallest = min(shape[1:], default=1)
            return self.sequence(node.lists["layers" if smallest >= node.settings["min_size"] else "otherwise"], shape)
        if node.kind == "substeps":
            return self.substeps(node, shape)
        if node.kind == "recurrent":
            return self.recurrent(node, shape)
        if node.kind == "lava_block":
            return self.lava_block(node, shape)
        paths = [self.sequence(entries, shape)[0] for entries in node.lists.values()]
        join = node.settings["join"]
        is_residual = node.kind == "residual"
        return self.made(
            node, shape, lambda: Residual(*paths, join=join) if is_residual else Branches(paths, join=join)
        )

    def substeps(self, node: Group, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        count, neuron = node.settings["count"], self.neuron
        if isinstance(neuron, Mapping) and isinstance(neuron.get("T"), int):  # one with a parameter for each step
            neuron = {**neuron, "T": neuron["T"] * count}
        inside = _Builder(neuron, self.norm, None if self.T is None else self.T * count, self.init, self.step_mode)
        module, _ = inside.sequence(node.lists["substeps"], shape)
        return self.made(node, shape, lambda: Substeps(module, count))

    def recurrent(self, node: Group, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        step = _Builder(self.neuron, self.norm, self.T, self.init, "s")
        module, inner_shape = step.sequence(node.lists["recurrent"], shape)
        feedback, backend = node.settings.get("feedback"), node.settings["backend"]

        def construct() -> nn.Module:
            if _makes_pairs([module]):
                raise ValueError("an OTTT neuron hands on its spikes and its trace, of which nothing can be fed back.")
            if "feedback" in node.lists:
                back, _ = step.sequence(node.lists["feedback"], inner_shape)
                return ElementWiseRecurrentContainer(module, FeedbackSum(back), backend=backend)
            if choice("recurrent", "feedback", feedback, ("add", "concat")) == "add":
                return ElementWiseRecurrentContainer(module, operator.add, backend=backend)
            return LinearRecurrentContainer(module, shape[-1], inner_shape[-1], backend=backend)

        return self.made(node, shape, construct)

    def lava_block(self, node: Group, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        modules, _ = self.entries(node.lists["lava_block"], shape)

        def construct() -> nn.Module:
            if len(modules) != 2 or not isinstance(modules[1], BaseNode):
                raise ValueError("it takes two entries, a layer with weights and the neuron that it feeds.")
            layer, neuron = modules
            if isinstance(layer, SynapticDelay):
                raise ValueError("its weights have 8 bits, and delays of single weights do not. Use kind: axonal.")
            if not delay_lines(layer):
                return BlockContainer(layer, neuron, step_mode=self.step_mode)
            block = BlockContainer(layer.layer, neuron, step_mode=self.step_mode)
            return nn.Sequential(OrderedDict(delay=layer.delay, block=block))

        return self.made(node, shape, construct)

    @torch.no_grad()
    def leaving(self, layer: nn.Module, shape: tuple[int, ...], place: str) -> tuple[int, ...]:
        """Run zeros through the layer; its parameters, statistics and state stay as they were."""
        modes = [(module, module.training) for module in layer.modules()]
        parameter = next(layer.parameters(), None)
        device = None if parameter is None else parameter.device
        # A BatchNorm1d without running statistics refuses a single sample.
        leading = (2,) if self.step_mode == "s" else (probe_steps(layer), 2)
        try:
            with torch.random.fork_rng(devices=[]):  # some layers draw, also in evaluation
                out = layer.eval()(torch.zeros(*leading, *shape, device=device))
            if not isinstance(out, Tensor):
                what = "several tensors" if isinstance(out, (list, tuple)) else f"a {type(out).__name__}"
                raise TypeError(f"it returns {what}; a list of layers passes one tensor on.")
        except Exception as error:
            received = ", ".join(map(str, ("T", "N", *shape) if self.step_mode == "m" else ("N", *shape)))
            reason = _first_line(error).removesuffix(".") + "." + sequences_reach(layer)
            raise LayerError(f"{place} cannot take an input of shape [{received}]: {reason}") from error
        finally:
            for module, training in modes:
                module.training = training
            functional.reset_net(layer)
        return tuple(out.shape[len(leading) :])


def probe_steps(net: nn.Module, T: int = 1) -> int:
    """Length of a sequence that the network takes: that of a layer which has one (a parallel neuron), else T."""
    return next((module.T for module in net.modules() if isinstance(getattr(module, "T", None), int)), T)


def inferred_arguments(target: Callable[..., Any]) -> list[str]:
    """Arguments of a layer's constructor that the builder fills in where an entry leaves them out.

    They are sizes of the incoming shape and T, where the constructor has no default for them, and `neuron`, a function
    that makes one of the chosen kind.
    """
    parameters = inspect.signature(target).parameters
    return [
        name
        for name, parameter in parameters.items()
        if name == "neuron" or (name in (*_SIZE_FROM_DIMENSION, "T") and parameter.default is parameter.empty)
    ]


def _makes_pairs(layers: Sequence[nn.Module]) -> bool:
    return any(isinstance(module, OTTTLIFNode) for layer in layers for module in layer.modules())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
