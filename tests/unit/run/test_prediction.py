"""Predicting the files of a folder: read as the run's data set reads its own, named in the CSV, refused by name."""

import csv
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from event_files import stream, write_aedat2, write_aedat3, write_aedat4, write_bin, write_h5, write_npy, write_npz
from made_samples import draw_shape
from PIL import Image
from refused import message_of
from small_training import small_task

import snntrain
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.migration import FORMAT
from snntrain.data import EventFolder, ImageFolder
from snntrain.error import DamagedFile, UsageError
from snntrain.run.build import build_task
from snntrain.run.evaluate import evaluate
from snntrain.run.plain_data import PlainData
from snntrain.run.prediction import check_predicts, read_files

SHAPES = ("cross", "disc", "triangle")
PICTURES = ("data=image_folder", "data.num_classes=3", "data.size=16", "data.num_workers=0", "data.normalize=true")
RECORDINGS = (
    *("data=event_folder", "data.num_classes=3", "data.split=0.5", "data.sample_shape=[2,128,128]", "data.cache=off"),
    "data.framing.sensor_size=[128,128]",
)


def saved(folder: Path, *overrides: str, classes: Any = SHAPES) -> Path:
    """A checkpoint of an untrained network."""
    config = check(compose(["model=mlp", "model.features=8", "T=2", "neuron.backend=torch", *overrides]))
    description = {"format": FORMAT, "version": "x", "config": config, "classes": classes}
    torch.save({"state_dict": build_task(config).state_dict(), "snntrain": description}, folder / "saved.ckpt")
    return folder / "saved.ckpt"


def predicted(checkpoint: Path, folder: Path, *more: str) -> list[dict[str, str]]:
    """The rows of predictions.csv."""
    out = checkpoint.parent / "out"
    arguments = [f"checkpoint={checkpoint}", "mode=predict", f"output={out}", *more]
    evaluate([*arguments, f"data.folder={folder}"])
    return list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8", newline="")))


def scores(rows: list[dict[str, str]], classes: tuple[str, ...] = SHAPES) -> torch.Tensor:
    return torch.tensor([[float(row[f"score {name}"]) for name in classes] for row in rows])


def refusal(checkpoint: Path, folder: Path, kind: type[Exception] = UsageError) -> str:
    return message_of(kind, predicted, checkpoint, folder)


