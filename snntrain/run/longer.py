"""Train a run for more epochs than it was started with."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl

from snntrain.error import UsageError
from snntrain.run.differences import Difference
from snntrain.run.parallel.devices import is_sharded
from snntrain.task import Classification
from snntrain.task.schedule import replan


def more_epochs(saved: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The epochs that a run was to have and is to have now; None if it does not become longer.

    Args:
        saved: config in the checkpoint.
        config: of the run that continues it.
    """
    before, now = saved["trainer"].get("max_epochs"), config["trainer"].get("max_epochs")
    return (before, now) if type(before) is int and type(now) is int and 0 < before < now else None


def without_length(different: Sequence[Difference], epochs: tuple[int, int] | None) -> list[Difference]:
    """Leave out the differences that the greater length makes: also an argument of the schedule that follows it."""
    return [
        item
        for item in different
        if (item.before, item.now) != epochs or not item.key.startswith(("trainer.max_epochs", "optim.schedule."))
    ]


def check_longer(content: Mapping[str, Any], task: pl.LightningModule, config: Mapping[str, Any]) -> None:
    """Refuse to train longer what has a schedule that cannot be moved.

    Raises: UsageError.
    """
    has_own = type(task).configure_optimizers is not Classification.configure_optimizers
    if content["lr_schedulers"] and (has_own or is_sharded(config["trainer"])):
        whose = f"{type(task).__name__}.configure_optimizers" if has_own else "a sharded strategy"
        raise UsageError(
            f"resume: trainer.max_epochs was {content['snntrain']['config']['trainer']['max_epochs']}, got "
            f"{config['trainer']['max_epochs']}, but the learning-rate schedule of {whose} cannot be moved to the "
            "longer training. Start a new run from the weights with init_from=…."
        )


class Replanned(pl.Callback):
    """Move the learning rate of a checkpoint that is continued to where a longer training has it."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        replan(checkpoint, pl_module)
