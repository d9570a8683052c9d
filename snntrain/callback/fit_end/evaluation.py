"""What fit-end callbacks measure of a net on the test set."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snntrain.callback.fit_end.fit_end import Trained
from snntrain.callback.spike_statistics import spiking_layers, watching
from snntrain.functional import reset_net


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
    """What a network gets of batches (x, label, …) when it is tested, and the labels: (x_seq [T, N, *], label)."""
    for batch in batches:
        batch = [part.to(device) for part in batch]
        yield task.encoded(batch[0], task.encoding_seeds("test", batch)), batch[1]


def test_sequences(
    task: pl.LightningModule, trained: Trained, console: Console, description: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """The sequences of the test set, behind a progress bar."""
    return sequences(task, test_batches(trained, console, description), trained.device)


@torch.no_grad()
def share_right(task: pl.LightningModule, net: nn.Module, samples: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the samples (x_seq, label) whose label has the highest score, as the task reads the net out."""
    right = total = 0
    for x_seq, label in samples:
        right += int((task.scores(scores_of(net, x_seq)).argmax(1) == label).sum())
        total += len(label)
    return right / total


def accuracy(task: pl.LightningModule, net: nn.Module, trained: Trained, console: Console, description: str) -> float:
    """The share on the test set, behind a progress bar with that description."""
    return share_right(task, net, test_sequences(task, trained, console, description))


def drawn_batches(data: pl.LightningDataModule, count: int, source: torch.Generator) -> list[tuple[Tensor, ...]]:
    """Some batches of training samples, drawn from all of them; not augmented."""
    split, size = data.splits["train"], data.batch_size
    order = torch.randperm(len(split), generator=source)
    return [split.__getitems__(part.tolist()) for part in order[: count * size].split(size)]
