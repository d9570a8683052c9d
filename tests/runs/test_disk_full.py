"""A disk that fills up: the file is named, what was there before is whole, the exit code is not 0.

Ten sizes of a tmpfs for each program; the largest of them hold all that it writes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from event_files import stream, write_bin
from programs import SMALL_ANN, last_of_each

from snntrain.config import compose
from snntrain.files import checksums
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.run import run as run_training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small file system"),
]

TINY = tuple(last_of_each((*SMALL_ANN, "model.features=8", "data.batch_size=512")))
SIZES = (4, 16, 40, 72, 112, 160, 240, 340, 480, 900)  # KiB, beside the earlier run


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """A finished run."""
    base = tmp_path_factory.mktemp("earlier")
    run_training(compose([*TINY]), base / "run", [*TINY])
    return base / "run"


@pytest.fixture
def disk(tmp_path: Path, earlier: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system that has room for the earlier run and some KiB more."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(room: int) -> Path:
        unmount()
        taken = sum(-(-path.stat().st_size // 4096) * 4 for path in earlier.rglob("*") if path.is_file())
        size = f"size={taken + room}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no tmpfs can be mounted here")
        shutil.copytree(earlier, place / "earlier")
        return place

    def unmount() -> None:
        if os.path.ismount(place):
            subprocess.run(["umount", "-l", place], check=True)

    yield mount
    unmount()


def check_ten(disk: Callable[[int], Path], attempt: Callable[[Path], subprocess.CompletedProcess]) -> None:
    """Run a program on ten sizes of disk; the last size has to be enough, and the first one must not be."""
    codes, wrong = [], []
    for room in SIZES:
        place = disk(room)
        done = attempt(place)
        said = done.stdout + done.stderr
        codes.append(done.returncode)
        named = re.search(
            rf"{re.escape(str(place))}/[^\s']*[\w)]: No space left on device|No space left.*{place}/", said
        )
        if done.returncode and not named:
            wrong.append((room, "no file is named", said[-800:]))
        if not checksums.verify(place / "earlier"):
            wrong.append((room, "the earlier run lost its checksums", ""))
        wrong += [(room, problem, said[-300:]) for problem in damage_below(place)]
    print(dict(zip(SIZES, codes, strict=True)))
    assert wrong == [] and codes[0] != 0 and codes[-1] == 0


def damage_below(place: Path) -> Iterator[str]:
    """What cannot be read, of all that a program left."""
    for folder in {path.parent for path in place.rglob(checksums.NAME)}:
        checksums.verify(folder)
    for path in place.rglob("*"):
        if path.name.endswith(".tmp") or path.name == ".owner.json":
            yield f"{path} was left behind"
        if path.suffix == ".ckpt":
            read_checkpoint(path)
        elif path.suffix in (".json", ".yaml") and "logs" not in path.parts:
            (json.loads if path.suffix == ".json" else yaml.safe_load)(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("logger=tensorboard",),
        ("neuron=relu", "callbacks=[default,ema,ann2snn,qat]", "callbacks.qat.epochs=1"),
        ("callbacks=[default,nir]",),
    ],
    ids=["plain", "tensorboard", "ann2snn and qat", "nir"],
)
def test_training(disk, program, more):
    check_ten(disk, lambda place: program("train.py", *TINY, *more, f"hydra.run.dir={place}/run"))


def test_a_sweep(disk, program):
    check_ten(disk, lambda place: program("train.py", "-m", *TINY, "seed=1,2", f"hydra.sweep.dir={place}/sweep"))


def test_predictions(disk, program, earlier):
    check_ten(disk, lambda place: program("eval.py", f"run={earlier}", "mode=predict", f"output={place}/out"))


def test_recording(disk, tmp_path, earlier):
    from snntrain.lab.experiment.recorded import write_record

    files = {name: os.urandom(20_000) for name in ("config.yaml", "expected.json", "curves.png")}

    def attempt(place: Path) -> subprocess.CompletedProcess:
        try:
            write_record(place / "experiments/one", dict.fromkeys(files, b"old"))
            write_record(place / "experiments/one", files)
        except OSError as error:
            kept = [path.read_bytes() for path in (place / "experiments").glob("*/*")]
            assert kept in ([], [b"old"] * 3)
            return subprocess.CompletedProcess([], 1, "", f"{error}")
        finally:
            for path in (place / "experiments").glob("*/*"):
                path.unlink()  # no JSON
        return subprocess.CompletedProcess([], 0, "", "")

    check_ten(disk, attempt)


def test_a_full_cache_is_named_and_the_run_continues(disk, program, tmp_path, monkeypatch):
    """It only saves time."""
    for label in ("left", "right"):
        for number in range(12):
            write_bin(tmp_path / f"events/{label}/{number}.bin", stream(number, n=200))
    data = ("data=event_folder", f"data.root={tmp_path}/events", "data.num_classes=2", "data.split=0.25")
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["SNNTRAIN_CACHE"])  # of kernels
    monkeypatch.delenv("SNNTRAIN_CACHE")
    monkeypatch.setattr(warnings, "showwarning", lambda text, *where, **more: print(text, file=sys.stderr))
    named = []
    for room in SIZES:
        place = disk(room)
        done = program("train.py", *TINY, *data, f"data.cache_root={place}", f"hydra.run.dir={tmp_path}/run_{room}")
        assert done.returncode == 0, done.stderr
        named.append(str(place / "cache") in done.stdout + done.stderr)
        assert checksums.verify(place / "earlier")
    assert named[0] and not named[-1]
