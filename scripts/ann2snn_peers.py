"""The conversions of an ANN that bench_ann2snn compares: snntrain's methods and SpikingJelly's recipes."""

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers import spikingjelly_module
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntrain.ann2snn import convert, make_method
from snntrain.error import UsageError
from snntrain.graph import trace, working_copy
from snntrain.registry import did_you_mean
from snntrain.run.provenance import version_of

CALIBRATION_PASSES = 3  # for each correction
QCFS_LEVELS = 4

#: (x [N, *], numbers of steps T) → for each of them the mean output over the steps that count, [len(steps), N, K].
Predict = Callable[[Tensor, Sequence[int]], Tensor]


@dataclass
class Source:
    """One trained ANN, and the data it is converted with.

    Attributes:
        run: its folder.
        config: of the run.
        net: [N, *] → [N, K].
        calibration: batches of images, the same for every method.
        training: (x, label, index) of the whole training split, not augmented.
        test: (x, label).
    """

    run: Path
    config: dict[str, Any]
    net: nn.Module
    calibration: list[Tensor]
    training: DataLoader
    test: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Contender:
    """One way to convert an ANN.

    Attributes:
        title: in the table.
        convert: (source, T) → function that predicts.
        for_each_T: its choices depend on T, so that it converts anew for every T.
        is_peer: it belongs to another library.
    """

    title: str
    convert: Callable[[Source, int], Predict]
    for_each_T: bool = False
    is_peer: bool = False


# --- SpikingJelly ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """One of SpikingJelly's recipes, with the arguments of its documentation and examples.

    Attributes:
        key: its name here.
        title: in the table.
        name: class in spikingjelly.activation_based.ann2snn.
        arguments: of the class, besides the data.
        batches: of calibration, repeating the data as needed; None: one pass.
        delayed: the readout starts where its estimate_delay_start says.
    """

    key: str
    title: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batches: int | None = None
    delayed: bool = False


_CHANNELS = {"mode": "99.9%", "channel_wise": True, "half_threshold": True}
_POOL_FIRST = {"pre_spike_maxpool": True}

RECIPES = {
    recipe.key: recipe
    for recipe in (
        Recipe("sj_max_norm", "MaxNorm", "RateCodingRecipe", {"mode": "Max"}),
        Recipe("sj_robust_norm", "RobustNorm 99.9 %", "RateCodingRecipe", {"mode": "99.9%"}),
        Recipe("sj_channel_half", "99.9 %, per channel, θ/2", "RateCodingRecipe", _CHANNELS),
        Recipe("sj_pool_first", "99.9 %, per channel, θ/2, pool first", "RateCodingRecipe", _CHANNELS | _POOL_FIRST),
        Recipe("sj_ltb", "LTB, 80 batches, delayed", "LocalThresholdBalancingRecipe", batches=80, delayed=True),
    )
}


def missing_peers() -> str | None:
    """Why the recipes cannot be run, None if they can."""
    version = version_of("spikingjelly")
    if version is None:
        return "SpikingJelly is not installed: pip install -c constraints.txt -e '.[bench]'"
    if int(version.split(".")[0]) < 2:
        return f"SpikingJelly {version} has no recipes; they came with 2.0"
    return None


@torch.no_grad()
def plain(net: nn.Module, x: Tensor) -> nn.Module:
    """Copy a net into torch's own modules, the only ones that SpikingJelly's patterns recognize.

    Args:
        net: [N, *] → [N, K].
        x: a few inputs, for which the copy must have the net's outputs.

    Raises: RuntimeError if it does not.
    """
    copy = trace(working_copy(net))
    for module in copy.modules():
        module.__class__ = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch."))
    if not torch.allclose(copy(x), net(x), rtol=1e-4, atol=1e-4):
        raise RuntimeError("the copy of the net that SpikingJelly gets has other outputs than the net.")
    return copy


def convert_by_recipe(recipe: Recipe, net: nn.Module, data: list[Tensor]) -> Predict:
    """Convert a copy of a net [N, *] → [N, K], calibrated on batches of data."""
    library, functional = spikingjelly_module("ann2snn"), spikingjelly_module("functional")
    passes = 1 if recipe.batches is None else math.ceil(recipe.batches / len(data))
    repeated = list(itertools.islice(itertools.chain(*[data] * passes), recipe.batches))
    make = getattr(library, recipe.name)
    snn = library.Converter(make(dataloader=repeated, **recipe.arguments)).convert(plain(net, data[0][:8])).eval()

    @functools.cache
    def first(T: int) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a small T leaves no time for the whole delay
            return library.estimate_delay_start(snn, data, "cpu", T) if recipe.delayed else 0

    def predict(x: Tensor, steps: Sequence[int]) -> Tensor:
        starts = [first(T) for T in steps]
        functional.reset_net(snn)
        y_seq = torch.stack([snn(x) for _ in range(max(steps))])
        return torch.stack([y_seq[start:T].mean(0) for start, T in zip(starts, steps, strict=True)])

    return predict


# --- who takes part --------------------------------------------------------------------------------------------------


def ours(method: str, source: Source, T: int, calibration: str = "none", **arguments: Any) -> Predict:
    """One of snntrain's methods."""
    made = make_method(method, **arguments)
    return convert(source.net, source.calibration, made, T, calibration, CALIBRATION_PASSES).predict_at


