"""The dry pass: what it finds before data are read, and that a run is the same with it and without it."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import in_a_loop

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.run import build as building
from snntrain.run.build import build_task, make_data, read_data
from snntrain.run.data_check import check_with_data
from snntrain.run.dry_pass import dry_pass, refusal_of_one_sample
from snntrain.run.run import run

SMALL = ("model=mlp", "model.features=8", "T=2", "trainer.max_epochs=2", "data.batch_size=512", "paths.run=none")


def settings(*overrides: str) -> dict:
    given = {text.partition("=")[0] for text in overrides}
    if "model.layers" in given:
        given.add("model.features")  # which only the list of layers that is replaced reads
    config = check(compose([*(text for text in SMALL if text.partition("=")[0] not in given), *overrides]))
    return {**config, "neuron": in_a_loop(config["neuron"])}


def tried(*overrides: str) -> str | None:
    """What the dry pass says."""
    config = settings(*overrides)
    try:
        dry_pass(build_task(config), config)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "overrides",
    [
        "neuron=lif",
        "neuron=relu",
        "encoder=poisson",
        "data=nmnist",
        "task=online neuron=sltt_lif",
        "trainer.precision=bf16-mixed",
        "trainer.precision=64-true",
        "trainer.gradient_clip_val=1.0 trainer.accumulate_grad_batches=4",
        "optim.lr=1e30",  # the run stops it, by the layer and the step
        "task.mixup=0.2",
        "monitor.metric=train/loss",
        "monitor.metric=val/firing_rate monitor.mode=min",
    ],
)
def test_what_can_train_passes(overrides):
    assert tried(*overrides.split()) is None


REFUSED = {
    "monitor.metric=val/accc monitor.mode=max": ["monitor.metric=val/accc", "Did you mean val/acc?"],
    "monitor.metric=test/acc": ["monitor.metric=test/acc", "Known: train/acc"],
    "callbacks=[default,early_stopping] callbacks.early_stopping.monitor=acc": ["callbacks.early_stopping.monitor=acc"],
    "task=online neuron=sltt_lif trainer.gradient_clip_val=1.0": [
        "trainer.gradient_clip_val",
        "task.gradient_clip_val",
    ],
    "task.cutmix=0.5 data=shd data.sample_shape=[700]": ["task", "cutmix"],
    "task.loss=tet task.tet_potential=1e30": ["task", "loss", "inf"],
    "norm=bntt T=1 data.batch_size=1 model.layers=[Flatten,{name:Linear,out_features:8},{name:BatchNorm1d},neuron,"
    "{name:Linear,out_features:10}]": ["model.layers[2] (BatchNorm1d)", "more than 1 value per channel"],
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_train_is_refused_by_the_group_or_the_layer(overrides):
    said = tried(*overrides.split())
    assert said is not None and "\n" not in said
    assert [text for text in REFUSED[overrides] if text not in said] == [], said


def test_a_metric_of_a_callback_that_is_left_out_is_refused_and_one_of_anothers_is_not(tmp_path, monkeypatch):
    fired = ["monitor.metric=val/firing_rate", "monitor.mode=min"]
    assert "monitor.metric=val/firing_rate" in tried(*fired, "~callbacks.spike_statistics")
    (tmp_path / "their_log.py").write_text("import lightning.pytorch as pl\nclass Log(pl.Callback): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    theirs = ["plugins=[their_log]", "+callbacks.theirs={_target_:their_log.Log}"]
    assert tried(*theirs, "monitor.metric=val/theirs", "monitor.mode=max") is None


def test_the_dry_pass_and_fine_tuning_leave_out_plugins_that_conflict_with_theirs(tmp_path):
    pytorch = "lightning.pytorch.plugins"
    config = settings("~trainer.precision")
    config["trainer"]["plugins"] = [
        {"_target_": f"{pytorch}.environments.SLURMEnvironment", "auto_requeue": False},
        {"_target_": f"{pytorch}.precision.DoublePrecision"},
    ]
    dry_pass(build_task(config), config)
    trainer = building.trainer_for_more(config, 1, tmp_path)
    assert trainer.precision == "32-true"


def test_the_dry_pass_leaves_the_task_and_every_generator_unchanged():
    config = settings("encoder=poisson")
    task = build_task(config)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    dry_pass(task, config)
    assert task._trainer is None and task.training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


@pytest.mark.slow
def test_a_run_with_and_without_a_dry_pass_is_equal_to_the_last_bit(tmp_path, monkeypatch):
    def trained(folder: Path) -> dict:
        overrides = [*(text for text in SMALL if not text.startswith("paths")), "neuron.backend=torch"]
        run(compose(overrides), folder, overrides)
        return json.loads((folder / "results.json").read_text())["hex"]

    monkeypatch.chdir(tmp_path)
    with_it = trained(tmp_path / "a")
    monkeypatch.setattr(building, "dry_pass", lambda task, config: None)
    assert trained(tmp_path / "b") == with_it and with_it["test/loss"]


ONE_BY_ONE = (
    "model.layers=[Flatten,{name:Linear,out_features:8},{name:BatchNorm1d},neuron,{name:Linear,out_features:10}]"
)


def of_size(*overrides: str) -> str | None:
    """What is said once the digits are read: 1,294 training, 144 validation and 359 test samples."""
    config = settings(*overrides)
    task, data = build_task(config), make_data(config)
    read_data(data)
    try:
        check_with_data(task, data, config)
    except UsageError as error:
        return str(error)
    return None


def test_a_limit_of_a_split_that_does_not_exist_is_ignored():
    config = settings("trainer.limit_test_batches=0.5")
    task, data = build_task(config), make_data(config)
    read_data(data)
    del data.splits["test"]
    check_with_data(task, data, config)


def test_a_last_batch_of_one_sample_is_refused_where_the_net_cannot_learn_from_it():
    one_left = ["T=1", ONE_BY_ONE, "data.batch_size=431"]
    said = of_size(*one_left)
    assert said and all(text in said for text in ("data.batch_size=431", "1,294", "data.drop_last=true"))
    assert of_size(*one_left, "data.drop_last=true") is None
    assert of_size("T=1", "data.batch_size=431") is None  # without statistics over a batch
    assert refusal_of_one_sample(build_task(settings("T=4", ONE_BY_ONE)), settings("T=4", ONE_BY_ONE)) is None


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("data.batch_size=2000 data.drop_last=true", ["data.drop_last=true", "data.batch_size=2000"]),
        ("trainer.limit_train_batches=0.01", ["trainer.limit_train_batches=0.01", "3 batches"]),
        ("trainer.val_check_interval=9", ["trainer.val_check_interval=9", "3 training batches"]),
        ("trainer=ddp trainer.devices=200", ["trainer.devices", "200 processes"]),
        ("T=100000 model.features=8192", ["data.batch_size=512", "T=100000"]),
    ],
)
def test_what_only_the_data_can_show_is_refused_before_anything_is_written(overrides, named):
    said = of_size(*overrides.split())
    assert said is not None and [text for text in named if text not in said] == [], said


def test_several_labels_of_a_sample_are_refused(monkeypatch):
    config = settings()
    task, data = build_task(config), make_data(config)
    read_data(data)
    data.splits["val"].labels = torch.zeros(len(data.splits["val"]), 3, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"labels of the val split must be one class number"):
        check_with_data(task, data, config)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("T=1000000000", ["T=1000000000", "GB"]),
        ("model.features=1000000000", ["model.layers[1]", "out_features: 1000000000", "GB"]),
    ],
)
def test_sizes_beyond_the_memory_are_refused_by_their_key_and_bytes(overrides, named):
    with pytest.raises(UsageError) as error:
        build_task(settings(*overrides.split()))
    assert [text for text in named if text not in str(error.value)] == []
