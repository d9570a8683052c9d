"""What replaces an activation in a converted net: integrate-and-fire between two scales, and max pooling over rates."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.ann2snn.scaler import scale_tensor
from snntrain.arguments import flag, integer, invalid
from snntrain.base import MemoryModule, autocast_off, state_dtype
from snntrain.functional import repeat
from snntrain.graph import per_channel
from snntrain.neuron.integrate_and_fire import IFNode
from snntrain.neuron.linear_form import LinearForm, NoLinearForm, values_of


class _OnFoldedTime(MemoryModule):
    """A stateful module inside a net of stateless ones that takes T steps at once, folded: [T·N, *].

    Attributes:
        T: steps in the input; the converted net sets it at each call.
        follows_static: the input does not depend on spikes, so that it need not be computed at every step.
        input_is_one_step: the input is one step [N, *], to be taken T times.
    """

    keeps_children_in_s = True  # nobody but this module sets the step mode of its children
    T = 1
    follows_static = False
    input_is_one_step = False

    def sequence(self, x: Tensor) -> Tensor:
        """x as [T, N, *]."""
        if self.input_is_one_step:
            return repeat(x, self.T)
        if x.dim() == 0 or x.shape[0] % self.T:
            raise ValueError(
                f"{self._title()}: an input of shape {list(x.shape)} does not hold T = {self.T} steps of equal size."
            )
        return x.unflatten(0, (self.T, -1))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_input(x)
        with autocast_off(x.device):
            return self.run(x.to(state_dtype(x.dtype))).to(x.dtype)

    def run(self, x: Tensor) -> Tensor:
        """[T·N, *], or one step [N, *] where input_is_one_step, in the state dtype → [T·N, *]."""
        raise NotImplementedError


class RepeatedStep(nn.Module):
    """Repeats for all steps what is computed once: x [N, *] → [T·N, *] if it is one step.

    Attributes: as in SpikingRectifier.
    """

    T = 1
    follows_static = False
    input_is_one_step = False

    def forward(self, x: Tensor) -> Tensor:
        return repeat(x, self.T).flatten(0, 1) if self.input_is_one_step else x


class SpikingRectifier(_OnFoldedTime):
    """Integrate-and-fire neurons whose rate is a rectified linear function of their mean input.

    h[t] = v[t−1] + x[t] + bias,  s[t] = Θ(h[t] − θ),  v[t] = h[t] − θ·s[t],  y[t] = θ·s[t],  v[0] = v_init.

    Over T steps the mean of y is that of x, clipped to [0, θ], but for what is left in v. The neurons run on
    potentials divided by θ, with threshold 1. With a hard reset, the only one that some chips have, v[t] = 0 after a
    spike: what h exceeds θ by is lost, and rates are lower, for calibration or training to make up for.

    Args:
        theta: threshold θ > 0, a number or a tensor [C].
        v_init: potential at the start, in the units of x: a number, a tensor [C], or one of the shape of a sample.
        delay: steps after a reset in which the neurons charge without firing, ≥ 0.
        hard_reset: a spike takes the potential to 0 instead of subtracting θ.

    Attributes:
        theta, v_init: buffers.
        bias: buffer, None or added to the input: [C] at every step, or [steps, C] for each step by itself, the last row
            serving all later steps.
        node: the neurons.

    Shapes: x [T·N, C, *] → [T·N, C, *], time before the batch; [N, C, *] where input_is_one_step.
    Source: Rueckauer et al., Front. Neurosci. 2017; Bu et al., AAAI 2022, arXiv 2202.01440 (start potential).
    """

    theta: Tensor
    v_init: Tensor
    bias: Tensor | None

    def __init__(
        self, theta: float | Tensor, v_init: float | Tensor = 0.0, delay: int = 0, hard_reset: bool = False
    ) -> None:
        super().__init__()
        theta = scale_tensor(self, "theta", theta)
        if theta.dim() > 1 or not (theta > 0).all():
            raise invalid(self, "theta", "a number > 0 or a tensor [C] of such", theta)
        self.register_buffer("theta", theta)
        self.register_buffer("v_init", scale_tensor(self, "v_init", v_init))
        self.register_buffer("bias", None)
        self.delay = integer(self, "delay", delay, at_least=0)
        self.node = IFNode(
            v_threshold=1.0, v_reset=0.0 if flag(self, "hard_reset", hard_reset) else None, step_mode="m"
        )
        self.register_memory("clock", 0)

    @property
    def hard_reset(self) -> bool:
        """Whether a spike takes the potential to 0."""
        return self.node.v_reset is not None

    def linear_form(self) -> LinearForm | None:
        if self.delay:
            remedy = "Convert it with a method that does not delay (callbacks.ann2snn.method)."
            raise NoLinearForm(f"it waits {self.delay} steps before it fires", remedy)
        if self.bias is not None and self.bias.dim() == 2:
            raise NoLinearForm("its bias differs from step to step", "Use callbacks.ann2snn.calibration=bias.")
        theta, v_start = values_of(self.theta), self.v_init.detach()
        return LinearForm(
            threshold=theta,
            v_reset=0.0 if self.hard_reset else None,
            height=None if bool((theta == 1).all()) else theta,
            v_start=v_start.reshape(v_start.shape or 1) if bool((v_start != 0).any()) else None,
            bias=None if self.bias is None else values_of(self.bias),
        )

    def run(self, x: Tensor) -> Tensor:
        theta = per_channel(self.theta.to(x.dtype), x)
        if self.bias is not None and self.bias.dim() == 1:
            x = x + per_channel(self.bias.to(x.dtype), x)
        z = self.sequence(x / theta)
        if self.bias is not None and self.bias.dim() == 2:
            z = z + self._bias_of_steps(z) / theta
        if isinstance(self.node.v, float):  # as reset() leaves it
            v_init = per_channel(self.v_init.to(x.dtype), z[0]) / theta
            self.node.v = v_init.expand(z.shape[1:]).clone()
        silent = min(max(self.delay - self.clock, 0), self.T)
        self.clock = self.clock + self.T
        spikes = self.node(z) if not silent else self._after_charging(z, silent)
        return spikes.flatten(0, 1) * theta

    def _bias_of_steps(self, z: Tensor) -> Tensor:
        rows = torch.arange(self.clock, self.clock + self.T, device=z.device).clamp(max=self.bias.shape[0] - 1)
        bias = self.bias.to(z.dtype)[rows]
        return bias.view(self.T, 1, -1, *[1] * (z.dim() - 3))

    def _after_charging(self, z: Tensor, silent: int) -> Tensor:
        self.node.v = self.node.v + z[:silent].sum(0)
        spikes = z.new_zeros(z.shape)
        return spikes if silent == self.T else torch.cat([spikes[:silent], self.node(z[silent:])])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        # The saved net decides whether there is one threshold or one per channel, and whether there is a bias.
        for name in ("theta", "v_init", "bias"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if saved is None:
                if name == "bias":
                    self.bias = None
            elif own is None or own.shape != saved.shape:
                like = self.theta if own is None else own
                setattr(self, name, torch.empty(saved.shape, dtype=saved.dtype, device=like.device))
        super()._load_from_state_dict(state_dict, prefix, *more)

    def get_extra_state(self) -> dict[str, int | bool]:
        return {"delay": self.delay, "hard_reset": self.hard_reset}

    def set_extra_state(self, state: dict[str, int | bool]) -> None:
        self.delay = integer(self, "delay", state["delay"], at_least=0)
        hard_reset = flag(self, "hard_reset", state.get("hard_reset", False))  # nets saved before it existed lack it
        self.node.v_reset = 0.0 if hard_reset else None

    def extra_repr(self) -> str:
        theta = f"{self.theta.item():g}" if self.theta.dim() == 0 else f"{self.theta.numel()} channels"
        return f"theta={theta}, delay={self.delay}" + (", hard_reset=True" if self.hard_reset else "")


class RatePooling(_OnFoldedTime):
    """Max pooling of rates: the mean output over time is the maximum of the mean inputs.

    X[t] = x[1] + … + x[t],  y[t] = pool(X[t]) − pool(X[t−1]),  pool(X[0]) = 0.

    The maximum of each step by itself would be larger than that: inputs take turns in being the largest.

    Args:
        pool: max pooling layer of torch, without return_indices.

    Shapes: x [T·N, *] → [T·N, *'], time before the batch.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.register_memory("total", None)
        self.register_memory("best", None)

    def run(self, x: Tensor) -> Tensor:
        totals = self.sequence(x).cumsum(0)
        if self.total is not None:
            totals = totals + self.checked_state("total", self.total, totals[0])
        best = self.pool(totals.flatten(0, 1)).unflatten(0, (self.T, -1))
        before = torch.zeros_like(best[:1]) if self.best is None else self.best.unsqueeze(0)
        self.total, self.best = totals[-1], best[-1]
        return torch.diff(best, dim=0, prepend=before).flatten(0, 1)
