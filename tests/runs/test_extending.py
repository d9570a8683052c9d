"""Goals of docs/extending.md that no other test reaches, by the commands of that page; and the page itself."""

import ast
import csv
import json
import math
import re
import shlex
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT, SMALL, complete, results, succeed

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|`]+) \| `([^`|]+)` \| `([^`|]+)::(\w+)` \|$", PAGE, flags=re.MULTILINE)
COMMANDS = {goal: command for goal, command, _, _ in ROWS}
TESTS = {test: shlex.split(command)[2:] for _, command, _, test in ROWS}


def train(test: str, folder: Path, *more: str, run: str = "run") -> dict:
    """Train with the page's command for a test of this file, on less."""
    succeed("train.py", *SMALL, *TESTS[test], *more, f"hydra.run.dir={run}", cwd=folder)
    return results(folder / run)


def epochs(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_has_twelve_goals_and_their_tests_exist():
    assert len(COMMANDS) == 12
    for _, command, file, test in ROWS:
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert test in [node.name for node in functions if isinstance(node, ast.FunctionDef)], test
        assert re.match(r"snntrain (train|tune) |python -c ", command)


def written(file: Path) -> Iterator[dict[str, float]]:
    """The numbers of each step in a record of Weights & Biases, a log in LevelDB's format of its own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole, block = file.read_bytes(), 7, b"", 32768
    while place + 7 <= len(data):
        if block - place % block < 7:  # no room for a header: the next block begins
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record.FromString(whole)
            whole = b""
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            yield {name: value for name, text in items.items() if isinstance(value := json.loads(text), (int, float))}


@pytest.mark.slow
def test_wandb_offline_holds_the_metrics_and_asks_no_server(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        found = train("test_wandb_offline_holds_the_metrics_and_asks_no_server", tmp_path)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()
    (file,) = tmp_path.glob("run/logs/wandb/offline-run-*/run-*.wandb")
    steps = list(written(file))
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "val/firing_rate"):
        logged = [step[name] for step in steps if name in step]
        assert logged == [float(row[name]) for row in epochs(tmp_path / "run")], name
    (tested,) = (step for step in steps if "test/acc" in step)
    assert tested["test/acc"] == found["metrics"]["test/acc"]


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_larger_batch(tmp_path):
    name = "test_accumulated_gradients_are_those_of_the_larger_batch"
    few = ("trainer.max_epochs=1", "neuron.v_threshold=0.3")
    train(name, tmp_path, *few, "trainer.limit_train_batches=20")
    whole = ("data.batch_size=128", "trainer.accumulate_grad_batches=1", "trainer.limit_train_batches=10")
    train(name, tmp_path, *few, *whole, run="whole")
    (ours,), (theirs,) = epochs(tmp_path / "run"), epochs(tmp_path / "whole")
    for metric in ("train/loss", "val/loss", "val/acc"):
        assert float(ours[metric]) == pytest.approx(float(theirs[metric]), rel=1e-3), metric


@pytest.mark.slow
def test_the_rate_rises_and_falls_at_every_step(tmp_path):
    train("test_the_rate_rises_and_falls_at_every_step", tmp_path, "optim.lr=0.02", "trainer.max_epochs=3")
    steps, warm = 33, 5  # 11 batches of 128 in an epoch, whose first step the row tells
    falling = [0.02 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2 for step in (11, 22)]
    rates = [float(row["lr"]) for row in epochs(tmp_path / "run")]
    assert rates == pytest.approx([0.02 / (warm + 1), *falling])
    words = (*SMALL, *TESTS["test_the_rate_rises_and_falls_at_every_step"], "optim.schedule.warmup=22")
    refused = complete("train.py", *words, "hydra.run.dir=none", cwd=tmp_path)
    assert refused.returncode == 2 and "optim.schedule.warmup=22 is not less than the 22 steps" in refused.stderr
    assert not (tmp_path / "none").exists()
