"""config.check: what is refused before any data is read, and what is let through."""

import builtins
import json
import sys
from pathlib import Path

import pytest
import torch
from checked import checked, refusal
from programs import GAIN_NODE

from snntrain import registry
from snntrain.config import compose
from snntrain.config.check import SUPPLIED, TRUSTED, check, check_named, check_resolved
from snntrain.config.schema import top_level_keys
from snntrain.error import UsageError


@pytest.fixture(autouse=True)
def own_entries(monkeypatch):
    """Names registered and folders added to the import path by a test vanish with it."""
    for kind in registry._HOMES:
        registry.names(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    monkeypatch.setattr(sys, "path", list(sys.path))


# --- what passes -----------------------------------------------------------------------------------------------------


def test_a_checked_config_is_plain_and_resolved():
    config = checked("neuron=plif", "surrogate=sigmoid", "trainer.max_epochs=7", "data.batch_size=5")
    assert json.loads(json.dumps(config)) == config
    assert type(config) is dict and type(config["model"]["layers"]) is list
    assert "${" not in json.dumps(config)
    assert config["neuron"]["surrogate_function"] == config["surrogate"] == {"name": "Sigmoid", "alpha": 4.0}
    assert config["optim"]["schedule"]["T_max"] == 7
    assert config["data"]["seed"] == config["seed"] == 1
    assert config["name"] == "digits_csnn_plif"
    assert list(config) == [key for key in config if key in top_level_keys()]


@pytest.mark.parametrize("written", ["off", "false"])
def test_a_bare_off_in_yaml_which_reads_it_as_false_is_off(written):
    assert checked(f"fuse={written}")["fuse"] == "off"
    assert check_resolved(config := {**checked(), "fuse": False}) is None and config["fuse"] == "off"


def test_a_checked_config_passes_again_without_interpolations():
    config = checked()
    before = json.dumps(config)
    check_resolved(config)
    assert json.dumps(config) == before


def test_checking_reads_no_data_and_draws_no_random_number(monkeypatch):
    config = compose(["data=mnist", "paths.data=/no/such/folder", "neuron=plif"])
    checked()  # what is imported is imported now
    state = torch.get_rng_state()
    opened = []
    monkeypatch.setattr(builtins, "open", lambda name, *more, **options: opened.append(name))
    check(config)
    assert opened == []
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "overrides",
    [
        ["~logger"],
        ["callbacks=[]"],
        ["~callbacks.progress"],
        ["neuron.v_reset=null"],
        ["neuron.surrogate_function={name: Rect}"],
        ["neuron.surrogate_function=null"],
        ["model.layers=[Flatten,{name: neuron, v_threshold: 0.5},{name: Linear, out_features: 10}]"],
        ["model.layers=[{name: Conv2d, in_channels: 1, out_channels: 4, kernel_size: [3, 5]}]"],
        ["neuron=relu", "model.layers=[{name: neuron, tau: 3.0}]"],  # the twin ignores what only neurons have
        ["optim.betas=[0.9,0.99]"],
        ["optim=sgd", "optim/schedule=step"],
        ["trainer.precision=bf16-mixed"],
        ["trainer.limit_train_batches=0.5"],
        ["callbacks.best_checkpoint.save_last=true"],
        ["+callbacks.rate={_target_: lightning.pytorch.callbacks.LearningRateMonitor}"],
    ],
    ids=" ".join,
)
def test_allowed_variations_pass(overrides):
    checked(*overrides)


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "misspelt input size": (
        ["model.layers=[{name: Conv2d, in_chanels: 1, out_channels: 2, kernel_size: 3}]"],
        ["model.layers[0].in_chanels", "Did you mean in_channels?"],
    ),
    "misspelt override of the neuron": (
        ["model.layers=[Flatten,{name: neuron, tua: 3}]"],
        ["model.layers[1].tua is not an argument of LIFNode", "Did you mean tau?"],
    ),
    "neuron in a layer out of range": (
        ["model.layers=[Flatten,{name: neuron, tau: 0.5}]"],
        ["model.layers[1]", "tau must be a finite number > 1"],
    ),
    "layer that is a number": (["model.layers=[3]"], ["model.layers[0] 3: a layer is a name, or a mapping"]),
    "layer without a name": (
        ["model.layers=[{out_features: 3}]"],
        ["model.layers[0] {out_features: 3}", "a mapping with the key name"],
    ),
    "no layers": (["model.layers=[]"], ["model.layers must be a list of at least one layer, got []"]),
    "layers that are text": (["model.layers=Flatten"], ["model.layers must be a list"]),
    "neuron of no name": (["neuron.name=null"], ["neuron.name must be the name of a registered neuron, got None"]),
    "unknown neuron": (["neuron.name=LIFNod"], ["'LIFNod'", "Did you mean LIFNode?"]),
    "surrogate in a neuron": (
        ["neuron.surrogate_function={name: ATn}"],
        ["neuron.surrogate_function", "'ATn'", "Did you mean ATan?"],
    ),
    "surrogate's argument": (["surrogate.alfa=1"], ["surrogate.alfa is not an argument of ATan", "alpha"]),
    "surrogate that is text": (["neuron.surrogate_function=ATan"], ["surrogate_function", "'ATan'"]),
    "sample shape of no list": (["data.sample_shape=8"], ["data.sample_shape must be a list of sizes", "8"]),
    "sample shape with a zero": (["data.sample_shape=[1,0,8]"], ["sample_shape must be an integer ≥ 1", "0"]),
    "no classes": (["data.num_classes=0"], ["num_classes must be an integer ≥ 1"]),
    "no outputs": (["task.outputs=0"], ["task.outputs must be an integer ≥ 1, got 0"]),
    "no neurons of a class": (["task.population=null"], ["task.population must be an integer ≥ 1, got None"]),
    "what is fused": (["fuse=all"], ["fuse must be one of 'exact', 'fast', 'off', got 'all'"]),
    "direction of the monitor": (["monitor.mode=up"], ["monitor.mode must be one of 'max', 'min', got 'up'"]),
    "two betas": (["optim.betas=[0.9]"], ["optim.betas must be a list of 2, got [0.9]"]),
    "callback without a target": (
        ["+callbacks.mine={patience: 3}"],
        ["callbacks.mine.name, a registered callback, or callbacks.mine._target_, a dotted name"],
    ),
    "callback of nothing": (["callbacks.progress=null"], ["callbacks.progress must be a mapping, got None"]),
    "argument of a callback": (
        ["callbacks.spike_statistics.every_n_batch=2"],
        ["callbacks.spike_statistics.every_n_batch", "Did you mean every_n_batches?"],
    ),
    "argument of a schedule": (["optim.schedule.gama=2"], ["optim.schedule.gama", "CosineAnnealingLR"]),
    "argument of a logger": (["logger.safe_dir=x"], ["logger.safe_dir", "Did you mean save_dir?"]),
    "debug key": (["debug.trace=true"], ["debug.trace", "Did you mean traceback?"]),
    "debug type": (["debug.traceback=3"], ["debug.traceback must be true or false, got 3"]),
    "name of a folder's path": (["name=a/b"], ["name", "'a/b'"]),
    "empty name": (["name=''"], ["name", "''"]),
    "missing value": (["optim.lr=???"], ["optim.lr", "Missing mandatory value"]),
    "key of the monitor": (["monitor.metrik=x"], ["monitor.metrik", "Did you mean metric?"]),
}