def pictures(folder: Path, count: int = 5) -> Path:
    """Pictures of several sizes and kinds, without a folder for each class."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = draw_shape(SHAPES[number % 3], random, size=(70 + number, 90)).convert(
            ("RGB", "L", "RGBA")[number % 3]
        )
        (folder / "deeper" / "still").mkdir(parents=True, exist_ok=True)
        picture.save((folder / "deeper" / "still" if number % 2 else folder) / f"{number}.PNG")
    return folder


def test_pictures_without_labels_get_the_scores_that_they_have_in_class_folders(tmp_path):
    checkpoint = saved(tmp_path, *PICTURES)
    flat = pictures(tmp_path / "flat")
    for place, path in enumerate(sorted(flat.rglob("*.PNG"))):
        for shape in SHAPES:  # each class of each split holds a picture of its own
            target = tmp_path / "tree" / ("test" if shape == SHAPES[place % 3] else "train") / shape / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    data = ImageFolder(str(tmp_path / "tree"), num_classes=3, sample_shape=[3, 16, 16], size=16, normalize=True)
    data.setup()
    split = data.splits["test"]
    expected = {Path(split.where(place)).name: split[place][0] for place in range(len(split))}
    rows = predicted(checkpoint, flat)
    assert [row["file"] for row in rows] == ["0.PNG", "2.PNG", "4.PNG", "deeper/still/1.PNG", "deeper/still/3.PNG"]
    run = snntrain.load(checkpoint)
    wanted = run.predict(torch.stack([expected[Path(row["file"]).name] for row in rows]))
    torch.testing.assert_close(scores(rows), wanted)
    assert [int(row["predicted index"]) for row in rows] == wanted.argmax(1).tolist()
    assert [row["predicted"] for row in rows] == [SHAPES[index] for index in wanted.argmax(1)]
    assert len(predicted(checkpoint, flat, "data.batch_size=2", "trainer.limit_predict_batches=1")) == 2


def test_a_tree_of_classes_is_predicted_whole(tmp_path):
    """In class folders, too: the classes are not read, and no part is held out."""
    for shape in SHAPES[:2]:
        pictures(tmp_path / "tree" / shape, count=2)
    rows = predicted(saved(tmp_path, *PICTURES), tmp_path / "tree")
    assert [row["file"] for row in rows] == [
        f"{shape}/{name}" for shape in SHAPES[:2] for name in ("0.PNG", "deeper/still/1.PNG")
    ]


def test_recordings_of_every_format_are_predicted(tmp_path):
    events = stream(1, n=80, size=(128, 128))
    folder = tmp_path / "new"
    write_bin(folder / "a.bin", events)
    write_npz(folder / "b.npz", events)
    write_npy(folder / "c.npy", np.stack([events[name].astype(np.int64) for name in "xytp"], 1))
    write_h5(folder / "deeper" / "d.h5", events)
    write_aedat2(folder / "e.aedat", events)
    write_aedat3(folder / "f.aedat", events)
    write_bin(folder / ".hidden.bin", events)
    pytest.importorskip("aedat")
    write_aedat4(folder / "g.aedat4", events)
    checkpoint = saved(tmp_path, *RECORDINGS)
    rows = predicted(checkpoint, folder)
    assert [row["file"] for row in rows] == [
        *("a.bin", "b.npz", "c.npy", "deeper/d.h5", "e.aedat", "f.aedat", "g.aedat4")
    ]
    for shape in SHAPES:
        for name in "abcd":
            write_bin(tmp_path / "recordings" / shape / f"{name}.bin", events)
    run = snntrain.load(checkpoint)
    run.settings["data"]["root"] = str(tmp_path / "recordings")
    assert isinstance(run.data, EventFolder)
    (wanted,) = run.predict(run.data.splits["test"][0][0][None])
    torch.testing.assert_close(scores(rows), wanted.expand(len(rows), 3))
    with pytest.warns(UserWarning, match="endings are not those of recordings"):
        assert len(predicted(checkpoint, folder, "data.formats=[.npz,.npy]")) == 2


def test_pictures_of_a_set_of_one_size_are_predicted_if_they_have_that_size(tmp_path):
    """Those of MNIST, whose own files are not there."""
    checkpoint = saved(tmp_path, "data=mnist", "paths.data=/no/such/place", classes=None)
    digits = np.random.default_rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    (tmp_path / "digits").mkdir()
    for number, digit in enumerate(digits):
        Image.fromarray(digit).save(tmp_path / "digits" / f"{number}.png")
    rows = predicted(checkpoint, tmp_path / "digits")
    wanted = snntrain.load(checkpoint).predict(torch.from_numpy(digits)[:, None].float() / 255)
    torch.testing.assert_close(scores(rows, tuple("0123456789")), wanted)
    Image.fromarray(digits[0][:20]).save(tmp_path / "digits" / "small.png")
    said = refusal(checkpoint, tmp_path / "digits")
    assert f"{tmp_path}/digits/small.png has 28×20 pixels, but those of this data set have 28×28" in said
    assert "1 of 4 files" in said and "0.png" not in said


def test_files_that_cannot_be_used_are_named_before_anything_is_computed(tmp_path):
    folder = pictures(tmp_path / "new", count=3)
    (folder / "empty.png").write_bytes(b"")
    whole = (folder / "0.PNG").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    said = refusal(saved(tmp_path, *PICTURES), folder)
    assert (
        f"{folder}/cut.png cannot be decoded" in said and f"{folder}/empty.png is not a picture (it is empty)" in said
    )
    assert "2 of 5 files" in said and not (tmp_path / "out" / "predictions.csv").exists()
    recordings = tmp_path / "recordings"
    write_bin(recordings / "good.bin", stream(1, size=(128, 128)))
    (recordings / "cut.bin").write_bytes(b"1234567")
    write_bin(recordings / "outside.bin", stream(1, size=(200, 200)))
    said = refusal(saved(tmp_path, *RECORDINGS), recordings)
    assert f"{recordings}/cut.bin: it is truncated" in said and f"{recordings}/outside.bin: an event at" in said
    assert "2 of 3 files" in said


def test_a_folder_without_files_is_refused(tmp_path):
    checkpoint = saved(tmp_path, *PICTURES)
    assert f"data.folder: {tmp_path / 'none'} is not a folder" in refusal(checkpoint, tmp_path / "none")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.txt").write_text("no picture")
    said = refusal(checkpoint, tmp_path / "new")
    assert "holds no pictures (.jpg" in said and f"It holds {tmp_path}/new/a.txt" in said
    assert "data.folder= names no folder" in message_of(
        UsageError, evaluate, [f"checkpoint={checkpoint}", "mode=predict", "data.folder="]
    )


def test_a_link_to_a_folder_around_it_is_followed_once(tmp_path):
    folder = pictures(tmp_path / "new", count=2)
    (folder / "deeper" / "up").symlink_to(folder)
    (folder / "link").symlink_to(pictures(tmp_path / "elsewhere", count=1))
    rows = predicted(saved(tmp_path, *PICTURES), folder)
    assert [row["file"] for row in rows] == ["0.PNG", "deeper/still/1.PNG", "link/0.PNG"]


def test_no_name_is_a_formula_for_a_spreadsheet(tmp_path):
    folder = pictures(tmp_path / "new", count=1)
    (folder / "0.PNG").rename(folder / "=1+1.png")
    checkpoint = saved(tmp_path, *PICTURES, classes=["=2+2", "@x", "-y"])
    (row,) = predicted(checkpoint, folder)
    assert row["file"] == "'=1+1.png" and row["predicted"] in ("'=2+2", "'@x", "'-y")


def test_a_name_that_is_no_utf_8_is_written_with_its_bytes(tmp_path):
    folder = pictures(tmp_path / "new", count=1)
    try:
        (folder / "0.PNG").rename(folder / "\udcff,\n.png")
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    (row,) = predicted(saved(tmp_path, *PICTURES), folder)
    assert row["file"] == "\\udcff,\n.png"


def test_classes_of_older_checkpoints_are_numbered_and_damaged_ones_refused(tmp_path, capsys):
    folder = pictures(tmp_path / "new", count=1)
    (row,) = predicted(saved(tmp_path, *PICTURES, classes=None), folder)
    assert row["predicted"] == row["predicted index"]
    assert "does not hold the names of the classes" in " ".join(capsys.readouterr().out.split())
    for damaged in (["a", "b"], [1, 2, 3], "abc", {"a": 1}):
        said = refusal(saved(tmp_path, *PICTURES, classes=damaged), folder, DamagedFile)
        assert "its classes are no list of a name for each class" in said


def test_a_data_set_that_reads_no_single_files_says_so(tmp_path):
    (tmp_path / "new").mkdir()
    line = ("data=shd", "data.root=/no/such/place")
    said = refusal(saved(tmp_path, *line, classes=None), tmp_path / "new")
    assert "SHD does not say how a file becomes a sample" in said and "snntrain.load(…).predict(x)" in said


def test_modules_of_the_users_that_cannot_predict_say_what_is_missing(tmp_path):
    task = pl.LightningModule()
    assert "LightningModule lacks forward, scores" in message_of(UsageError, check_predicts, task)
    check_predicts(small_task())
    data = PlainData(pl.LightningDataModule(), num_classes=3)
    said = message_of(UsageError, read_files, data, tmp_path, None)
    assert "plain LightningDataModule" in said and "snntrain.load(…).predict(x)" in said
