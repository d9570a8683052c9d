"""The metrics of NeuroBench beside the numbers of its own harness, and by hand."""

import json

import neurobench_cases as cases
import pytest
import torch
from neurobench_runs import of_case, results_of
from torch import Tensor, nn

from snntrain import layer
from snntrain.callback.connections import fan_out
from snntrain.callback.neurobench import METRICS
from snntrain.neuron import FloatCubaLIFNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.neuron.parallel import PSN

GOLDEN = json.loads(cases.GOLDEN.read_text())
ROUNDED = {"activation_sparsity": 1e-12}


@pytest.mark.parametrize("in_steps", [False, True], ids=["all steps at once", "step by step"])
@pytest.mark.parametrize("name", cases.CASES)
def test_the_metrics_are_those_of_neurobenchs_harness(tmp_path, name, in_steps):
    """Golden numbers of neurobench 2.3.0, written by tests/peers/neurobench_cases.py."""
    metrics, result = of_case(tmp_path, cases.CASES[name], in_steps=in_steps)
    assert set(GOLDEN[name]) == set(METRICS) and not result["undefined"]
    for metric, expected in GOLDEN[name].items():
        assert result[metric] == pytest.approx(expected, rel=ROUNDED.get(metric, 0), abs=0), metric
        assert metrics[f"neurobench/{metric}"] == pytest.approx(expected, rel=1e-6), metric
    assert (result["samples"], result["membrane_samples"]) == (cases.SAMPLES, cases.SAMPLES)