@pytest.mark.parametrize(("overrides", "named"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_config_is_refused_with_its_place_and_its_value(overrides, named):
    said = refusal(*overrides)
    for text in named:
        assert text in said


@pytest.mark.parametrize(
    ("group", "argument"),
    [(group, argument) for group in SUPPLIED for argument in SUPPLIED[group] if argument != "num_targets"],
)
def test_what_the_program_fills_in_may_not_be_configured(group, argument):
    assert f"{group}.{argument} is filled in by the program" in refusal(f"{group}.{argument}=3")


def test_a_named_entry_is_checked_wherever_it_stands():
    check_named("encoder", {"name": "PoissonEncoder"}, "encoder")
    with pytest.raises(UsageError, match=r"here must be a mapping"):
        check_named("encoder", "PoissonEncoder", "here")
    with pytest.raises(UsageError, match=r"here\.name must be the name of a registered encoder, got None"):
        check_named("encoder", {}, "here")


# --- model keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mlp", "model.channels=8"],  # a key of another model
        ["model=csnn", "model.chanels=8"],
        ["model=csnn", "model.features=7", "model.layers=[Flatten]"],
        ["model=csnn", "model.width=7", "model.layers=[Flatten]"],
    ],
    ids=" ".join,
)
def test_a_model_key_that_nothing_reads_is_refused(overrides):
    key = overrides[1].split("=")[0]
    assert f"{key} is not used by this model" in refusal(*overrides)


def test_model_keys_that_layers_read_pass_and_so_does_what_a_replaced_list_leaves_behind():
    checked("model=csnn", "model.layers=[Flatten,{name: Linear, out_features: 10}]")
    config = checked("model.width=7", "model.layers=[Flatten,{name: Linear, out_features: '${model.width}'}]")
    assert config["model"]["layers"][1]["out_features"] == 7


# --- code ------------------------------------------------------------------------------------------------------------


