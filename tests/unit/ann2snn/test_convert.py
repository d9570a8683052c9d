"""Conversion in one call: few steps come near the net, the report is filled in, wrong arguments are named."""

import pytest
import torch
from small_conversion import error, in_evaluation, settled
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from watched_nets import fingerprint

from snntrain.ann2snn import ConversionError, convert, prepare, to_spiking
from snntrain.ann2snn.method import MaxNorm
from snntrain.functional import repeat, set_backend

pytestmark = pytest.mark.filterwarnings("ignore::snntrain.ann2snn.ConversionWarning")  # a small net has dead channels
X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LOADER = DataLoader(TensorDataset(X, torch.zeros(32)), batch_size=16)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)),
    )
    return settled(net, X)


def test_the_default_is_nearer_with_few_steps_than_thresholds_alone():
    net = small_net()
    before, wanted = fingerprint(net), in_evaluation(net, X)
    found = {
        how: error(convert(net, LOADER, *how, T=4).predict(X, 4), wanted) for how in [("max_norm",), ("channel_mse",)]
    }
    found["plain"] = error(convert(net, LOADER, T=4, calibration="none").predict(X, 4), wanted)
    assert fingerprint(net) == before
    assert found[("channel_mse",)] < found["plain"] and found[("channel_mse",)] < found[("max_norm",)] / 1.5


@pytest.mark.parametrize("method", ["channel_mse", "ltb", "max_norm", "robust_norm"])
def test_every_method_approaches_the_net(method):
    net = small_net()
    data = [X[i : i + 4] for i in range(0, 32, 4)] * 12  # ltb needs many batches
    snn = convert(net, data, method, T=32, calibration="none")
    assert error(snn.predict(X, 256), in_evaluation(net, X)) < 0.1


def test_the_report_says_how():
    snn = convert(small_net(), LOADER, "ltb", T=5, calibration="potential", calibration_steps=1)
    assert snn.report.settings == {"method": "ltb", "T": 5, "calibration": "potential"}
    assert snn.report.net == "Sequential" and len(snn.report.rows) == 9
    assert snn.readout_start > 0
    assert convert(small_net(), LOADER, MaxNorm(), calibration="none").report.settings["method"] == "max_norm"


def test_some_batches_of_any_iterable_are_enough():
    seen = []

    def batches():
        for index in range(100):
            seen.append(index)
            yield X[index : index + 2], 0

    snn = convert(small_net(), batches(), batches=3, T=2)
    assert seen == [0, 1, 2] and torch.isfinite(snn.predict(X, 2)).all()
    with pytest.raises(ValueError, match="convert: loader must be a DataLoader or a list"):
        convert(small_net(), iter([X]))


def test_wrong_arguments_are_named():
    for options, text in [
        ({"T": 0}, "convert: T must be an integer ≥ 1"),
        ({"batches": 0}, "convert: batches must be an integer ≥ 1"),
        ({"calibration": "biases"}, "calibration must be"),
    ]:
        with pytest.raises(ValueError, match=text):
            convert(small_net(), LOADER, **options)
    with pytest.raises(ValueError, match="no batches"):
        convert(small_net(), [])
    with pytest.raises(ConversionError, match="GELU"):
        convert(nn.Sequential(nn.Linear(4, 4), nn.GELU()), [torch.rand(3, 4)])


def test_a_net_converted_in_inference_mode_can_be_trained():
    with torch.inference_mode():
        snn = convert(small_net(), LOADER, T=4, calibration="bias+weight", calibration_steps=1)
    set_backend(snn, "torch")
    snn(repeat(X, 4)).sum().backward()
    assert all(p.grad is not None for p in snn.parameters())


def test_with_a_hard_reset_nothing_is_left_after_a_spike_and_calibration_makes_up_for_it():
    net, small = small_net(), X[:8]
    wanted = in_evaluation(net, small)
    snn, plain = (convert(net, LOADER, T=8, calibration=how, reset="hard") for how in ("bias", "none"))
    assert all(neurons.hard_reset and not neurons.v_init.any() for neurons in snn.neurons.values())
    assert error(snn.predict(small, 8), wanted) < error(plain.predict(small, 8), wanted)
    assert snn.report.settings["reset"] == "hard"
    fresh = to_spiking(prepare(net, X))
    fresh.load_state_dict(snn.state_dict())
    assert torch.equal(fresh.predict(small, 8), snn.predict(small, 8))
    with pytest.raises(ValueError, match="reset must be"):
        convert(net, LOADER, reset="none")
