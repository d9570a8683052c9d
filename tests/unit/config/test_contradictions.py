"""Settings that exclude each other, and the monitored metric: refused before anything is built, both keys named."""

import pytest
import yaml
from checked import checked, composed
from lightning.pytorch import LightningModule

from snntrain.config.check import check
from snntrain.config.contradictions import check_together
from snntrain.config.monitor import direction
from snntrain.config.targets import target_given
from snntrain.data import Digits, Target, TimeseriesFolder
from snntrain.error import UsageError
from snntrain.task import Classification, MultiLabel, Regression, SequencePrediction

SCHEDULES = "torch.optim.lr_scheduler"
SERIES = "data=timeseries_folder data.sample_shape=[2]"
CONTRADICTIONS = {
    "neuron=psn neuron.T=5": ["neuron.T=5", "T=4"],
    "norm=bntt norm.T=3": ["norm.T=3", "T=4"],
    "encoder=frames": ["encoder: FramesEncoder", "Digits", "encoder=direct"],
    "data=nmnist encoder=direct": ["encoder: DirectEncoder", "NMNIST", "encoder=frames"],
    "data=nmnist encoder=poisson": ["encoder: PoissonEncoder", "NMNIST"],
    "data=nmnist data.framing.T=8": ["data.framing.T=8", "T=4"],
    "encoder=weighted_phase encoder.phases=3": ["encoder.phases=3", "T=4"],
    "encoder=weighted_phase encoder.phases=8": ["encoder.phases=8", "T=4"],
    "trainer.precision=16-mixed trainer.gradient_clip_val=1.0": [
        "trainer.gradient_clip_val=1.0",
        "optim.fused=true",
        "trainer.precision=16-mixed",
    ],
    "data.sampler=balanced trainer.overfit_batches=2": ["data.sampler=balanced", "trainer.overfit_batches=2"],
    f"{SERIES} data.num_classes=2 data.steps=7": ["data.steps=7", "T=4"],
    f"{SERIES} data.num_classes=2 encoder=direct": ["TimeseriesFolder", "encoder=frames"],
    "trainer.min_epochs=30": ["trainer.min_epochs=30", "trainer.max_epochs=20"],
    "trainer.check_val_every_n_epoch=30": ["trainer.check_val_every_n_epoch=30", "trainer.max_epochs=20", "val/acc"],
    "trainer.check_val_every_n_epoch=null": ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval"],
    "trainer.limit_val_batches=0": ["trainer.limit_val_batches=0", "monitor.metric=val/acc"],
    "monitor.metric=train/loss trainer.val_check_interval=0.5": ["monitor.metric=train/loss", "val_check_interval=0.5"],
    "monitor.metric=val/loss monitor.mode=max": ["monitor.metric=val/loss", "monitor.mode=max", "monitor.mode=min"],
    "monitor.metric=val/acc monitor.mode=min": ["monitor.metric=val/acc", "monitor.mode=min"],
    "monitor.metric=val/firing_rate": ["monitor.metric=val/firing_rate", "monitor.mode=max or monitor.mode=min"],
    "monitor.metric=val/los": ["monitor.metric=val/los", "Did you mean val/loss?"],
    "callbacks=[default,early_stopping] callbacks.early_stopping.monitor=val/loss": [
        "callbacks.early_stopping.monitor=val/loss",
        "callbacks.early_stopping.mode=max",
    ],
    "callbacks.best_checkpoint.monitor=val/loss": ["callbacks.best_checkpoint.monitor=val/loss", "mode=max"],
    f"optim.schedule={{_target_: {SCHEDULES}.ReduceLROnPlateau}}": ["ReduceLROnPlateau", "optim.schedule.monitor"],
    f"optim.schedule={{_target_: {SCHEDULES}.OneCycleLR, max_lr: 0.1, total_steps: 1000}}": [
        "OneCycleLR",
        "1000",
        "trainer.max_epochs=20",
        "optim.schedule.total_steps=all",
    ],
    f"optim.schedule={{_target_: {SCHEDULES}.OneCycleLR, max_lr: 0.1, epochs: 20, steps_per_epoch: 41}}": [
        "OneCycleLR",
        "820",
    ],
    f"optim.schedule={{_target_: {SCHEDULES}.SequentialLR, schedulers: [], milestones: []}}": ["SequentialLR"],
    "optim/schedule=plateau optim.schedule.warmup=3": ["no warmup"],
    "optim/schedule=cosine optim.schedule.monitor=val/loss": ["optim.schedule.monitor", "does nothing"],
    "optim/schedule=sequential optim.schedule.schedules=[]": ["SequentialLR", "optim.schedule.schedules"],
    "optim.schedule.eta_min=0.1": ["optim.schedule.eta_min=0.1", "optim.lr=0.002"],
}


