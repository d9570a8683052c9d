"""One flipped byte in a file of a finished run: no program believes the run, and all of them name the file."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import SMALL, SMALL_ANN, last_of_each
from sampled import sampled

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.files import checksums
from snntrain.lab.experiment.reproduction import reproduce_from
from snntrain.lab.run_rows import find_rows, note_of_unverified
from snntrain.lab.run_table import table_of
from snntrain.run import resume
from snntrain.run.evaluate import evaluate
from snntrain.run.run import run as run_training

TINY = tuple(last_of_each((*SMALL, "trainer.max_epochs=1")))
# The stages' files: a checkpoint, pictures, JSON, safetensors; and another library's log.
STAGES = ("neuron=relu", "callbacks=[default,ann2snn,qat]", "callbacks.qat.epochs=1", "logger=tensorboard")
WITH_STAGES = tuple(last_of_each((*SMALL_ANN, *STAGES, "trainer.max_epochs=1")))


def train(folder: Path, *overrides: str) -> Path:
    run_training(compose(overrides), folder, list(overrides))
    return folder


def flip(path: Path, seed: int = 0) -> bytes:
    """Change a byte at random; what was there before."""
    whole, rng = path.read_bytes(), random.Random(seed)
    place = rng.randrange(len(whole))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
    return whole


def every_file(run: Path) -> list[str]:
    names = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(name for name in names if not name.startswith("."))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with two finished runs."""
    base = tmp_path_factory.mktemp("runs")
    train(base / "sound", *TINY)
    shutil.copytree(base / "sound", base / "run")
    return base


def attempts(run: Path) -> list[Callable[[], object]]:
    """What eval.py, train.py and reproduce.py do first with a run folder."""
    config = check(compose([*TINY, f"resume={run}"]))
    return [
        lambda: evaluate([f"run={run}"]),
        lambda: resume.choose_start(config, run.parent / "new"),
        lambda: reproduce_from(run, None, []),
    ]


FEW = ("config.yaml", "results.json", "checkpoints/best.ckpt", "artifacts/raster.npz", "logs/version_0/metrics.csv")


@pytest.mark.parametrize("name", sampled([*FEW, "report.html", checksums.NAME], 2))
def test_the_file_is_named_and_other_runs_are_still_shown(trained, name):
    run = trained / "run"
    whole = flip(run / name)
    try:
        for attempt in attempts(run):
            with pytest.raises(UsageError, match=re.escape(str(run / name))):
                attempt()
        rows = {row.folder.name: row for row in find_rows([trained])}
        assert (rows["run"].status, rows["sound"].status) == ("damaged", "finished")
        assert name in rows["run"].error
    finally:
        (run / name).write_bytes(whole)


def test_a_run_from_before_says_that_it_is_unverified(trained, tmp_path, capsys):
    run = tmp_path / "old"
    shutil.copytree(trained / "sound", run)
    (run / checksums.NAME).unlink()
    rows = find_rows([run])
    assert rows[0].status == "finished" and note_of_unverified(rows) == f"{run}: {checksums.UNVERIFIED}"
    resume.choose_start(check(compose([*TINY, f"resume={run}"])), tmp_path / "new")
    evaluate([f"run={run}"])
    assert capsys.readouterr().out.count(f"{run} is {checksums.UNVERIFIED}") == 2


def test_a_resumed_run_is_sound_again(trained, tmp_path, program):
    run = tmp_path / "run"
    shutil.copytree(trained / "sound", run)
    assert program("train.py", *TINY, f"resume={run}").returncode == 0
    assert checksums.verify(run) and table_of(find_rows([run]), "run", 100)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [TINY, WITH_STAGES], ids=["plain", "stages"])
def test_every_file_is_named_by_every_program(tmp_path, program, overrides):
    runs = tmp_path / "runs"
    train(runs / "sound", *overrides)
    shutil.copytree(runs / "sound", runs / "run")
    run, unnamed = runs / "run", []
    for seed, name in enumerate(every_file(run)):
        whole = flip(run / name, seed)
        for name_of_program, *words in (
            ("eval.py", f"run={run}"),
            ("train.py", *overrides, f"resume={run}"),
            ("scripts/reproduce.py", "--from", str(run)),
            ("scripts/browse.py", str(runs)),
            ("scripts/summarize.py", str(runs)),
        ):
            done = program(name_of_program, *words)
            goes_on = name_of_program in ("scripts/browse.py", "scripts/summarize.py")
            if name not in done.stdout + done.stderr or done.returncode != (0 if goes_on else 2):
                unnamed.append((name_of_program, name, done.returncode, done.stderr[-300:]))
        (run / name).write_bytes(whole)
        checked = program("eval.py", f"run={runs / 'sound'}", f"output={tmp_path / 'out'}")
        assert checked.returncode == 0, checked.stderr
    assert len(every_file(run)) > (20 if overrides is WITH_STAGES else 12) and unnamed == []
