"""What a stage measures of a network on the test set."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snntrain.functional import reset_net
from snntrain.stage.stage import Trained


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


@torch.no_grad()
def accuracy(task: pl.LightningModule, net: nn.Module, trained: Trained, console: Console, description: str) -> float:
    """Share of the test samples whose label has the highest score.

    Args:
        task: the LightningModule that encodes and reads out.
        net: [T, N, *] → [T, N, K].
        description: of the progress bar.
    """
    right = total = 0
    for batch in test_batches(trained, console, description):
        y_seq = scores_of(net, task.encoded(batch[0], task.encoding_seeds("test", batch)))
        right += int((task.scores(y_seq).argmax(1) == batch[1]).sum())
        total += len(batch[1])
    return right / total
