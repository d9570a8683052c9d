"""The neuron of lava_exchange beside lava-dl 0.6.0 and the chip's integers: the same spikes and states."""

import itertools
from collections.abc import Iterator, Sequence
from types import ModuleType

import pytest
import torch
from seeded_inputs import normal
from torch import Tensor

from snntrain import lava_exchange
from snntrain.lava_exchange import (
    BatchNorm2d,
    CubaLIFNode,
    NXT_to_TNX,
    TNX_to_NXT,
)

pytestmark = pytest.mark.optional

DECAYS = list(itertools.product((0.0, 0.1, 0.5, 1.0), (0.0, 0.03, 0.25, 1.0)))
THRESHOLDS = (0.3, 1.0, 1.7)
POWERS_OF_TWO = (1, 16, 64, 128, 256)
OTHERS = (37, 50, 85, 100)


def inputs(scale: int, on_grid: bool, T: int = 40) -> Tensor:
    """[T, 3, 8]; on the grid of the weights, or anywhere."""
    x = 0.2 + normal(T, 3, 8, seed=scale)
    return torch.round(x * scale) / scale if on_grid else x


def cases(scales: Sequence[int], turn: int = 0) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Every scale with all decays and the thresholds in turn, so that over the scales all decays meet all thresholds.

    Yields: scale, (threshold, current decay, voltage decay).
    """
    for place, (scale, decays) in enumerate(itertools.product(scales, DECAYS)):
        yield scale, (THRESHOLDS[(place + turn) % len(THRESHOLDS)], *decays)


def integers(x: Tensor, scale: float) -> Tensor:
    return torch.round(x * scale).int()


def chip(x: Tensor, told: dict[str, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, last u and last v in int64, of weighted spikes x."""

    def kept(state: Tensor, decay: int) -> Tensor:
        product = state * (4096 - decay)
        return product.sign() * (product.abs() >> 12)

    u = v = torch.zeros_like(x[0], dtype=torch.int64)
    spikes = []
    for x_t in x.to(torch.int64):
        u = kept(u, told["iDecay"]) + (x_t << 6)
        v = kept(v, told["vDecay"]) + u
        s = v > told["vThMant"] << 6
        v = torch.where(s, 0, v)
        spikes.append(s.int())
    return torch.stack(spikes), u.int(), v.int()


def theirs(slayer: ModuleType, x: Tensor, scale: int, v_threshold: float, *decays: float):
    """Spikes, last current and last potential of lava-dl's neuron, and what it tells the chip."""
    neuron = slayer.neuron.cuba.Neuron(v_threshold, *decays, scale=scale, persistent_state=True)
    spikes = NXT_to_TNX(neuron(TNX_to_NXT(x)))
    return spikes, neuron.current_state, neuron.voltage_state, neuron.device_params


def ours(x: Tensor, scale: int, v_threshold: float, *decays: float, backend: str = "torch"):
    neuron = CubaLIFNode(*decays, v_threshold, scale=scale, step_mode="m", backend=backend)
    spikes = neuron(x)
    return spikes, neuron.current_state, neuron.voltage_state, neuron.chip_parameters()


@pytest.mark.slow
@pytest.mark.parametrize("on_grid", [True, False])
def test_spikes_and_states_are_lava_dls_for_all_decays_and_thresholds(slayer, on_grid):
    fired = 0
    for scale, case in cases(POWERS_OF_TWO, turn=on_grid):
        x = inputs(scale, on_grid)
        *expected, to_chip = theirs(slayer, x, scale, *case)
        for backend in ("torch", "fused"):
            *found, told = ours(x, scale, *case, backend=backend)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), (backend, scale, *case)
            assert told == {name: int(to_chip[name]) for name in told}
            fired += int(found[0].sum())
    assert fired > 0


def test_with_other_scales_it_is_the_chip_that_is_met_and_lava_dl_is_off(slayer):
    """lava-dl truncates what a float32 makes of k/scale·64·scale; ours takes the integer that is meant."""
    off = dict.fromkeys(OTHERS, 0)
    for scale, case in cases(OTHERS):
        x = inputs(scale, on_grid=True)
        spikes, i, v, told = ours(x, scale, *case)
        expected = chip(integers(x, scale), told)
        found = (spikes.int(), *(integers(state, 64 * scale) for state in (i, v)))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), (scale, *case)
        _, i, v, _ = theirs(slayer, x, scale, *case)
        off[scale] += int((integers(i, 64 * scale) != expected[1]).sum())
        off[scale] += int((integers(v, 64 * scale) != expected[2]).sum())
    assert all(off.values())


@pytest.mark.slow
def test_gradients_of_the_potential_are_lava_dls_as_long_as_nothing_fires(slayer):
    x, g = inputs(64, on_grid=True, T=20), normal(20, 3, 8, seed=1)
    neuron = slayer.neuron.cuba.Neuron(500.0, 0.3, 0.1)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    _, v = neuron.dynamics(TNX_to_NXT(a))
    (NXT_to_TNX(v) * g).sum().backward()
    node = CubaLIFNode(0.3, 0.1, 500.0, step_mode="m", store_v_seq=True)
    node(b)
    assert torch.equal(node.v_seq, NXT_to_TNX(v))
    (node.v_seq * g).sum().backward()
    torch.testing.assert_close(b.grad, a.grad)


def test_quantizers_are_lava_dls(slayer):
    x = 3 * normal(2000)
    neuron = slayer.neuron.cuba.Neuron(1.0, 0.5, 0.25)
    for descale in (False, True):
        assert torch.equal(lava_exchange.quantize_8b(x, 64, descale), neuron.quantize_8bit(x, descale))
    for step in (1.0, 0.25):
        assert torch.equal(lava_exchange.step_quantize(x, step), slayer.utils.quantize(x, step))
    whole = torch.randint(-(2**30), 2**30, (2000,), generator=torch.Generator().manual_seed(0))
    expected = slayer.utils.int_utils.right_shift_to_zero(whole, 12)
    assert torch.equal(lava_exchange.right_shift_to_zero(whole, 12), expected)


def test_a_lava_neuron_runs_in_our_layout_in_one_call_or_in_chunks(slayer):
    """With current_decay = 1 the potential is all of the state."""
    x = inputs(64, on_grid=True)
    spikes, _, v, _ = theirs(slayer, x, 64, 1.0, 1.0, 0.1)
    for persistent in (False, True):
        neuron = slayer.neuron.cuba.Neuron(1.0, 1.0, 0.1, persistent_state=persistent)
        at, parts = 0.0, []
        for chunk in x.split([7, 1, 32]):
            part, at = lava_exchange.lava_neuron_forward(neuron, chunk, at)
            parts.append(part)
        assert torch.equal(torch.cat(parts), spikes) and torch.equal(at, v)
    flat, at = lava_exchange.lava_neuron_forward(slayer.neuron.cuba.Neuron(1.0, 1.0, 0.1), x[:, :, 0], 0.0)
    assert torch.equal(flat, spikes[:, :, 0]) and torch.equal(at, v[:, 0])


@pytest.mark.parametrize("training", [True, False])
def test_the_norm_is_lava_dls(slayer, training):
    norm = BatchNorm2d(3, momentum=0.3).train(training)
    norm.running_mean, norm.running_var = torch.tensor([0.3, -0.2, 1.0]), torch.tensor([2.0])
    twin = norm.to_lava()
    for seed in range(3):
        x = 2 * normal(4, 3, 5, 5, seed=seed)
        torch.testing.assert_close(norm(x), twin(x))
        for name, value in twin.state_dict().items():
            torch.testing.assert_close(norm.state_dict()[name], value)
