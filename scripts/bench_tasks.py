"""What the spiking nets of several tasks reach beside ridge and logistic regression and beside nn.RNN.

python scripts/bench_tasks.py --data data                     all experiments; data holds MNIST
python scripts/bench_tasks.py --only copy_rnn,parity_rnn

The spiking nets are those of experiments/<name>, seeds 1, 2 and 3: scripts/record.py trains them. The others are
trained here, on the same samples as snntrain.data splits them, and are tested once. Ridge regression chooses its alpha
by cross-validation over all samples that are not tested, and the spread of its R² is that over five folds of them. A
logistic regression for each label, and nn.RNN with the hidden units, epochs and batches of the spiking net, choose
strength or learning rate by the validation samples, by which nn.RNN also chooses its epoch. Results of experiments
that --only leaves out stay in tasks.json.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import benchmark
import numpy as np
import torch
from benchmark import console
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold, cross_val_score
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain import terminal
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.data import DataModule, Split
from snntrain.files import read_json
from snntrain.installation import EXPERIMENTS
from snntrain.lab.experiment.recorded import Record
from snntrain.run.build import build_data

SEEDS = (1, 2, 3)
FOLDS = 5
ALPHAS = np.logspace(-3, 3, 25)
STRENGTHS = (0.001, 0.01, 0.1)
RATES = (1e-3, 3e-3, 1e-2)

Result = dict[str, Any]


def _arrays(split: Split) -> tuple[Tensor, Tensor]:
    """Samples and targets of a split, as the spiking net gets them."""
    x, target, *_ = split.__getitems__(list(range(len(split))))
    return x, target


def ridge(data: DataModule, settings: dict[str, Any]) -> Result:
    """R² of ridge regression on the test samples, and its standard deviation over folds of the others."""
    parts = [tuple(one.flatten(1).double().numpy() for one in _arrays(data.splits[name])) for name in ("train", "val")]
    x, y = (np.concatenate(both) for both in zip(*parts, strict=True))
    test_x, test_y = (one.flatten(1).double().numpy() for one in _arrays(data.splits["test"]))
    model = RidgeCV(ALPHAS).fit(x, y)
    folds = cross_val_score(RidgeCV(ALPHAS), x, y, cv=KFold(FOLDS, shuffle=True, random_state=0))
    found = {"folds": folds.tolist(), "fold_std": folds.std(ddof=1), "alpha": float(model.alpha_)}
    return {"values": [model.score(test_x, test_y)], "parameters": x.shape[1] + 1, **found}


def logistic(data: DataModule, settings: dict[str, Any]) -> Result:
    """F1 on the test samples of a logistic regression for each label, the mean of the labels."""
    (x, y), (val_x, val_y), (test_x, test_y) = (
        tuple(one.flatten(1).numpy() for one in _arrays(data.splits[name])) for name in ("train", "val", "test")
    )
    found = {}
    for strength in STRENGTHS:
        models = [LogisticRegression(C=strength, max_iter=300).fit(x, label) for label in y.T]
        predicted = [np.stack([model.predict(samples) for model in models], 1) for samples in (val_x, test_x)]
        found[strength] = [f1_score(*pair, average="macro") for pair in zip((val_y, test_y), predicted, strict=True)]
        console.print(f"  C={strength}: validation F1 {found[strength][0]:.4f}")
    best = max(found, key=lambda strength: found[strength][0])
    return {"values": [found[best][1]], "C": best, "parameters": y.shape[1] * (x.shape[1] + 1)}


class RNN(nn.Module):
    """nn.RNN with tanh, and a linear layer for each step."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(inputs, hidden, batch_first=True)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def rnn(data: DataModule, settings: dict[str, Any]) -> Result:
    """Accuracy or RMSE of nn.RNN on the test samples with each seed."""
    found = {rate: [_trained_rnn(data, settings, rate, seed) for seed in SEEDS] for rate in RATES}
    validation = {rate: float(np.mean([val for val, _, _ in trained])) for rate, trained in found.items()}
    for rate, value in validation.items():
        console.print(f"  learning rate {rate:g}: validation {value:.4f}")
    best = (min if data.num_classes is None else max)(validation, key=validation.get)
    return {"values": [test for _, test, _ in found[best]], "lr": best, "parameters": found[best][0][2]}


