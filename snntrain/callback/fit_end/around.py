"""What fit-end callbacks use of a plain LightningModule and the dataloaders of its Trainer."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntrain.functional import copy_net, reset_net
from snntrain.task.readout import read_out


class Reader(pl.LightningModule):
    """Encodes samples for a net and reads its outputs, as snntrain's own tasks do.

    Args:
        net: [T, N, *] → [T, N, K].
        T: time steps; None: as many as the data have.
        encoder: (x [N, *], T) → [T, N, *]; None: x is a sequence already.
        readout: a name in READOUTS, or outputs [T, N, K] → scores [N, K].
    """

    def __init__(
        self, net: nn.Module, T: int | None, encoder: nn.Module | None, readout: str | Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.net, self.T, self.encoder, self.readout = net, T, encoder, readout

    def encoding_seeds(self, stage: str, batch: Sequence[Tensor]) -> None:
        """None: random encoders draw from torch's generator."""

    def encoded(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """The sequence [T, N, *] that the net gets of a batch x."""
        if self.encoder is None:
            return x
        if isinstance(self.encoder, nn.Module):
            reset_net(self.encoder)
        return self.encoder(x, self.T)

    def scores(self, y_seq: Tensor) -> Tensor:
        """One score per class: [T, N, K] → [N, K]."""
        return read_out(y_seq, self.readout)


class Loaders:
    """The samples of a Trainer: training and validation sets by index, and the set to measure on.

    That set is the test set if the module or the datamodule has a `test_dataloader`, else the validation set, else the
    training set; `measured` says which.

    Raises: ValueError for samples that cannot be drawn by index.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        train = _only(trainer.train_dataloader, "training")
        validation = _only(trainer.val_dataloaders, "validation")
        self._train, self.batch_size = train, train.batch_size
        self.splits = {"train": _Split(train), "val": _Split(validation or train)}
        self._test, self.measured = _test_dataloader(trainer, module), "test"
        if self._test is None:
            self._test, self.measured = (validation, "validation") if validation else (train, "training")

    def train_dataloader(self) -> DataLoader:
        """Training samples in batches, as in training."""
        return self._train

    def test_dataloader(self) -> DataLoader:
        """Samples to measure on, in batches."""
        return self._test


class _Split:
    """Samples of a loader's dataset by index, collated as the loader does."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset, self._collate = loader.dataset, loader.collate_fn

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        return tuple(self._collate([self._dataset[index] for index in indices]))


def _only(loaders: Any, use: str) -> DataLoader | None:
    if isinstance(loaders, list | tuple) and len(loaders) == 1:
        loaders = loaders[0]
    if loaders is None or loaders == []:
        return None
    if not isinstance(loaders, DataLoader) or not hasattr(loaders.dataset, "__len__") or not loaders.batch_size:
        raise ValueError(
            f"the {use} samples must come from one torch DataLoader with a batch_size and a dataset with a length, got "
            f"{type(loaders).__name__}. Give the Trainer one such loader."
        )
    return loaders


def _test_dataloader(trainer: pl.Trainer, module: pl.LightningModule) -> DataLoader | None:
    data = getattr(trainer, "datamodule", None)
    if data is not None and is_overridden("test_dataloader", data):
        data.setup("test")
        return _only(data.test_dataloader(), "test")
    return _only(module.test_dataloader(), "test") if is_overridden("test_dataloader", module) else None


def first_sample(trainer: pl.Trainer) -> Tensor:
    """The x [1, *], or [T, 1, *] of sequences, of the first training sample."""
    return _Split(_only(trainer.train_dataloader, "training")).__getitems__([0])[0]


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """The file of the best epoch; None where no callback keeps one."""
    for callback in trainer.callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            return callback.best_model_path
    return None


def best_net(trainer: pl.Trainer, module: pl.LightningModule) -> nn.Module:
    """A copy of the module's net with the weights of the Trainer's best checkpoint, else with the last ones."""
    net = copy_net(module.net)
    path = best_checkpoint(trainer)
    if path is not None:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        net.load_state_dict({key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")})
    return net.eval()


class _EachBatch(pl.Callback):
    """Lower the learning rate once, and reset the neurons before every batch."""

    def __init__(self, net: nn.Module, lr: float | None) -> None:
        self.net, self.lr = net, lr

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        factors = []
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                factors.append(0.1 if self.lr is None else self.lr / group["lr"])
                group["lr"] *= factors[-1]
                if "initial_lr" in group:
                    group["initial_lr"] *= factors[-1]
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [rate * factors[0] for rate in config.scheduler.base_lrs]

    def on_train_batch_start(self, *arguments: Any) -> None:
        reset_net(self.net)

    def on_validation_batch_start(self, *arguments: Any) -> None:
        reset_net(self.net)


def fine_tune(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    net: nn.Module,
    T: int,
    epochs: int,
    lr: float | None,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Train another net as the module trains its own: its steps, its optimizer, the Trainer's loaders.

    Args:
        trainer: whose loaders, gradient clipping and accumulation are taken over.
        module: a copy of it trains.
        net: [T, N, *] → [T, N, K]; trained in place.
        T: not used: the module encodes its samples itself.
        epochs, lr, folder, say: as in Trained.fine_tune; the learning rate follows the module's own schedule.
    """
    copied = copy.deepcopy(module, {id(module.net): net.train()})
    device = module.device
    on_gpu = {"accelerator": "gpu", "devices": [device.index or 0]}
    tuner = pl.Trainer(
        **(on_gpu if device.type == "cuda" else {"accelerator": "cpu", "devices": 1}),
        max_epochs=epochs,
        gradient_clip_val=trainer.gradient_clip_val,
        gradient_clip_algorithm=trainer.gradient_clip_algorithm,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        callbacks=[_EachBatch(net, lr)],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    say(f"fine-tuning for {epochs} epoch{'s' * (epochs != 1)}")
    tuner.fit(copied, train_dataloaders=trainer.train_dataloader, val_dataloaders=trainer.val_dataloaders)
