"""One training step of the conv SNN in a plain loop, through train.py's machinery, and in SpikingJelly."""

import argparse
import contextlib
import gc
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import peers
import torch
from torch import Tensor, nn

from snntrain import functional, registry
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.model import builder
from snntrain.run.build import build, build_data, build_net
from snntrain.task import loss as losses
from snntrain.task.optimizer import configure

WARM_UP = 3  # steps that are not counted at the start of each round
BARE, FAST, UNFUSED, FRAMEWORK, SPIKINGJELLY = "bare", "fast", "unfused", "framework", "spikingjelly"
FUSE = {BARE: "exact", FAST: "fast", UNFUSED: "off"}


def settings_of(options: argparse.Namespace, folder: Path, steps: int) -> dict[str, Any]:
    """The checked config that train.py would get for one epoch of so many steps."""
    overrides = [
        "model=csnn",
        "data=fashion_mnist",
        f"neuron={options.neuron}",
        f"surrogate={options.surrogate}",
        f"model.channels={options.channels}",
        f"data.batch_size={options.batch}",
        f"T={options.T}",
        "trainer.max_epochs=1",
        f"trainer.limit_train_batches={steps}",
        "trainer.limit_val_batches=1",  # the monitored metric has to exist
    ]
    if not options.data:
        overrides += ["plugins=[random_pictures]", "data._target_=random_pictures.RandomPictures"]
    config = compose(overrides)
    config.paths.run = str(folder)
    if options.data:
        config.paths.data = str(options.data)
    return check(config)


class PlainLoop:
    """Train a network on a few batches in a loop of plain torch.

    Args:
        net: [T, N, *] → [T, N, num_classes].
        reset: clears the state of the net.
        settings: the config.
        batches: reused in turn.
    """

    def __init__(
        self,
        net: nn.Module,
        reset: Callable[[nn.Module], None],
        settings: Mapping[str, Any],
        batches: list[tuple[Tensor, Tensor]],
    ) -> None:
        self.net, self.reset, self.T = net, reset, settings["T"]
        self.optimizer = configure(net, settings["optim"])["optimizer"]
        self.smoothing = settings["task"]["label_smoothing"]
        self.encoder = registry.build("encoder", **settings["encoder"])
        self.batches = itertools.cycle(batches)

    def step(self, T: int) -> None:
        x, target, _ = next(self.batches)
        self.optimizer.zero_grad()
        self.reset(self.net)
        scores = self.net(self.encoder(x, T)).mean(0)
        losses.cross_entropy(scores, target, self.smoothing).backward()
        self.optimizer.step()

    def seconds_per_step(self, steps: int, T: int | None = None) -> float:
        """Mean over steps that follow a warm-up."""
        T = T or self.T
        for _ in range(WARM_UP):
            self.step(T)
        began = time.perf_counter()
        for _ in range(steps):
            self.step(T)
        return (time.perf_counter() - began) / steps


class StepClock(pl.Callback):
    """Note the time at the end of every training batch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.times.append(time.perf_counter())

    def seconds_per_step(self) -> float:
        """Mean from batch end to batch end after the warm-up: loader, hooks, logging and step."""
        return (self.times[-1] - self.times[WARM_UP - 1]) / (len(self.times) - WARM_UP)


class Framework:
    """The Trainer, LightningModule, datamodule, callbacks and logger of train.py."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def seconds_per_step(self) -> float:
        """One run of one epoch; what comes before its first and after its last step is not counted."""
        built, clock = build(self.settings), StepClock()
        built.trainer.callbacks.append(clock)
        with contextlib.redirect_stdout(sys.stderr):  # keep its progress out of our output
            built.trainer.fit(built.task, datamodule=built.data)
        del built
        gc.collect()  # a Trainer has reference cycles; free its memory before the next round
        return clock.seconds_per_step()


def some_batches(settings: Mapping[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Batches for the plain loops, from the data that the framework trains on."""
    return list(itertools.islice(build_data(settings).train_dataloader(), 8))


def spikingjelly_net(settings: Mapping[str, Any]) -> nn.Module:
    """SpikingJelly's layers for the same list, with the same weights."""
    ours = build_net(settings)
    neuron = dict(settings["neuron"])
    name, surrogate = neuron.pop("name"), neuron.pop("surrogate_function")
    layers = []
    for entry, layer in zip(settings["model"]["layers"], ours.layers, strict=True):
        if entry == "neuron":
            layers.append(peers.spikingjelly_neuron(name, neuron, surrogate))
            continue
        arguments = {"name": entry} if isinstance(entry, str) else dict(entry)
        arguments.pop("name")  # a name such as "norm" is not a class; the built layer's class is used
        target = getattr(peers.spikingjelly_module("layer"), type(layer).__name__)
        sizes = {size: getattr(layer, size) for size in builder.inferred_arguments(type(layer))}
        layers.append(target(**sizes, **arguments))
    net = nn.Sequential(*layers)
    net.load_state_dict({key.removeprefix("layers."): value for key, value in ours.state_dict().items()})
    peers.spikingjelly_module("functional").set_step_mode(net, "m")
    return net


def plain_loop(name: str, settings: Mapping[str, Any], batches: list[tuple[Tensor, Tensor]]) -> PlainLoop:
    """Ours or SpikingJelly's."""
    if name in FUSE:
        net = build_net({**settings, "fuse": FUSE[name]})
        return PlainLoop(net, functional.reset_net, settings, batches)
    return PlainLoop(spikingjelly_net(settings), peers.spikingjelly_module("functional").reset_net, settings, batches)


@torch.no_grad()
def largest_difference(one: PlainLoop, other: PlainLoop) -> float:
    """Largest difference of the two nets' scores for one batch: tiny before training, if the nets are equal."""
    x, *_ = next(one.batches)
    scores = []
    for loop in (one, other):
        loop.reset(loop.net)
        loop.net.eval()
        scores.append(loop.net(loop.encoder(x, loop.T)).mean(0))
        loop.net.train()
        loop.reset(loop.net)
    return (scores[0] - scores[1]).abs().max().item()
