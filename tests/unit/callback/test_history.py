"""One row of metrics per epoch, in a CSV file and in the checkpoint."""

import csv
import io
import math
from pathlib import Path

import pytest
import torch
from small_training import SGD, Patches, small_task, trainer

from snntrain.callback import History

STEP = {**SGD, "schedule": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}}


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_epoch_leaves_one_row_with_its_own_learning_rate(tmp_path):
    history = History(tmp_path / "metrics.csv")
    trainer(tmp_path, history, max_epochs=3).fit(small_task(optim=STEP), datamodule=Patches())
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert [row["lr"] for row in history.rows] == pytest.approx([0.1, 0.05, 0.025])
    assert list(history.rows[0]) == ["epoch", "lr", "train/acc", "train/loss", "val/acc", "val/loss"]
    rows = table((tmp_path / "metrics.csv").read_text())
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history.rows


def test_a_row_holds_means_over_the_epoch_and_not_the_last_batch(tmp_path):
    history, data = History(tmp_path / "metrics.csv"), Patches()
    task = small_task(optim={**SGD, "lr": 0.0})
    trainer(tmp_path, history, max_epochs=2).fit(task, datamodule=data)
    x, y, _ = data.splits["train"].__getitems__(range(90))
    expected = float(torch.nn.functional.cross_entropy(task(x).mean(0).detach(), y))
    assert [row["train/loss"] for row in history.rows] == pytest.approx([expected, expected], rel=1e-5)


def test_an_epoch_without_validation_has_empty_cells_and_not_those_of_an_older_one(tmp_path):
    history = History(tmp_path / "metrics.csv")
    trainer(tmp_path, history, max_epochs=5, check_val_every_n_epoch=2).fit(small_task(), datamodule=Patches())
    assert [sorted(name for name in row if name.startswith("val/")) for row in history.rows] == [
        [],
        ["val/acc", "val/loss"],
        [],
        ["val/acc", "val/loss"],
        [],
    ]
    rows = table((tmp_path / "metrics.csv").read_text())
    assert [row["val/acc"] != "" for row in rows] == [False, True, False, True, False]
    assert all(row["train/acc"] for row in rows)


def test_rows_survive_a_checkpoint(tmp_path):
    before, data = History(tmp_path / "a.csv"), Patches()
    run = trainer(tmp_path, before, max_epochs=2)
    run.fit(small_task(), datamodule=data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    after = History(tmp_path / "b.csv")
    trainer(tmp_path, after, max_epochs=4).fit(
        small_task(), datamodule=Patches(), ckpt_path=tmp_path / "x.ckpt", weights_only=True
    )
    assert [row["epoch"] for row in after.rows] == [1, 2, 3, 4]
    assert after.rows[:2] == before.rows
    assert len(table((tmp_path / "b.csv").read_text())) == 4


def test_the_state_is_a_copy_of_plain_containers():
    history = History(Path("unused"))
    history.rows = [{"epoch": 1, "val/acc": 0.5}]
    state = history.state_dict()
    history.rows[0]["val/acc"] = 0.0
    assert state == {"rows": [{"epoch": 1, "val/acc": 0.5}]}
    other = History(Path("unused"))
    other.load_state_dict(state)
    other.rows[0]["epoch"] = 9
    assert state["rows"][0]["epoch"] == 1


def test_csv_keeps_every_digit_and_leaves_missing_cells_empty():
    history = History(Path("unused"))
    history.rows = [{"epoch": 1, "x": 0.1 + 0.2}, {"epoch": 2, "y": math.nan}, {"epoch": 3, "x": 1e-300, "y": 2.0}]
    text = history.as_csv()
    assert text.startswith("epoch,x,y\n") and text.endswith("\n") and "\r" not in text
    rows = table(text)
    assert float(rows[0]["x"]) == 0.1 + 0.2 and float(rows[2]["x"]) == 1e-300
    assert rows[0]["y"] == "" and rows[1]["x"] == "" and math.isnan(float(rows[1]["y"]))
