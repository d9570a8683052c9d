"""Check the tensors of a checkpoint before anything is built for them or loads them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from snntrain.config.error import refusing
from snntrain.config.size import in_words, machine_memory
from snntrain.error import DamagedFile, UsageError
from snntrain.files import MOST_VALUES
from snntrain.tree import DEEPEST, values_in, walk

_PLAIN = (type(None), bool, int, float, str)


def check_tree(tree: Any, source: str) -> None:
    """Refuse a state that holds more than plain containers, numbers, texts and tensors, or is larger than its file."""
    if values_in(tree) > MOST_VALUES:
        raise DamagedFile(f"{source} is damaged: it has more than {MOST_VALUES:,} values or {DEEPEST} levels.")
    for path, _, value in walk(tree):
        if isinstance(value, Tensor):
            # A stride of 0 or a meta tensor lets a file of one kilobyte describe any number of values.
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise DamagedFile(f"{source} is damaged: {path} is no ordinary tensor.")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise DamagedFile(f"{source} is damaged: {path} has the shape {list(value.shape)}, but not the values.")
        elif not isinstance(value, (*_PLAIN, Mapping)):
            raise DamagedFile(f"{source} is damaged: {path} holds {type(value).__name__}, which no run writes.")


def _check_kinds(saved: Any, own: Mapping[str, Any], source: str) -> None:
    """Refuse a state whose entries hold another kind of number than the network's: torch would convert them silently.

    Names and shapes are left to the modules: some accept those of earlier versions or of other libraries.
    """
    if not isinstance(saved, Mapping):
        raise DamagedFile(f"{source} is damaged: its weights are {type(saved).__name__}, not a mapping.")
    if not all(isinstance(name, str) for name in saved):
        raise DamagedFile(f"{source} is damaged: its weights have names that are no text.")
    for name, value in own.items():
        if not isinstance(value, Tensor) or name not in saved:
            continue
        found = saved[name]
        if not isinstance(found, Tensor):
            raise DamagedFile(f"{source} is damaged: {name} is {type(found).__name__}, not a tensor.")
        if _kind(found) != _kind(value):
            raise UsageError(
                f"{source} does not fit the config: {name} holds {found.dtype}, the network's {value.dtype}."
            )


def _kind(tensor: Tensor) -> str | torch.dtype:
    """What must be equal in two tensors: the precision may differ (trainer.precision), the kind of number may not."""
    return "floating" if tensor.is_floating_point() else tensor.dtype


def load_weights(module: nn.Module, saved: Any, source: str) -> None:
    """Load the weights of a checkpoint into a network.

    Raises: UsageError naming what does not fit; DamagedFile naming a parameter that is not finite, or a buffer that
    holds NaN now and did not before (infinity may be intended, in a mask).
    """
    with refusing(f"{source} does not fit the config"):
        _check_kinds(saved, module.state_dict(), source)
        unset = {name for name, buffer in module.named_buffers() if bool(torch.isnan(buffer).any())}
        module.load_state_dict(saved)
    parameters = [name for name, value in module.named_parameters() if not bool(torch.isfinite(value).all())]
    buffers = [name for name, value in module.named_buffers() if name not in unset and bool(torch.isnan(value).any())]
    for name in (*parameters, *buffers):
        raise DamagedFile(
            f"{source} holds NaN or infinity in {name}: its training diverged, or the file was made from damaged "
            "weights. Use another checkpoint of the run."
        )


def memory_for(weights: Mapping[str, Any]) -> "MemoryLimit":
    """A memory limit for building the network that has these weights: it needs little besides them."""
    size = sum(value.numel() * value.element_size() for _, _, value in walk(weights) if isinstance(value, Tensor))
    most = machine_memory()
    return MemoryLimit(min(2**29 + 2 * size, most), min(2**30 + 16 * size, most))


class MemoryLimit(TorchDispatchMode):
    """Inside the block, refuse a tensor that is larger than a limit before it is made.

    A config of one kilobyte can ask for a layer of terabytes. No random numbers are drawn and no values are changed.

    Args:
        single: largest number of bytes of one tensor.
        total: largest number of bytes of all tensors that are made.
    """

    def __init__(self, single: int, total: int) -> None:
        super().__init__()
        self.single, self.total, self.made = single, total, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = _size_of_result(func, args, kwargs or {})
        self.made += size
        if size > self.single:
            raise ValueError(f"it takes a tensor of {in_words(size)}; the weights allow {in_words(self.single)}.")
        if self.made > self.total:
            raise ValueError(f"the model up to here takes more than {in_words(self.total)}, which it is allowed.")
        return func(*args, **(kwargs or {}))


def _size_of_result(func: Any, args: Any, kwargs: Mapping[str, Any]) -> int:
    """Bytes of an operation's new tensors, found without making them; 0 where they cannot be known."""
    name = func._schema.name
    if name.endswith("_") or getattr(func, "is_view", False):
        return 0
    described = tree_map(_without_values, (args, dict(kwargs)))
    if any(argument.name == "device" for argument in func._schema.arguments):
        described[1]["device"] = torch.device("meta")
    described[1].pop("generator", None)
    try:
        results = func(*described[0], **described[1])
    except Exception:  # it needs values, or generators of another device
        return 0
    results = results if isinstance(results, (list, tuple)) else [results]
    return sum(math.prod(one.shape) * one.element_size() for one in results if isinstance(one, Tensor))


def _without_values(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return None if isinstance(value, torch.Generator) else value
