"""The parameters of NIR nodes: finite real numbers of the right shape, or an error that names node and parameter."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.export.error import NirImportError

LARGEST = float(np.finfo(np.float32).max)
LARGEST_STEP = 2**26  # elements of one step: a few bytes of a file may declare any number of them
_SAME = 1e-6  # relative: seconds are often float32
_LONGEST_NAME = 80
Shape = tuple[int, ...] | None  # of one step; None: not known


def shown(name: Any) -> str:
    """A node's name as an error prints it: names come from files, and a terminal obeys control characters."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def node_error(name: str, node: Any, reason: str) -> NirImportError:
    """The error that a node cannot be imported for this reason, a clause without a full stop."""
    return NirImportError(f"node {shown(name)} ({type(node).__name__})", reason)


class NirNode:
    """Parameters of a node, checked one by one."""

    def __init__(self, name: str, node: Any) -> None:
        self.name, self.node = name, node
        self.kind = type(node).__name__

    def error(self, reason: str) -> NirImportError:
        return node_error(self.name, self.node, reason)

    def numbers(self, what: str, value: Any = None) -> np.ndarray:
        """A parameter as float64."""
        value = getattr(self.node, what, None) if value is None else value
        if value is None:
            raise self.error(f"{what} is missing")
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.double().numpy() if value.is_floating_point() else value.numpy()
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise self.error(f"{what} holds no numbers") from error
        if array.dtype.kind not in "biuf" or not array.size:
            raise self.error(f"{what} must hold real numbers, it holds {array.size} values of {array.dtype}")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise self.error(f"{what} holds {array[~np.isfinite(array)].flat[0]}, and must be finite")
        if np.abs(array).max() > LARGEST:
            raise self.error(f"{what} holds {np.abs(array).max():g}, which is beyond float32")
        return array

    def tensor(self, what: str, *dims: int) -> Tensor:
        array = self.numbers(what)
        if array.ndim not in dims:
            raise self.error(f"{what} must have {dims[0]} dims, its shape is {list(array.shape)}")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    def bias(self, outputs: int) -> Tensor | None:
        if getattr(self.node, "bias", None) is None:
            return None
        bias = self.tensor("bias", 1)
        if len(bias) != outputs:
            raise self.error(f"bias has {len(bias)} values for {outputs} outputs")
        return bias

    def integers(self, what: str, value: Any = None) -> list[int]:
        array = self.numbers(what, value).reshape(-1)
        if (array != array.round()).any() or np.abs(array).max() > 2**31:
            raise self.error(f"{what} must be whole numbers, it is {array.tolist()}")
        return [int(each) for each in array]

    def sizes(self, what: str, dims: int, least: int) -> tuple[int, ...]:
        """Integers for each of some dims, which may be given as one for all."""
        values = self.integers(what)
        if len(values) not in (1, dims) or min(values) < least:
            wanted = "one integer" if dims == 1 else "one or two integers"
            raise self.error(f"{what} must be {wanted} ≥ {least}, it is {values}")
        return tuple(values) if len(values) == dims else (values[0],) * dims

    def values(self, what: str, shape: Shape) -> float | np.ndarray:
        """A parameter of neurons: one number where it is the same for all, else an array of the neurons' shape."""
        array = self.numbers(what)
        flat = array.reshape(-1)
        if shape is not None and array.size > 1 and array.shape != shape[:1] and not broadcasts(array.shape, shape):
            raise self.error(f"{what} has the shape {list(array.shape)}, and the neurons {list(shape)}")
        if np.allclose(flat, flat[0], rtol=_SAME, atol=0):
            return float(flat[0])
        if shape is None:
            return array
        if array.shape == shape[:1]:  # one value for each channel
            array = array.reshape(-1, *[1] * (len(shape) - 1))
        return np.broadcast_to(array, shape)

    def one(self, what: str, shape: Shape) -> float:
        """A parameter that must be the same for all neurons."""
        value = self.values(what, shape)
        if isinstance(value, np.ndarray):
            raise self.error(f"{what} differs from neuron to neuron")
        return value


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of one shape can be stretched to another."""
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
