"""The mapping quant_params: what it means, what overrides what, and what is refused."""

import copy
import dataclasses
import json
import pickle

import pytest
from omegaconf import OmegaConf

from snntrain.quantize import KINDS, QuantParams

SEED = {  # as Qualia's configurations write it
    "bits": 8,
    "quantype": "fxp",
    "roundtype": "nearest",
    "range_setting": "minmax",
    "LSQ": False,
    "input": {"bits": 16, "force_q": 7},
    "w": {"roundtype": "floor"},
    "bias": {},
}


def test_defaults_are_those_of_the_reference_where_it_has_them():
    params = QuantParams.of({})
    assert (params.bits, params.quantype, params.roundtype, params.range_setting) == (8, "fxp", "nearest", "minmax")
    assert (params.LSQ, params.is_asymmetric, params.force_q, params.quant_enable) == (False, False, None, True)
    assert (params.mode, params.granularity, params.overflow, params.leak) == (
        "integer",
        "channel",
        "saturate",
        "multiply",
    )


def test_a_kind_has_its_own_keys_and_the_others_from_above():
    params = QuantParams.of(SEED)
    assert (params.kind("input").bits, params.kind("input").force_q, params.kind("input").roundtype) == (
        16,
        7,
        "nearest",
    )
    assert (params.kind("w").bits, params.kind("w").force_q, params.kind("w").roundtype) == (8, None, "floor")
    assert params.kind("act") == QuantParams.of({key: SEED[key] for key in SEED if key not in KINDS})
    assert all(getattr(params.kind(kind), other) is None for kind in KINDS for other in KINDS)


def test_whether_a_kind_has_a_key_of_its_own_can_be_seen():
    """Biases have a quantizer of their own only if quant_params has the key bias, even an empty one."""
    assert QuantParams.of(SEED).bias == {} and QuantParams.of({}).bias is None


@pytest.mark.parametrize(
    "given, quantype",
    [
        ({}, "fxp"),
        ({"power_of_two": True}, "fxp"),
        ({"power_of_two": False}, "fake"),
        ({"quantype": "fake"}, "fake"),
        ({"quantype": "fake", "power_of_two": False}, "fake"),
    ],
)
def test_power_of_two_is_another_name_for_quantype(given, quantype):
    params = QuantParams.of(given)
    assert params.quantype == quantype and params.power_of_two == (quantype == "fxp")


@pytest.mark.parametrize("own", [{"quantype": "fake"}, {"power_of_two": False}])
def test_a_kind_overrides_the_type_of_its_step_by_either_name(own):
    for above in ({"quantype": "fxp"}, {"power_of_two": True}):
        assert QuantParams.of({**above, "w": own}).kind("w").quantype == "fake"


def test_integers_of_b_bits_reach_from_minus_two_to_the_b_minus_one():
    limits = [(params.smallest, params.largest) for params in (QuantParams(bits=bits) for bits in (2, 8, 32))]
    assert limits == [(-2, 1), (-128, 127), (-(2**31), 2**31 - 1)]


def test_containers_of_omegaconf_become_plain_ones():
    config = OmegaConf.create({"wide": 16, "quant": {**SEED, "v": {"bits": "${wide}"}}}).quant
    params = QuantParams.of(config)
    assert params.kind("v").bits == 16 and type(params.w) is dict
    assert json.loads(json.dumps(params.as_dict())) == params.as_dict()


def test_the_mapping_comes_back():
    params = QuantParams.of(SEED)
    assert QuantParams.of(params.as_dict()) == params and QuantParams.of(params) is params
    assert pickle.loads(pickle.dumps(params)) == params == copy.deepcopy(params)


def test_nothing_can_be_changed_afterwards():
    given = {"w": {"bits": 4}}
    params = QuantParams.of(given)
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.bits = 4
    given["w"]["bits"] = 1
    params.as_dict()["w"]["bits"] = 1
    assert params.kind("w").bits == 4


