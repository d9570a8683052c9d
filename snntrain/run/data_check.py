"""Checks that need the data: how many batches an epoch has, and how many samples the last batch holds."""

import math
from collections.abc import Mapping, Sized
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from snntrain.data.target import Target, learned_by
from snntrain.error import UsageError
from snntrain.run.dry_pass import refusal_of_one_sample
from snntrain.run.parallel.devices import processes
from snntrain.run.plain_data import PlainData
from snntrain.run.size_check import check_size
from snntrain.task import Classification, Supervised

_LIMITS = {"train": "limit_train_batches", "val": "limit_val_batches", "test": "limit_test_batches"}


def check_with_data(task: pl.LightningModule, data: pl.LightningDataModule, config: Mapping[str, Any]) -> None:
    """Refuse settings that do not suit these data, whose setup has run, before anything is written."""
    splits: Mapping[str, Sized] = getattr(data, "splits", {})
    if isinstance(data, PlainData):
        data.check_first_batches(
            config["data"]["sample_shape"],
            of_classes=isinstance(task, Classification),
            of_doubles=str(config["trainer"].get("precision")).startswith("64"),
        )
    if isinstance(task, Supervised):
        task.loss.count_classes(data)
    world, size = processes(config["trainer"]), getattr(data, "batch_size", None)
    if world > 1 and isinstance(data, PlainData):
        raise UsageError(
            f"trainer.devices: the loaders of {type(data.source).__name__}, a plain LightningDataModule, would give "
            f"all {world} processes the same samples. Use trainer.devices=1, data=custom, or derive it from "
            "snntrain.data.DataModule."
        )
    for name, split in splits.items():
        if learned_by(task) is Target.CLASS:
            _check_labels(name, split)
        if world > len(split):
            raise UsageError(
                f"trainer.devices: {world} processes cannot share out the {len(split)} samples of the {name} split. "
                "Use fewer devices."
            )
    if not isinstance(size, int) or "train" not in splits:
        return
    drop_last = getattr(data, "drop_last", False)
    count = len(splits["train"])
    if drop_last and count < size * world:
        raise UsageError(
            f"data.drop_last=true leaves no batch: the training split has {count:,} samples, and data.batch_size={size}"
            ". Use a smaller data.batch_size."
        )
    check_size(task, config, samples=min(size, max(map(len, splits.values()))))
    batches = {name: -(-len(split) // (size * world)) for name, split in splits.items()}
    per_epoch = _check_batches(batches, config["trainer"])
    _check_warmup(config["optim"]["schedule"], per_epoch, config["trainer"])
    leaves_one = size * world > 1 and not drop_last and count % (size * world) == 1
    if leaves_one and world == 1 and (reason := refusal_of_one_sample(task, config)) is not None:
        raise UsageError(
            f"data.batch_size={size}: of {count:,} training samples one is left for the last batch, and the net cannot "
            f"learn from a single one ({reason}). Set data.drop_last=true, or another data.batch_size."
        )


def _check_labels(name: str, split: Any) -> None:
    labels = getattr(split, "labels", None)
    if isinstance(labels, Tensor) and (labels.dim() != 1 or labels.dtype not in (torch.int64, torch.int32)):
        raise UsageError(
            f"data: the labels of the {name} split must be one class number per sample, int64 [n], but they have shape "
            f"{list(labels.shape)} and type {labels.dtype}. Several labels are learned by "
            "task=multilabel, values by task=regression."
        )


def _check_batches(batches: Mapping[str, int], trainer: Mapping[str, Any]) -> int:
    """How many training batches an epoch has."""
    for name, key in _LIMITS.items():
        limit = trainer.get(key)
        if name in batches and isinstance(limit, float) and 0 < limit < 1 and int(batches[name] * limit) == 0:
            raise UsageError(
                f"trainer.{key}={limit} is less than one of the {batches[name]} batches of the {name} split. Raise it."
            )
    interval, every = trainer.get("val_check_interval"), trainer.get("check_val_every_n_epoch", 1)
    limit = trainer.get("limit_train_batches")
    per_epoch = batches["train"]
    if isinstance(limit, float):
        per_epoch = int(per_epoch * limit)
    elif limit is not None:
        per_epoch = min(per_epoch, limit)
    if every is not None and isinstance(interval, int) and interval > per_epoch:
        raise UsageError(
            f"trainer.val_check_interval={interval} is more than the {per_epoch} training batches of an epoch. Lower it"
            ", or set trainer.check_val_every_n_epoch=null to count over all epochs."
        )
    if every is not None and isinstance(interval, float) and int(per_epoch * interval) == 0:
        raise UsageError(
            f"trainer.val_check_interval={interval} is less than one of the {per_epoch} training batches. Raise it."
        )
    return per_epoch


def _check_warmup(schedule: Mapping[str, Any], per_epoch: int, trainer: Mapping[str, Any]) -> None:
    warmup, epochs = schedule.get("warmup", 0), trainer.get("max_epochs")
    if not warmup or epochs in (None, -1):
        return
    steps = epochs * math.ceil(per_epoch / trainer.get("accumulate_grad_batches", 1))
    most = trainer.get("max_steps") or -1
    total, interval = (min(steps, most) if most > 0 else steps, "steps")
    if schedule.get("interval", "epoch") == "epoch":
        total, interval = epochs, "epochs"
    if warmup >= total:
        raise UsageError(
            f"optim.schedule.warmup={warmup} is not less than the {total:,} {interval} of the training. Lower it, or "
            "raise trainer.max_epochs."
        )
