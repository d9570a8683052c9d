"""Conversion with the largest activations as thresholds, and the error that remains: what several test files need."""

import hashlib
import warnings
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from snntrain.ann2snn.converted import ConversionWarning, SpikingNet, to_spiking
from snntrain.ann2snn.graph import prepare, rectifiers


def largest_activations(gm: nn.Module, x: Tensor) -> dict[str, float]:
    """Name → maximum of the output of every Rectifier."""
    largest: dict[str, float] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, out, name=name: largest.__setitem__(name, out.max().item()))
        for name, module in rectifiers(gm).items()
    ]
    with torch.no_grad():
        gm(x)
    for hook in hooks:
        hook.remove()
    return largest


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


def fingerprint(net: nn.Module) -> str:
    """A hash of all parameters, buffers and training flags."""
    digest = hashlib.sha256()
    for name, value in net.state_dict(keep_vars=True).items():
        digest.update(f"{name}{value.dtype}{value.requires_grad}{value.grad}".encode())
        digest.update(
            value.detach().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else str(value).encode()
        )
    for name, module in net.named_modules():
        digest.update(f"{name}{type(module).__name__}{module.training}".encode())
    return digest.hexdigest()


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
