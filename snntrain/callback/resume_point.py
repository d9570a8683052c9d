"""The checkpoint that an interrupted run continues from."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from snntrain.callback.kept import fetch_kept, own_checkpoints


class ResumePoint(Checkpoint):
    """Write checkpoints/last.ckpt before the first epoch and at the end of every epoch.

    A resumed run repeats the interrupted epoch from its first batch, with the order and random numbers it had, and ends
    with the same metrics as a run that was never interrupted. The file is complete at any moment; of several processes
    the first one writes it.

    The checkpoints that a resumed run calls its own lie in its own folder, see snntrain.callback.kept.

    Every checkpoint of the run also gets what is needed to rebuild the model from it alone.

    Args:
        folder: the run's checkpoint folder.
        description: plain containers stored under the key "snntrain" (config, format version, classes).
    """

    # A Checkpoint, because Lightning calls those last: the state of the other callbacks belongs to the same epoch.

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.path = folder / "last.ckpt"
        self.description = description

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.epoch_progress.current.processed == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["snntrain"] = self.description

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        source = Path(trainer.ckpt_path)
        for callback in trainer.callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                state = own_checkpoints(checkpoint["callbacks"][callback.state_key], callback, source)
                checkpoint["callbacks"][callback.state_key] = state
                if trainer.is_global_zero:
                    fetch_kept(state, source)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
