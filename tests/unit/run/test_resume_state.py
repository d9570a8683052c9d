"""A checkpoint is not trusted: nothing of it reaches Lightning before it was checked."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from run_folders import OLD_RUNS, OVERRIDES, old_run

from snntrain.callback.kept import fetch_kept, own_checkpoints
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.run.build import build
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.resume_state import check_state
from snntrain.run.run import run

LAST = OLD_RUNS / "f2f9f6e/checkpoints/last.ckpt"
BEST = "ModelCheckpoint{'monitor': 'val/acc', 'mode': 'max', 'every_n_train_steps': 0, 'every_n_epochs': 1, " + (
    "'train_time_interval': None}"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    extra = ["callbacks=[default,early_stopping]", f"paths.run={folder}"]
    return build(check(compose([*OVERRIDES, *extra])))


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return read_checkpoint(LAST)


def test_a_state_that_a_run_left_is_accepted(built, content):
    check_state(content, built.task, built.trainer, built.config, LAST)


NAN, LINEAR = torch.full((8, 64), float("nan")), "net.layers.1.weight"
CHANGES: dict[str, tuple[str, Any]] = {
    "no loops": ("loops", ...),
    "no optimizer": ("optimizer_states", []),
    "weights of another shape": (f"state_dict|{LINEAR}", torch.zeros(8, 63)),
    "weights of another kind": (f"state_dict|{LINEAR}", torch.zeros(8, 64, dtype=torch.int64)),
    "weights that are not finite": (f"state_dict|{LINEAR}", NAN),
    "weights missing": (f"state_dict|{LINEAR}", ...),
    "weights that are text": (f"state_dict|{LINEAR}", "x"),
    "no mapping of weights": ("state_dict", [1]),
    "epochs": ("loops|fit_loop|epoch_progress|current|processed", -1),
    "epochs without end": ("loops|fit_loop|epoch_progress|current|processed", 10**30),
    "an epoch in words": ("loops|fit_loop|epoch_progress|current|processed", "1"),
    "a loop missing": ("loops|fit_loop|epoch_progress", ...),
    "a loop that is a list": ("loops|fit_loop", [1]),
    "the step": ("global_step", 1.5),
    "the version": ("pytorch-lightning_version", "x y"),
    "moments of another shape": ("optimizer_states|0|state|0|exp_avg", torch.zeros(3)),
    "moments that are not finite": ("optimizer_states|0|state|0|exp_avg", NAN),
    "moments in words": ("optimizer_states|0|state|0|exp_avg", "x"),
    "more parameters": ("optimizer_states|0|param_groups|0|params", list(range(9))),
    "parameters twice": ("optimizer_states|0|param_groups|0|params", [0, 0, 1, 2]),
    "a learning rate in words": ("optimizer_states|0|param_groups|0|lr", "x"),
    "a learning rate without end": ("optimizer_states|0|param_groups|0|lr", float("inf")),
    "no groups": ("optimizer_states|0|param_groups", 3),
    "a schedule's method": ("lr_schedulers|0|step", 1),
    "a schedule's optimizer": ("lr_schedulers|0|optimizer", 1),
    "a schedule's epoch": ("lr_schedulers|0|last_epoch", "x"),
    "a schedule that is a list": ("lr_schedulers|0", [1]),
    "callbacks as a list": ("callbacks", [1]),
    "rows": ("callbacks|History|rows", "x"),
    "a row": ("callbacks|History|rows|0", {"epoch": "x"}),
    "rows of other epochs": ("callbacks|History|rows|0", {"epoch": 7}),
    "patience": (
        "callbacks|EarlyStopping{'monitor': 'val/acc', 'mode': 'max'}",
        {"wait_count": "x", "stopped_epoch": 0, "best_score": torch.tensor(0.0), "patience": 10},
    ),
    "the best score": (f"callbacks|{BEST}|best_model_score", torch.zeros(10**4)),
    "too many best": (f"callbacks|{BEST}|best_k_models", {f"/tmp/cwd/old/checkpoints/{i}.ckpt": 0.0 for i in range(9)}),
    "best as a list": (f"callbacks|{BEST}|best_k_models", [1]),
    "a path that is none": (f"callbacks|{BEST}|best_model_path", 3),
    "a checkpoint that is none": (f"callbacks|{BEST}|last_model_path", "/tmp/cwd/old/checkpoints/notes.txt"),
}


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    *parents, last = path.split("|")
    node = content
    for key in parents:
        node = node[int(key) if isinstance(node, list) or key.isdecimal() else key]
    if value is ...:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return content


@pytest.mark.parametrize(("path", "value"), CHANGES.values(), ids=CHANGES)
def test_a_state_that_no_run_leaves_is_refused_naming_the_file_and_the_part(built, content, path, value):
    with pytest.raises(UsageError, match=r"last\.ckpt"):
        check_state(changed(content, path, value), built.task, built.trainer, built.config, LAST)


OUTSIDE = (
    "{run}/checkpoints/../../home/thesis",
    "{run}/checkpoints/../../home/thesis/x.ckpt",
    "{home}/thesis/x.ckpt",
    "{home}/thesis",
    "local://{home}/thesis",
    "relative/thesis.ckpt",
    "{run}/checkpoints/link.ckpt",
    "{run}/checkpoints/linked/x.ckpt",
    "{run}/checkpoints",
    "{run}",
)


@pytest.mark.parametrize("key", ["best_k_models", "kth_best_model_path", "best_model_path", "last_model_path"])
@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("then", ["{run}/checkpoints", None, "{home}"])
def test_a_checkpoint_outside_of_the_run_is_refused_or_becomes_one_inside(tmp_path, key, path, then):
    run, home = tmp_path / "run", tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/link.ckpt").symlink_to(home / "thesis")
    (run / "checkpoints/linked").symlink_to(home / "thesis")
    path = path.format(run=run, home=home)
    state = {"best_model_score": None, "dirpath": then and then.format(run=run, home=home)}
    state[key] = {path: torch.tensor(-1.0)} if key == "best_k_models" else path
    if key == "best_k_models":
        state["kth_best_model_path"] = path
    callback = ModelCheckpoint(dirpath=run / "checkpoints", save_top_k=1, monitor="val/acc")
    try:
        found = own_checkpoints(state, callback, run / "checkpoints/last.ckpt")
    except UsageError as error:
        assert str(path) in str(error) or "is none of best_k_models" in str(error)
        return
    paths = {*found["best_k_models"], *(found[name] for name in found if name.endswith("_path"))} - {""}
    for own in map(Path, paths):
        assert own.parent.is_relative_to(run / "checkpoints") and not own.exists() and own.suffix == ".ckpt"


def test_a_run_that_was_moved_or_continues_elsewhere_keeps_its_best_checkpoint(tmp_path):
    old, new = tmp_path / "moved/checkpoints", tmp_path / "new/checkpoints"
    old.mkdir(parents=True)
    (old / "best.ckpt").write_bytes(b"weights")
    state = {"dirpath": "/before/checkpoints", "best_model_score": torch.tensor(0.5), "kth_value": torch.tensor(0.5)}
    state |= dict.fromkeys(("best_model_path", "kth_best_model_path"), "/before/checkpoints/best.ckpt")
    state["best_k_models"] = {"/before/checkpoints/best.ckpt": torch.tensor(0.5)}
    for here in (old, new):
        callback = ModelCheckpoint(dirpath=here, save_top_k=1, monitor="val/acc")
        found = own_checkpoints(state, callback, old / "last.ckpt")
        fetch_kept(found, old / "last.ckpt")
        callback.load_state_dict(found)
        assert callback.best_model_path == str(here / "best.ckpt") and callback.best_model_score == 0.5
        assert (here / "best.ckpt").read_bytes() == b"weights"


def test_a_run_without_a_best_checkpoint_can_continue(tmp_path):
    callback = ModelCheckpoint(dirpath=tmp_path, save_top_k=0, monitor="val/acc")
    assert own_checkpoints(callback.state_dict(), callback, tmp_path / "last.ckpt")["best_k_models"] == {}


@pytest.mark.parametrize("by", ["folder", "file"])
def test_continuing_a_hostile_run_deletes_nothing(tmp_path, monkeypatch, by):
    monkeypatch.chdir(tmp_path)
    theirs = old_run("f2f9f6e", tmp_path)
    victim = tmp_path / "home/thesis"
    victim.mkdir(parents=True)
    last = theirs / "checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True)
    path = f"{theirs}/checkpoints/../../home/thesis"
    state = content["callbacks"][BEST]
    del state["dirpath"]
    state |= dict.fromkeys(("best_model_path", "kth_best_model_path"), path) | {
        "best_k_models": {path: torch.tensor(-1.0)}
    }
    torch.save(content, last)
    before = {file: file.read_bytes() for file in theirs.rglob("*") if file.is_file()}
    overrides = [*OVERRIDES, f"resume={theirs if by == 'folder' else last}"]
    with pytest.raises(UsageError, match="home/thesis as a checkpoint of its run, which lies outside"):
        run(compose(overrides), tmp_path / "new", overrides)
    assert victim.is_dir()
    assert {file: file.read_bytes() for file in theirs.rglob("*") if file.is_file()} == before
    assert set(os.listdir(tmp_path)) <= {"f2f9f6e", "home", "new"}
    assert json.loads((theirs / "results.json").read_text())["status"] == "interrupted"
