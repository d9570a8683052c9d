"""Small nets with one fault each, made after reports of real ones, which are named beside them."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntrain.surrogate import ATan, Rect

T, N = 4, 8


def samples(*shape: int) -> Tensor:
    return torch.rand(T, N, *(shape or (6,)), generator=torch.Generator().manual_seed(3)) * 2


class Leaky(nn.Module):
    """A leaky neuron of another library: [T, N, *] → spikes, starting from 0 at every call."""

    def __init__(self, threshold: float = 1.0, surrogate: nn.Module | None = None) -> None:
        super().__init__()
        self.threshold, self.surrogate_function = threshold, surrogate or ATan(2.0)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = v / 2 + x
        spike = self.surrogate_function(v - self.threshold)
        return spike, v * (1 - spike.detach())

    def forward(self, x_seq: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x_seq[0]), []
        for x in x_seq:
            spike, v = self.step(x, v)
            spikes.append(spike)
        return torch.stack(spikes)


class Folded(nn.Module):
    """Time folded into the batch around one module, and never unfolded: what follows gets [T·N, *]."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return x_seq.flatten(0, 1)


class Unfolded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (T, -1))


class InStep(Leaky):
    """Keeps its potential from call to call. reset() is added where a test wants one."""

    def __init__(self) -> None:
        super().__init__(0.7)
        self.v: Tensor | float = 0.0

    def forward(self, x_seq: Tensor) -> Tensor:
        spikes = []
        for x in x_seq:
            spike, self.v = self.step(x, self.v if isinstance(self.v, Tensor) else torch.zeros_like(x))
            spikes.append(spike)
        return torch.stack(spikes)


class ResetWithArguments(InStep):
    def reset(self, batch_size: int) -> None:
        self.v = 0.0


class OtherReset(InStep):
    def reset_mem(self) -> None:
        self.v = 0.0


class InAList(nn.Module):
    """Neurons in a plain list, where no reset finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = [nn.Linear(6, 6), WithReset()]
        self.head = nn.Linear(6, 3)

    def forward(self, x_seq: Tensor) -> Tensor:
        for stage in self.stages:
            x_seq = stage(x_seq)
        return self.head(x_seq)


class WithReset(InStep):
    def reset(self) -> None:
        self.v = 0.0


class BothWays(nn.Module):
    """A convolution over time that is padded on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.2, 0.5, 0.3]))

    def forward(self, x_seq: Tensor) -> Tensor:
        padded = F.pad(x_seq, (0, 0, 0, 0, 1, 1))
        return sum(w * padded[k : k + T] for k, w in enumerate(self.weights))


class Shortcut(nn.Module):
    """Adds the spikes of two neurons, as a spike-element-wise shortcut does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.between, self.second = Leaky(0.3), nn.Linear(6, 6), Leaky(0.3)

    def forward(self, x_seq: Tensor) -> Tensor:
        spikes = self.first(x_seq)
        return spikes + self.second(self.between(spikes) + 1)


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.linspace(0.5, 1.5, x.shape[-1])


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.left_out = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.used(x_seq)


class Heaviside(Leaky):
    """Fires by a comparison, which has no gradient."""

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = v / 2 + x
        spike = (v >= self.threshold).to(v.dtype)
        return spike, v * (1 - spike)


class PerStep(nn.Module):
    """A module that takes [N, *], called for each step."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([self.module(x) for x in x_seq])


class Growing(nn.Module):
    """A potential that doubles at every step, without a leak or a reset."""

    surrogate_function = ATan(2.0)

    def forward(self, x_seq: Tensor) -> Tensor:
        self.v, spikes = torch.zeros_like(x_seq[0]), []
        for x in x_seq:
            self.v = 40 * self.v + x
            spikes.append(self.surrogate_function(self.v - 1))
        return torch.stack(spikes)


_clock = itertools.count()


