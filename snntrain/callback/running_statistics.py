"""Running statistics of normalization that an evaluation can use after few updates."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from snntrain.arguments import integer
from snntrain.error import DamagedFile
from snntrain.terminal import terminal, warn

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_FAR = 0.5  # standard deviations between two means that are worth a warning
_FEW = 4  # training batches are enough to see that

console = terminal()

Statistics = dict[str, Tensor]


class RunningStatistics(pl.Callback):
    """Validate with statistics re-estimated over training batches while normalization has had few updates.

    A moving average with momentum 0.1 still holds a third of its starting value after ten updates, and lags behind
    weights that change fast: a net that has learned well is then judged as if it guessed. Until there were enough
    updates, the statistics of a validation are the means over some training batches, computed with the weights of that
    moment in one more forward pass over them. Training goes on with its own moving averages. Checkpoints hold the
    statistics that were judged, and training's own beside them for a run that is resumed.

    After the training, a warning names the first layer whose moving averages are still far from the statistics of a few
    training batches, since evaluation sees another net there than training.

    Nothing is drawn at random. With averaged weights (callbacks=[…,ema]), and for a task that is a plain
    LightningModule, nothing is re-estimated.

    Args:
        until: number of updates from which on the moving averages are used as they are, ≥ 0; 0 turns this off.
        batches: most training batches that one estimate takes, ≥ 1. It costs a forward pass over each.
    """

    def __init__(self, until: int = 100, batches: int = 32) -> None:
        self.until = integer(self, "until", until, at_least=0)
        self.batches = integer(self, "batches", batches, at_least=1)
        self._trained: dict[str, nn.Module] = {}
        self._own: Statistics = {}  # training's, while an evaluation uses others, and until the next update
        self._judged: Statistics = {}
        self._restored: Mapping[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"own": self._own} if self._judged else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict.get("own", {})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored:
            _write(pl_module, _checked(self._restored, pl_module))
            self._restored = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._own, self._judged = {}, {}
        if batch_idx == 0:  # a layer in evaluation mode now is frozen, and keeps its statistics
            self._trained = {name: module for name, module in _tracking(pl_module) if module.training}

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not self._has_few_updates() or not _can_estimate(trainer, pl_module):
            return
        self._own = _read(self._trained)
        self._judged = self._estimate(trainer, pl_module, self.batches)
        _write(pl_module, self._judged)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _write(pl_module, self._own)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._judged:
            _write(pl_module, self._judged)
        elif self.until and self._trained and _can_estimate(trainer, pl_module):
            self._warn_of_a_difference(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        weights = checkpoint["state_dict"]
        weights.update({name: value for name, value in self._judged.items() if name in weights})

    def _has_few_updates(self) -> bool:
        updates = [int(module.num_batches_tracked) for module in self._trained.values()]
        return bool(updates) and max(updates) < self.until

    def _estimate(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batches: int) -> Statistics:
        """The means of the batches' statistics over the first training batches of this epoch."""
        before = _read(self._trained)
        samples = 0
        with torch.no_grad(), _averaging(pl_module, self._trained), trainer.precision_plugin.forward_context():
            for batch in islice(trainer.datamodule.train_dataloader(), batches):
                batch = trainer.strategy.batch_to_device(batch)
                samples += len(batch[0])
                for module in self._trained.values():
                    module.momentum = len(batch[0]) / samples  # so that each sample counts the same in the end
                pl_module.outputs("train", batch[0], batch)
        found = _read(self._trained)
        _write(pl_module, before)
        counts = {name: value for name, value in before.items() if name.endswith(_BUFFERS[2])}
        if trainer.world_size > 1:
            found = {name: trainer.strategy.reduce(value, reduce_op="mean") for name, value in found.items()}
        return found | counts

    def _warn_of_a_difference(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        own, found = _read(self._trained), self._estimate(trainer, pl_module, min(self.batches, _FEW))
        for name in self._trained:
            mean, variance = f"{name}.{_BUFFERS[0]}", f"{name}.{_BUFFERS[1]}"
            distance = (own[mean] - found[mean]).abs() / found[variance].clamp_min(1e-12).sqrt()
            if trainer.is_global_zero and float(distance.mean()) > _FAR:
                warn(
                    console,
                    f"the running mean of {name} is {float(distance.mean()):.1f} standard deviations away from that of "
                    "the training batches, so that evaluation sees another net than training. Train for more epochs, "
                    "use a smaller data.batch_size, a larger norm.momentum, or a larger "
                    "callbacks.running_statistics.until.",
                )
                return


def _tracking(pl_module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of normalization that keep a moving average."""
    for name, module in pl_module.named_modules():
        has_statistics = all(isinstance(getattr(module, buffer, None), Tensor) for buffer in _BUFFERS)
        if has_statistics and isinstance(getattr(module, "momentum", None), float):
            yield name, module


def _can_estimate(trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
    has_loader = trainer.datamodule is not None and hasattr(pl_module, "outputs")
    return has_loader and not any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)


def _read(modules: Mapping[str, nn.Module]) -> Statistics:
    return {
        f"{name}.{buffer}": getattr(module, buffer).detach().clone()
        for name, module in modules.items()
        for buffer in _BUFFERS
    }


def _write(pl_module: nn.Module, statistics: Statistics) -> None:
    with torch.no_grad():
        for name, value in statistics.items():
            pl_module.get_buffer(name).copy_(value)


@contextmanager
def _averaging(pl_module: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Let these layers average the statistics of each batch inside the block; dropout and the like do nothing."""
    training = {module: module.training for module in pl_module.modules()}
    momentum = {module: module.momentum for module in modules.values()}
    try:
        pl_module.eval()
        for module in modules.values():
            module.training = True
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for module, value in momentum.items():
            module.momentum = value


def _checked(saved: Mapping[str, Any], pl_module: nn.Module) -> Statistics:
    own = dict(pl_module.named_buffers())
    for name, value in saved.items() if isinstance(saved, Mapping) else [("", None)]:
        if name not in own or not isinstance(value, Tensor) or value.shape != own[name].shape:
            raise DamagedFile(f"the checkpoint is damaged: RunningStatistics holds {name!r}, which the net has not.")
        if not bool(torch.isfinite(value).all()):
            raise DamagedFile(f"the checkpoint is damaged: {name} of RunningStatistics is not finite.")
    return dict(saved)