def _trained_rnn(data: DataModule, settings: dict[str, Any], rate: float, seed: int) -> tuple[float, float, int]:
    """What an RNN reaches in validation and test at its best epoch, and its parameters."""
    (x, y), *others = (_arrays(data.splits[name]) for name in ("train", "val", "test"))
    epochs, batch, is_class = settings["trainer"]["max_epochs"], settings["data"]["batch_size"], y.dim() == 2
    torch.manual_seed(seed)
    net = RNN(x.shape[2], settings["model"]["features"], data.num_classes if is_class else y.shape[2])
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=settings["optim"]["weight_decay"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best = (-np.inf, 0.0)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(batch):
            out, target = net(x[chosen]), y[chosen]
            loss = F.cross_entropy(out.flatten(0, 1), target.flatten()) if is_class else F.mse_loss(out, target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        val, test = (_quality(net, *part) for part in others)
        best = max(best, (val if is_class else -val, test), key=lambda found: found[0])
    return (1 if is_class else -1) * best[0], best[1], sum(p.numel() for p in net.parameters())


@torch.no_grad()
def _quality(net: RNN, x: Tensor, y: Tensor) -> float:
    out = net(x)
    return float((out.argmax(2) == y).float().mean() if y.dim() == 2 else (out - y).square().mean().sqrt())


#: Experiment → the metric that is compared, and the net beside it.
COMPARED = {
    "diabetes_mlp": ("r2", ridge),
    "friedman1_mlp": ("r2", ridge),
    "mnist_pairs_csnn": ("f1", logistic),
    "noisy_sine_rnn": ("rmse", rnn),
    "copy_rnn": ("acc", rnn),
    "parity_rnn": ("acc", rnn),
}
NAMES = {ridge: "ridge", logistic: "logistic regression", rnn: "nn.RNN(tanh)"}


def compare(name: str, folder: str | None) -> Result:
    """The spiking net of an experiment, as recorded, beside the other one."""
    metric, other = COMPARED[name]
    record = Record(EXPERIMENTS / name)
    if not record.expected.is_file():
        raise SystemExit(f"error: {record.path} holds no record. Make it: python scripts/record.py {name}")
    seeds = record.read(Record.expected)["seeds"]
    data = [] if folder is None else [f"paths.data={folder}"]
    settings = check(compose([f"experiment={name}", *data, f"seed={SEEDS[0]}"]))
    console.print(f"{name}: {NAMES[other]}")
    found = other(build_data(settings), settings)
    spiking = {"values": [seeds[str(seed)]["metrics"][f"test/{metric}"] for seed in SEEDS]}
    return {"metric": metric, "other": NAMES[other], "spiking": spiking, "baseline": found}


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def _experiments(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in COMPARED:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(COMPARED)}")
    return names


def main() -> None:
    """Compare, show, write."""
    parser = benchmark.parser(__doc__)
    parser.add_argument("--data", help="folder that holds MNIST; that of the config by default")
    parser.add_argument("--only", type=_experiments, default=list(COMPARED), help="experiments, all by default")
    options = parser.parse_args()
    run = benchmark.begin(options)
    earlier = options.output / "tasks.json"
    found = read_json(earlier)["experiments"] if earlier.is_file() else {}
    found |= {name: compare(name, options.data) for name in options.only}
    found = {name: found[name] for name in COMPARED if name in found}
    table = terminal.table("experiment", "test", "spiking net", "beside it", "", texts=2)
    for name, result in found.items():
        other, beside = result["baseline"], result["other"]
        spread = f" (folds ± {other['fold_std']:.4f})" if "fold_std" in other else ""
        table.add_row(
            name, result["metric"], _cell(result["spiking"]["values"]), _cell(other["values"]) + spread, beside
        )
    console.print(table)
    benchmark.finish(options, "tasks", run, {"experiments": found})


if __name__ == "__main__":
    main()
