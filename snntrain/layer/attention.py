"""Attention that weighs the time steps, channels and places of a sequence, put between a convolution and a neuron."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import integer, invalid
from snntrain.base import SequenceModule
from snntrain.layer.checkpoint_keys import rename_keys
from snntrain.layer.fold import StepLayer
from snntrain.registry import register


class _Gate(nn.Sequential):
    """sigmoid(g(a) + g(m)) with g(z) = W2·relu(W1·z), W1: size → size//reduction, W2 back, no biases.

    Shapes: a and m [N, size] → [N, size].
    """

    def __init__(self, size: int, reduction: int) -> None:
        hidden = size // reduction
        super().__init__(nn.Linear(size, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, size, bias=False))

    def forward(self, a: Tensor, m: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(a) + super().forward(m))


class _SequenceAttention(SequenceModule, StepLayer, nn.Module):
    """A stateless layer that needs the whole sequence at once."""

    def _check_shape(self, x: Tensor, letters: str, **sizes: int) -> None:
        """Raises: ValueError unless x has one dim per letter, and the given sizes where their letters stand."""
        names = letters.split(", ")
        wanted = [sizes.get(name, size) for name, size in zip(names, x.shape, strict=False)]
        if x.dim() != len(names) or wanted != list(x.shape):
            given = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise ValueError(f"{self._title()}: the input must be [{letters}] with {given}, got shape {list(x.shape)}.")


def _reduction(owner: object, name: str, value: int, size_name: str, size: int) -> int:
    integer(owner, name, value)
    if not 1 <= value <= size:
        remedy = f"; choose a smaller {name}, at most {size}" if value > size else ""
        raise invalid(owner, name, f"an integer from 1 to {size_name} = {size}{remedy}", value)
    return int(value)


def _one_of(owner: object, name: str, value: int, allowed: tuple[int, int]) -> int:
    if integer(owner, name, value) not in allowed:
        raise invalid(owner, name, " or ".join(map(str, allowed)), value)
    return int(value)


@register("layer")
class TemporalWiseAttention(_SequenceAttention):
    """Scale each step of a sample by a score from all its steps.

    score[t, n] = sigmoid(g(a) + g(m)),  y = x·score,  a[n, t] the mean and m[n, t] the maximum of x[t, n];
    g(z) = W2·relu(W1·z), W1: T → T//reduction, W2 back to T, no biases.

    Args:
        T: time steps of a sequence, ≥ 1.
        reduction: how many times fewer hidden units than steps, from 1 to T.
        dimension: 4 for images, 2 for vectors.

    Shapes: [T, N, C, H, W] (dimension 4) or [T, N, L] (dimension 2); output as input. Step mode 'm' only.
    Source: Yao et al., ICCV 2021, arXiv 2107.11711.
    """

    def __init__(self, T: int, reduction: int = 16, dimension: int = 4) -> None:
        super().__init__()
        self.T = integer(self, "T", T, at_least=1)
        self.reduction = _reduction(self, "reduction", reduction, "T", self.T)
        self.dimension = _one_of(self, "dimension", dimension, (2, 4))
        self.gate = _Gate(self.T, self.reduction)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self._check_shape(x, "T, N, C, H, W" if self.dimension == 4 else "T, N, L", T=self.T)
        inside = tuple(range(2, x.dim()))
        score = self.gate(x.mean(inside).T, x.amax(inside).T).T
        return x * score.view(*score.shape, *[1] * len(inside))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        rename_keys(state_dict, prefix, {"sharedMLP.": "gate."})  # SpikingJelly's
        super()._load_from_state_dict(state_dict, prefix, *arguments)


@register("layer")
class MultiDimensionalAttention(_SequenceAttention):
    """Scale the steps, then the channels, then the places of a sample by scores, and rectify.

    u = x·sigmoid(g_T(mean) + g_T(max)),    over C, H, W; one score per step
    u ← u·sigmoid(g_C(mean) + g_C(max)),    over T, H, W; one score per channel
    u ← u·sigmoid(conv([mean, max])),       over T, C; one score per place, conv 2 → 1 without bias
    y = max(u, 0), so negative inputs are lost;
    g_T and g_C as in TemporalWiseAttention, over steps and over channels.

    Args:
        T: time steps of a sequence, ≥ 1.
        C: channels, ≥ 1.
        reduction_t: how many times fewer hidden units than steps, from 1 to T.
        reduction_c: the same for channels, from 1 to C.
        kernel_size: of the convolution over places, 3 or 7.

    Shapes: [T, N, C, H, W]; output as input. Step mode 'm' only.
    Source: Yao et al., IEEE TPAMI 2023, arXiv 2209.13929.
    """

    def __init__(self, T: int, C: int, reduction_t: int = 16, reduction_c: int = 16, kernel_size: int = 3) -> None:
        super().__init__()
        self.T = integer(self, "T", T, at_least=1)
        self.C = integer(self, "C", C, at_least=1)
        self.reduction_t = _reduction(self, "reduction_t", reduction_t, "T", self.T)
        self.reduction_c = _reduction(self, "reduction_c", reduction_c, "C", self.C)
        self.kernel_size = _one_of(self, "kernel_size", kernel_size, (3, 7))
        self.time_gate = _Gate(self.T, self.reduction_t)
        self.channel_gate = _Gate(self.C, self.reduction_c)
        self.space_conv = nn.Conv2d(2, 1, self.kernel_size, padding=self.kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self._check_shape(x, "T, N, C, H, W", T=self.T, C=self.C)
        inside = (2, 3, 4)
        u = x * self.time_gate(x.mean(inside).T, x.amax(inside).T).T[:, :, None, None, None]
        inside = (0, 3, 4)
        u = u * self.channel_gate(u.mean(inside), u.amax(inside))[:, :, None, None]
        inside = (0, 2)
        pooled = torch.stack([u.mean(inside), u.amax(inside)], dim=1)
        return torch.relu(u * torch.sigmoid(self.space_conv(pooled)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        # SpikingJelly's, whose gates are convolutions with kernels of size 1.
        rename_keys(state_dict, prefix, {"sa.conv.": "space_conv."})
        for key in rename_keys(state_dict, prefix, {"ta.sharedMLP.": "time_gate.", "ca.sharedMLP.": "channel_gate."}):
            state_dict[key] = state_dict[key].flatten(1)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
