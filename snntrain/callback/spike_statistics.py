"""How much the neurons fire."""

import contextlib
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from snntrain.arguments import integer
from snntrain.hooks import spiking_layers, watching
from snntrain.layer.padding import padding
from snntrain.registry import register
from snntrain.task.chunk import is_repeated


@register("callback")
class SpikeStatistics(pl.Callback):
    """Log firing rates: the share of (neuron, time step, sample) in which a spike was fired.

    In validation and test `val/firing_rate` and `test/firing_rate` over all neurons, and `…/firing_rate/<layer>` for
    each layer, of the samples of all processes. In training every n-th batch is looked at, for the progress bar only.

    Args:
        every_n_batches: training batches from one look to the next, ≥ 1.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        self.every_n_batches = integer(self, "every_n_batches", every_n_batches, at_least=1)
        self.training_rate: float | None = None
        self._fired: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}
        self._while_watching = contextlib.ExitStack()

    def _watch(self, net: nn.Module) -> None:
        self._fired, self._seen = {}, {}
        self._while_watching.enter_context(watching(spiking_layers(net), self._count, at_once=True, count=self._add))

    @torch.no_grad()
    def _count(self, path: str, layer: nn.Module, output: Tensor | list[Tensor]) -> None:
        if is_repeated():
            return  # it was counted the first time
        output = output[0] if isinstance(output, list) else output  # OTTT neurons: [spikes, trace]
        now = padding()
        output = output if now is None else output[now.of(layer, output)]
        self._add(path, torch.count_nonzero(output.detach()), output.numel())

    def _add(self, path: str, fired: Tensor, seen: int) -> None:
        if is_repeated():
            return
        self._fired[path] = self._fired.get(path, 0) + fired
        self._seen[path] = self._seen.get(path, 0) + seen

    def _stop(self, *arguments: Any) -> None:
        self._while_watching.close()

    def _rates(self) -> tuple[float | None, dict[str, float]]:
        per_layer = {path: float(self._fired[path]) / seen for path, seen in self._seen.items() if seen}
        seen = sum(self._seen.values())
        return (sum(map(float, self._fired.values())) / seen if seen else None), per_layer

    def _stop_and_log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        stage = "test" if trainer.testing else "val"
        if trainer.world_size > 1 and self._seen:
            self._add_up(trainer, pl_module.device)
        overall, per_layer = self._rates()
        if overall is not None:
            pl_module.log(f"{stage}/firing_rate", overall)
            for path, rate in per_layer.items():
                pl_module.log(f"{stage}/firing_rate/{path}", rate)

    def _add_up(self, trainer: pl.Trainer, device: torch.device) -> None:
        """Over the processes, which have the same layers."""
        counts = [[float(self._fired[path]), float(seen)] for path, seen in self._seen.items()]
        total = trainer.strategy.reduce(torch.tensor(counts, dtype=torch.float64, device=device), reduce_op="sum")
        for path, (fired, seen) in zip(self._seen, total.tolist(), strict=True):
            self._fired[path], self._seen[path] = torch.tensor(fired, dtype=torch.float64), int(seen)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        if idx % self.every_n_batches == 0:
            self._watch(pl_module.net)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, idx: int
    ) -> None:
        if idx % self.every_n_batches == 0:
            self.training_rate, _ = self._rates()
            self._stop()

    def _watch_the_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._watch(pl_module.net)

    on_validation_epoch_start = on_test_epoch_start = _watch_the_epoch
    on_validation_epoch_end = on_test_epoch_end = _stop_and_log
    on_exception = _stop
