"""From a net of floats to the parts of a Chain: its layers, one after the other."""

import contextlib
import io
import itertools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain import lava_exchange, layer
from snntrain.export.chain import NO_NEURONS, Chain, Row
from snntrain.export.error import MAX_POOL_REMEDY, ExportError
from snntrain.export.synapse import Pool, Synapse, pair
from snntrain.graph import (
    adaptive_window,
    first_line,
    kind_of,
    library_name,
    shape_of,
    step_graph,
    title_of,
)
from snntrain.hooks import carries_state
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer

_SEQUENTIAL = "layers must follow one another"
_WINDOW = ("kernel_size", "stride", "padding", "dilation")
_NOT_FOLDED = (
    "no convolution or linear layer comes just before it, or its statistics are not fixed",
    "Use BatchNorm2d with running statistics between a layer and its neurons.",
)
_NO_FORM = {
    "MaxPool": ("there is no such maximum", f"Use MaxPool2d after neurons, and {MAX_POOL_REMEDY}."),
    "ConvTranspose": ("there is no transposed convolution", "Use Conv2d."),
    "MaxUnpool": ("there is no unpooling", "Leave it out."),
    "Upsample": ("there is no upsampling", "Leave it out."),
    "Attention": ("it multiplies activations with each other", "Use convolutions and linear layers."),
    "Norm": _NOT_FOLDED,
    "ChannelAffine": _NOT_FOLDED,  # what is left of a batch normalization
}


def walk(
    net: nn.Module,
    example: Tensor,
    chain: Chain,
    neuron_of: Callable[[str, nn.Module], Any],
    append_neuron: nn.Module | None = None,
) -> list[Row]:
    """Hand the parts of a net to a chain; what is refused becomes the problem of its row.

    Args:
        net: [T, N, *] → [T, N, K]; it stays as it is.
        example: an input.
        neuron_of: (place, neuron) → what chain.neurons takes.
        append_neuron: goes behind the last layer.

    Returns: a row for every layer. Raises: ExportError for a net that cannot be traced.
    """
    walker = _Walker(step_graph_of(net, example), chain, neuron_of)
    for node in walker.gm.graph.nodes:
        if node.op not in ("placeholder", "output"):
            walker.visit(node)
    if append_neuron is not None:
        last = Row("append_neuron", type(append_neuron).__name__)
        walker.attempt(last, lambda: chain.neurons(last, neuron_of(last.place, append_neuron)))
    walker.finish()
    return walker.all_rows()


def step_graph_of(net: nn.Module, example: Tensor) -> fx.GraphModule:
    """What a net computes in one step. Raises: ExportError for a net that cannot be traced."""
    for path, module in net.named_modules():
        if isinstance(module, lava_exchange.BatchNorm2d):
            reason = "a netx file has no place for its scale, and Lava's reader would leave it out"
            remedy = "Use BatchNorm2d of snntrain.layer, which is folded."
            raise ExportError(f"{path} (lava_exchange.BatchNorm2d)", reason, remedy)
    try:
        with ExportError.instead(), contextlib.redirect_stderr(io.StringIO()):  # where torch prints its errors as well
            return step_graph(net, example)
    except ExportError:
        raise
    except ValueError as error:
        raise ExportError("", f"a chip computes step by step, and this net cannot: {first_line(error)}") from None
    except RuntimeError as error:
        text = first_line(error.__cause__ or error)
        step = list(example.shape[1:])
        raise ExportError("", f"the net does not take a step {step} of the example: {text}") from error


