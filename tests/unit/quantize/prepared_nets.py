"""Small nets and pictures for the tests of prepare."""

import torch
from torch import Tensor, nn

from snntrain.functional import reset_net
from snntrain.model import build
from snntrain.quantize import QuantizedNet, observe, prepare

INT16 = {"bits": 8, "quantype": "fake", "w": {"bits": 12}, "v": {"bits": 20}}


def small_net(kind: str = "LIFNode", residual: bool = True, **arguments: object) -> nn.Module:
    """A convolutional net that has seen data, in evaluation."""
    torch.manual_seed(0)
    block = [{"name": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}, "norm", "neuron"]
    layers = [
        {"name": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1, "bias": False},
        "norm",
        "neuron",
        {"name": "MaxPool2d", "kernel_size": 2},
        *([{"residual": block}] if residual else block),
        {"name": "AvgPool2d", "kernel_size": 2},
        "Flatten",
        "Dropout",
        {"name": "Linear", "out_features": 12},
        "neuron",
        {"name": "Linear", "out_features": 4},
    ]
    net = build(layers, (1, 12, 12), {"name": kind, "backend": "torch", **arguments})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.5 if parameter.dim() > 1 else 1.0)
        for _ in range(3):
            net(pictures(4, 8))
            reset_net(net)
    return net.eval()


def pictures(T: int, N: int, seed: int = 0) -> Tensor:
    """Inputs that 8 bits hold."""
    x = torch.randint(0, 256, (T, N, 1, 12, 12), generator=torch.Generator().manual_seed(seed))
    x[0, 0, 0, 0, 0] = 255
    return x / 127.5


def prepared(net: nn.Module, quant: object, x: Tensor) -> QuantizedNet:
    quantized = prepare(net, quant, x)
    observe(quantized, [x])
    return quantized
