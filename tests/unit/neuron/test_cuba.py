"""FloatCubaLIFNode: golden numbers, equations, its two decays, and the stored currents."""

from functools import partial

import pytest
import torch
from equations import (
    Constants,
    Dual,
    Golden,
    check_golden,
    check_gradients_numerically,
    check_in_both_precisions,
    drawn,
    flags,
    resets,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain import functional
from snntrain.neuron.cuba import FloatCubaLIFNode
from snntrain.surrogate import Sigmoid

Cuba = partial(FloatCubaLIFNode, backend="torch")
GOLDEN = Golden(
    Cuba,
    [0, 1, 0, 1, 1, 1],
    [0.5, 0, 0.425, 0, 0, 0],
    [0.907861, 0.877088, 1.58762, 1.13963, 2.20485, 4.69433],
)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_neuron_gives_the_golden_numbers(step_mode):
    check_golden(GOLDEN, step_mode)


# --- the equations ---------------------------------------------------------------------------------------------------


def cuba(x: Dual, v: Dual, i: Dual, c: Constants, *decays: Dual) -> tuple[Dual, ...]:
    current_decay, voltage_decay = decays or (c.current_decay, c.voltage_decay)
    i = (1.0 - current_decay) * i + x
    h = (1.0 - voltage_decay) * v + i
    s = c.fire(h)
    return s, c.reset(h, s), i


parts = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))


@pytest.mark.parametrize("learned", [False, True])
@settings(max_examples=30, deadline=None)
@given(problem=drawn(2), v_reset=resets, detach_reset=flags, current_decay=parts, voltage_decay=parts)
def test_cuba_follows_its_equations_in_float64_and_float32(
    learned, problem, v_reset, detach_reset, current_decay, voltage_decay
):
    decays = {"current_decay": current_decay, "voltage_decay": voltage_decay}
    constants = {"v_reset": v_reset, "detach_reset": detach_reset}
    make = partial(FloatCubaLIFNode, **constants, **decays, requires_grad=learned, **problem.common())
    check_in_both_precisions(make, cuba, constants | decays, problem, decays if learned else None)


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
def test_gradcheck_holds_for_input_initial_states_and_decays(v_reset):
    node = Cuba(0.3, 0.2, v_reset=v_reset, requires_grad=True, surrogate_function=Sigmoid(2.0, spiking=False))
    check_gradients_numerically(node, ["v", "i"])


def test_an_impulse_decays_as_two_cascaded_filters():
    """Without a spike v[t] = Σ_k (1 − voltage_decay)^(t−k)·(1 − current_decay)^k."""
    node = Cuba(0.25, 0.5, v_threshold=100.0, step_mode="m", store_v_seq=True, store_i_seq=True)
    x = torch.zeros(6, 1, dtype=torch.float64)
    x[0] = 1.0
    node(x)
    assert node.i_seq.flatten().tolist() == pytest.approx([0.75**t for t in range(6)])
    expected = [sum(0.5 ** (t - k) * 0.75**k for k in range(t + 1)) for t in range(6)]
    assert node.v_seq.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("run", [in_steps, in_chunks])
def test_the_reset_leaves_the_current_alone(run):
    node = Cuba(0.5, 0.25, v_reset=-0.25)
    x = torch.tensor([[4.0], [0.0], [-0.5]], dtype=torch.float64)
    assert run(node, x).tolist() == [[1], [1], [0]]
    assert node.i.item() == 0.5 and node.v.item() == -0.1875 + 0.5
    assert dict(FloatCubaLIFNode(v_reset=-0.25).named_memories()) == {"v": -0.25, "i": 0.0}


# --- the decays ------------------------------------------------------------------------------------------------------


def test_decays_are_numbers_unless_they_are_to_be_learned():
    node = FloatCubaLIFNode(0.3, 0.1)
    assert list(node.parameters()) == [] and (node.current_decay, node.voltage_decay) == (0.3, 0.1)
    node = FloatCubaLIFNode(0.5, 0.125, requires_grad=True)
    assert [name for name, _ in node.named_parameters()] == ["current_decay", "voltage_decay"]
    assert all(isinstance(p, nn.Parameter) and p.shape == () and p.requires_grad for p in node.parameters())
    assert (node.current_decay.item(), node.voltage_decay.item()) == (0.5, 0.125)


