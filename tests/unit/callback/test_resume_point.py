"""checkpoints/last.ckpt: there from the start, always whole, loadable without running code, enough to rebuild."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import Patches, small_task, trainer, weights

from snntrain.callback import History, ResumePoint

DESCRIPTION = {"format": 1, "version": "x", "config": {"seed": 1, "layers": ["Flatten", {"name": "neuron"}]}}


class Look(pl.Callback):
    """Epoch counts in the file at the first batch of each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, idx) -> None:
        if idx == 0:
            saved = torch.load(self.path, weights_only=True)
            self.finished.append(saved["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(key) and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool, torch.Tensor)


def test_the_file_is_there_from_the_first_batch_and_new_after_every_epoch(tmp_path):
    look = Look(tmp_path / "checkpoints" / "last.ckpt")
    point = ResumePoint(tmp_path / "checkpoints", DESCRIPTION)
    trainer(tmp_path, look, point, max_epochs=3).fit(small_task(), datamodule=Patches())
    assert look.finished == [0, 1, 2]
    saved = torch.load(point.path, weights_only=True)
    assert saved["epoch"] == 2 and saved["global_step"] == 9
    assert [path.name for path in point.path.parent.iterdir()] == ["last.ckpt"]  # no temporary file is left


def test_every_checkpoint_is_plain_and_describes_itself(tmp_path):
    best = ModelCheckpoint(dirpath=tmp_path / "checkpoints", filename="best", monitor="val/loss")
    point = ResumePoint(tmp_path / "checkpoints", DESCRIPTION)
    history = History(tmp_path / "metrics.csv")
    task = small_task()
    trainer(tmp_path, history, best, point).fit(task, datamodule=Patches())
    for name in ("best.ckpt", "last.ckpt"):
        saved = torch.load(tmp_path / "checkpoints" / name, weights_only=True)
        assert saved["snntrain"] == DESCRIPTION
        assert plain({key: value for key, value in saved.items() if key != "hparams_type"}), name
        rebuilt = small_task()
        rebuilt.load_state_dict(saved["state_dict"])
    for old, new in zip(weights(task).values(), weights(rebuilt).values(), strict=True):
        assert torch.equal(old, new)


def test_the_state_of_the_other_callbacks_belongs_to_the_same_epoch(tmp_path):
    """Whatever their order in the list: Lightning calls checkpoint callbacks last."""
    history = History(tmp_path / "metrics.csv")
    point = ResumePoint(tmp_path / "checkpoints", DESCRIPTION)
    trainer(tmp_path, point, history, max_epochs=2).fit(small_task(), datamodule=Patches())
    saved = torch.load(point.path, weights_only=True)
    (rows,) = [state["rows"] for state in saved["callbacks"].values() if "rows" in state]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_going_on_from_the_file_ends_as_if_nothing_had_happened(tmp_path, after):
    whole = small_task()
    trainer(tmp_path, max_epochs=3).fit(whole, datamodule=Patches())
    folder = tmp_path / "checkpoints"

    class StopHere(Exception):
        pass

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, idx) -> None:
            if trainer.current_epoch == after and idx == 1:
                raise StopHere

    with pytest.raises(StopHere):
        trainer(tmp_path, Stop(), ResumePoint(folder, DESCRIPTION), max_epochs=3).fit(
            small_task(), datamodule=Patches()
        )
    torch.manual_seed(50)
    resumed = small_task()
    trainer(tmp_path, ResumePoint(folder, DESCRIPTION), max_epochs=3).fit(
        resumed, datamodule=Patches(), ckpt_path=folder / "last.ckpt", weights_only=True
    )
    for one, other in zip(weights(whole).values(), weights(resumed).values(), strict=True):
        assert torch.equal(one, other)
