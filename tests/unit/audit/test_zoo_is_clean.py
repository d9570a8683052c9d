"""The models and neurons that come with snntrain have no errors."""

import pytest
from sampled import sampled
from zoo_nets import MODELS, NEURONS, net_of, samples_of

from snntrain.audit import Finding, audit


def errors(model: str, neuron: str) -> list[Finding] | None:
    net = net_of(model, neuron)
    return None if net is None else [one for one in audit(net, samples_of(model)) if one.severity == "error"]


@pytest.mark.parametrize(
    ("model", "neuron"),
    sampled(
        [
            ("csnn", "plif"),
            ("mlp", "lif"),
            ("recurrent", "alif"),
            ("dense2", "psn"),
            ("mlp", "cuba_lif"),
            ("mlp", "relu"),
        ],
        3,
    ),
)
def test_a_sample_of_models_and_neurons_has_no_errors(model, neuron):
    assert errors(model, neuron) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_no_model_has_errors_with_any_neuron(model):
    found = {neuron: errors(model, neuron) for neuron in NEURONS}
    assert {neuron: seen for neuron, seen in found.items() if seen} == {}
    assert any(seen is not None for seen in found.values())