@pytest.mark.parametrize("v_reset", [None, 0.0])
def test_numbers_and_parameters_of_the_same_value_agree(v_reset):
    x = random(8, 5)
    fixed, learned = (Cuba(0.3, 0.1, v_reset=v_reset, requires_grad=learn) for learn in (False, True))
    assert torch.equal(in_chunks(fixed, x), in_chunks(learned, x))
    assert torch.equal(fixed.v, learned.v) and torch.equal(fixed.i, learned.i)


@pytest.mark.parametrize("run", [in_steps, in_chunks])
@pytest.mark.parametrize("stray, bound", [(-0.5, 0.0), (1.75, 1.0)])
def test_a_learned_decay_beyond_its_range_acts_as_the_bound_and_has_no_gradient(run, stray, bound):
    x = random(6, 4)
    node, expected = (Cuba(requires_grad=True) for _ in range(2))
    with torch.no_grad():
        for name in ("current_decay", "voltage_decay"):
            node.get_parameter(name).fill_(stray)
            expected.get_parameter(name).fill_(bound)
    out = run(node, x)
    assert torch.equal(out, run(expected, x)) and torch.equal(node.v, expected.v) and torch.equal(node.i, expected.i)
    (out.sum() + node.v.sum()).backward()
    assert [p.item() for p in node.parameters()] == [stray, stray], "the parameter itself is left alone"
    assert [p.grad.item() for p in node.parameters()] == [0, 0]


# --- i_seq -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store_v_seq", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_i_seq_and_v_seq_hold_the_states_after_every_step(store_v_seq, learned):
    make = partial(Cuba, requires_grad=learned)
    x = random(6, 3)
    plain = make()
    by_step = [(plain(x_t), plain.v, plain.i) for x_t in x]
    node = make(step_mode="m", store_v_seq=store_v_seq, store_i_seq=True)
    for start, stop in ((0, 4), (4, 6)):
        out = node(x[start:stop])
        s, v, i = (torch.stack(sequence) for sequence in zip(*by_step[start:stop], strict=True))
        assert torch.equal(out, s) and torch.equal(node.i_seq, i)
        assert torch.equal(node.v_seq, v) if store_v_seq else node.v_seq is None


def test_i_seq_carries_gradient_and_has_the_dtype_of_the_state():
    node = Cuba(step_mode="m", store_i_seq=True)
    x = random(3, 2, dtype=torch.float16).requires_grad_()
    node(x)
    assert node.i_seq.dtype == torch.float32 and node.i_seq.shape == (3, 2)
    node.i_seq[1].sum().backward()
    assert x.grad.tolist() == [[0.5, 0.5], [1, 1], [0, 0]]


def test_i_seq_lives_only_in_mode_m_while_switched_on():
    def filled() -> FloatCubaLIFNode:
        node = Cuba(step_mode="m", store_i_seq=True, store_v_seq=True)
        node(random(3, 2).requires_grad_())
        assert node.i_seq.shape == node.v_seq.shape == (3, 2) and node.i_seq.requires_grad
        return node

    node = filled()
    node.reset()
    assert node.i_seq is None and node.v_seq is None

    node = filled()
    node.store_i_seq = False
    assert node.i_seq is None and node.v_seq is not None

    node = filled()
    node.store_v_seq = False
    assert node.i_seq is not None and node.v_seq is None

    node = filled()
    functional.set_step_mode(node, "s")
    assert node.i_seq is None and node.v_seq is None

    node = filled()
    kept = node.i_seq
    node.detach()
    assert torch.equal(node.i_seq, kept) and not node.i_seq.requires_grad and kept.requires_grad

    assert "i_seq" not in dict(node.named_memories()) and "i_seq" not in node.state_dict()


def test_a_subclass_that_replaces_a_hook_fills_i_seq_with_its_own_currents():
    class Doubled(FloatCubaLIFNode):
        def neuronal_charge(self, x: Tensor) -> None:
            super().neuronal_charge(2.0 * x)

    x = random(5, 3)
    node, plain = (kind(step_mode="m", store_i_seq=True, backend="torch") for kind in (Doubled, FloatCubaLIFNode))
    assert torch.equal(node(x), plain(2.0 * x)) and torch.equal(node.i_seq, plain.i_seq)
