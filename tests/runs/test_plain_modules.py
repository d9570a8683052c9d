"""A plain LightningDataModule, a plain LightningModule and torch data sets of the user's run to their report."""

import csv

import pytest
from programs import complete, results
from sampled import sampled

MINE = """
import lightning.pytorch as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy


def pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 1, 4, 4, generator=generator)
    for row, label in zip(x, y):
        row[0, label] += 0.7
    return TensorDataset(x, y)


class Pictures(TensorDataset):
    def __init__(self, count, seed=0):
        super().__init__(*pictures(count, seed).tensors)


class Data(pl.LightningDataModule):
    def __init__(self, size=16):
        super().__init__()
        self.size = size

    def train_dataloader(self):
        return DataLoader(pictures(96, 1), batch_size=self.size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(pictures(30, 2), batch_size=self.size)

    def test_dataloader(self):
        return DataLoader(pictures(30, 3), batch_size=self.size)


class Plain(pl.LightningModule):
    def __init__(self, net, T, num_classes):
        super().__init__()
        self.net, self.T = net, T
        self.accuracy = Accuracy("multiclass", num_classes=num_classes)

    def step(self, batch, stage):
        x, y = batch
        scores = self.net(x.expand(self.T, *x.shape)).mean(0)
        self.accuracy(scores, y)
        self.log(f"{stage}/acc", self.accuracy, on_epoch=True, on_step=False)
        loss = F.cross_entropy(scores, y)
        self.log(f"{stage}/loss", loss, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch, index):
        return self.step(batch, "train")

    def validation_step(self, batch, index):
        self.step(batch, "val")

    def test_step(self, batch, index):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.net.parameters(), 0.01)


class Offering(Plain):
    wants_index = True

    def forward(self, x):
        return self.net(x.expand(self.T, *x.shape))

    def scores(self, y_seq):
        return y_seq.mean(0)

    def step(self, batch, stage):
        x, y, index = batch
        assert index.shape == y.shape
        return super().step((x, y), stage)


class Broken(pl.Callback):
    def on_validation_end(self, trainer, pl_module):
        raise RuntimeError("no more paper")
"""
NET = (
    "plugins=[mine]",
    "model=mlp",
    "model.features=16",
    "T=2",
    "trainer.max_epochs=2",
    "hydra.run.dir=run",
    "neuron.backend=torch",
)
FACTS = ("data.num_classes=3", "data.sample_shape=[1,4,4]")
YAML = {
    "data/mine.yaml": "_target_: mine.Data\nsize: 24\nnum_classes: 3\nsample_shape: [1, 4, 4]\n",
    "task/plain.yaml": "_target_: mine.Plain\n",
    "task/offering.yaml": "_target_: mine.Offering\n",
}


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    for name, text in YAML.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    sampled(
        [
            ["task=plain", "data=mine"],
            ["data=mine"],
            [
                *("data=custom", *FACTS),
                *("data.train={_target_:mine.Pictures,count:96}", "data.test={_target_:mine.Pictures,count:30}"),
            ],
            ["task=plain"],
        ],
        4,
    ),
    ids=["both", "data module", "data sets", "task"],
)
def test_what_a_user_brings_runs_to_its_report(words, mine):
    done = complete("train.py", *NET, *words, "--config-dir=conf", cwd=mine)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(mine / "run")
    assert found["status"] == "finished" and 0 <= found["metrics"]["test/acc"] <= 1
    assert (mine / "run/report.html").is_file()


@pytest.mark.slow
def test_a_plain_task_that_offers_more_gets_a_raster_and_predictions(mine):
    done = complete("train.py", *NET, "task=offering", "--config-dir=conf", cwd=mine)
    assert done.returncode == 0 and "no spike raster" not in done.stdout, done.stdout + done.stderr
    assert (mine / "run/artifacts/raster.npz").is_file()
    done = complete("eval.py", "run=run", "mode=predict", "trust=true", "output=here", cwd=mine)
    assert done.returncode == 0, done.stdout + done.stderr
    with (mine / "here/predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(results(mine / "run")["metrics"]["test/acc"])


def test_an_error_in_a_callback_names_its_key(mine):
    words = ("callbacks.printer._target_=mine.Broken", "trainer.max_epochs=1")
    done = complete("train.py", *NET, *words, cwd=mine)
    assert done.returncode == 1 and "callbacks.printer: RuntimeError: no more paper" in done.stderr
    assert results(mine / "run")["status"] == "failed"
