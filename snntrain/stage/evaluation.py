"""What a stage measures of a network on the test set."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

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


@torch.no_grad()
def accuracy(task: pl.LightningModule, trained: Trained, console: Console, description: str) -> float:
    """Share of the test samples whose label has the highest score.

    Args:
        task: a LightningModule around the network, on the device.
        description: of the progress bar.
    """
    task.eval()
    right = total = 0
    for batch in test_batches(trained, console, description):
        scores = task.scores(task._outputs("test", batch[0], batch))
        right += int((scores.argmax(1) == batch[1]).sum())
        total += len(batch[1])
    return right / total


class FiringRates:
    """How often each neuron of the spiking layers of a network fires, while the block runs.

    Args:
        layers: name → module whose output [T, N, *] is not 0 where a neuron fires.
    """

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self.layers = layers
        self.fired: dict[str, Tensor] = {}
        self.seen: dict[str, int] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> "FiringRates":
        for name, layer in self.layers.items():
            self.handles.append(layer.register_forward_hook(self._counter(name)))
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _counter(self, name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            fired = (y.detach() != 0).sum((0, 1)).flatten().cpu()
            self.fired[name] = self.fired.get(name, 0) + fired
            self.seen[name] = self.seen.get(name, 0) + y.shape[0] * y.shape[1]

        return count

    def of(self, name: str) -> Tensor:
        """Firing rate of each neuron of a layer."""
        return self.fired[name].double() / self.seen[name]


def earth_movers_distance(a: Tensor, b: Tensor) -> float:
    """Between two sets of as many numbers: the mean distance of what has the same rank (1-d Wasserstein distance)."""
    return float((a.sort().values - b.sort().values).abs().mean())