class _Walker:
    """Goes through a graph."""

    def __init__(self, gm: fx.GraphModule, chain: Chain, neuron_of: Callable[[str, nn.Module], Any]) -> None:
        self.gm, self.chain, self.neuron_of = gm, chain, neuron_of
        self.rows: list[tuple[str, Row]] = []
        self.last: fx.Node | None = None

    def visit(self, node: fx.Node) -> None:
        row = Row(title_of(node), kind_of(self.gm, node))
        self.attempt(row, lambda: self.node(row, node), node)
        self.last = node

    def attempt(self, row: Row, step: Callable[[], None], node: fx.Node | None = None) -> None:
        self.rows.append(("" if node is None else node.name, row))
        try:
            with ExportError.instead():
                step()
        except ExportError as error:
            row.problem = error
            shape = None if node is None else shape_of(node)
            if shape is not None:
                self.chain.restart(shape[1:])

    def finish(self) -> None:
        """Deal with the end of the net."""
        if any(row.problem for _, row in self.rows):
            return
        if not self.rows:
            self.rows.append(("", Row("", "net")))
        last = self.rows[-1][1]
        if not self.chain.count:
            last.problem = ExportError(*NO_NEURONS)
            return
        try:
            self.chain.readout()
        except ExportError as error:
            last.problem = error

    def node(self, row: Row, node: fx.Node) -> None:
        before = next(iter(self.gm.graph.nodes)) if self.last is None else self.last
        if node.op != "call_module":
            raise ExportError(row.place, f"{_SEQUENTIAL}, without sums or products", "Leave it out.")
        if node.args[0] is not before or len(before.users) > 1:
            reason = f"its input goes to several layers, or comes from an earlier one; {_SEQUENTIAL}"
            raise ExportError(row.place, reason, "Leave out residual paths and branches.")
        module = self.gm.get_submodule(node.target)
        uses = sum(other.target == node.target for other in self.gm.graph.nodes if other.op == "call_module")
        if uses > 1 and carries_state(module):
            reason = "it is used in several places, which share its state"
            raise ExportError(row.place, reason, "Give each place neurons of its own.")
        self.module(row, module)

    def module(self, row: Row, module: nn.Module) -> None:
        kind = library_name(module)
        if kind in ("Linear", "Conv2d"):
            self.chain.weights(row, synapse_of(row, module))
        elif kind in ("AvgPool2d", "AdaptiveAvgPool2d"):
            self.chain.pool(row, pool_of(row, module, self.chain.now))
        elif kind == "MaxPool2d":
            if module.ceil_mode or module.return_indices:
                raise ExportError(row.place, "it has ceil_mode or return_indices", "Use False for both.")
            self.chain.maximum(row, *(pair(getattr(module, name)) for name in _WINDOW))
        elif kind == "Flatten":
            if (module.start_dim, module.end_dim) != (1, -1):
                raise ExportError(row.place, "it does not flatten all but the batch", "Use Flatten(1, -1).")
            self.chain.flatten(row)
        elif kind == "VotingLayer":
            self.chain.weights(row, votes_of(row, module, self.chain.now[-1]))
        elif isinstance(module, layer.AxonalDelay):
            self.chain.delays(row, module.steps())
        elif isinstance(module, layer.SynapticDelay):
            remedy = "Use delay.kind=axonal, one delay for each channel of its input."
            raise ExportError(row.place, "each of its weights has a delay of its own", remedy)
        elif isinstance(module, (ElementWiseRecurrentContainer, LinearRecurrentContainer)):
            self.recurrent(row, module)
        elif hasattr(module, "linear_form"):
            self.chain.neurons(row, self.neuron_of(row.place, module))
        else:
            raise unknown_layer(row)

    def recurrent(self, row: Row, module: nn.Module) -> None:
        neuron = only(module.sub_module)
        if not hasattr(neuron, "linear_form"):
            reason = f"it feeds {type(neuron).__name__} in its loop"
            raise ExportError(row.place, reason, "Keep a neuron alone in the loop; put layers before it.")
        made = self.neuron_of(f"{row.name}.sub_module ({type(neuron).__name__})", neuron)
        if isinstance(module, LinearRecurrentContainer):
            self.chain.weights(row, linear_of(row, module.rc, slice(0, module.in_features)))
            self.chain.recurrent(row, double(module.rc.weight[:, module.in_features :]))
        else:
            self.chain.recurrent(row, _feedback(row, module.element_wise_function, self.chain.now))
        self.chain.neurons(row, made)

    def all_rows(self) -> list[Row]:
        """All rows, including those of layers that the graph has lost to fusion."""
        origin: dict[str, tuple[str, str]] = self.gm.meta.get("origin", {})
        places: dict[str, tuple[str, str]] = self.gm.meta.get("places", {})
        order = {name: index for index, name in enumerate(origin)}
        known = {row.name for _, row in self.rows} | {name for name, _ in self.rows}
        keys = itertools.accumulate((order.get(name, -1) for name, _ in self.rows), max)
        rows = list(zip(keys, (row for _, row in self.rows), strict=True))
        for name, (title, kind) in origin.items():
            if name not in known and title not in known and kind != "flatten":
                place, _ = places.get(name, ("", ""))
                becomes = f"folded into {place}" if place else "nothing, in evaluation"
                rows.append((order[name], Row(title, kind, becomes)))
        return [row for _, row in sorted(rows, key=operator.itemgetter(0))]


