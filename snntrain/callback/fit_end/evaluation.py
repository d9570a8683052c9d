"""What fit-end callbacks measure of a net on the test set."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torchmetrics import Metric

from snntrain.callback.fit_end.fit_end import Trained
from snntrain.callback.spike_statistics import spiking_layers, watching
from snntrain.functional import reset_net
from snntrain.headline import judged_by


def bars(console: Console) -> Progress:
    """Progress bars that vanish when they are done; none where there is no terminal."""
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def test_batches(trained: Trained, console: Console, description: str) -> Iterator[tuple[Any, Tensor]]:
    """The batches (x, label, …) of the test set that the run was tested on, on its device, behind a progress bar."""
    batches = itertools.islice(trained.data.test_dataloader(), trained.test_batches)
    with bars(console) as progress:
        for batch in progress.track(batches, trained.test_batches, description=description):
            yield tuple(part.to(trained.device) for part in batch)


def scores_of(net: nn.Module, x_seq: Tensor) -> Tensor:
    """Outputs [T, N, K] of a network for a sequence, from reset neurons, at full precision."""
    reset_net(net)
    y_seq = net(x_seq).float()
    reset_net(net)
    return y_seq


def spikes_and_scores(net: nn.Module, x_seq: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Spikes [T, N, *] of every layer of neurons, in the order in which they fire, and scores_of the net."""
    spikes: dict[str, Tensor] = {}
    with watching(spiking_layers(net), lambda name, layer, y: spikes.update({name: y})):
        return spikes, scores_of(net, x_seq)


def sequences(
    task: pl.LightningModule, batches: Iterable[Sequence[Tensor]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a network gets of batches (x, target, …) when it is tested, and the targets: (x_seq [T, N, *], target).

    While the caller works on a batch, snntrain.layer.padding tells its real steps.
    """
    for batch in batches:
        batch = [part.to(device) for part in batch]
        with task.padded(batch) if hasattr(task, "padded") else contextlib.nullcontext():
            yield task.encoded(batch[0], task.encoding_seeds("test", batch)), batch[1]


def test_sequences(
    task: pl.LightningModule, trained: Trained, console: Console, description: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """The sequences of the test set, behind a progress bar."""
    return sequences(task, test_batches(trained, console, description), trained.device)


class Headline:
    """Adds up, batch by batch, the metric by which a task judges nets.

    Of a task that states none it is the share of samples whose label has the highest score, "acc".

    Args:
        task: a snntrain.task.Supervised, or another one with a method `scores`.

    Attributes:
        name: of the metric.
        higher_is_better: the direction.
    """

    def __init__(self, task: pl.LightningModule) -> None:
        self.task = task
        self.name, mode = judged_by(task)
        self.higher_is_better = mode == "max"
        self._right = self._total = 0
        self._metric: Metric | None = None

    def add(self, scores: Tensor, target: Tensor) -> None:
        """Add a batch of scores and targets."""
        target = target.to(scores.device)
        if hasattr(self.task, "measurable"):
            scores, target = self.task.measurable(scores, target)
        if self.name == "acc":  # in whole numbers: exact for any number of samples
            self._right += int((scores.argmax(1) == target).sum())
            self._total += len(target)
            return
        if self._metric is None:
            self._metric = self.task.new_headline().to(scores.device)
        self._metric.update(scores, target)

    @property
    def value(self) -> float:
        """The metric of all samples that were added."""
        return self._right / self._total if self._metric is None else float(self._metric.compute())


@torch.no_grad()
def judged(task: pl.LightningModule, net: nn.Module, samples: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The headline metric of a net on samples (x_seq, target), as the task reads the net out."""
    headline = Headline(task)
    for x_seq, target in samples:
        headline.add(task.scores(scores_of(net, x_seq)), target)
    return headline.value


def judged_in_test(
    task: pl.LightningModule, net: nn.Module, trained: Trained, console: Console, description: str
) -> float:
    """The same on the test set, behind a progress bar with that description."""
    return judged(task, net, test_sequences(task, trained, console, description))


def drawn_batches(data: pl.LightningDataModule, count: int, source: torch.Generator) -> list[tuple[Tensor, ...]]:
    """Some batches of training samples, drawn from all of them; not augmented."""
    split, size = data.splits["train"], data.batch_size
    order = torch.randperm(len(split), generator=source)
    return [split.__getitems__(part.tolist()) for part in order[: count * size].split(size)]
