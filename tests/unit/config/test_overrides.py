"""Overrides that would do nothing are refused, each by its name."""

import subprocess
import sys

import pytest

from snntrain import registry
from snntrain.config import compose
from snntrain.config.overrides import check_command, is_sweep, read_changes, refuse_unused
from snntrain.error import UsageError
from snntrain.registry import register


@pytest.fixture
def own_entries(monkeypatch):
    """Names registered by a test vanish with it."""
    for kind in registry._HOMES:
        registry.names(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})


@pytest.mark.parametrize(
    ("overrides", "sweep", "said"),
    [
        (["neuron.tau=2", "++neuron.tau=2"], False, "neuron.tau is given twice"),
        (["~logger", "logger=csv"], False, "logger is given twice"),
        (["hydra.launcher.n_jobs=2"], False, "does nothing in a single run"),
        (["hydra.run.dir=x"], True, "hydra.run.dir=x does nothing in a sweep"),
    ],
)
def test_what_train_would_not_look_at_is_refused(overrides, sweep, said):
    with pytest.raises(UsageError) as error:
        check_command(overrides, is_sweep=sweep)
    assert str(error.value).startswith(said) or said in str(error.value)


def test_what_train_looks_at_passes():
    check_command(["T=2", "neuron.tau=2", "hydra.run.dir=x", "model.layers=[a,b]", "name='a,b'"], is_sweep=False)
    check_command(["seed=1,2", "hydra.sweep.dir=x"], is_sweep=True)
    assert is_sweep(["launch=joblib"]) and not is_sweep(["launch=basic", "T=2"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["neuron=relu", "surrogate.alpha=3"], "surrogate.alpha=3 does nothing"),
        (["neuron=lif", "surrogate=erf"], None),
        (["model=csnn", "norm=tdbn"], None),
        (["model=resnet19", "data=cifar10", "norm=bn"], None),
        (["model.layers=[Flatten,{name: Linear, out_features: 10}]", "neuron=plif"], "neuron=plif does nothing"),
        (["model=mlp", "neuron=plif"], None),
        (["model=spikformer", "neuron=plif"], None),
        (
            ["~model.layers", "~model.channels", "~model.features", "model.name=Bare", "neuron.tau=3"],
            "neuron.tau=3 does",
        ),
        (["~model.layers", "~model.channels", "~model.features", "model.name=Given", "neuron.tau=3"], None),
        (["model.layers=[Given, Flatten, {name: Linear, out_features: 10}]", "neuron.tau=3"], None),
    ],
)
def test_choices_that_the_net_has_no_place_for_are_refused(overrides, said, own_entries):
    register("model")(type("Bare", (), {"__init__": lambda self, num_classes: None}))
    for kind in ("model", "layer"):
        register(kind)(type("Given", (), {"__init__": lambda self, neuron: None}))
    config = compose(overrides)
    if said is None:
        return refuse_unused(config, overrides)
    with pytest.raises(UsageError, match=said):
        refuse_unused(config, overrides)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("neuron=PausingNode", "A plugin's neuron is chosen with neuron.name=<its class>."),
        ("callbacks=[default,size]", "A plugin's callback is chosen with callbacks.size.name=<its class>."),
    ],
)
def test_a_name_that_a_plugin_may_have_registered_gets_the_key_for_it(override, said):
    with pytest.raises(UsageError, match="is not a choice of the group") as with_plugin:
        compose(["plugins=[mine]", override])
    with pytest.raises(UsageError, match="is not a choice of the group") as without:
        compose([override])
    assert said in str(with_plugin.value) and "plugin" not in str(without.value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trust=maybe", "trust=maybe cannot be set"),
        ("T=many", "T=many cannot be set"),
        ("T=", "T= cannot be set"),
        ("plugins=x", "plugins=x cannot be set"),
        ("paths.dta=x", "'dta'"),
        ("neuron=[1", "neuron=[1 cannot be set"),
        ("sed=1", "Did you mean seed?"),
        ("optim/schedule=step", "chooses no group"),
        ("~T", "is not key=value"),
    ],
)
def test_changes_of_a_saved_config_have_its_keys_and_types(word, said):
    with pytest.raises(UsageError) as error:
        read_changes(["seed=1", word] if word != "sed=1" else [word], "x.py")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert read_changes(["+T=8", "neuron.tau=3", "trust=true"], "x.py") == {"T": 8, "neuron": {"tau": 3}, "trust": True}


@pytest.mark.parametrize("override", ["modle=csnn", "model=csn", "foo=1"])
def test_a_misspelled_word_is_refused_without_loading_torch(override):
    code = (
        f"import sys; from snntrain.__main__ import main; code = main(['train', {override!r}]); "
        "print(code, *{'torch', 'lightning', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["2"] and override.split("=")[0] in done.stderr