def a_module(folder: Path, name: str, text: str) -> str:
    """A module that leaves a file behind when it is imported."""
    ran = folder / f"{name}.ran"
    (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n{text}", encoding="utf-8")
    return name


HIDING_PLACES = {
    "the root of a group": "task._target_=TARGET",
    "a callback": "+callbacks.mine={_target_: TARGET}",
    "an argument": "trainer.profiler={_target_: TARGET}",
    "a list": "trainer.plugins=[{_target_: TARGET}]",
    "a list in a list": "trainer.plugins=[[{_target_: TARGET}]]",
    "a mapping in a mapping": "trainer.profiler={a: {b: {_target_: TARGET}}}",
    "a schedule": "optim.schedule._target_=TARGET",
    "an argument of a schedule": "optim.schedule.eta_min={_target_: TARGET}",
    "an argument of an argument": "trainer.profiler={_target_: lightning.pytorch.profilers.SimpleProfiler, "
    "dirpath: {_target_: TARGET}}",
}


@pytest.mark.parametrize("override", HIDING_PLACES.values(), ids=HIDING_PLACES)
def test_code_of_an_unlisted_package_is_refused_unread_wherever_it_is_named(tmp_path, override):
    sys.path.append(str(tmp_path))
    module = a_module(tmp_path, "stranger", "def make(**arguments): ...")
    said = refusal(override.replace("TARGET", f"{module}.make"))
    assert f"{module}.make" in said and "plugins" in said and "trust=true" in said
    for package in TRUSTED:
        assert package in said
    assert not (tmp_path / "stranger.ran").exists()


def test_a_package_is_not_trusted_for_how_its_name_begins():
    assert "would run code of 'torch_evil'" in refusal("optim._target_=torch_evil.SGD")
    assert "cannot be imported" in refusal("optim._target_=torch.os.system")


@pytest.mark.parametrize("permission", ["trust=true", "plugins=[friend]"])
def test_code_runs_when_it_is_trusted_or_listed(tmp_path, monkeypatch, permission):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "friend", raising=False)
    sys.path.append(str(tmp_path))
    a_module(
        tmp_path,
        "friend",
        "import lightning.pytorch as pl\nclass Mine(pl.Callback):\n    def __init__(self, n: int): ...\n",
    )
    checked(permission, "+callbacks.mine={_target_: friend.Mine, n: 3}")
    assert (tmp_path / "friend.ran").exists()
    assert "callbacks.mine.n must be an integer" in refusal(permission, "+callbacks.mine={_target_: friend.Mine, n: x}")


def test_a_plugin_beside_the_user_registers_names_with_the_same_checks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_gain_neuron", raising=False)
    a_module(tmp_path, "my_gain_neuron", GAIN_NODE)
    mine = ["plugins=[my_gain_neuron]", "neuron.name=GainNode", "~neuron.tau", "neuron.gain=2.0"]
    assert checked(*mine)["neuron"]["gain"] == 2.0
    assert "neuron: GainNode needs the argument gain" in refusal(*mine[:3])
    assert "neuron.gain must be a number, got 'much'" in refusal(*mine[:3], "neuron.gain=much")
    assert "surrogate_functio" in refusal(*mine, "neuron.surrogate_functio=x")


@pytest.mark.parametrize(
    ("text", "said"), [("def f(:", "SyntaxError"), ("no_such_name", "NameError"), ("1/0", "ZeroDivisionError")]
)
def test_a_broken_plugin_is_named_with_what_is_wrong_in_it(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_plugin.py").write_text(text)
    message = refusal("plugins=[broken_plugin]")
    assert message.startswith("plugins: 'broken_plugin' cannot be imported") and said in message


# --- a saved config --------------------------------------------------------------------------------------------------


def test_a_saved_config_with_a_key_of_another_version_is_refused():
    with pytest.raises(UsageError, match=r"sed is not a config key. Did you mean seed\?"):
        check_resolved({**checked(), "sed": 3})


@pytest.mark.parametrize(
    ("key", "value"), [("T", 0), ("T", "4"), ("T", True), ("seed", -1), ("seed", 1.5), ("model", 3)]
)
def test_a_saved_config_with_a_wrong_value_is_refused(key, value):
    with pytest.raises(UsageError, match=key):
        check_resolved({**checked(), key: value})


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/b", "http://me:secret@host:5000"])
def test_a_url_with_a_password_is_refused_without_showing_it(url):
    said = refusal("logger=mlflow", f"logger.tracking_uri={url}")
    assert f"logger.tracking_uri={url.replace('secret', '***')} holds a password" in said and "secret" not in said
    assert "PGPASSWORD" in said and "MLFLOW_TRACKING_PASSWORD" in said
    assert checked("logger=mlflow", f"logger.tracking_uri={url.replace(':secret', '')}")["logger"]
