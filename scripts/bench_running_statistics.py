"""What the callback RunningStatistics brings and costs while normalization has had few updates.

python scripts/bench_running_statistics.py                       the csnn on 100, 500 and all digits, six epochs
python scripts/bench_running_statistics.py --samples 200 --epochs 3

Each epoch is validated three times with the same weights: with the moving averages, with statistics re-estimated over
the callback's batches (what a run uses, until it has had enough updates), and over the whole training set. Processor
times of the estimates are compared with that of the whole fit.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmark
import lightning.pytorch as pl
import torch
from benchmark import console

from snntrain import terminal
from snntrain.callback import RunningStatistics
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.run.build import build
from snntrain.run.run import quieten_lightning

DIGITS = ("data=digits", "model=csnn", "data.batch_size=64", "optim=adamw", "optim.lr=2e-3")
EVERYTHING = 10**9


class Compared(pl.Callback):
    """Validates anew with statistics of three kinds at the end of each validation, and adds up the times.

    Args:
        batches: of the callback that is measured.
    """

    def __init__(self, batches: int) -> None:
        self.kinds = {
            "moving": RunningStatistics(until=0),
            "batches": RunningStatistics(until=EVERYTHING, batches=batches),
            "whole": RunningStatistics(until=EVERYTHING, batches=EVERYTHING),
        }
        self.accuracy: dict[str, list[float]] = {name: [] for name in self.kinds}
        self.estimating = self.measuring = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        for kind in self.kinds.values():
            kind.on_train_batch_start(trainer, pl_module, *batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        began = time.process_time()
        for name, kind in self.kinds.items():
            started = time.process_time()
            kind.on_validation_start(trainer, pl_module)
            if name == "batches":
                self.estimating += time.process_time() - started
            self.accuracy[name].append(_accuracy(trainer, pl_module))
            kind.on_validation_end(trainer, pl_module)
        self.measuring += time.process_time() - began


def _accuracy(trainer: pl.Trainer, task: pl.LightningModule) -> float:
    right = total = 0
    with torch.no_grad():
        for batch in trainer.datamodule.val_dataloader():
            right += int((task.scores(task.outputs("val", batch[0], batch)).argmax(1) == batch[1]).sum())
            total += len(batch[1])
    return right / total


def measure(samples: int | None, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Validation accuracies of each epoch by kind of statistics, and the share of the estimates in the fit's time."""
    config = compose([*DIGITS, f"trainer.max_epochs={options.epochs}", f"seed={options.seed}"])
    config.paths.run = str(folder)
    settings = check(config)
    compared = Compared(batches=settings["callbacks"]["running_statistics"]["batches"])
    settings["callbacks"] = {}
    built = build(settings, [compared])
    train = built.data.splits["train"]
    if samples is not None:
        built.data.splits["train"] = train.subset(torch.arange(samples))
    began = time.process_time()
    built.trainer.fit(built.task, datamodule=built.data)
    fit = time.process_time() - began - compared.measuring
    share = compared.estimating / (fit + compared.estimating)
    return {"samples": samples or len(train), "accuracy": compared.accuracy, "share_of_time": share}


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 500, None], help="for training; all by default")
    benchmark.add_count(parser, "epochs", 6, "of each training")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    run = benchmark.begin(options)
    quieten_lightning()
    measured = []
    for samples in options.samples:
        with tempfile.TemporaryDirectory(prefix="snntrain-bench-") as folder:
            measured.append(measure(samples, options, Path(folder)))
    table = terminal.table("samples", "validation accuracy with", *map(str, range(1, options.epochs + 1)), texts=2)
    for result in measured:
        for name, accuracies in result["accuracy"].items():
            table.add_row(str(result["samples"]), name, *(f"{accuracy:.3f}" for accuracy in accuracies))
    console.print(table)
    for result in measured:
        console.print(
            f"{result['samples']} samples: the estimates take {result['share_of_time']:.1%} of the fit's time"
        )
    benchmark.finish(options, "running_statistics", run, {"sizes": measured})


if __name__ == "__main__":
    main()
