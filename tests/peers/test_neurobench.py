"""The metrics of NeuroBench beside its own harness, on snnTorch's nets and on ours."""

import json

import neurobench_cases as cases
import pytest
import torch
from neurobench_runs import of_case

from snntrain.error import UsageError
from snntrain.lab.neurobench import harness, harness_of_run

pytestmark = pytest.mark.optional
GOLDEN = json.loads(cases.GOLDEN.read_text())


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    for name in ("snntorch", "neurobench"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'snntrain[neurobench]'")


@pytest.mark.parametrize("name", cases.CASES)
def test_the_harness_finds_for_snntorchs_nets_what_is_stored(name):
    assert cases.harness(cases.CASES[name]) == GOLDEN[name]


@pytest.mark.parametrize("name", cases.CASES)
def test_the_harness_finds_for_our_nets_what_we_count(tmp_path, name):
    """The footprint of this net, too, buffers included."""
    case = cases.CASES[name]
    found = harness(cases.ours(case), lambda: cases.batches_of_steps(case), samples=cases.SAMPLES)
    _, counted = of_case(tmp_path, case)
    for metric, value in found.items():
        assert counted[metric] == pytest.approx(value, rel=1e-12, abs=0), metric


def test_a_layer_that_takes_whole_sequences_only_is_refused():
    from snntrain.neuron import PSN

    with pytest.raises(UsageError, match=r"NeuroBench: 0 \(PSN\) takes whole sequences only"):
        harness(torch.nn.Sequential(PSN(T=4)), list, samples=1)


def test_a_run_folder_is_given_to_the_harness(tmp_path):
    import snntrain

    words = "model=mlp model.features=16 T=3 trainer.max_epochs=1 neuron=if neuron.backend=torch"
    run = snntrain.train(words, paths={"runs": str(tmp_path)}, **{"data.batch_size": 120})
    found = harness_of_run(run.folder)
    for metric, value in found.items():
        if metric not in ("membrane_updates", "neuron_ops"):  # of every 32nd batch in the run
            assert run.metrics[f"test/neurobench/{metric}"] == pytest.approx(value, rel=1e-6), metric
