"""What a netx file computes, in integers: the reference in numpy, and the same in torch, which is faster.

In every step of every layer, with all numbers integers and trunc toward 0:

    u ← trunc(u·(4096 − iDecay)/4096) + 64·Σ w·x
    v ← trunc(v·(4096 − vDecay)/4096) + u + 64·bias, clipped to ±(2^23 − 1)
    s = v > 64·vThMant,   v ← 0 where s

where a layer has delays d, x[t, i] is that of step t − d[i].

Sources: Davies et al. (Loihi), IEEE Micro 2018; the fixed-point LIF model of Lava.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snntrain.arguments import choice
from snntrain.export.error import ExportError
from snntrain.export.netx_file import DECAY_ONE, STATE_LIMIT, NetxLayer, read

_SHIFT = 6
_DECAY_BITS = 12
_EXACT = 2**24  # integers up to here are exact in float32
LAVA_LIMITS = (1 - STATE_LIMIT, STATE_LIMIT - 1)  # at which Lava clips potentials


@dataclass
class Emulation:
    """What a run gives, for every layer with neurons, in order.

    Attributes:
        layers: their positions in the file.
        spikes: bool [T, N, *], step t belonging to step t of the input.
        u_range, v_range: smallest and largest current, and potential before it is clipped and reset.
    """

    layers: list[int]
    spikes: list[Any]
    u_range: list[tuple[int, int]]
    v_range: list[tuple[int, int]]

    @property
    def output(self) -> Any:
        """Spikes of the last layer."""
        return self.spikes[-1]

    @property
    def headroom(self) -> list[float]:
        """For every layer, how much of the range of u and v was used: from 1 on potentials are clipped."""
        ranges = zip(self.u_range, self.v_range, strict=True)
        return [max(abs(bound) for pair in both for bound in pair) / STATE_LIMIT for both in ranges]

    def check_currents(self, layers: Sequence[NetxLayer]) -> None:
        """Raises: ExportError naming the first layer whose current leaves its 24 bits, where Lava wraps it."""
        for index, (low, high) in zip(self.layers, self.u_range, strict=True):
            if max(-low, high) >= STATE_LIMIT:
                raise ExportError(
                    f"layer {index} ({layers[index].name})",
                    "it overflows: |u|, the sum of what reaches a neuron in one step, must stay below 2^23 = "
                    f"{STATE_LIMIT}, got {low} to {high}",
                    "Give the input or the weights fewer bits (callbacks.qat.quant.input.bits and "
                    "callbacks.qat.quant.w.bits), a net of floats a smaller scale "
                    "(neuron.scale), or the layer fewer inputs.",
                )


def emulate(
    file: str | os.PathLike | Sequence[NetxLayer],
    x_seq: Tensor | np.ndarray,
    runner: str = "torch",
    limits: tuple[int, int] | None = LAVA_LIMITS,
) -> Emulation:
    """Run a file on a sequence from reset neurons.

    Currents have no bounds here; in Lava they wrap, so that what follows is wrong: see Emulation.check_currents.

    Args:
        file: path of a file, or its layers.
        x_seq: integers [T, N, *] of any dtype; 0 and 1 for spikes.
        runner: 'torch' (on the device of x_seq), or 'numpy'.
        limits: at which potentials are clipped; None: nowhere.

    Returns: spikes as tensors, or as arrays.
    Raises: ExportError for an input that is not of integers, or not of the file's shape.
    """
    layers = list(file) if isinstance(file, Sequence) and not isinstance(file, str) else read(file)
    steps = {"torch": _TorchSteps, "numpy": _NumpySteps}[choice("emulate", "runner", runner, ("torch", "numpy"))](
        limits
    )
    x = steps.integers(x_seq)
    check_input(layers, x.shape)
    result = Emulation([], [], [], [])
    for index, layer in enumerate(layers):
        if layer.kind == "flatten":
            x = x.reshape(*x.shape[:2], -1)
        elif layer.has_neurons:
            x, u_range, v_range = steps.layer(layer, x if layer.delay is None else _delayed(x, layer.delay))
            result.layers.append(index)
            result.spikes.append(x)
            result.u_range.append(u_range)
            result.v_range.append(v_range)
    return result


def _delayed(x: Any, delay: np.ndarray) -> Any:
    """The inputs [T, N, in] of a layer as they arrive, 0 before the first; what comes after the last step is lost."""
    arriving = x.clone() if isinstance(x, Tensor) else x.copy()
    arriving[:] = 0
    for steps in np.unique(delay):
        columns = np.flatnonzero(delay == steps)
        arriving[steps:, :, columns] = x[: len(x) - steps, :, columns] if steps < len(x) else 0
    return arriving


def check_input(layers: Sequence[NetxLayer], shape: Sequence[int]) -> None:
    """Raises: ExportError unless the shape [T, N, *] is one that the layers take."""
    if not layers or layers[0].kind != "input":
        raise ExportError("", "the file has no input layer at its start, so the shape of its input is not known")
    expected = layers[0].shape
    if tuple(shape[2:]) != expected or 0 in shape:
        numbers = ", ".join(map(str, expected))
        raise ExportError("", f"the input must be [T, N, {numbers}] with T, N ≥ 1, got shape {list(shape)}")


def integers(x: Tensor | np.ndarray) -> np.ndarray:
    """An input as int64. Raises: ExportError if it holds other values."""
    x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if not np.array_equal(x, np.round(x)):
        raise _fractional_input(x.dtype)
    return x.astype(np.int64)


def _fractional_input(dtype: object) -> ExportError:
    return ExportError(
        "",
        f"the input must hold integers (0 and 1 for spikes), got other values of dtype {dtype}",
        "Use an encoder that spikes, or Exported.input.encode for a quantized net.",
    )


class _Steps:
    """Limits of potentials, which are clipped only where one is beyond them."""

    def __init__(self, limits: tuple[int, int] | None) -> None:
        self.limits = limits

    def fitted(self, v: Any, low: int, high: int) -> Any:
        """Potentials, of which these are the extremes, as they are kept."""
        if self.limits is None or (self.limits[0] <= low and high <= self.limits[1]):
            return v
        return v.clip(*self.limits)


class _NumpySteps(_Steps):
    """The arithmetic in numpy."""

    def integers(self, x: Tensor | np.ndarray) -> np.ndarray:
        return integers(x)

    def layer(self, layer: NetxLayer, x: np.ndarray) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        x = x.astype(np.int64)
        sums = self.conv(layer, x) if layer.kind == "conv" else x @ layer.weight.T
        bias, threshold = (_per_channel(value, layer) for value in (layer.bias, layer.threshold))
        u = v = s = np.zeros(sums.shape[1:], dtype=np.int64)
        spikes, u_range, v_range = [], [0, 0], [0, 0]
        for total in sums:
            if layer.weight_rec is not None:
                total = total + s @ layer.weight_rec.T
            u = self.decayed(u, layer.i_decay) + (total << _SHIFT)
            v = self.decayed(v, layer.v_decay) + u + (bias << _SHIFT)
            _widen(u_range, int(u.min()), int(u.max()))
            extremes = int(v.min()), int(v.max())
            _widen(v_range, *extremes)
            v = self.fitted(v, *extremes)
            fired = v > (threshold << _SHIFT)
            v = np.where(fired, 0, v)
            s = fired.astype(np.int64)
            spikes.append(fired)
        return np.stack(spikes), tuple(u_range), tuple(v_range)

    def decayed(self, state: np.ndarray, decay: int) -> np.ndarray:
        kept = state * (DECAY_ONE - decay)
        return np.sign(kept) * (np.abs(kept) >> _DECAY_BITS)

    def conv(self, layer: NetxLayer, x: np.ndarray) -> np.ndarray:
        (pad_h, pad_w), (step_h, step_w), (far_h, far_w) = layer.padding, layer.stride, layer.dilation
        padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
        kernel = tuple((size - 1) * far + 1 for size, far in zip(layer.weight.shape[2:], layer.dilation, strict=True))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(3, 4))
        windows = windows[:, :, :, ::step_h, ::step_w, ::far_h, ::far_w]
        parts = zip(np.split(windows, layer.groups, 2), np.split(layer.weight, layer.groups), strict=True)
        return np.concatenate([np.einsum("tnchwij,ocij->tnohw", *part, optimize=True) for part in parts], 2)


class _TorchSteps(_Steps):
    """The same in torch: sums of all steps at once, in floats that hold them exactly."""

    def integers(self, x: Tensor | np.ndarray) -> Tensor:
        x = torch.as_tensor(x).detach()
        if x.is_floating_point() and not torch.equal(x, x.round()):
            raise _fractional_input(x.dtype)
        return x

    @torch.no_grad()
    def layer(self, layer: NetxLayer, x: Tensor) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
        largest = 1 if x.dtype == torch.bool else int(x.abs().max())
        dtype = self.state_dtype(layer, largest, len(x))
        currents = self.currents(layer, x, largest).to(dtype)
        parts = (_per_channel(value, layer) << _SHIFT for value in (layer.bias, layer.threshold))
        bias, threshold = (torch.as_tensor(part, device=x.device).to(dtype) for part in parts)
        feedback = None if layer.weight_rec is None else self.weights(layer.weight_rec, 1, x)
        u: Tensor | int = 0
        v: Tensor | int = 0
        spikes, u_range, v_range = [], [0, 0], [0, 0]
        for current in currents:
            if feedback is not None and spikes:
                current = current + F.linear(spikes[-1].to(feedback.dtype), feedback).to(dtype)
            u = self.decayed(u, layer.i_decay) + current
            v = self.decayed(v, layer.v_decay) + (u if layer.bias is None else u + bias)
            _widen(u_range, *map(int, torch.aminmax(u)))
            extremes = tuple(map(int, torch.aminmax(v)))
            _widen(v_range, *extremes)
            v = self.fitted(v, *extremes)
            spikes.append(v > threshold)
            v = v.masked_fill(spikes[-1], 0)
        return torch.stack(spikes), tuple(u_range), tuple(v_range)

    def decayed(self, state: Tensor | int, decay: int) -> Tensor | int:
        if decay in (0, DECAY_ONE) or isinstance(state, int):
            return state if decay == 0 else 0
        if state.dtype == torch.int32:  # float64 holds the product
            return torch.trunc(state.double() * ((DECAY_ONE - decay) / DECAY_ONE)).int()
        return torch.div(state * (DECAY_ONE - decay), DECAY_ONE, rounding_mode="trunc")

    def state_dtype(self, layer: NetxLayer, largest: int, steps: int) -> torch.dtype:
        """The smaller of int32 and int64 that u and v cannot leave, whatever the input."""
        bound = self.bound(layer.weight, largest) + (0 if layer.weight_rec is None else self.bound(layer.weight_rec, 1))
        bias = 0 if layer.bias is None else int(np.abs(layer.bias).max()) << _SHIFT
        for decay, more in ((layer.i_decay, 0), (layer.v_decay, bias)):
            bound = (bound + more) * min(steps, DECAY_ONE / max(decay, 1))
        return torch.int32 if bound < 2**31 else torch.int64

    def currents(self, layer: NetxLayer, x: Tensor, largest: int) -> Tensor:
        """64·Σ w·x of every step."""
        weight = self.weights(layer.weight, largest, x)
        if layer.kind != "conv":
            return F.linear(x.to(weight.dtype), weight).round()
        settings = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        y = F.conv2d(x.flatten(0, 1).to(weight.dtype), weight, **settings, groups=layer.groups)
        return y.round().unflatten(0, x.shape[:2])

    def weights(self, weight: np.ndarray, largest: int, x: Tensor) -> Tensor:
        """64 times the weights: float64 where float32 could round, and on CUDA, which may round in between."""
        exact = self.bound(weight, largest) < _EXACT << _SHIFT and not x.is_cuda
        return torch.as_tensor(weight << _SHIFT, device=x.device).to(torch.float32 if exact else torch.float64)

    def bound(self, weight: np.ndarray, largest: int) -> int:
        """The largest 64·|Σ w·x|."""
        return int(np.abs(weight).reshape(len(weight), -1).sum(1).max()) * largest << _SHIFT


def _per_channel(value: np.ndarray | int | None, layer: NetxLayer) -> np.ndarray:
    """A bias or threshold in the shape in which it meets one step [N, *]."""
    values = np.asarray(0 if value is None else value, dtype=np.int64)
    return values.reshape(-1, 1, 1) if values.size > 1 and layer.kind == "conv" else values


def _widen(bounds: list[int], low: int, high: int) -> None:
    bounds[:] = min(bounds[0], low), max(bounds[1], high)
