"""Conversion with the largest activations as thresholds, and the error that remains: what several test files need."""

import warnings
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from watched_nets import outputs_of

from snntrain.ann2snn.converted import ConversionWarning, SpikingNet, to_spiking
from snntrain.ann2snn.graph import prepare, rectifiers


def largest_activations(gm: nn.Module, x: Tensor) -> dict[str, float]:
    """Name → maximum of the output of every Rectifier."""
    with torch.no_grad(), outputs_of(rectifiers(gm)) as seen:
        gm(x)
    return {name: y.max().item() for name, (y,) in seen.items()}


def convert_by_maximum(ann: nn.Module, x: Tensor, v_init: float = 0.5) -> SpikingNet:
    """v_init in parts of the threshold."""
    gm = prepare(ann, x)
    largest = largest_activations(gm, x)
    settings = {name: SimpleNamespace(theta=value, v_init=v_init * value) for name, value in largest.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        return to_spiking(gm, settings)


def in_evaluation(ann: nn.Module, x: Tensor) -> Tensor:
    """The output of the net in eval mode; its training flags stay."""
    flags = {name: module.training for name, module in ann.named_modules()}
    with torch.no_grad():
        out = ann.eval()(x.clone())
    for name, module in ann.named_modules():
        module.training = flags[name]
    return out


def error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


def settled(net: nn.Module, x: Tensor, seed: int = 0) -> nn.Module:
    """The net after batch normalizations have seen x, with scales, shifts and biases that are not 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
    with torch.no_grad():
        for _ in range(5):
            net(x.clone())
    return net