@pytest.mark.parametrize(
    "given, text",
    [
        ({"bits": 1}, r"quant_params: bits must be an integer from 2 to 32, got 1\."),
        ({"bits": 33}, r"quant_params: bits must be an integer from 2 to 32, got 33\."),
        ({"bits": 8.0}, r"quant_params: bits must be an integer"),
        ({"bits": True}, r"quant_params: bits must be an integer"),
        ({"roundtype": "nearst"}, r"'nearest', 'floor', 'ceil', got 'nearst'\. Did you mean nearest\?"),
        ({"roundtype": None}, r"quant_params: roundtype must be one of .*, got None\."),
        ({"quantype": "fixed"}, r"quant_params: quantype must be one of 'fxp', 'fake', got 'fixed'\."),
        ({"quantype": ["fxp"]}, r"quant_params: quantype must be one of"),
        ({"range_setting": "mse_simulation"}, r"got 'mse_simulation'\. Did you mean MSE_simulation\?"),
        ({"mode": "loihi"}, r"quant_params: mode must be one of 'integer', 'qualia', got 'loihi'\."),
        ({"overflow": "clip"}, r"quant_params: overflow must be one of 'saturate', 'wrap', got 'clip'\."),
        ({"leak": "shfit"}, r"Did you mean shift\?"),
        ({"granularity": "channels"}, r"'channel', 'tensor', got 'channels'\. Did you mean channel\?"),
        ({"margin": 0.5}, r"quant_params: margin must be a finite number ≥ 1, got 0\.5\."),
        ({"LSQ": 1}, r"quant_params: LSQ must be True or False, got 1\."),
        ({"quant_enable": "no"}, r"quant_params: quant_enable must be True or False, got 'no'\."),
        ({"force_q": 1.5}, r"quant_params: force_q must be an integer, got 1\.5\."),
        ({"power_of_two": 1}, r"quant_params: power_of_two must be True or False, got 1\."),
        ({"power_of_two": False, "quantype": "fxp"}, r"quantype 'fxp' and power_of_two False contradict each other"),
        ({"is_asymmetric": True}, r"is_asymmetric needs quantype 'fake' without LSQ\."),
        ({"is_asymmetric": True, "quantype": "fake", "LSQ": True}, r"is_asymmetric needs quantype 'fake' without LSQ"),
        ({"LSQ": True, "force_q": 4}, r"LSQ learns the step that force_q 4 fixes; give one of them\."),
        ({"bit": 8}, r"quant_params: 'bit' is not a key\. Did you mean bits\? Keys: bits, quantype, .*, bias\."),
        ({"title": "x"}, r"'title' is not a key"),
        ({8: "bits"}, r"'8' is not a key"),
        ({"w": {"bits": 1}}, r"quant_params\.w: bits must be an integer from 2 to 32, got 1\."),
        ({"w": {"rountype": "floor"}}, r"quant_params\.w: 'rountype' is not a key\. Did you mean roundtype\?"),
        ({"w": {"v": {}}}, r"quant_params\.w: 'v' is not a key"),
        ({"v": {"overflow": "wrap"}}, r"quant_params\.v: overflow holds for all kinds of tensors; give it beside v"),
        ({"LSQ": True, "w": {"force_q": 4}}, r"quant_params\.w: LSQ learns the step"),
        ({"w": 4}, r"quant_params\.w: the value must be a mapping such as .*, got 4\."),
        (8, r"quant_params: the value must be a mapping such as .*, got 8\."),
        (None, r"quant_params: the value must be a mapping such as .*, got None\."),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(given, text):
    with pytest.raises(ValueError, match=text):
        QuantParams.of(given)


def test_a_kind_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"kind must be one of 'act', 'v', 'input', 'w', 'bias', got 'weight'\."):
        QuantParams().kind("weight")


def test_mode_qualia_takes_the_keys_that_the_reference_takes_together():
    assert QuantParams.of({"mode": "qualia", "LSQ": True, "force_q": 4}).force_q == 4