class Clocked(nn.Module):
    """Adds what no seed can repeat."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1e-3 * next(_clock)


class AlwaysNoisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / (x - x)


def head(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 6), *layers, nn.Linear(6, 3))


def biased(bias: float, *layers: nn.Module) -> nn.Sequential:
    """Neurons behind a large bias."""
    net = head(*layers)
    nn.init.constant_(net[0].bias, bias)
    return net


def clean() -> nn.Sequential:
    net = head(Leaky(0.3))
    nn.init.constant_(net[0].bias, 0.2)
    return net


FAULTS = {
    # name: (the net, its check, its layer, its severity)
    # zhouchenlin2096/QKFormer issue 14: proj_lif gets [T·B, C, N] and takes samples for steps.
    "time and batch mixed": (head(Folded(), Leaky(0.3), Unfolded()), "batch mates", "2", "error"),
    # itayhubara/BinaryNet.tf issue 9, openai/CLIP issue 193: statistics of the batch in evaluation.
    "statistics of the batch": (
        head(Folded(), nn.BatchNorm1d(6, track_running_stats=False), Unfolded(), Leaky(0.3)),
        "batch mates",
        "2",
        "error",
    ),
    # maxim5/time-series-machine-learning issue 12, locuslab/TCN issue 8.
    "convolution into the future": (head(BothWays(), Leaky(0.3)), "future steps", "1", "error"),
    # genn-team/ml_genn issue 190: the hidden layer responds before its input.
    "state of the batch before": (head(InStep()), "state left over", "1", "error"),
    # jeshraghian/snntorch pull request 414: reset misses neurons in containers.
    "neurons in a list": (InAList(), "never reset", "stages[0]", "error"),
    # fangwei123456/spikingjelly issue 318: when, and how, is reset called?
    "reset that needs arguments": (head(ResetWithArguments()), "never reset", "1", "error"),
    # BICLab/SpikeYOLO issue 18: reset_net of a library, and neurons of one's own.
    "reset by another name": (head(OtherReset()), "another reset", "1", "warning"),
    # zhouchenlin2096/QKFormer issue 5, fangwei123456/Spike-Element-Wise-ResNet issue 13: sums of spikes.
    "sums of spikes": (head(Shortcut()), "no spikes enter", "2", "info"),
    # BICLab/Spike-Driven-Transformer-V2 issue 11: a convolution whose input is floating point.
    "values behind the neurons": (head(Leaky(0.3), Scaled()), "no spikes enter", "3", "warning"),
    # fangwei123456/spikingjelly issue 285: from the fifth layer on the rate is 0.
    "silent layer": (biased(-9.0, Leaky(1.0)), "silent layer", "1", "warning"),
    # jeshraghian/snntorch issue 159: neurons that fire at every step.
    "always firing": (biased(9.0, Leaky(0.3)), "always firing", "1", "warning"),
    # state-spaces/s4 issue 26: parameters that get no gradient.
    "unused parameters": (Unused(), "no gradient", "left_out", "warning"),
    # fangwei123456/spikingjelly issue 386: no surrogate gradient arrives.
    "no surrogate": (head(Heaviside(0.3)), "no gradient", "0", "warning"),
    # jeshraghian/snntorch issue 219: a steep surrogate in a deep net that does not learn.
    "narrow surrogate": (head(Leaky(0.3, Rect(500.0))), "flat surrogate", "1", "warning"),
    # fangwei123456/spikingjelly issue 157: BatchNorm step by step is not BatchNorm over time.
    "batch norm per step": (head(PerStep(nn.BatchNorm1d(6)), Leaky(0.3)), "batch norm per step", "1.module", "warning"),
    # fangwei123456/spikingjelly issue 619: which dims does a BatchNorm of several steps normalize?
    "batch norm of samples": (head(nn.BatchNorm1d(N), Leaky(0.3)), "batch norm of samples", "1", "error"),
    # uzh-rpg/rpg_event_representation_learning issue 15: every evaluation gives another accuracy.
    "not repeatable": (head(Clocked(), Leaky(0.3)), "not repeatable", "1", "error"),
    # BindsNET/bindsnet issue 381: the same picture gives other spikes every time.
    "noise in evaluation": (head(AlwaysNoisy(), Leaky(0.3)), "draws in evaluation", "1", "warning"),
    # fangwei123456/spikingjelly issue 247: half precision and potentials that grow.
    "potential near overflow": (biased(9.0, Growing()), "near overflow", "1", "error"),
    # jeshraghian/snntorch issue 66: the membrane explodes.
    "not finite": (head(Inverse()), "not finite", "1", "error"),
}
TARGETS = {"potential near overflow": "int16"}
