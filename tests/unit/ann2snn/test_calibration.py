"""Corrections of converted nets: what they are good for, what they leave, and which arguments they refuse."""

import copy
import itertools

import pytest
import torch
from calibrated_nets import X, converted, joined, responses, three_layers
from live_memory import LiveBytes
from sampled import sampled
from small_conversion import error
from torch import Tensor, nn
from torch.nn import functional as F
from watched_nets import fingerprint

from snntrain.ann2snn import SpikingNet, calibrate, convert, prepare, to_spiking
from snntrain.error import Diverged
from snntrain.functional import repeat

pytestmark = pytest.mark.filterwarnings("ignore::snntrain.ann2snn.ConversionWarning")  # a small net has dead channels
CORRECTIONS = ["bias", "step_bias", "potential", "weight"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def mean_errors(gm: nn.Module, snn: SpikingNet, x: Tensor, T: int) -> list[float]:
    """Σ_c |mean y_c − mean r_c| / Σ_c mean y_c of every layer."""
    found = []
    for y, r in responses(gm, snn, x, T).values():
        y, r = (value.transpose(0, 1).flatten(1).mean(1) for value in (y, r))
        found.append(((y - r).abs().sum() / y.sum()).item())
    return found


# --- what they are good for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", ["bias", "step_bias", "potential", "bias+potential"])
def test_the_means_of_all_layers_come_to_agree(correction):
    gm, snn = converted(three_layers())
    before = mean_errors(gm, snn, X, 4)
    calibrate(gm, snn, [X], 4, 20, correction)
    after = mean_errors(gm, snn, X, 4)
    assert len(after) == 3 and min(before) > 0.01
    assert max(after) < 0.01 and all(b < a / 5 for a, b in zip(before, after, strict=True)), (before, after)


def test_trained_weights_bring_the_layers_closer():
    """The squared error of clip(W·x̄ + b, 0, θ), layer by layer, the layers before spiking."""
    net = three_layers()
    gm, snn = converted(net, method="max_norm")
    before = fingerprint(gm), fingerprint(net)

    def squared_errors() -> list[float]:
        values = responses(gm, snn, X, 4)
        found = []
        for layer, pool, source, name in [("2", nn.Identity(), "1", "3"), ("6", snn.net.get_submodule("4"), "3", "7")]:
            x = pool(values[source][1])
            z = snn.net.get_submodule(layer)(x if name == "3" else x.flatten(1)).detach()
            theta = snn.neurons[name].theta
            found.append(F.mse_loss(z.relu().minimum(theta.view(-1, *[1] * (z.dim() - 2))), values[name][0]).item())
        return found

    first = squared_errors()
    calibrate(gm, snn, [X], 4, 30, "weight")
    last = squared_errors()
    assert all(b < 0.85 * a for a, b in zip(first, last, strict=True)), (first, last)
    assert (fingerprint(gm), fingerprint(net)) == before


@pytest.mark.parametrize("build", sampled([joined, three_layers], 2))
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_every_correction_helps_and_half_precision_does_not_spoil_it(build, correction):
    errors = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        net, x = build().to(dtype), X[:128].to(dtype)
        gm, snn = converted(net, x, method="max_norm")
        with torch.no_grad():
            wanted = net(x)
        before = error(snn.predict(x, 4), wanted)
        calibrate(gm, snn, [X[:128]], 4, 4, correction)  # batches are taken to the net's dtype
        assert {p.dtype for p in snn.parameters()} == {dtype}
        errors[dtype] = error(snn.predict(x, 4), wanted)
        if correction != "weight":  # which repairs only what systematic errors of a layer's inputs do to its output
            assert errors[dtype] < 0.85 * before
    assert max(errors.values()) < 1.05 * errors[torch.float32], errors


# --- what they leave -------------------------------------------------------------------------------------------------


def test_layers_that_are_not_of_these_neurons_alone_keep_their_weights():
    """Before the first neurons, used twice, sharing a weight, with other users, behind something else, the last."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("first", "twice", "tied", "tied_too", "also", "normed", "own", "last"):
                setattr(self, name, nn.Linear(6, 6))
            self.tied_too.weight = self.tied.weight
            self.register_buffer("factor", torch.rand(6) + 0.5)

        def forward(self, x):
            x = F.relu(self.twice(F.relu(self.twice(F.relu(self.first(x))))))
            x = F.relu(self.tied_too(F.relu(self.tied(x))))
            z = self.also(x)
            x = F.relu(self.normed(F.relu(z)) * self.factor) + z
            return self.last(F.relu(self.own(x)))

    torch.manual_seed(2)
    net, x = Net().eval(), torch.randn(64, 6)
    gm, snn = converted(net, x)
    before = {name: value.clone() for name, value in snn.named_parameters()}
    calibrate(gm, snn, [x], 4, 2, "weight")
    moved = [name for name, value in snn.named_parameters() if not torch.equal(value, before[name])]
    assert moved == ["net.own.weight"]


def test_gradients_and_hooks_are_left_as_they_were():
    net = three_layers()
    net[2].requires_grad_(False)
    gm, snn = converted(net)
    flags = [p.requires_grad for p in snn.parameters()]
    assert False in flags and True in flags
    for correction in CORRECTIONS:
        calibrate(gm, snn, [X], 4, 1, correction)
    with pytest.raises(RuntimeError):
        calibrate(gm, snn, [X, torch.randn(4, 5, 8, 8)], 4, 1, "weight")
    assert [p.requires_grad for p in snn.parameters()] == flags and all(p.grad is None for p in snn.parameters())
    assert not any(module._forward_hooks for owner in (gm, snn) for module in owner.modules())


def test_potentials_from_before_do_not_count_and_none_are_left():
    biases = []
    for run_before in (False, True):
        gm, snn = converted(three_layers())
        if run_before:
            with torch.no_grad():
                snn(repeat(X, 3))
        calibrate(gm, snn, [X], 4, 1)
        biases.append(torch.cat([neurons.bias for neurons in snn.neurons.values()]))
    assert torch.equal(*biases)
    with torch.no_grad():
        first = snn(repeat(X[:4], 4)).mean(0)
    assert torch.equal(first, snn.predict(X[:4], 4))


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_the_callers_gradient_mode_does_not_matter(correction):
    found = []
    for outside in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        gm, snn = converted(three_layers())
        with outside():
            calibrate(gm, snn, [X[:64]], 4, 2, correction)
        found.append(snn.predict(X[:64], 4))
        assert not any(value.is_inference() for value in itertools.chain(snn.buffers(), snn.parameters()))
        snn(repeat(X[:4], 4)).sum().backward()  # it can be trained further
        assert all(p.grad is not None for p in snn.parameters())
    assert torch.equal(found[1], found[0]) and torch.equal(found[2], found[0])


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_memory_does_not_grow_with_the_data(correction):
    """Nor with the size of a batch, of which 1,024 / T images are taken at once."""
    gm, snn = converted(three_layers(), T=16)
    peaks = []
    for loader in ([X[:64]] * 2, [X[:64]] * 5, [X]):
        with LiveBytes() as live:
            calibrate(gm, snn, loader, 16, 1, correction)
        peaks.append(live.peak)
    one_output = 16 * 64 * 6 * 64 * 4
    assert peaks[0] > one_output and max(peaks[1:]) < peaks[0] + one_output / 10


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_values_that_are_not_finite_are_refused_by_the_name_of_what_they_broke(correction):
    gm, snn = converted(three_layers())
    broken = X.clone()
    broken[3, 0, 2, 2] = float("nan")
    with pytest.raises(Diverged, match=rf"calibrate: '{correction}' left values in \S+ that are not finite"):
        calibrate(gm, snn, [broken], 4, 1, correction)


@pytest.mark.parametrize(("build", "method"), [(three_layers, "max_norm"), (joined, "channel_mse")])
@pytest.mark.parametrize("calibration", [*CORRECTIONS, "bias+potential", "weight+bias+potential+step_bias"])
def test_calibrated_nets_are_saved_and_predict_the_same(calibration, build, method, tmp_path):
    """Thresholds for all channels together (max_norm), or for each."""
    net = build()
    snn = convert(net, [X[:64]], method, T=4, calibration=calibration, calibration_steps=1)
    wanted = snn.predict(X[:64], 4)
    torch.save(snn.state_dict(), tmp_path / "state.pt")
    fresh = to_spiking(prepare(net, X))
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.save(snn, tmp_path / "net.pt")
    for other in (fresh, torch.load(tmp_path / "net.pt", weights_only=False), copy.deepcopy(snn)):
        assert torch.equal(other.predict(X[:64], 4), wanted)


def test_none_changes_nothing():
    gm, snn = converted(three_layers())
    before = copy.deepcopy(snn.state_dict())
    calibrate(gm, snn, [X], 4, 3, "none")
    after = snn.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(v, before[k]) for k, v in after.items() if isinstance(v, Tensor))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, text",
    [
        ({"calibration": "biases"}, r"calibration must be 'none', or of 'bias', .* joined by '\+', got 'biases'"),
        ({"calibration": "bias+"}, r"got 'bias\+'"),
        ({"calibration": "none+bias"}, r"got 'none\+bias'"),
        ({"calibration": ""}, "calibration must be .* got ''"),
        ({"calibration": None}, "calibration must be .* got None"),
        ({"calibration": ["bias"]}, r"calibration must be .* got \['bias'\]"),
        ({"T": 0}, "T must be an integer ≥ 1, got 0"),
        ({"T": 2.0}, "T must be an integer ≥ 1, got 2.0"),
        ({"steps": 0}, "steps must be an integer ≥ 1, got 0"),
        ({"loader": []}, "the loader has no batches"),
        ({"loader": iter([X[:4]])}, "none in a second pass; hand it a DataLoader or a list, not a generator"),
        ({"ann": three_layers()}, "ann must be the prepared net that snn was made of, see prepare, got 'Sequential'"),
        ({"ann": prepare(joined(), X)}, "ann must be the prepared net that snn was made of"),
    ],
)
def test_wrong_arguments_are_named(options, text):
    gm, snn = converted(three_layers())
    arguments = {"ann": gm, "snn": snn, "loader": [X[:4]], "T": 4} | options
    with pytest.raises(ValueError, match=f"^calibrate: .*{text}"):
        calibrate(**arguments)
