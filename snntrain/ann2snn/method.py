"""Methods that choose threshold and start potential of every activation from calibration data."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.ann2snn.activation import rectifiers
from snntrain.arguments import choice, flag, integer, real
from snntrain.base import state_dtype
from snntrain.graph import input_of, per_channel
from snntrain.registry import check_arguments, did_you_mean, register, table

BINS = 2048  # of a histogram, per channel
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]

METHODS = table("conversion method")
"""Name → class of every method, those of plugins included."""


@dataclass
class Setting:
    """What a method chose for one activation.

    Args:
        theta: threshold, 0-d or [C]; 0 for a dead channel, one whose input was never positive. to_spiking gives it a
            safe threshold and warns.
        v_init: potential at the start, of the same shape.
        note: a remark for the report.
    """

    theta: Tensor
    v_init: Tensor
    note: str = ""


class Method:
    """A way to choose thresholds and start potentials.

    Attributes:
        readout_start: first step whose output should count, for SpikingNet.readout_start; known after fit.
    """

    readout_start = 0

    def fit(
        self, gm: fx.GraphModule, loader: Iterable[Any], T: int, device: torch.device | str | None = None
    ) -> dict[str, Setting]:
        """Choose from the inputs of the activations.

        Args:
            gm: what graph.prepare returned.
            loader: batches x [N, *], or tuples that start with x; must give them again in a second pass.
            T: time steps that the converted net is to run.
            device: where to compute, gm is moved there; None: where it is.

        Returns: one Setting for every name of rectifiers(gm).
        """
        if device is not None:
            gm.to(device)
        return self.choose(gm, loader, integer(self, "T", T, at_least=1))

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        """The choice itself, on the device where gm is; what a subclass defines."""
        raise NotImplementedError(f"{type(self).__name__} must define choose(gm, loader, T).")


def make_method(method: str | Method, **arguments: Any) -> Method:
    """The method of a name in METHODS, or the one that is given, which takes no arguments any more."""
    if isinstance(method, Method):
        if arguments:
            raise ValueError(f"ann2snn: {type(method).__name__} is made already, it takes no {', '.join(arguments)}.")
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"ann2snn: {method!r} is not a method.{did_you_mean(method, METHODS)} Known: {', '.join(sorted(METHODS))}."
        )
    check_arguments(METHODS[method], arguments, title=f"method {method}")
    return METHODS[method](**arguments)


# --- what is measured ------------------------------------------------------------------------------------------------


def to_net(gm: nn.Module, batch: Any) -> Tensor:
    """The input in a batch, where and in the dtype in which the net takes it."""
    x = input_of(batch)
    weight = next((p for p in gm.parameters() if p.is_floating_point()), None)
    if weight is None:
        return x
    return x.to(weight) if x.is_floating_point() else x.to(weight.device)


@contextlib.contextmanager
def hooked(hooks: dict[nn.Module, Hook]) -> Iterator[None]:
    """Let forward hooks act on modules in the block."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def observe(gm: fx.GraphModule, loader: Iterable[Any], see: Callable[[str, Tensor], Tensor | None]) -> int:
    """Run the net on all batches and show the output y of every activation, in order of execution, as see(name, y).

    y is in the state dtype. What see returns takes its place; None: it stays.

    Returns: the number of batches.
    Raises: ValueError if there are none.
    """

    def hook(name: str) -> Hook:
        def after(module: nn.Module, arguments: tuple[Tensor], y: Tensor) -> Tensor | None:
            instead = see(name, y.to(state_dtype(y.dtype)))
            return None if instead is None else instead.to(y.dtype)

        return after

    count = 0
    with hooked({module: hook(name) for name, module in rectifiers(gm).items()}):
        for batch in loader:
            gm(to_net(gm, batch))
            count += 1
    if not count:
        raise ValueError(
            "ann2snn: the loader has no batches, or none in a second pass; calibration goes through the data several "
            "times: hand it a DataLoader or a list, not a generator."
        )
    return count


def by_channel(y: Tensor) -> Tensor:
    """[N, C, *] → [C, values]."""
    return y.transpose(0, 1).flatten(1)


def highest(gm: fx.GraphModule, loader: Iterable[Any]) -> dict[str, Tensor]:
    """Largest output [C] of every activation."""
    found: dict[str, Tensor] = {}

    def see(name: str, y: Tensor) -> None:
        top = by_channel(y).amax(1)
        found[name] = torch.maximum(found[name], top) if name in found else top

    observe(gm, loader, see)
    return found


