"""Layers with quantized inputs, weights and outputs, for nets that are built from them."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.arguments import invalid
from snntrain.layer.fold import FoldedLayer, StepLayer
from snntrain.quantize.params import QuantParams
from snntrain.quantize.quantizer import Quantizer
from snntrain.registry import register

_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")


@runtime_checkable
class QuantizerInputProtocol(Protocol):
    """A module that quantizes its input."""

    quantizer_input: Quantizer


@runtime_checkable
class QuantizerActProtocol(Protocol):
    """A module that quantizes its output."""

    quantizer_act: Quantizer


class QuantizedLayer:
    """Mixin of layers with weights: y = q_act(activation(op(q_in(x), q_w(W), q_w(b)))).

    Weights and bias share one range, unless quant_params has a key `bias`. Values are exchanged, not integers; prepare
    takes a net of such layers for one of plain ones.

    Attributes:
        quantizer_input, quantizer_w, quantizer_act: Quantizers.
        quantizer_bias: a Quantizer, or None.
    """

    weight: Tensor
    bias: Tensor | None
    quantizer_input: Quantizer
    quantizer_w: Quantizer
    quantizer_act: Quantizer
    quantizer_bias: Quantizer | None

    @classmethod
    def from_module(
        cls, module: nn.Module, quant_params: Mapping[str, Any] | QuantParams, norm: nn.Module | None = None
    ) -> Self:
        """The quantized form of a layer of torch, with its weights.

        Args:
            module: nn.Linear, nn.Conv1d or nn.Conv2d, as cls is.
            quant_params: as in the constructor.
            norm: a batch normalization behind it, with running statistics, to be joined with it: W·a, (b − μ)·a + β,
                a = γ/√(σ² + eps).
        """
        names = ("in_features", "out_features") if isinstance(module, nn.Linear) else _CONVOLUTION
        sizes = {name: getattr(module, name) for name in names}
        layer = cls(
            **sizes,
            quant_params=quant_params,
            bias=module.bias is not None or norm is not None,
            step_mode=getattr(module, "step_mode", "s"),
        )
        with torch.no_grad():
            weight = module.weight.double()
            bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.double()
            if norm is not None:
                a = (norm.running_var.double() + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight)
                bias = (bias - norm.running_mean) * a + (0.0 if norm.bias is None else norm.bias)
                weight = weight * a.view(-1, *[1] * (weight.dim() - 1))
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
        return layer

    def set_up(self, quant_params: Mapping[str, Any] | QuantParams, activation: nn.Module | None) -> None:
        """What the constructors share."""
        params = QuantParams.of(quant_params)
        if activation is not None and not isinstance(activation, nn.Module):
            raise invalid(self, "activation", "a module, or None", activation)
        self.activation = activation
        for kind in ("input", "w", "act"):
            setattr(self, f"quantizer_{kind}", Quantizer(params, kind))
        self.quantizer_bias = None if params.bias is None else Quantizer(params, "bias")

    def quantized_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as the layer uses them."""
        if self.bias is None:
            return self.quantizer_w(self.weight), None
        if self.quantizer_bias is not None:
            return self.quantizer_w(self.weight), self.quantizer_bias(self.bias)
        return self.quantizer_w(self.weight, self.bias)

    def finished(self, y: Tensor) -> Tensor:
        """The output of a sum of products."""
        return self.quantizer_act(y if self.activation is None else self.activation(y))

    @property
    def bits(self) -> int:
        """Bits of the output."""
        return self.quantizer_act.bits

    @property
    def fractional_bits(self) -> int | None:
        """Fractional bits of the output; None if there are none."""
        return self.quantizer_act.fractional_bits

    @property
    def weights_bits(self) -> int:
        """Bits of the weights."""
        return self.quantizer_w.bits

    @property
    def weights_q(self) -> int | None:
        """Fractional bits of the weights; None if there are none."""
        return self.quantizer_w.fractional_bits


@register("layer")
class QuantizedLinear(QuantizedLayer, StepLayer, nn.Linear):
    """Fully connected layer with quantized input, weights and output.

    Args:
        quant_params: mapping or QuantParams, see there.
        activation: module applied before the output is quantized, or None.
        Others as in torch.

    Shapes: [N, *, in] → [N, *, out] ('s'); [T, N, *, in] → [T, N, *, out] ('m').
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        quant_params: Mapping[str, Any] | QuantParams,
        bias: bool = True,
        activation: nn.Module | None = None,
        step_mode: str = "s",
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias)
        self.set_up(quant_params, activation)
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        self.check_steps(x)
        return self.finished(F.linear(self.quantizer_input(x), *self.quantized_parameters()))


class _Convolution(QuantizedLayer, FoldedLayer):
    """Constructor and forward of the convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        quant_params: Mapping[str, Any] | QuantParams,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        activation: nn.Module | None = None,
        step_mode: str = "s",
    ) -> None:
        torch_layer = nn.Conv1d if isinstance(self, nn.Conv1d) else nn.Conv2d
        torch_layer.__init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.set_up(quant_params, activation)
        self.step_mode = step_mode

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.finished(super()._conv_forward(self.quantizer_input(input), *self.quantized_parameters()))


@register("layer")
class QuantizedConv1d(_Convolution, nn.Conv1d):
    """Convolution over one spatial dim with quantized input, weights and output.

    Args:
        quant_params: mapping or QuantParams, see there.
        activation: module applied before the output is quantized, or None.
        Others as in torch.

    Shapes: input [N, C, L] ('s') or [T, N, C, L] ('m'); the output keeps N, or T and N.
    """

    step_shapes = ("N, C, L",)


@register("layer")
class QuantizedConv2d(_Convolution, nn.Conv2d):
    """Convolution over two spatial dims with quantized input, weights and output.

    Args:
        quant_params: mapping or QuantParams, see there.
        activation: module applied before the output is quantized, or None.
        Others as in torch.

    Shapes: input [N, C, H, W] ('s') or [T, N, C, H, W] ('m'); the output keeps N, or T and N.
    """

    step_shapes = ("N, C, H, W",)
