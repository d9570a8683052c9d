"""Self-attention whose queries, keys and values are spikes: the blocks of spiking transformers."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain import functional
from snntrain.arguments import backend as known_backend
from snntrain.arguments import choice, integer, invalid
from snntrain.base import StepModule
from snntrain.hooks import step_mode_of, supported_step_modes
from snntrain.layer.checkpoint_keys import rename_keys, split_keys
from snntrain.layer.convolution import Conv1d
from snntrain.layer.fold import StepLayer, wrong_shape
from snntrain.layer.normalization import BatchNorm1d
from snntrain.neuron.lif import LIFNode
from snntrain.registry import register

NeuronFactory = Callable[..., nn.Module]


class _SpikingAttention(StepLayer, nn.Module):
    """Base: branches of 1×1 convolution, normalization and neuron, heads, and tokens from space.

    Subclasses define `attend`. Time is mixed nowhere but in the neurons.
    """

    #: Names of the branches that read the input.
    branches: tuple[str, ...]

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        backend: str = "auto",
        neuron: NeuronFactory | None = None,
        step_mode: str = "m",
    ) -> None:
        super().__init__()
        self.dim = integer(self, "dim", dim, at_least=1)
        self.num_heads = integer(self, "num_heads", num_heads, at_least=1)
        if self.dim % self.num_heads:
            raise invalid(self, "dim", f"divisible by num_heads = {self.num_heads}", self.dim)
        backend = known_backend(self, backend)
        if neuron is None:
            neuron = _default_neuron
        elif isinstance(neuron, nn.Module) or not callable(neuron):  # a module is callable, but makes no new ones
            raise invalid(self, "neuron", "a function that makes a new neuron at each call, or None", neuron)
        for name in self.branches:
            setattr(self, name, _branch(self.dim, neuron(), bias=False))
        self.attention_neuron = neuron(v_threshold=0.5)
        # Normalization takes the mean away in training, but the bias belongs to the published models.
        self.projection = _branch(self.dim, neuron(), bias=True)
        if backend != "auto":
            functional.set_backend(self, backend)
        self.step_mode = step_mode

    def attend(self, *heads: Tensor) -> Tensor:
        """What the projection gets, [..., dim, L], from each branch's output [..., num_heads, dim/num_heads, L]."""
        raise NotImplementedError(f"{type(self).__name__} must define attend.")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        space = self._space(x)
        tokens = (x.flatten(-2) if len(space) == 2 else x).contiguous()  # once, not in each branch
        per_head = (self.num_heads, self.dim // self.num_heads)
        y = self.projection(
            self.attend(*(getattr(self, name)(tokens).unflatten(-2, per_head) for name in self.branches))
        )
        return y.unflatten(-1, space) if len(space) == 2 else y

    def _space(self, x: Tensor) -> tuple[int, ...]:
        """The sizes (L,) or (H, W) of an input that fits.

        Raises: ValueError for a wrong rank or number of channels, and for a sequence of no steps.
        """
        leading = 2 if self.step_mode == "m" else 1
        space = tuple(x.shape[leading + 1 :])
        if len(space) in (1, 2) and x.shape[leading] == self.dim:
            self.check_steps(x)
            return space
        is_sequence = x.dim() in (4, 5) and x.shape[2] == self.dim
        steps = f"N, {self.dim}, L", f"N, {self.dim}, H, W"
        raise wrong_shape(self, x, steps, fits_as_sequence=is_sequence, sizes=f" (dim = {self.dim} channels)")

    # --- checkpoints of SpikingJelly, in which one convolution makes what the branches do ---------------------------

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        joined, n = "".join(self.branches), len(self.branches)

        def split(value: Tensor) -> list[Tensor]:
            return list(value.chunk(n)) if value.dim() and len(value) == n * self.dim else [value] * n

        bias = f"{prefix}projection.conv.bias"
        if f"{prefix}proj_conv_bn.0.weight" in state_dict:  # without a bias
            state_dict.setdefault(bias, torch.zeros_like(self.projection.conv.bias))
        for theirs, ours in {"conv_bn.0.": "conv.", "conv_bn.1.": "bn.", "lif.": "neuron."}.items():
            split_keys(state_dict, prefix, f"{joined}_{theirs}", [f"{name}.{ours}" for name in self.branches], split)
            rename_keys(state_dict, prefix, {f"proj_{theirs}": f"projection.{ours}"})
        rename_keys(state_dict, prefix, {"attn_lif.": "attention_neuron."})
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    # --- step mode: that of all parts -------------------------------------------------------------------------------

    def supported_step_mode(self) -> tuple[str, ...]:
        parts = [part for part in self.modules() if step_mode_of(part) is not None and part is not self]
        return tuple(
            mode for mode in super().supported_step_mode() if all(mode in supported_step_modes(part) for part in parts)
        )

    @property
    def step_mode(self) -> str:
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        StepModule.step_mode.fset(self, value)
        for child in self.children():
            functional.set_step_mode(child, value)


def _default_neuron(v_threshold: float = 1.0) -> nn.Module:
    return LIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True)


