"""docs/tasks.md's task of one's own, with its loss, metric and section of the report, runs as it is written there."""

import html
import re
import shlex

import numpy as np
import pytest
from programs import ROOT, SMALL, complete, results, succeed

TEXT = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
OWN = TEXT[TEXT.index("## A task of your own") :]
(CODE,) = re.findall(r"```python\n# my_tasks.py\n(.*?)```", OWN, flags=re.DOTALL)
(COMMAND,) = re.findall(r"```\npython train.py (.*?)\n```", OWN)
TENS = np.arange(10)
DISTANCE = abs(TENS[:, None] - TENS)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_tasks.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def test_the_task_trains_and_is_judged_and_reported_by_its_own_parts(folder):
    few = ("trainer.max_epochs=3", "optim.lr=0.02")
    succeed("train.py", *shlex.split(COMMAND), *SMALL, *few, "hydra.run.dir=run", cwd=folder)
    metrics = results(folder / "run")["metrics"]
    confusion = np.load(folder / "run/artifacts/test.npz")["confusion"]
    assert metrics["test/distance"] == pytest.approx((confusion * DISTANCE).sum() / confusion.sum())
    assert metrics["test/within_one"] == pytest.approx(confusion[DISTANCE <= 1].sum() / confusion.sum())
    assert 0 < metrics["test/distance"] < 2 and 0 < metrics["train/loss"] < 0.12  # by chance: 3.3 and 0.17
    page = html.unescape((folder / "run/report.html").read_text(encoding="utf-8"))
    section = page[page.index("How far off</h2>") :]
    assert all(f"<li>{off} off: {confusion[off == DISTANCE].sum()}</li>" in section for off in TENS)


def test_its_parts_are_checked_as_our_own_are(folder):
    mistyped = [*shlex.split(COMMAND), "task.loss=earth_mower"]
    of_sequences = ["plugins=[my_tasks]", "task=sequence", "data=parity", "task.loss=earth_mover"]
    for overrides, said in (
        (mistyped, "'earth_mower' is not a registered loss. Did you mean earth_mover?"),
        (of_sequences, "earth_mover compares with a class, and the targets of this task are a class at every step"),
    ):
        done = complete("train.py", *SMALL, *overrides, cwd=folder)
        assert done.returncode == 2 and said in " ".join(done.stderr.split())