class Histogram:
    """How often each value in (0, top] occurred, channel by channel.

    Args:
        top: largest values [C]. What lies above counts as top, what is not positive is only counted.

    Attributes:
        counts: [C, BINS], bins of equal width.
        total: values per channel, those that are not positive included.
    """

    def __init__(self, top: Tensor) -> None:
        self.top = top.double()
        self.counts = torch.zeros(len(top), BINS, dtype=torch.double, device=top.device)
        self.total = 0

    def add(self, y: Tensor) -> None:
        """Count the values of y [N, C, *]."""
        values = by_channel(y)
        self.total += values.shape[1]
        per_bin = (BINS / self.top.clamp_min(torch.finfo(torch.float32).tiny)).to(values.dtype)
        bins = (values * per_bin[:, None]).clamp_(0, BINS - 1).long()
        bins += BINS * torch.arange(len(self.top), device=y.device)[:, None]
        self.counts += torch.bincount(bins[values > 0], minlength=self.counts.numel()).view_as(self.counts)

    def centers(self) -> Tensor:
        """Middle of every bin, [C, BINS]."""
        middles = (torch.arange(BINS, dtype=torch.double, device=self.top.device) + 0.5) / BINS
        return self.top[:, None] * middles

    def percentile(self, percentage: float) -> Tensor:
        """Percentile of max(z, 0), [C], linear between the two nearest ranks; top where the lower of them is 0."""
        rank = percentage / 100 * (self.total - 1)
        below, above = self.value_at(math.floor(rank)), self.value_at(math.ceil(rank))
        return torch.where(below > 0, below + (above - below) * (rank - math.floor(rank)), self.top)

    def value_at(self, rank: int) -> Tensor:
        """The value [C] that has so many smaller ones, those of a bin evenly spread over it; 0 for one not positive."""
        up_to = self.counts.cumsum(1) + (self.total - self.counts.sum(1, keepdim=True))
        index = (up_to <= rank).sum(1, keepdim=True).clamp(max=BINS - 1)
        inside = self.counts.gather(1, index)
        place = (rank - (up_to.gather(1, index) - inside) + 0.5) / inside.clamp_min(1)
        value = ((index + place) * self.top[:, None] / BINS).squeeze(1)
        return torch.where(rank < self.total - self.counts.sum(1), 0.0, value)


def histograms(gm: fx.GraphModule, loader: Iterable[Any], tops: dict[str, Tensor]) -> dict[str, Histogram]:
    """Histogram of the output of every activation; with one top instead of [C], of all channels together."""
    found = {name: Histogram(top.reshape(-1)) for name, top in tops.items()}

    def see(name: str, y: Tensor) -> None:
        found[name].add(y if tops[name].dim() else y.reshape(-1, 1))

    observe(gm, loader, see)
    return found


def _start(theta: Tensor, v_init: str) -> Tensor:
    return theta / 2 if v_init == "half" else torch.zeros_like(theta)


# --- the methods -----------------------------------------------------------------------------------------------------


@register("conversion method", "max_norm")
class MaxNorm(Method):
    """Threshold = largest activation on the calibration data.

    Args:
        channel_wise: of each channel, or of all.
        v_init: 'zero', or 'half' the threshold.

    Source: Diehl et al., IJCNN 2015; Bu et al., AAAI 2022, arXiv 2202.01440 (half the threshold).
    """

    def __init__(self, channel_wise: bool = False, v_init: str = "zero") -> None:
        self.channel_wise = flag(self, "channel_wise", channel_wise)
        self.v_init = choice(self, "v_init", v_init, ("zero", "half"))

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        return self._settings(self._tops(gm, loader))

    def _tops(self, gm: fx.GraphModule, loader: Iterable[Any]) -> dict[str, Tensor]:
        tops = highest(gm, loader)
        return tops if self.channel_wise else {name: top.max() for name, top in tops.items()}

    def _settings(self, thetas: dict[str, Tensor]) -> dict[str, Setting]:
        return {name: Setting(theta, _start(theta, self.v_init)) for name, theta in thetas.items()}


@register("conversion method", "robust_norm")
class RobustNorm(MaxNorm):
    """Threshold = a percentile of the activations on the calibration data, zeros included; if that is 0, the largest.

    Percentiles are exact to 1/2048 of the largest activation.

    Args:
        percentile: above 0, to 100.
        channel_wise, v_init: as in MaxNorm.

    Source: Rueckauer et al., Front. Neurosci. 2017.
    """

    def __init__(self, percentile: float = 99.9, channel_wise: bool = False, v_init: str = "zero") -> None:
        super().__init__(channel_wise, v_init)
        self.percentile = real(self, "percentile", percentile, above=0, at_most=100)

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        tops, thetas = self._tops(gm, loader), {}
        for name, histogram in histograms(gm, loader, tops).items():
            thetas[name] = histogram.percentile(self.percentile).view(tops[name].shape).to(tops[name])
        return self._settings(thetas)


