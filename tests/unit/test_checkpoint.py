"""Checkpoints: whole or as before, and what is wrong with one is said by name."""

import random
import resource
import zipfile
from dataclasses import asdict
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_training import Patches, small_task, trainer
from torch import nn

from snntrain.config.migration import FORMAT
from snntrain.config.schema import Config
from snntrain.error import DamagedFile, UsageError
from snntrain.files.archive import write_checkpoint
from snntrain.run.build import build_trainer
from snntrain.run.checkpoint import WholeCheckpoints, read_checkpoint
from snntrain.run.weights import load_weights

DESCRIPTION = {"format": FORMAT, "version": "x", "config": asdict(Config())}


@pytest.fixture
def limited():
    """Allow this process no file beyond some bytes: as a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def saved(path: Path, **weights: torch.Tensor) -> Path:
    write_checkpoint(path, {"snntrain": DESCRIPTION, "state_dict": weights or {"w": torch.arange(1000.0)}})
    return path


def test_what_is_written_is_read(tmp_path):
    content = read_checkpoint(saved(tmp_path / "a" / "x.ckpt"))
    assert torch.equal(content["state_dict"]["w"], torch.arange(1000.0)) and content["snntrain"] == DESCRIPTION


def test_a_flipped_bit_never_gives_other_weights(tmp_path):
    """Most of a file is weights, in which torch sees nothing; what it sees, it says in many words of its own."""
    path, rng, refused = saved(tmp_path / "x.ckpt"), random.Random(1), 0
    whole = path.read_bytes()
    for _ in range(150):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        try:
            assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.arange(1000.0))  # padding, a date
        except UsageError as error:
            assert str(path) in str(error) and "weights_only" not in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 100


def test_the_reason_of_a_pickle_that_holds_more_is_ours(tmp_path):
    torch.save({"state_dict": {}, "snntrain": {"format": 1, "config": Path("x")}}, tmp_path / "x.ckpt")
    with pytest.raises(DamagedFile) as error:
        read_checkpoint(tmp_path / "x.ckpt")
    assert "more than tensors and plain containers" in str(error.value) and "weights_only" not in str(error.value)


def test_what_is_packed_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1000))
    with pytest.raises(DamagedFile, match=r"x\.ckpt cannot be read: archive/data\.pkl in it is compressed"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("name", "value"), [("weight", "nan"), ("weight", "inf"), ("bias", "-inf"), ("running_mean", "nan")]
)
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, name, value):
    net = nn.BatchNorm1d(3)
    weights = net.state_dict() | {name: torch.tensor([1.0, float(value), 2.0])}
    with pytest.raises(DamagedFile, match=rf"x\.ckpt holds NaN or infinity in {name}:"):
        load_weights(net, read_checkpoint(saved(tmp_path / "x.ckpt", **weights))["state_dict"], tmp_path / "x.ckpt")


def test_a_mask_may_be_infinite_and_what_begins_as_nan_may_stay_so(tmp_path):
    net = nn.Module()
    net.register_buffer("mask", torch.zeros(2))
    net.register_buffer("unset", torch.full((1,), float("nan")))
    path = saved(tmp_path / "x.ckpt", mask=torch.tensor([0.0, -float("inf")]), unset=net.unset)
    load_weights(net, read_checkpoint(path)["state_dict"], path)
    assert net.mask[1] == -float("inf")


def test_a_disk_that_is_full_leaves_the_earlier_best_and_is_named(tmp_path, limited):
    """Whatever TMPDIR is."""
    best = ModelCheckpoint(dirpath=tmp_path, filename="best", monitor="val/loss", enable_version_counter=False)
    fit(tmp_path, best)
    before = (tmp_path / "best.ckpt").read_bytes()
    limited(len(before) // 2)
    with pytest.raises(OSError) as error:
        fit(tmp_path, ModelCheckpoint(dirpath=tmp_path, filename="best", enable_version_counter=False))
    assert error.value.filename == str(tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == [
        "best.ckpt"
    ]


def fit(folder: Path, *callbacks: pl.Callback) -> None:
    trainer(folder, *callbacks, max_epochs=1, plugins=[WholeCheckpoints()]).fit(small_task(), datamodule=Patches())


def test_lightning_reads_no_damaged_checkpoint(tmp_path):
    path = saved(tmp_path / "x.ckpt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # within the weights
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"x\.ckpt is damaged: the checksum of archive/data/0 in it does not agree"):
        trainer(tmp_path, plugins=[WholeCheckpoints()]).fit(small_task(), datamodule=Patches(), ckpt_path=path)


@pytest.mark.parametrize("own", [[], [{"_target_": "lightning.pytorch.plugins.io.AsyncCheckpointIO"}]])
def test_every_trainer_writes_them_so_unless_the_config_has_a_way_of_its_own(tmp_path, own):
    settings = {"_target_": "lightning.Trainer", "accelerator": "cpu", "plugins": own}
    built = build_trainer({"trainer": settings, "paths": {"run": str(tmp_path)}}, [], logger=False)
    assert isinstance(built.strategy.checkpoint_io, WholeCheckpoints) == (not own)