def unknown_layer(row: Row) -> ExportError:
    """The error of a layer that no file has a form for."""
    for part, (reason, remedy) in _NO_FORM.items():
        if part in row.kind:
            return ExportError(row.place, reason, remedy)
    if row.kind.endswith("Node"):
        remedy = "Use CubaLIFNode or IFNode."
        return ExportError(row.place, "it states no linear form of its dynamics", remedy)
    return ExportError(row.place, "there is no such layer", "Use Conv2d, Linear, AvgPool2d, Flatten and neurons.")


def only(module: nn.Module) -> nn.Module:
    """The module in a sequence of one."""
    while isinstance(module, nn.Sequential) and len(module) == 1:
        module = module[0]
    return module


def double(value: Tensor) -> Tensor:
    """The values of a parameter in float64."""
    return value.detach().cpu().double()


def _bias(module: nn.Module) -> Tensor | None:
    return None if module.bias is None else double(module.bias)


def synapse_of(row: Row, module: nn.Module) -> Synapse:
    """A Linear, or a convolution, in float64. Raises: ExportError for a padding that a Synapse has not."""
    if isinstance(module, nn.Linear):
        return linear_of(row, module)
    if module.padding_mode != "zeros":
        raise ExportError(row.place, f"padding_mode is {module.padding_mode!r}", "Use padding_mode 'zeros'.")
    stride, dilation = tuple(module.stride), tuple(module.dilation)
    padding = (0,) * len(stride) if isinstance(module.padding, str) else tuple(module.padding)
    if module.padding == "same":
        reach = [far * (size - 1) for far, size in zip(dilation, module.kernel_size, strict=True)]
        if any(each % 2 for each in reach):
            raise ExportError(row.place, "padding 'same' pads its two sides differently", "Use an odd kernel.")
        padding = tuple(each // 2 for each in reach)
    weight = double(module.weight)
    return Synapse(row.name, weight, _bias(module), stride, padding, dilation, module.groups)


def votes_of(row: Row, module: nn.Module, inputs: int) -> Synapse:
    """The means of a VotingLayer as weights."""
    size = module.voting_size
    weight = torch.eye(inputs // size, dtype=torch.float64).repeat_interleave(size, 1) / size
    return Synapse(row.name, weight)


def linear_of(row: Row, module: nn.Linear, columns: slice = slice(None)) -> Synapse:
    """A Linear, or those of its columns, in float64."""
    return Synapse(row.name, double(module.weight[:, columns]), _bias(module))


def pool_of(row: Row, module: nn.Module, shape: tuple[int, ...]) -> Pool:
    """A pooling that averages steps of a shape [C, H, W]. Raises: ExportError for an argument that a Pool has not."""
    kind = library_name(module)
    if kind == "AdaptiveAvgPool2d":
        window = adaptive_window(row.place, module, shape[1:], "Use AvgPool2d.")
        return Pool(window, window, (0, 0), average=True)
    kernel, padding = pair(module.kernel_size), pair(module.padding)
    stride = kernel if module.stride is None else pair(module.stride)
    odd: dict[str, Any] = {
        "ceil_mode": getattr(module, "ceil_mode", False),
        "a dilation": pair(getattr(module, "dilation", 1)) != (1, 1),
        "a divisor_override other than 1": getattr(module, "divisor_override", None) not in (None, 1),
        "count_include_pad = False": padding != (0, 0) and not getattr(module, "count_include_pad", True),
    }
    for name, is_set in odd.items():
        if is_set:
            raise ExportError(row.place, f"it has {name}", "Use kernel_size, stride and padding alone.")
    return Pool(kernel, stride, padding, average=getattr(module, "divisor_override", None) != 1)


def _feedback(row: Row, function: Any, shape: tuple[int, ...]) -> Tensor:
    """Weights from a neuron's last spikes to its input, of the function that joins them."""
    if len(shape) == 1:
        if function in (torch.add, operator.add):
            return torch.eye(shape[0], dtype=torch.float64)
        if isinstance(function, FeedbackSum):
            inner = only(function.feedback)
            if library_name(inner) == "Linear" and inner.bias is None:
                return double(inner.weight)
    reason = "feedback must be one matrix of weights between the neurons of a dense layer"
    raise ExportError(row.place, reason, "Use a Linear layer without bias as feedback, behind Flatten.")
