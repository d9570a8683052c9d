"""An audit of a task: its net, its encoder, its data, and what chooses its best epoch."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from snntrain.audit import (
    Finding,
    audit,
    audit_data,
    chosen_by_test,
    counted,
    in_order,
    one_seed,
    padded_steps_count,
)
from snntrain.functional import reset_net
from snntrain.randomness import generator
from snntrain.terminal import ModulePath, print_line, table

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def audit_task(
    task: pl.LightningModule,
    net: nn.Module,
    splits: Mapping[str, Any],
    *,
    samples: int = 16,
    most: int = 10_000,
    trained: bool = False,
    target: str | None = None,
    unit: float = 1.0,
    monitors: Mapping[str, str] | None = None,
    classes: int | None = None,
    device: torch.device | str = "cpu",
) -> list[Finding]:
    """All checks of a task.

    Args:
        task: encodes samples (encoded, encoding_seeds) and reads the net out (scores).
        net: [T, N, *] → [T, N, K].
        splits: "train", and "val" and "test" if there are such → samples, with a length and `__getitems__`.
        samples: training samples that the net is run on, ≥ 2.
        most: samples of each split that the checks of data look at, ≥ 1.
        trained, target, unit: as in snntrain.audit.audit.
        monitors: key → the metric by which something is chosen.
        classes: as in snntrain.audit.audit_data.
        device: where to run the net.

    Returns: the findings, errors first.
    """
    train = splits["train"]
    places = torch.randperm(len(train), generator=generator(0, "audit"))[:samples].tolist()
    batch = [part.to(device) for part in train.__getitems__(places)]
    seeds = task.encoding_seeds("test", batch)
    with torch.no_grad(), _padded(task, batch):
        x_seq = task.encoded(batch[0], seeds)
        net = net.to(device)
        y_seq = _outputs(net, x_seq)
    found = audit(net, x_seq, trained=trained, target=target, unit=unit)
    encoder = getattr(task, "encoder", None)
    if callable(encoder):
        found += one_seed(encoder, batch[0], len(x_seq), seeds)
    if len(batch) > 3:
        with torch.no_grad(), _padded(task, batch):
            found += padded_steps_count(_measures(task, batch[1]), y_seq, batch[3])
    data = audit_data(splits, classes=classes, most=most)
    return in_order([*found, *chosen_by_test(dict(monitors or {})), *data])


def _outputs(net: nn.Module, x_seq: Tensor) -> Tensor:
    """Outputs in evaluation mode, from reset states; modes are put back."""
    modes = [(module, module.training) for module in net.modules()]
    reset_net(net)
    try:
        return net.eval()(x_seq)
    finally:
        reset_net(net)
        for module, training in modes:
            module.training = training


def _padded(task: pl.LightningModule, batch: Sequence[Tensor]) -> Any:
    return task.padded(batch) if hasattr(task, "padded") else nullcontext()


def _measures(task: pl.LightningModule, target: Tensor) -> dict[str, Any]:
    """What a task computes of its outputs, name → function."""

    def measured(y_seq: Tensor) -> Tensor:
        scores = task.scores(y_seq)
        return task.measurable(scores, target)[0] if hasattr(task, "measurable") else scores

    losses = {"task.loss": partial(_loss, task, target)} if hasattr(task, "compute_loss") else {}
    return {"task.metrics": measured, **losses}


def _loss(task: pl.LightningModule, target: Tensor, y_seq: Tensor) -> Tensor:
    with task.watched() if hasattr(task, "watched") else nullcontext():
        return task.compute_loss(y_seq, target)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print the findings as a table, and how many there are."""
    if not findings:
        print_line(console, "audit: no findings")
        return
    made = table("severity", "check", "where", "evidence, what to do, source")
    for one in findings:
        severity = Text(one.severity, _STYLES[one.severity])
        text = Text.assemble(one.evidence, ("\n" + one.remedy, "dim"), ("\n" + one.source, "dim"))
        made.add_row(severity, Text(one.check), ModulePath(one.layer or "net"), text)
    console.print(made)
    print_line(console, "audit: " + ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counted(findings).items()))


def as_record(findings: Sequence[Finding], **more: Any) -> dict[str, Any]:
    """The findings as audit.json holds them, and more entries, such as the number of samples."""
    return {**more, "counts": counted(findings), "findings": [asdict(one) for one in findings]}
