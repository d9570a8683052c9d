"""Batch normalization in evaluation is a scale and a shift per channel, which the layer beside it can take over."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from snntrain.graph.node import bypass, library_name, module_at, note_place, shape_of

_CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}
_NORMS = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}


def per_channel(value: Tensor, x: Tensor) -> Tensor:
    """A value in the shape in which it meets x [N, C, *].

    Args:
        value: 0-d; [C]; or of the shape [C, *] of one sample.

    Raises: ValueError naming both shapes if they do not fit.
    """
    if value.dim() == 0:
        return value
    if value.dim() == 1 and x.dim() >= 2 and value.shape[0] == x.shape[1]:
        return value.view(1, -1, *[1] * (x.dim() - 2))
    if value.shape == x.shape[1:]:
        return value.unsqueeze(0)
    raise ValueError(
        f"per_channel: a value of shape {list(value.shape)} fits neither the channels (dim 1) nor a sample of an input "
        f"of shape {list(x.shape)}."
    )


class ChannelAffine(nn.Module):
    """A scale and a shift for each channel.

    y = scale·x + shift.

    Args:
        scale, shift: [C]; kept in buffers.

    Shapes: x [N, C, *]; output as input.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", shift.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x * per_channel(self.scale, x) + per_channel(self.shift, x)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.scale.numel()} channels"


def fuse(gm: fx.GraphModule, forwards: bool = True) -> None:
    """Join every batch normalization with a convolution or linear layer, in place.

    - Convolution or Linear → BatchNorm, y = a·x + c: W' = a·W, b' = a·b + c, where the layer is used once and has no
      other user.
    - BatchNorm → convolution or Linear, such as after an activation: W' = W·a, b' = b + W·c, where that is exact. It is
      not where zeros are padded to a shifted input.
    - What is left becomes a ChannelAffine.

    A Linear's output of shape [N, L, F], if shapes are known (meta of ShapeProp), is left alone: its channels are L.

    Args:
        forwards: do the second and the third too.
    """
    for node, norm in _norms(gm):
        source = node.args[0]
        if _is_own_layer(gm, source) and len(source.users) == 1 and _fits(gm, source, norm):
            gm.set_submodule(
                source.target, _joined_backwards(gm.get_submodule(source.target), *_scale_and_shift(norm)).eval()
            )
            note_place(gm, node, source.target, "joined with")
            bypass(gm, node)
    if not forwards:
        return
    for node, norm in _norms(gm):
        scale, shift = _scale_and_shift(norm)
        target = next(iter(node.users)) if len(node.users) == 1 else None
        if target is not None and _is_own_layer(gm, target) and _takes_affine(gm, node, target, shift):
            gm.set_submodule(target.target, _joined_forwards(gm.get_submodule(target.target), scale, shift).eval())
            note_place(gm, node, target.target, "joined with")
            bypass(gm, node)
        else:
            gm.set_submodule(node.target, ChannelAffine(scale, shift).eval())


def _norms(gm: fx.GraphModule) -> Iterator[tuple[fx.Node, nn.Module]]:
    """The batch normalizations that have statistics."""
    for node in list(gm.graph.nodes):
        norm = module_at(gm, node)
        if library_name(norm) in _NORMS and norm.running_mean is not None:
            yield node, norm


def _is_own_layer(gm: fx.GraphModule, node: object) -> bool:
    """Whether it is a convolution or Linear that nothing else in the graph uses."""
    if library_name(module_at(gm, node)) not in {*_CONVOLUTIONS, "Linear"}:
        return False
    prefix = f"{node.target}."
    return not any(
        other is not node
        and other.op in ("call_module", "get_attr")
        and (other.target == node.target or other.target.startswith(prefix))
        for other in gm.graph.nodes
    )


def _rank(node: fx.Node) -> int | None:
    shape = shape_of(node)
    return None if shape is None else len(shape)


def _fits(gm: fx.GraphModule, source: fx.Node, norm: nn.Module) -> bool:
    layer = gm.get_submodule(source.target)
    if library_name(layer) != "Linear":
        return layer.out_channels == norm.num_features
    return layer.out_features == norm.num_features and _rank(source) in (None, 2)


def _takes_affine(gm: fx.GraphModule, node: fx.Node, target: fx.Node, shift: Tensor) -> bool:
    layer = gm.get_submodule(target.target)
    if library_name(layer) == "Linear":
        return _rank(node) == 2
    padded = layer.padding == "same" or (layer.padding != "valid" and any(layer.padding))
    return not padded or layer.padding_mode != "zeros" or not shift.any()


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """a and c of y = a·x + c, in double."""
    mean, variance = norm.running_mean.detach().double(), norm.running_var.detach().double()
    weight = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    scale = weight / torch.sqrt(variance + norm.eps)
    return scale, bias - scale * mean


def _joined_backwards(layer: nn.Module, scale: Tensor, shift: Tensor) -> nn.Module:
    weight = layer.weight.detach()
    bias = scale.new_zeros(scale.shape) if layer.bias is None else layer.bias.detach().double()
    return _with(layer, weight.double() * scale.view(-1, *[1] * (weight.dim() - 1)), bias * scale + shift)


def _joined_forwards(layer: nn.Module, scale: Tensor, shift: Tensor) -> nn.Module:
    weight = layer.weight.detach().double()
    groups = getattr(layer, "groups", 1)
    # Row o of the weight sees the channels of its group only.
    per_row = weight.shape[0] // groups
    shape = (weight.shape[0], -1, *[1] * (weight.dim() - 2))
    a = scale.view(groups, -1).repeat_interleave(per_row, 0).view(shape)
    c = shift.view(groups, -1).repeat_interleave(per_row, 0).view(shape)
    bias = weight.new_zeros(weight.shape[0]) if layer.bias is None else layer.bias.detach().double()
    return _with(layer, weight * a, bias + (weight * c).flatten(1).sum(1))


def _with(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """A copy of the layer with these parameters, in the dtype of its own."""
    joined, old = copy.copy(layer), layer.weight
    joined._parameters = dict(layer._parameters)
    joined.weight = nn.Parameter(weight.to(old.dtype), old.requires_grad)
    joined.bias = nn.Parameter(bias.to(old.dtype), old.requires_grad)
    return joined
