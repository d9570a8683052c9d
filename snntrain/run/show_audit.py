"""show=audit: build the net, take a batch of training samples, and print what an audit finds, without training."""

from typing import Any

import lightning.pytorch as pl

from snntrain.audit import Finding
from snntrain.callback.auditing import audit_task, print_findings
from snntrain.config.binding import resolve_name
from snntrain.config.monitor import watchers
from snntrain.error import UsageError
from snntrain.run.build import build_data, build_task, match
from snntrain.run.fine_tuning import prepare
from snntrain.run.parallel.devices import is_on_cuda
from snntrain.task.contract import lacks_for_fit_end
from snntrain.terminal import bold, terminal

console = terminal()


def show_audit(settings: dict[str, Any]) -> list[Finding]:
    """Print what is found of the untrained net, or of the weights of init_from, and of the data.

    Raises: UsageError naming what cannot be built or read.
    """
    task = build_task(settings)
    check_audited(task)
    prepare(task, settings)
    data = build_data(settings)
    match(task, data)
    findings = audited(task, data, settings, trained=settings["init_from"] is not None)
    console.print(bold(settings["name"], f"   T = {task.T}"))
    print_findings(console, findings)
    return findings


def check_audited(task: pl.LightningModule) -> None:
    """Refuse a task that does not say how samples are encoded and the net is read out."""
    if missing := lacks_for_fit_end(task):
        raise UsageError(
            f"audit: {type(task).__name__} has no {missing}, by which samples are encoded and the net is read out. "
            "Derive the task from snntrain.task.Classification, or call snntrain.audit.audit(net, x) from Python."
        )


def audited(
    task: pl.LightningModule, data: pl.LightningDataModule, settings: dict[str, Any], *, trained: bool
) -> list[Finding]:
    """What an audit finds of a task with the data and the settings of its run."""
    splits = getattr(data, "splits", {})
    if "train" not in splits or not hasattr(splits["train"], "__getitems__"):
        raise UsageError(
            f"audit: the training samples of {type(data).__name__} cannot be taken by their places. Use data=custom, "
            "or call snntrain.audit.audit(net, x) from Python."
        )
    return audit_task(
        task,
        task.net,
        splits,
        trained=trained,
        monitors={key: metric for key, metric, _, _ in watchers(settings, resolve_name)},
        classes=settings["data"].get("num_classes"),
        device="cuda" if is_on_cuda(settings["trainer"]) else "cpu",
    )
