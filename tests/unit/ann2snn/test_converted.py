"""Converted nets as modules: sequences, single steps, prediction, saving; and what becomes of odd thresholds."""

import copy
from types import SimpleNamespace

import pytest
import torch
from small_conversion import convert_by_maximum, error, in_evaluation, largest_activations, settled
from torch import nn
from torch.nn import functional as F

from snntrain.ann2snn.convert import convert
from snntrain.ann2snn.converted import ConversionWarning, SpikingNet, to_spiking
from snntrain.ann2snn.graph import prepare, rectifiers
from snntrain.functional import repeat, reset_net, set_backend, set_step_mode

X = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Paths with and without activations meet, twice."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 16 + 128, 5)

    def forward(self, x):
        y = self.bn(self.a(x))
        z = F.max_pool2d(F.relu(self.b(F.relu(y)) + y), 2)
        return self.last(torch.cat([z.flatten(1), x.flatten(1)], 1))


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return settled(Residual(), X)


def converted(**options) -> SpikingNet:
    snn = convert_by_maximum(small_net(), X, **options)
    set_backend(snn, "torch")
    return snn


@torch.no_grad()
def run(snn: SpikingNet, *parts: torch.Tensor) -> torch.Tensor:
    reset_net(snn)
    return torch.cat([snn(part) for part in parts])


def test_a_repeated_step_gives_what_the_sequence_gives():
    snn = converted()
    assert torch.allclose(run(snn, repeat(X, 5)), run(snn, X.expand(5, *X.shape).clone()), atol=1e-5)
    calls = []
    snn.net.get_submodule("a").register_forward_hook(lambda module, inputs, out: calls.append(len(out)))
    run(snn, repeat(X, 5))
    assert calls == [4]  # a convolution of what does not change is computed once


def test_a_sequence_continues_until_reset():
    snn, x_seq = converted(), torch.rand(7, *X.shape)
    whole = run(snn, x_seq)
    assert whole.shape == (7, 4, 5)
    assert torch.allclose(run(snn, x_seq[:1], x_seq[1:5], x_seq[5:]), whole, atol=1e-5)
    assert torch.allclose(run(snn, x_seq), whole, atol=1e-5)


def test_prediction_is_the_mean_from_reset_neurons():
    snn = converted()
    wanted = run(snn, repeat(X, 9)).mean(0)
    snn(repeat(X, 3))  # leaves potentials
    assert torch.allclose(snn.predict(X, 9), wanted, atol=1e-6)
    assert torch.allclose(snn.predict(X[:2], 9), wanted[:2], atol=1e-5)  # another batch size needs no reset
    long = run(snn, repeat(X, 130)).mean(0)  # more steps than are taken at once
    assert torch.allclose(snn.predict(X, 130), long, atol=1e-5)
    assert not snn.predict(X, 2).requires_grad


@pytest.mark.parametrize(
    "T, start, counted", [(12, 5, 7), (12, 8, 4), (12, 9, 4), (12, 100, 4), (3, 5, 3), (70, 66, 4)]
)
def test_a_delayed_readout(T, start, counted):
    snn = converted()
    snn.readout_start = start
    assert torch.allclose(snn.predict(X, T), run(snn, repeat(X, T))[-counted:].mean(0), atol=1e-5)


def test_saved_nets_predict_the_same(tmp_path):
    """Thresholds per channel, biases, start potentials, the readout: from a state_dict, a pickle and a copy."""
    net = small_net()
    gm = prepare(net, X)
    settings = {name: SimpleNamespace(theta=torch.rand(4) + 0.5, v_init=torch.rand(4) / 2) for name in rectifiers(gm)}
    snn = to_spiking(gm, settings)
    next(iter(snn.neurons.values())).bias = torch.rand(4) / 10
    snn.readout_start = 3
    wanted = snn.predict(X, 12)
    torch.save(snn.state_dict(), tmp_path / "state.pt")
    fresh = to_spiking(prepare(net, X))
    assert not torch.allclose(fresh.predict(X, 12), wanted, atol=1e-2)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.save(snn, tmp_path / "net.pt")
    for other in (fresh, torch.load(tmp_path / "net.pt", weights_only=False), copy.deepcopy(snn)):
        assert torch.equal(other.predict(X, 12), wanted)


