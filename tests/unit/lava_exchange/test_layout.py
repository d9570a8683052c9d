"""Time first and time last."""

import pytest
import torch
from torch import Tensor, nn

from snntrain import lava_exchange


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 4, 6, 6)])
def test_time_moves_to_the_end_and_back(shape):
    x = torch.arange(torch.Size(shape).numel()).view(shape)
    moved = lava_exchange.TNX_to_NXT(x)
    assert moved.shape == (*shape[1:], shape[0])
    assert all(torch.equal(moved[..., t], x[t]) for t in range(shape[0]))
    assert torch.equal(lava_exchange.NXT_to_TNX(moved), x)


class Accumulator(nn.Module):
    """Has the attributes of lava-dl's neurons: fires above 1, resets to 0, and leaves a state only if it is to."""

    def __init__(self, persistent_state: bool) -> None:
        super().__init__()
        self.persistent_state = persistent_state
        self.register_buffer("current_state", torch.zeros(1))
        self.register_buffer("voltage_state", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() >= 3 and self.voltage_state.shape == x.shape[:-1] == self.current_state.shape
        v, spikes = self.voltage_state, []
        for x_t in x.unbind(-1):
            v = v + x_t
            spikes.append((v > 1).to(x))
            v = v * (1 - spikes[-1])
        if self.persistent_state:
            self.voltage_state, self.current_state = v, x[..., -1]
        return torch.stack(spikes, -1)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 3), (4, 2, 3, 5, 5)])
def test_a_lava_neuron_runs_in_our_layout_from_the_potential_given(shape, persistent):
    x = torch.full(shape, 0.375)
    neuron = Accumulator(persistent)
    spikes, v = lava_exchange.lava_neuron_forward(neuron, x, 0.5)
    assert spikes.shape == shape and v.shape == shape[1:]
    assert [step.unique().item() for step in spikes] == [0, 1, 0, 0] and v.unique().item() == 0.75
    spikes, v = lava_exchange.lava_neuron_forward(neuron, x, v)
    assert [step.unique().item() for step in spikes] == [1, 0, 0, 1] and v.unique().item() == 0
    assert neuron.persistent_state is persistent
    assert persistent or neuron.voltage_state.tolist() == neuron.current_state.tolist() == [0]


def test_a_potential_of_another_shape_is_refused():
    text = r"^lava_neuron_forward: v must be a number or of one step's shape \[2, 3\], got \[3\]\.$"
    with pytest.raises(ValueError, match=text):
        lava_exchange.lava_neuron_forward(Accumulator(True), torch.zeros(4, 2, 3), torch.zeros(3))
