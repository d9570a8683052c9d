"""The step graph of a net: what it computes in one time step, as layers, neurons, sums and products."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from snntrain import layer
from snntrain.base import state_dtype
from snntrain.functional import reset_net
from snntrain.graph.coverage import DROPOUTS
from snntrain.graph.error import NetError
from snntrain.graph.fusion import fuse
from snntrain.graph.node import (
    bypass,
    call_before,
    free_path,
    library_name,
    module_at,
    operation,
    place_of,
    replace_node,
)
from snntrain.graph.trace import drop_hooks, tidy, trace, working_copy
from snntrain.lava_exchange import BlockContainer, SumPool2d
from snntrain.layer.branch import Residual
from snntrain.layer.temporal_normalization import ThresholdDependentBatchNorm
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm, NoLinearForm, linear_form_of

_IDENTITIES = {*DROPOUTS, "Identity", "RepeatedStep", "PrintShapeModule"}


def input_of(batch: Any) -> Tensor:
    """The input in a batch of a data loader: the batch, or the first of its parts.

    Raises: ValueError for a batch that holds none.
    """
    x = batch
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    if not isinstance(x, Tensor) or x.dim() < 2:
        raise ValueError(f"a batch must be a tensor [N, *], or a tuple that starts with one, got {type(x)}.")
    return x


@torch.no_grad()
def step_graph(net: nn.Module, example: Tensor | None = None) -> fx.GraphModule:
    """A copy of a net as a graph of one step [N, *], without dropout, its batch normalizations joined with layers.

    Args:
        net: [T, N, *] → [T, N, K]; one that is a graph of one step already has a method `step_graph()`.
        example: input [T, N, *]; with it the nodes know their shapes.

    Returns: a graph module whose nodes are modules, sums, products, 1 − x and concatenations along the channels.
    Raises: NetError naming the node.
    """
    own = getattr(net, "step_graph", None)
    gm = (copy.deepcopy(own()) if own else trace(working_copy(net, _traceable_form))).float()
    drop_hooks(gm)
    _drop_identities(gm)
    _make_modules(gm)
    tidy(gm)
    if example is not None:
        _note_shapes(gm, example)
    fuse(gm)
    tidy(gm)
    return gm


class _SpikeProduct(nn.Module):
    """The joins of Residual that are products, as plain operations."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module, inverted: bool) -> None:
        super().__init__()
        self.residual, self.shortcut, self.inverted = residual, shortcut, inverted

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        return (1.0 - y if self.inverted else y) * self.shortcut(x)


def _traceable_form(path: str, module: nn.Module) -> nn.Module | None:
    """What computes the same in operations that tracing and fusion know."""
    if isinstance(module, Residual) and module.join in ("and", "iand"):
        return _SpikeProduct(module.residual, module.shortcut, module.join == "iand")
    if isinstance(module, BlockContainer):
        return _plain_block(module)
    if isinstance(module, SumPool2d):
        if module.dilation != (1, 1):
            raise NetError(f"{path} (SumPool2d)", "it has a dilation", "Use dilation 1.")
        return layer.AvgPool2d(module.kernel_size, module.stride, module.padding, divisor_override=1)
    return _plain_norm(module) if isinstance(module, ThresholdDependentBatchNorm) else None


def _plain_block(block: BlockContainer) -> nn.Module:
    """Its layer, with the weights that it computes with, and its neuron."""
    synapse = block.synapse
    if block.neuron is not None and hasattr(synapse, "weight"):
        synapse.weight = nn.Parameter(block.neuron.quantize_8bit(synapse.weight.detach()))
    parts = {"synapse": synapse, "neuron": block.neuron}
    return nn.Sequential(OrderedDict((name, part) for name, part in parts.items() if part is not None))


def _plain_norm(norm: ThresholdDependentBatchNorm) -> nn.Module:
    kind = getattr(layer, type(norm).__name__.replace("ThresholdDependent", ""))
    plain = kind(norm.num_features, eps=norm.eps)
    for name in ("weight", "bias"):
        setattr(plain, name, getattr(norm, name))
    plain.running_mean, plain.running_var = norm.running_mean, norm.running_var
    return plain.eval()


def _drop_identities(gm: fx.GraphModule) -> None:
    for node in list(gm.graph.nodes):
        if "dropout" in operation(node) or library_name(module_at(gm, node)) in _IDENTITIES:
            bypass(gm, node)


def _make_modules(gm: fx.GraphModule) -> None:
    """Put modules in the place of functions that flatten; `x += y` becomes `x + y`."""
    for node in list(gm.graph.nodes):
        name = operation(node)
        if name == "iadd":
            node.target = torch.add
        if name not in ("flatten", "view", "reshape"):
            continue
        rest = [*node.args[1:], *node.kwargs.values()]
        flattens = rest in ([1], [1, -1]) if name == "flatten" else len(rest) == 2 and rest[1] == -1
        if not flattens:
            raise NetError(place_of(gm, node), f"its arguments are {rest}", "Use Flatten.")
        replace_node(gm, node, call_before(gm, node, free_path(gm, node.name), layer.Flatten(), node.args[0]))


def _note_shapes(gm: fx.GraphModule, example: Tensor) -> None:
    if example.dim() < 2 or example.shape[0] == 0:
        raise NetError("", f"example must be an input [T, N, *], got shape {list(example.shape)}")
    x = example[0][:2].to(next((p.device for p in gm.parameters()), example.device))
    backends = {module: module.backend for module in gm.modules() if isinstance(module, BaseNode)}
    for module in backends:
        module.backend = "torch"  # no kernels are worth compiling for one step
    ShapeProp(gm).propagate(x.to(state_dtype(x.dtype)) if x.is_floating_point() else x.float())
    reset_net(gm)
    for module, backend in backends.items():
        module.backend = backend


def linear_form_at(place: str, neuron: nn.Module, reason: str, remedy: str) -> LinearForm:
    """The linear form of a neuron in a net.

    Args:
        place: the neuron, as in NetError.
        reason, remedy: of the error where the neuron has none and does not say why.

    Raises: NetError.
    """
    try:
        form = linear_form_of(neuron)
    except NoLinearForm as error:
        raise NetError(place, error.reason, error.remedy) from None
    if form is None:
        raise NetError(place, reason, f"{remedy} A neuron of your own needs a method linear_form().")
    return form
