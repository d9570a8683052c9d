"""Build a trained task again from its config and weights, and the trainer that tests it."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from snntrain.callback import (
    EnergyModels,
    NeuroBench,
    Progress,
    Resetting,
    Seeding,
    SpikeStatistics,
    SynapticOperations,
)
from snntrain.config.bounds import check_bounds
from snntrain.config.check import check_resolved
from snntrain.run.build import build_task, build_trainer, net_shape
from snntrain.run.parallel.devices import one_device
from snntrain.run.weights import load_weights, memory_for
from snntrain.task.contract import resets_net


def rebuilt_task(config: Mapping[str, Any], weights: Mapping[str, Any], source: str) -> pl.LightningModule:
    """Build the task of a config that was admitted (see snntrain.config.foreign), and load its weights.

    Raises: UsageError or DamagedFile naming what in `source` is wrong, before it can take more memory than the weights.
    """
    check_bounds(config, source)
    check_resolved(config)
    with memory_for(weights):
        task = build_task(config)
    load_weights(task, weights, source)
    return task


def testing_trainer(task: pl.LightningModule, config: Mapping[str, Any]) -> pl.Trainer:
    """A trainer on one device with what a run's test measures."""
    operations = SynapticOperations(net_shape(config))
    counted = NeuroBench(operations)
    callbacks = [
        Seeding(config["seed"]),
        *([] if resets_net(task) else [Resetting()]),
        operations,
        counted,
        EnergyModels(counted),
        SpikeStatistics(),
        Progress(),
    ]
    return build_trainer({**config, "trainer": one_device(config["trainer"])}, callbacks, logger=False)