@register("conversion method", "channel_mse")
class ChannelMSE(Method):
    """For each channel the threshold whose T + 1 rates reproduce the activations with the smallest squared error.

    θ_c = argmin over θ = k·max_c of Σ (θ/T·clip(floor(z·T/θ + ½), 0, T) − relu(z))²,  v_init = θ/2.

    The sum is taken over histograms of z. Thresholds belong to the T they are chosen for.

    Args:
        grid: number of factors k, ≥ 50, evenly spaced from `lowest` to 1.
        lowest: smallest k, above 0 and below 1.

    Source: Li et al., ICML 2021, arXiv 2106.06984 (thresholds by squared error); Bu et al., ICLR 2022, arXiv
    2303.04347 (start at half the threshold).
    """

    def __init__(self, grid: int = 91, lowest: float = 0.1) -> None:
        self.grid = integer(self, "grid", grid, at_least=50)
        self.lowest = real(self, "lowest", lowest, above=0, below=1)

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        tops = highest(gm, loader)
        settings = {}
        for name, histogram in histograms(gm, loader, tops).items():
            theta = self.best(histogram, T).to(tops[name])
            settings[name] = Setting(theta, theta / 2)
        return settings

    def best(self, histogram: Histogram, T: int) -> Tensor:
        """Thresholds [C] of the smallest error; 0 for a dead channel."""
        z = histogram.centers()
        factors = torch.linspace(self.lowest, 1.0, self.grid, dtype=z.dtype, device=z.device)
        errors = []
        for k in factors:
            level = (k * histogram.top / T).clamp_min(torch.finfo(torch.float32).tiny)[:, None]
            rate = (z / level + 0.5).floor_().clamp_(0, T).mul_(level)
            errors.append(rate.sub_(z).square_().mul_(histogram.counts).sum(1))
        return factors[torch.stack(errors).argmin(0)] * histogram.top


@register("conversion method", "ltb")
class LTB(Method):
    """Local threshold balancing: each threshold grows by what the activations exceed it.

    θ_c ← θ_c + 2η·mean(max(z − θ_c, 0)) at every batch, from θ_c = 0; activations go on clipped at θ.

    That is gradient descent on the squared error of the clipping. It ends slowly: the threshold of an exponential
    distribution grows with the logarithm of the number of batches. Before about 80 batches the thresholds are too low,
    which their note says.

    The readout starts late, after the Σ_layers min_c (θ_c − v_init)/E[relu z_c] steps that the first spikes need on
    their way through the layers.

    Args:
        rate: η, > 0.
        sweeps: passes through the loader, ≥ 1; None: as many as 80 batches take.
        v_init: 'zero', or 'half' the threshold.
        delayed_readout: False: the readout starts at once.

    Source: Bu et al., CVPR 2025, Inference-scale complexity in ANN-SNN conversion.
    """

    settled_after = 80  # batches

    def __init__(
        self, rate: float = 0.5, sweeps: int | None = None, v_init: str = "half", delayed_readout: bool = True
    ) -> None:
        self.rate = real(self, "rate", rate, above=0)
        self.sweeps = None if sweeps is None else integer(self, "sweeps", sweeps, at_least=1)
        self.v_init = choice(self, "v_init", v_init, ("zero", "half"))
        self.delayed_readout = flag(self, "delayed_readout", delayed_readout)

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        thetas: dict[str, Tensor] = {}

        def see(name: str, y: Tensor) -> Tensor:
            values = by_channel(y)
            theta = thetas.setdefault(name, values.new_zeros(len(values)))
            theta += 2 * self.rate * (values - theta[:, None]).clamp_min_(0).mean(1)
            return torch.minimum(y, per_channel(theta, y))

        batches = sweep = 0
        while batches < self.settled_after if self.sweeps is None else sweep < self.sweeps:
            batches += observe(gm, loader, see)
            sweep += 1
        note = ""
        if batches < self.settled_after:
            note = f"thresholds have not settled after {batches} batches of about {self.settled_after} that ltb needs"
        settings = {name: Setting(theta, _start(theta, self.v_init), note) for name, theta in thetas.items()}
        self.readout_start = self._first_output(gm, loader, settings) if self.delayed_readout else 0
        return settings

    def _first_output(self, gm: fx.GraphModule, loader: Iterable[Any], settings: dict[str, Setting]) -> int:
        """Steps until the first spikes have passed all layers."""
        steps = 0.0
        for name, mean in mean_outputs(gm, loader).items():
            setting, alive = settings[name], mean > 0
            if alive.any():
                steps += ((setting.theta - setting.v_init)[alive] / mean[alive]).min().item()
        return math.ceil(steps)


def mean_outputs(gm: fx.GraphModule, loader: Iterable[Any]) -> dict[str, Tensor]:
    """Mean output [C] of every activation."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def see(name: str, y: Tensor) -> None:
        values = by_channel(y)
        sums[name] = sums.get(name, 0) + values.sum(1, dtype=torch.double)
        counts[name] = counts.get(name, 0) + values.shape[1]

    observe(gm, loader, see)
    return {name: (total / counts[name]).to(torch.float32) for name, total in sums.items()}