def _branch(dim: int, neuron: nn.Module, bias: bool) -> nn.Sequential:
    conv = Conv1d(dim, dim, kernel_size=1, bias=bias)
    return nn.Sequential(OrderedDict(conv=conv, bn=BatchNorm1d(dim), neuron=neuron))


@register("layer")
class SpikingSelfAttention(_SpikingAttention):
    """Self-attention of spikes without softmax.

    q, k, v = SN(BN(W·x)), each;  a = SN₀.₅((v·kᵀ)·q/8) in each head, q, k and v as [dim/num_heads, L];
    y = SN(BN(W·a + b)).  SN is a spiking neuron, SN₀.₅ one with threshold 0.5.

    Args:
        dim: channels, divisible by num_heads.
        num_heads: heads, ≥ 1.
        backend: 'auto', 'torch' or 'fused', for the neurons inside; 'auto' leaves those of `neuron` as they come.
        neuron: called with no arguments, and once with v_threshold=0.5, for a new neuron each time; None: LIFNode with
            tau 2 and detach_reset.
        step_mode: 's' or 'm', also of the layers inside.

    Shapes: [N, C, L] or [N, C, H, W] ('s'); [T, N, C, L] or [T, N, C, H, W] ('m'); output as input.
    Source: Zhou et al., ICLR 2023, arXiv 2209.15425 (Spikformer).
    """

    branches = ("q", "k", "v")
    SCALE = 0.125

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        channels, tokens = q.shape[-2:]
        # The product is associative, and exact for spikes in float32: take the smaller square matrix, of channels or of
        # tokens. To scale it is exact too, by a power of two, and keeps half precision from overflowing.
        a = (v @ k.mT * self.SCALE) @ q if channels <= tokens else v @ (k.mT @ q * self.SCALE)
        return self.attention_neuron(a.flatten(-3, -2))


@register("layer")
class QKAttention(_SpikingAttention):
    """Attention of queries and keys alone: spikes that let tokens or channels of the keys pass.

    q, k = SN(BN(W·x)), each, as [dim/num_heads, L] in each head;
    a[l] = SN₀.₅(Σ_c q[c, l])  ('token'),  a[c] = SN₀.₅(Σ_l q[c, l])  ('channel');
    y = SN(BN(W·(a·k) + b)).  SN is a spiking neuron, SN₀.₅ one with threshold 0.5.

    Args:
        qka_type: 'token' or 'channel', what is let through; the heads make a difference to tokens only.
        Others as in SpikingSelfAttention.

    Shapes: [N, C, L] or [N, C, H, W] ('s'); [T, N, C, L] or [T, N, C, H, W] ('m'); output as input.
    Source: Zhou et al., NeurIPS 2024, arXiv 2403.16552 (QKFormer).
    """

    branches = ("q", "k")

    def __init__(self, dim: int, num_heads: int = 8, qka_type: str = "token", **common: Any) -> None:
        super().__init__(dim=dim, num_heads=num_heads, **common)
        self.qka_type = choice(self, "qka_type", qka_type, ("token", "channel"))

    def attend(self, q: Tensor, k: Tensor) -> Tensor:
        total = q.sum(-2 if self.qka_type == "token" else -1, keepdim=True)
        return (self.attention_neuron(total) * k).flatten(-3, -2)
