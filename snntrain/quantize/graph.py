"""A net as a graph in which every node is a layer, a neuron, a sum or a product: what prepare works on."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from snntrain import layer
from snntrain.ann2snn.converted import SpikingNet
from snntrain.ann2snn.coverage import DROPOUTS, library_name, operation
from snntrain.ann2snn.fusion import fuse
from snntrain.ann2snn.node import RepeatedStep
from snntrain.ann2snn.trace import ConversionError, drop_hooks, free_path, tidy, title_of, trace, working_copy
from snntrain.base import state_dtype
from snntrain.functional import copy_net, reset_net
from snntrain.layer.branch import Residual
from snntrain.layer.temporal_normalization import ThresholdDependentBatchNorm
from snntrain.quantize.error import QuantizationError, refusal

_IDENTITIES = {*DROPOUTS, "Identity", "RepeatedStep", "PrintShapeModule"}


def kind_of(gm: fx.GraphModule, node: fx.Node) -> str:
    """Class of a module, name of a function."""
    if node.op == "call_module":
        return type(gm.get_submodule(node.target)).__name__
    return operation(node) or node.op


class _SpikeProduct(nn.Module):
    """The joins of Residual that are products, as plain operations."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module, inverted: bool) -> None:
        super().__init__()
        self.residual, self.shortcut, self.inverted = residual, shortcut, inverted

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        return (1.0 - y if self.inverted else y) * self.shortcut(x)


@torch.no_grad()
def graph_of(net: nn.Module, example: Tensor | None = None) -> fx.GraphModule:
    """A copy of a net as a graph of one step [N, *], without dropout, batch normalizations joined with layers.

    Args:
        net: [T, N, *] → [T, N, K], or a SpikingNet.
        example: input [T, N, *]; with it the nodes know their shapes.

    Returns: a graph module whose nodes are modules, sums, products, 1 − x and concatenations along the channels.
    Raises: QuantizationError naming the node.
    """
    try:
        gm = copy.deepcopy(net.net) if isinstance(net, SpikingNet) else trace(_traceable(net))
    except ConversionError as error:
        raise QuantizationError(str(error).replace("ann2snn:", "quantize:").replace("converted", "quantized")) from None
    gm = gm.float()
    drop_hooks(gm)
    _drop_identities(gm)
    _make_modules(gm)
    tidy(gm)
    if example is not None:
        _note_shapes(gm, example)
    fuse(gm)
    tidy(gm)
    return gm


def _traceable(net: nn.Module) -> nn.Module:
    """A copy in step mode 's', in which everything has the form that tracing and joining know."""
    net = copy_net(net)
    for path, module in list(net.named_modules()):
        replacement = None
        if isinstance(module, Residual) and module.join in ("and", "iand"):
            replacement = _SpikeProduct(module.residual, module.shortcut, module.join == "iand")
        elif isinstance(module, ThresholdDependentBatchNorm):  # in evaluation it is a batch normalization
            replacement = _plain_norm(module)
        if replacement is None:
            continue
        if not path:
            return working_copy(replacement)
        parent, _, name = path.rpartition(".")
        setattr(net.get_submodule(parent), name, replacement)
    return working_copy(net)


def _plain_norm(norm: ThresholdDependentBatchNorm) -> nn.Module:
    kind = getattr(layer, type(norm).__name__.replace("ThresholdDependent", ""))
    plain = kind(norm.num_features, eps=norm.eps)
    for name in ("weight", "bias"):
        setattr(plain, name, getattr(norm, name))
    plain.running_mean, plain.running_var = norm.running_mean, norm.running_var
    return plain.eval()


def _drop_identities(gm: fx.GraphModule) -> None:
    for node in list(gm.graph.nodes):
        is_functional = "dropout" in operation(node)
        if node.op == "call_module":
            module = gm.get_submodule(node.target)
            is_identity = library_name(module) in _IDENTITIES or isinstance(module, RepeatedStep)
        if is_functional or (node.op == "call_module" and is_identity):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)


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
            raise refusal(title_of(node), name, f"its arguments are {rest}", "Use Flatten.")
        path = free_path(gm, node.name)
        gm.add_submodule(path, layer.Flatten())
        with gm.graph.inserting_before(node):
            replacement = gm.graph.call_module(path, (node.args[0],))
        node.replace_all_uses_with(replacement)
        gm.graph.erase_node(node)


def _note_shapes(gm: fx.GraphModule, example: Tensor) -> None:
    if example.dim() < 2 or example.shape[0] == 0:
        raise QuantizationError(f"quantize: example must be an input [T, N, *], got shape {list(example.shape)}.")
    x = example[0][:2].to(next((p.device for p in gm.parameters()), example.device))
    ShapeProp(gm).propagate(x.to(state_dtype(x.dtype)) if x.is_floating_point() else x.float())
    reset_net(gm)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Shape of a node's output for one step, with its batch; None if no example was given."""
    meta: Any = node.meta.get("tensor_meta")
    return None if meta is None else tuple(meta.shape)