@pytest.mark.parametrize("overrides", CONTRADICTIONS)
def test_settings_that_exclude_each_other_are_refused_by_both_names(overrides):
    schedule = overrides.removeprefix("optim.schedule=")
    config = composed(*([] if schedule != overrides else overrides.split()))
    if schedule != overrides:
        config.optim.schedule = yaml.safe_load(schedule)
    with pytest.raises(UsageError) as error:
        check(config)
    assert [text for text in CONTRADICTIONS[overrides] if text not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        ("monitor.metric=val/loss", "min"),
        ("monitor.metric=val/acc", "max"),
        ("monitor.metric=val/firing_rate monitor.mode=min", "min"),
        ("callbacks=[default,early_stopping] monitor.metric=val/loss", "min"),
    ],
)
def test_the_direction_follows_from_the_metric_and_stands_in_the_checked_config(overrides, mode):
    config = checked(*overrides.split())
    assert config["monitor"]["mode"] == mode
    assert {c["mode"] for c in config["callbacks"].values() if "mode" in c} == {mode}


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val/acc", "max"),
        ("ann2snn/acc_T8", "max"),
        ("train/loss_step", "min"),
        ("test/energy_uJ", "min"),
        ("test/sops", "min"),
        ("val/error", "min"),
        ("qat/mismatches", "min"),
        ("val/firing_rate", None),
        ("lossless", None),
    ],
)
def test_a_metric_is_good_when_large_or_small_as_its_name_says(metric, mode):
    assert direction(metric) == mode


@pytest.mark.parametrize(
    ("group", "source", "missing"),
    [
        ("data", "class Plain(pl.LightningDataModule):\n    def __init__(self, **more): ...", "train_dataloader"),
        ("task", "class Plain(pl.LightningModule):\n    def __init__(self, **more): ...", "training_step"),
        (
            "task",
            "from snntrain.task import Classification\nclass Plain(Classification):\n    def __init__(self): ...",
            "net",
        ),
    ],
)
def test_a_class_that_lacks_what_a_run_needs_is_refused_by_what_is_missing(
    tmp_path, monkeypatch, group, source, missing
):
    name = f"plain_{group}_{len(source)}"
    (tmp_path / f"{name}.py").write_text(f"import lightning.pytorch as pl\n{source}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    keep = "num_classes: 10, sample_shape: [1, 8, 8]" if group == "data" else ""
    config = composed(f"plugins=[{name}]")
    config[group] = {"_target_": f"{name}.Plain", **({"num_classes": 10, "sample_shape": [1, 8, 8]} if keep else {})}
    with pytest.raises(UsageError, match=rf"{group}\._target_: Plain .*{missing}"):
        check(config)


def test_a_function_that_makes_a_schedule_or_the_data_is_no_contradiction(tmp_path, monkeypatch):
    (tmp_path / "their_makers.py").write_text("def schedule(optimizer): ...\ndef data(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = checked()
    for settings, name in ((config["optim"]["schedule"], "schedule"), (config["data"], "data")):
        settings["_target_"] = f"their_makers.{name}"
    check_together(config)


@pytest.mark.parametrize(
    ("count", "task", "expected"),
    [
        ("num_classes", Classification, Target.CLASS),
        ("num_classes", MultiLabel, Target.LABELS),
        ("num_classes", SequencePrediction, Target.STEP_CLASSES),
        ("num_targets", SequencePrediction, Target.STEP_VALUES),
        ("num_targets", Regression, Target.VALUES),
        ("num_targets", Classification, None),
        ("num_classes", LightningModule, Target.CLASS),
        ("num_targets", LightningModule, Target.VALUES),
    ],
)
def test_data_that_offer_several_kinds_of_targets_give_the_one_that_the_task_learns(count, task, expected):
    assert target_given(TimeseriesFolder, task, {count: 2}) is expected
    assert target_given(Digits, Classification, {"num_classes": 10}) is Target.CLASS
    assert target_given(Digits, Regression, {"num_classes": 10}) is None


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (f"{SERIES} data.num_targets=1", "its outputs are data.num_classes, but these data have values"),
        (
            f"{SERIES} task=regression data.num_classes=2",
            "its outputs are data.num_targets, but these data have classes",
        ),
        (
            f"{SERIES} task=regression",
            "either num_classes, of classes or labels, or num_targets, of values; got neither",
        ),
        (f"{SERIES} data.num_classes=2 data.kind=values", "data.kind is filled in by the program; remove it"),
        ("data=diabetes", "its outputs are data.num_classes, but these data have values. Use task=regression"),
        ("data=parity T=5", "but data (Parity) has a class at every step. Use task=sequence"),
    ],
)
def test_a_task_that_does_not_learn_what_the_data_have_is_refused(overrides, named):
    with pytest.raises(UsageError) as refusal:
        check(composed(*overrides.split()))
    assert named in str(refusal.value)
