"""From a command line to a composed config: what Hydra is given, what it is spared, what is said to who mistypes."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from refused import message_of

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.compose import allow_new_nested_keys, check_overrides, explain, without_hydra
from snntrain.config.folders import groups
from snntrain.error import UsageError


def refusal(*overrides: str) -> str:
    return message_of(UsageError, compose, overrides)


def test_the_default_config_has_the_keys_of_the_schema_and_nothing_of_hydra():
    config = compose()
    assert isinstance(config, DictConfig)
    assert "hydra" not in config
    assert config.seed == 1 and config.neuron.name == "LIFNode" and config.paths.runs == "runs"
    assert not GlobalHydra.instance().is_initialized()


def test_groups_and_keys_are_overridden():
    config = compose(["neuron=plif", "neuron.init_tau=3.0", "T=8", "optim=sgd", "optim/schedule=step", "name=x"])
    assert (config.neuron.name, config.neuron.init_tau, config.T, config.name) == ("ParametricLIFNode", 3.0, 8, "x")
    assert config.optim._target_ == "torch.optim.SGD" and config.optim.schedule.step_size == 10


def test_a_key_that_the_yaml_does_not_hold_is_set_without_a_plus():
    config = compose(["neuron.decay_input=false", "trainer.accumulate_grad_batches=2", "paths.data=elsewhere"])
    assert config.neuron.decay_input is False
    assert config.trainer.accumulate_grad_batches == 2
    assert config.paths.data == "elsewhere"


def test_two_configs_do_not_share_their_names():
    first, second = compose(["neuron=if"]), compose(["neuron=plif", "data=mnist"])
    assert (first.name, second.name) == ("digits_csnn_if", "mnist_csnn_plif")
    assert check(first)["name"] == "digits_csnn_if"


def test_lists_of_a_group_are_combined_in_order():
    assert list(compose(["callbacks=[default,early_stopping]"]).callbacks)[-1] == "early_stopping"
    assert list(compose(["callbacks=[early_stopping]"]).callbacks) == ["early_stopping"]
    assert compose(["callbacks=[]"]).callbacks == {}
    assert compose(["~logger"]).logger == {}


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSED = {
    "added group": ("+modle=csnn", ["modle", "Did you mean model?"]),
    "removed group": ("~loger", ["loger", "Did you mean logger?"]),
    "choice in capitals": ("neuron=LIF", ["Did you mean lif?"]),
    "choice in quotes": ("neuron='lfi'", ["Did you mean lif?"]),
    "choice that is a number": ("neuron=3", ["'3' is not a choice of the group neuron"]),
    "choice that is nothing": ("neuron=null", ["'null' is not a choice of the group neuron"]),
    "choice that is a mapping": ("neuron={name: LIFNode}", ["neuron is a group", "neuron.name=LIFNode"]),
    "choice in a sweep by function": ("neuron=choice(lif,plfi)", ["'plfi'", "Did you mean plif?"]),
    "choice in a sweep of lists": ("callbacks=[default],[defalt]", ["'defalt'", "Did you mean default?"]),
    "pattern without match": ("neuron=glob(x*)", ["'x*' is not a choice of the group neuron"]),
    "nested choice": ("optim/schedule=cosin", ["Did you mean cosine?"]),
    "no key": ("=3", ["=3 is not a config group or key"]),
    "type of a list": ("plugins=os", ["plugins", "list"]),
    "type of a section": ("paths=x", ["paths"]),
    "range among values": ("seed=range(1,3),7", ["range(…) and the like cannot stand among other values"]),
    "sweep of one run": ("seed=1,2", ["seed=1,2", "--multirun"]),
}


@pytest.mark.parametrize(("override", "named"), REFUSED.values(), ids=REFUSED)
def test_a_mistyped_command_line_is_refused_with_what_was_probably_meant(override, named):
    said = refusal(override)
    for text in named:
        assert text in said


def test_the_first_wrong_override_is_named_among_right_ones():
    assert "Did you mean model?" in refusal("seed=3", "modle=csnn", "neuron=lfi")


@pytest.mark.parametrize(
    "override",
    [
        "neuron=if,lif",
        "neuron=choice(if,lif)",
        "neuron=glob(*)",
        "neuron=glob([i*,p*])",
        "callbacks=[default],[default,early_stopping]",
        "seed=range(1,4)",
        "optim.lr=interval(0.1,0.2)",
        "optim/schedule=step,none",
        "hydra.sweep.dir=elsewhere",
        "hydra/launcher=basic",
        "~callbacks.progress",
        "+trainer.profiler=simple",
        "++neuron.tau=3",
        "name='a b'",
        "model.layers=[{name: Linear, out_features: 3}]",
        "optim.lr=${oc.env:LR,0.1}",
    ],
)
def test_right_overrides_of_every_form_pass(override):
    check_overrides([override])


# --- nested keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ("neuron.tau=3", "++neuron.tau=3"),
        ("optim.schedule.gamma=0.5", "++optim.schedule.gamma=0.5"),
        ("neuron.tau=2,3", "++neuron.tau=2,3"),
        ("callbacks.best_checkpoint.filename=a.b=c", "++callbacks.best_checkpoint.filename=a.b=c"),
        ("seed=3", "seed=3"),
        ("name=a.b", "name=a.b"),
        ("neuron=lif", "neuron=lif"),
        ("optim/schedule=step", "optim/schedule=step"),
        ("+neuron.tau=3", "+neuron.tau=3"),
        ("++neuron.tau=3", "++neuron.tau=3"),
        ("~neuron.tau", "~neuron.tau"),
        ("hydra.run.dir=x", "hydra.run.dir=x"),
    ],
)
def test_only_plain_nested_keys_may_be_new(given, passed_on):
    assert allow_new_nested_keys([given]) == [passed_on]


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5).map(lambda x: round(x, 3))


@settings(max_examples=3, deadline=None)
@given(st.lists(NUMBERS | st.booleans() | st.sampled_from(["a", "b c"]), min_size=10, max_size=10))
def test_a_new_nested_key_holds_what_was_written(values):
    quoted = (f"'{v}'" if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else repr(v) for v in values)
    neuron = compose([f"neuron.extra_{place}={text}" for place, text in enumerate(quoted)]).neuron
    kept = [neuron[f"extra_{place}"] for place in range(len(values))]
    assert kept == values and list(map(type, kept)) == list(map(type, values))


# --- words -----------------------------------------------------------------------------------------------------------


def test_an_error_of_omegaconf_is_told_in_one_line_without_its_internals():
    config = OmegaConf.create({"a": "${b.c}"})
    with pytest.raises(OmegaConfBaseException) as error:
        OmegaConf.to_container(config, resolve=True)
    assert "full_key" in str(error.value)
    said = explain(error.value)
    assert "b.c" in said and "full_key" not in said and "object_type" not in said and "\n" not in said


def test_removing_hydra_leaves_the_original_alone():
    config = OmegaConf.create({"seed": 1, "hydra": {"run": 1}})
    OmegaConf.set_readonly(config, True)
    assert without_hydra(config) == {"seed": 1}
    assert "hydra" in config
    assert without_hydra(OmegaConf.create({"seed": 1})) == {"seed": 1}


def test_a_group_and_its_choices_come_from_the_files():
    assert groups()["optim/schedule"] == ["cosine", "none", "plateau", "sequential", "step", "warmup_cosine"]
    assert "." not in groups()


def test_a_file_of_a_folder_in_the_search_path_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("snntrain.config.folders._users_folders", [])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "small_of_mine.yaml").write_text("layers: [Flatten, {name: Linear, out_features: 10}]\n")
    config = compose(["model=small_of_mine", f"hydra.searchpath=[{tmp_path}]"])
    assert config.model.layers[0] == "Flatten"
