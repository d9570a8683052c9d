"""Encoders that give one step per call."""

import pytest
import torch

from snntrain import functional, registry
from snntrain.base import StateMismatchError
from snntrain.encoding import DirectEncoder, LatencyEncoder, PoissonEncoder, StatefulEncoder, WeightedPhaseEncoder
from snntrain.layer import Flatten, Linear
from snntrain.neuron import LIFNode


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", registry.names("encoder"))
def test_a_stateful_encoder_hands_out_the_sequence_step_by_step(name):
    x, T, seeds = pictures(3, 6, 2, 2), 6, [4, 5, 6]
    encoder = StatefulEncoder(registry.build("encoder", name), T)
    expected = registry.build("encoder", name)(x, T, seeds)
    for _ in range(2):
        assert torch.equal(torch.stack([encoder(x, seeds) for _ in range(T)]), expected)
        with pytest.raises(RuntimeError, match=r"^StatefulEncoder: all T = 6 steps were handed out. Call functional"):
            encoder(x)
        functional.reset_net(encoder)


def test_a_stateful_encoder_goes_on_from_saved_states():
    encoder, x = StatefulEncoder(PoissonEncoder(), 8), pictures(3, 20)
    for _ in range(3):
        encoder(x)
    states = functional.get_states(encoder)
    rest = [encoder(x) for _ in range(5)]
    functional.set_states(encoder, states)
    assert all(torch.equal(encoder(x), step) for step in rest)
    assert not encoder.state_dict()


def test_a_stateful_encoder_drives_a_net_in_single_steps():
    torch.manual_seed(0)
    net = torch.nn.Sequential(Flatten(), Linear(16, 8), LIFNode(v_threshold=0.2, backend="torch"))
    x, T = pictures(3, 1, 4, 4), 5
    loop = torch.nn.Sequential(StatefulEncoder(LatencyEncoder(), T), *net)
    one_by_one = torch.stack([loop(x) for _ in range(T)])
    functional.reset_net(loop)
    functional.set_step_mode(net, "m")
    torch.testing.assert_close(net(LatencyEncoder()(x, T)), one_by_one)
    assert one_by_one.sum() > 0


def test_a_batch_of_another_size_before_a_reset_is_refused():
    encoder = StatefulEncoder(DirectEncoder(), 4)
    encoder(torch.zeros(3, 2))
    with pytest.raises(StateMismatchError, match=r"StatefulEncoder: .* has 3 samples.*\[2, 2\].*reset_net"):
        encoder(torch.zeros(2, 2))


def test_a_stateful_encoder_knows_single_steps_only():
    with pytest.raises(ValueError, match="StatefulEncoder: step_mode 'm' is not supported"):
        StatefulEncoder(DirectEncoder(), 4).step_mode = "m"
    with pytest.raises(ValueError, match="StatefulEncoder: T must be an integer ≥ 1, got 0"):
        StatefulEncoder(DirectEncoder(), 0)


def test_steps_that_are_alike_need_no_number_of_steps():
    x = torch.tensor([[0.0, 1.0, 0.3]])
    assert torch.equal(DirectEncoder()(x), x)
    torch.manual_seed(0)
    steps = torch.stack([PoissonEncoder()(x) for _ in range(2000)])
    assert steps.shape == (2000, 1, 3) and steps[..., :2].unique(dim=0).tolist() == [[[0.0, 1.0]]]
    assert steps[..., 2].mean().item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(PoissonEncoder()(x, seeds=[4]), PoissonEncoder()(x, 1, [4])[0])


@pytest.mark.parametrize("enc_function", ["linear", "log"])
def test_a_latency_encoder_that_knows_T_hands_out_step_by_step(enc_function):
    x, encoder = torch.tensor([[0.0, 0.2, 1.0]]), LatencyEncoder(5, enc_function=enc_function)
    for _ in range(2):
        assert torch.equal(torch.stack([encoder(x) for _ in range(5)]), LatencyEncoder(function=enc_function)(x, 5))
        with pytest.raises(RuntimeError, match=r"all T = 5 steps were handed out.*reset_net"):
            encoder(x)
        functional.reset_net(encoder)
    with pytest.raises(ValueError, match=r"^LatencyEncoder: it was made for T = 5 time steps, but is to encode 4\.$"):
        encoder(x, 4)
    assert not encoder.state_dict() and not list(encoder.children())


def test_a_phase_encoder_begins_again_after_its_digits():
    x, encoder = torch.tensor([0.75, 0.25]), WeightedPhaseEncoder(K=3)
    assert torch.equal(torch.stack([encoder(x) for _ in range(6)]), encoder(x, 6))
    with pytest.raises(TypeError, match="K and phases are one argument"):
        WeightedPhaseEncoder(K=3, phases=3)


@pytest.mark.parametrize("name", ["FramesEncoder", "LatencyEncoder", "PeriodicEncoder", "PopulationEncoder"])
def test_an_encoder_that_needs_T_says_so(name):
    with pytest.raises(ValueError, match=rf"^{name}: the number of time steps is missing\. .*StatefulEncoder\({name}"):
        registry.build("encoder", name)(torch.zeros(2, 3))
