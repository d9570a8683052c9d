"""Compare recipes by cross-validation over the training samples. The test set is not looked at.

python scripts/cross_validate.py experiment=nmnist_csnn experiment=nmnist_best --data /my/data
python scripts/cross_validate.py "model=mlp T=8" "model=csnn" --folds 3

A recipe is what follows `python train.py`, in quotes where it has several words. Each is trained once for each fold, on
the other folds, and validated on it; every recipe has the same folds. A share of all samples is right at the epoch that
was best in its fold, which is what a run keeps and slightly too good, since the fold itself chose it, and at the last
epoch, which nothing chose. In brackets stands the binomial error of the share of all samples.
"""

import argparse
import shlex
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import benchmark
import lightning.pytorch as pl
from benchmark import console

from snntrain import terminal
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.lab.run_table import mean_and_deviation
from snntrain.number_format import binomial_error
from snntrain.run.build import build
from snntrain.run.run import quieten_lightning

#: Which of the epochs' accuracies counts.
CHOSEN: dict[str, Callable[[Sequence[float]], float]] = {"best": max, "last": lambda accuracies: accuracies[-1]}


class Validated(pl.Callback):
    """Collects the validation accuracy of every epoch."""

    def __init__(self) -> None:
        self.accuracy: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.accuracy.append(float(trainer.callback_metrics["val/acc"]))


def train(recipe: str, fold: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training: how many samples its fold has, and the share that is right after every epoch."""
    own = [f"data.folds={options.folds}", f"data.fold={fold}", f"seed={options.seed}"]
    own += [] if options.data is None else [f"paths.data={options.data}"]
    with tempfile.TemporaryDirectory(prefix="snntrain-folds-") as folder:
        config = compose([*shlex.split(recipe), *own])
        config.paths.run = folder
        settings = check(config)
        settings["callbacks"].pop("progress", None)
        validated = Validated()
        built = build(settings, [validated])
        built.trainer.fit(built.task, datamodule=built.data)
        return {"samples": len(built.data.splits["val"]), "accuracy": validated.accuracy}


def summary(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """The shares of all samples that are right, at the best and at the last epoch, with their spread over the folds."""
    total = sum(fold["samples"] for fold in folds)
    found: dict[str, Any] = {"samples": total}
    for name, chosen in CHOSEN.items():
        shares = [chosen(fold["accuracy"]) for fold in folds]
        share = sum(share * fold["samples"] for share, fold in zip(shares, folds, strict=True)) / total
        _, spread = mean_and_deviation(shares)
        found[name] = {"share": share, "spread": spread, "binomial": binomial_error(share, total)}
    return found


def main() -> None:
    """Train, show, write."""
    parser = benchmark.parser(__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="overrides, such as experiment=nmnist_csnn")
    parser.add_argument("--folds", type=int, default=5, help="at least two")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", help="folder of the data, paths.data of all recipes")
    options = parser.parse_args()
    run = benchmark.begin(options)
    quieten_lightning()
    measured = []
    for recipe in options.recipes:
        folds = []
        for fold in range(1, options.folds + 1):
            folds.append(train(recipe, fold, options))
            best, last = max(folds[-1]["accuracy"]), folds[-1]["accuracy"][-1]
            console.print(f"{recipe}   fold {fold}: best {best:.4f}, last {last:.4f}", soft_wrap=True)
        measured.append({"recipe": recipe, "folds": folds, **summary(folds)})
    table = terminal.table("recipe", "samples", "best epoch", "last epoch", texts=1)
    for one in measured:
        shares = (f"{one[at]['share']:.2%} ± {one[at]['spread']:.2%} (± {one[at]['binomial']:.2%})" for at in CHOSEN)
        table.add_row(one["recipe"], str(one["samples"]), *shares)
    console.print(table)
    benchmark.finish(options, "folds", run, {"recipes": measured})


if __name__ == "__main__":
    main()
