"""Descriptions of keys agree with what the constructors check, what the files say and what the docstrings document."""

import pytest
import torch
import yaml

from snntrain.config.folders import groups
from snntrain.config.reference import describe_arguments, describe_choice, root_keys
from snntrain.config.schema import Config, top_level_keys
from snntrain.config.sentences import documented_arguments, field_sentences, sentences
from snntrain.data import NMNIST
from snntrain.installation import CONF
from snntrain.lab.search.settings import Search
from snntrain.neuron import ParametricLIFNode

FREE = ("blocks", "init", "arguments", "layers", "transforms", "quant_params", "schedules")
"""Keys whose values are mappings that have keys of the user's own, or lists."""


def described(group: str, name: str) -> dict:
    return {key.path: key for key in describe_choice(group, name).keys}


def test_a_key_has_range_default_value_and_sentence():
    tau = described("neuron", "plif")["neuron.init_tau"]
    assert (tau.allowed, tau.default, tau.value) == ("a finite number > 1", "2.0", "2.0")
    assert tau.sentence.startswith("initial time constant in time steps, > 1")
    threshold = described("neuron", "plif")["neuron.v_reset"]
    assert threshold.allowed == "a finite number or null" and "null: v_threshold is subtracted" in threshold.sentence


@pytest.mark.parametrize(
    ("group", "name", "path", "allowed"),
    [
        ("optim/schedule", "step", "optim.schedule.gamma", "a finite number ≥ 0"),  # the table of ranges
        ("data", "nmnist", "data.framing.mode", "one of 'time', 'count', 'window', 'time_surface', 'voxel'"),
        ("data", "digits", "data.sampler", "one of 'balanced' or null"),  # a dataclass's field
        ("callbacks", "qat", "callbacks.qat.epochs", "an integer ≥ 0"),  # the constructor's own check
        ("trainer", "ddp", "trainer.sync_batchnorm", "true or false"),  # the annotation
        ("debug", "fast", "trainer.max_epochs", "an integer ≥ 1"),  # a key of another group
        ("optim/schedule", "warmup_cosine", "optim.schedule.warmup", "an integer"),  # the schema
    ],
)
def test_what_a_key_may_be_comes_from_where_it_is_checked(group, name, path, allowed):
    key = described(group, name)[path]
    assert key.allowed == allowed and key.sentence


def test_a_key_of_a_model_is_described_by_its_comment_or_where_the_list_refers_to_it():
    keys = described("model", "plif_net")
    assert keys["model.votes"].sentence == "outputs that vote for each class"
    assert keys["model.features"].sentence == "`out_features` of Linear"
    assert "model.features" not in described("model", "resnet20")  # left over from the file it begins with


def test_a_file_that_begins_with_another_one_has_its_keys():
    keys = described("trainer", "ddp_nodes")
    assert keys["trainer.max_epochs"].value == "20" and keys["trainer.strategy.timeout_min"].value == "10"


def test_the_root_is_described_by_the_schema():
    keys = {key.path: key for key in root_keys()}
    assert set(keys) >= {key for key in top_level_keys() if key not in {*groups(), "paths", "monitor", "sweep"}}
    assert keys["T"].sentence == field_sentences(Config)["T"] and keys["paths.data"].default == "data"
    assert all(key.sentence for key in keys.values())


def test_a_search_is_described_by_its_dataclass():
    keys = {key.path: key for key in describe_arguments(Search)}
    assert keys["n_trials"].allowed == "an integer ≥ 1" and keys["n_trials"].default == "30"


def test_sentences_are_those_of_bases_and_shared_fields_without_markup_and_defaults():
    assert sentences(ParametricLIFNode)["backend"] == "'auto', 'torch' or 'fused'."
    assert sentences(NMNIST)["seed"].startswith("of the order of the training samples")  # not "as in DataModule"
    assert sentences(NMNIST)["batch_size"] == "Samples per batch and process, ≥ 1."
    assert sentences(torch.optim.AdamW)["lr"] == "learning rate."


def test_arguments_are_read_from_docstrings_of_either_style():
    found = documented_arguments(
        """Do it.

        Args:
            a, b: both of them, e.g. 3. More of it.
            c (int, optional): how
                many (default: ``2``)
            **more: as in :class:`torch.nn.Linear`.

        Returns: nothing.
        """
    )
    assert found == {
        "a": "both of them, e.g. 3.",
        "b": "both of them, e.g. 3.",
        "c": "how many",
        "more": "as in `Linear`.",
    }


def leaves(node: dict, path: str):
    for key, value in node.items():
        if isinstance(value, dict) and value and key not in FREE:
            yield from leaves(value, f"{path}{key}.")
        elif key not in ("_target_", "name"):
            yield f"{path}{key}"


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted(groups()))
def test_every_key_of_every_file_is_described(group):
    for name in groups()[group]:
        text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        content.pop("defaults", None)
        before = "" if "# @package _global_" in text else f"{group.replace('/', '.')}."
        keys = described(group, name)
        given = [path for path in leaves(content, before) if path != "name"]
        assert [path for path in given if path not in keys] == []
        assert [path for path in given if not keys[path].sentence] == []
