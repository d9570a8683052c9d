"""An encoder's sequence one step per call."""

import pytest
import torch

from snntrain import functional, registry
from snntrain.base import StateMismatchError
from snntrain.encoding import DirectEncoder, LatencyEncoder, PoissonEncoder, StatefulEncoder
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
