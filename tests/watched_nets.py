"""What a test sees of a net from outside: a hash of all it holds, and what its modules put out."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def fingerprint(net: nn.Module) -> str:
    """A hash of all parameters, buffers, gradients and training flags."""
    digest = hashlib.sha256()
    for name, value in net.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            digest.update(f"{name}{value.dtype}{value.requires_grad}{value.grad}".encode())
            value = value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name}{value}".encode())
    for name, module in net.named_modules():
        digest.update(f"{name}{type(module).__name__}{module.training}".encode())
    return digest.hexdigest()


@contextmanager
def outputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Name → what the module puts out, call by call, in the block."""
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _module, _inputs, y, name=name: seen[name].append(y))
        for name, module in modules.items()
    ]
    yield seen
    for handle in handles:
        handle.remove()
