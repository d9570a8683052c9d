"""The plugins of a Trainer: those of the config, and ours."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from lightning.fabric.plugins import CheckpointIO

from snntrain.config.error import refusing
from snntrain.run.checkpoint import WholeCheckpoints
from snntrain.run.parallel.layer_sync import StepSyncBatchNorm


def plugins_of(trainer: Mapping[str, Any]) -> list[Any]:
    """The plugins of a config, and ours that write checkpoints whole and synchronize layers with step modes."""
    plugins = _made_plugins(trainer)
    strategy = trainer.get("strategy")
    has_own = isinstance(strategy, Mapping) and strategy.get("checkpoint_io")
    if not has_own and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(WholeCheckpoints())
    return [*plugins, StepSyncBatchNorm()] if trainer.get("sync_batchnorm") else plugins


def _made_plugins(trainer: Mapping[str, Any]) -> list[Any]:
    return [
        instantiate(plugin, _convert_="all") if isinstance(plugin, Mapping) else plugin
        for plugin in trainer.get("plugins") or ()
    ]


def plugins_without(kind: type, trainer: Mapping[str, Any]) -> list[Any]:
    """The plugins of a trainer's section except those of a kind."""
    with refusing("trainer.plugins"):
        return [plugin for plugin in _made_plugins(trainer) if not isinstance(plugin, kind)]