def qcfs(source: Source, T: int) -> Predict:
    """snntrain's only method that trains."""
    return ours("qcfs", source, T, levels=QCFS_LEVELS, training=source.training)


def theirs(recipe: Recipe, source: Source, T: int) -> Predict:
    """One of SpikingJelly's recipes; none of them depends on T."""
    return convert_by_recipe(recipe, source.net, source.calibration)


def contenders() -> dict[str, Contender]:
    """Name → contender, in the order of the table."""
    channels = {"channel_wise": True, "v_init": "half"}
    found = {
        "max_norm": Contender("MaxNorm", partial(ours, "max_norm")),
        "robust_norm": Contender("RobustNorm 99.9 %", partial(ours, "robust_norm")),
        "max_norm_half": Contender("MaxNorm, per channel, θ/2", partial(ours, "max_norm", **channels)),
        "robust_norm_half": Contender("RobustNorm 99.9 %, per channel, θ/2", partial(ours, "robust_norm", **channels)),
        "ltb": Contender("LTB, 80 batches, delayed", partial(ours, "ltb")),
        "channel_mse": Contender("channel_mse", partial(ours, "channel_mse"), for_each_T=True),
    }
    for calibration in ("bias", "bias+potential", "step_bias", "weight"):
        name = f"channel_mse+{calibration}"
        call = partial(ours, "channel_mse", calibration=calibration)
        found[name] = Contender(name.replace("+", " + "), call, for_each_T=True)
    found["qcfs"] = Contender(f"QCFS L = {QCFS_LEVELS}, 1 epoch", qcfs)
    for name, recipe in RECIPES.items():
        found[name] = Contender(f"SpikingJelly {recipe.title}", partial(theirs, recipe), is_peer=True)
    return found


def chosen_contenders(text: str | None) -> dict[str, Contender]:
    """The contenders named in a text such as 'channel_mse,qcfs'; None: all that can run here."""
    known, missing = contenders(), missing_peers()
    if text is None:
        return {name: one for name, one in known.items() if not (one.is_peer and missing)}
    chosen = {}
    for name in text.split(","):
        if name not in known:
            suggestion = did_you_mean(name, known)
            raise UsageError(f"methods: {name!r} is not a method.{suggestion} Known: {', '.join(known)}.")
        if known[name].is_peer and missing:
            raise UsageError(f"methods: {name} cannot be run. {missing}.")
        chosen[name] = known[name]
    return chosen
