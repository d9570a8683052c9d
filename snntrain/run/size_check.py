"""Refuse runs that cannot fit into memory. These are lower bounds: a run that passes may still be too large."""

from collections.abc import Mapping
from math import prod
from typing import Any

import lightning.pytorch as pl
import torch

from snntrain.config.size import in_words, machine_memory
from snntrain.error import UsageError
from snntrain.run.parallel.devices import is_on_cuda, is_sharded

_WEIGHTS_AND_GRADIENTS = 2


def check_size(task: pl.LightningModule, config: Mapping[str, Any], samples: int = 1) -> None:
    """Refuse a net, or a batch of so many samples, that cannot fit into the memory."""
    memory, where = _memory(config["trainer"])
    weights = _WEIGHTS_AND_GRADIENTS * sum(p.numel() * p.element_size() for p in task.net.parameters())
    if weights > memory and not is_sharded(config["trainer"]):
        raise UsageError(
            f"model: its weights and their gradients take {in_words(weights)}, more than the {in_words(memory)} of "
            f"{where}. Use a smaller model."
        )
    bytes_of_a_value = 4 if str(config["trainer"].get("precision") or "32-true").startswith(("32", "64")) else 2
    activations = samples * task.T * _largest_output(task, config) * bytes_of_a_value
    if activations <= memory:
        return
    key = f"T={task.T}" if samples == 1 else f"data.batch_size={config['data'].get('batch_size')} with T={task.T}"
    raise UsageError(
        f"{key}: the outputs of one layer alone take {in_words(activations)} over all steps of "
        f"{'a sample' if samples == 1 else f'a batch of {samples:,}'}, more than the {in_words(memory)} of {where}. "
        "Lower it."
    )


def _largest_output(task: pl.LightningModule, config: Mapping[str, Any]) -> int:
    """Values that certainly exist for one sample and step; a net that runs step by step keeps only its last outputs."""
    shapes = getattr(task.net, "output_shapes", None)
    if not shapes or getattr(task, "step_mode", "m") == "s" or getattr(task, "chunk", None) is not None:
        return config["task"]["outputs"]
    return max(map(prod, shapes))


def _memory(trainer: Mapping[str, Any]) -> tuple[int, str]:
    if is_on_cuda(trainer):
        return torch.cuda.get_device_properties(0).total_memory, "the GPU"
    return machine_memory(), "this machine"