def test_what_was_prepared_stays_and_can_be_converted_again():
    gm = prepare(small_net(), X)
    before = gm(X)
    settings = {name: SimpleNamespace(theta=v, v_init=0.0) for name, v in largest_activations(gm, X).items()}
    first, second = to_spiking(gm, settings), to_spiking(gm, settings)
    assert torch.equal(gm(X), before) and list(rectifiers(gm)) == list(first.neurons) == list(second.neurons)
    next(second.parameters()).data.zero_()
    assert torch.equal(gm(X), before) and error(first.predict(X, 256), before) < 0.02


def test_shapes_asked_of_the_input_are_those_of_the_folded_sequence():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(256, 5)

        def forward(self, x):
            return self.last(F.relu(self.a(x)).view(x.shape[0], -1))

    net = Net()
    assert error(convert_by_maximum(net, X).predict(X, 256), in_evaluation(net, X)) < 0.02


def test_dead_channels_are_named_and_get_a_safe_threshold():
    gm = prepare(small_net(), X)
    first, second = rectifiers(gm)
    settings = {
        first: SimpleNamespace(theta=torch.tensor([1.0, 0.0, 3.0, float("nan")]), v_init=torch.ones(4) / 2),
        second: SimpleNamespace(theta=-1.0, v_init=-0.5),
    }
    with pytest.warns(ConversionWarning) as caught:
        snn = to_spiking(gm, settings)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2 and f"{first} has dead channels (1, 3)" in texts[0] and f"{second} has" in texts[1]
    assert snn.neurons[first].theta.tolist() == [1.0, 2.0, 3.0, 2.0]
    assert snn.neurons[first].v_init.tolist() == [0.5, 0.0, 0.5, 0.0]
    assert snn.neurons[second].theta == 1.0 and snn.neurons[second].v_init == 0.0
    assert snn.dead == {first: [1, 3], second: [0]}
    assert torch.isfinite(snn.predict(X, 4)).all()


def test_thresholds_stay_below_the_cap_and_start_potentials_keep_their_share():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU6(), nn.Conv2d(3, 3, 3))
    gm = prepare(net, X)
    setting = SimpleNamespace(theta=torch.tensor([3.0, 12.0, 0.0]), v_init=torch.tensor([1.5, 6.0, 0.0]))
    with pytest.warns(ConversionWarning, match=r"1 has dead channels \(2\)"):
        snn = to_spiking(gm, {"1": setting})
    assert snn.neurons["1"].theta.tolist() == [3.0, 6.0, 6.0]
    assert snn.neurons["1"].v_init.tolist() == [1.5, 3.0, 0.0]


def test_missing_settings_and_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="no settings for"):
        to_spiking(prepare(small_net(), X), {})
    snn = converted()
    for x_seq in (torch.rand(3), torch.rand(0, 4, 2, 8, 8)):
        with pytest.raises(ValueError, match=r"sequence \[T, N, \*\]"):
            snn(x_seq)
    for T in (0, 2.5):
        with pytest.raises(ValueError, match="SpikingNet: T must be an integer ≥ 1"):
            snn.predict(X, T)


def test_step_modes_set_from_outside_do_not_disturb_it():
    snn = converted()
    wanted = run(snn, repeat(X, 4))
    for mode in ("s", "m"):
        set_step_mode(nn.Sequential(snn), mode)
        assert snn.step_mode == "m" and torch.equal(run(snn, repeat(X, 4)), wanted)


def test_fused_neurons_give_what_the_loop_gives():
    snn = converted()
    wanted = run(snn, repeat(X, 6))
    set_backend(snn, "fused")
    assert torch.allclose(run(snn, repeat(X, 6)), wanted, atol=1e-5)


def test_gradients_reach_the_weights_and_the_input():
    snn = converted(v_init=0.5)
    x = X.clone().requires_grad_()
    reset_net(snn)
    snn(repeat(x, 4)).sum().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is not None for p in snn.parameters())


@pytest.mark.parametrize("readout_start", [0, 3, 70])
def test_several_numbers_of_steps_from_one_run(readout_start):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.rand(5, 3)
    snn = convert(net, [x], "max_norm", T=4, calibration="none")
    snn.readout_start = readout_start
    steps = [100, 1, 4, 64, 65, 4]
    together = snn.predict_at(x, steps)
    assert together.shape == (6, 5, 2)
    for T, found in zip(steps, together, strict=True):
        torch.testing.assert_close(found, snn.predict(x, T), rtol=0, atol=1e-6)
    for wrong in ([], [4, 0]):
        with pytest.raises(ValueError, match="steps must be"):
            snn.predict_at(x, wrong)
