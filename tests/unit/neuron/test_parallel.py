"""PSN, MaskedPSN, SlidingPSN: golden numbers, the sums as plain loops, kept inputs, and what every neuron promises."""

import math
from typing import Any

import promises
import pytest
import torch
from cases import Sum, causal, filled
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain import functional
from snntrain.neuron.parallel import PSN, MaskedPSN, SlidingPSN
from snntrain.surrogate import ATan

over_algorithms = pytest.mark.parametrize("algorithm", ["gemm", "conv"])
over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])


def slope(h: float) -> float:
    """d(h) of ATan(2)."""
    return 1 / (1 + (math.pi * h) ** 2)


# --- golden numbers --------------------------------------------------------------------------------------------------


@over_algorithms
@pytest.mark.parametrize("run", [in_steps, in_chunks, lambda node, x: in_chunks(node, x, [1, 3, 2])])
def test_sliding_psn_gives_the_golden_numbers(algorithm, run):
    x = torch.tensor([0.5, 1.2, -0.3, 2.0, 0.9, 0.1], dtype=torch.float64, requires_grad=True)
    s = run(SlidingPSN(3, algorithm=algorithm), x)
    (torch.arange(1, 7) * s).sum().backward()
    assert s.tolist() == [0, 1, 0, 1, 1, 1]
    assert x.grad.tolist() == pytest.approx([0.797817, 1.08999, 1.008, 2.07247, 3.57564, 5.85552], rel=6e-6)
    h = run(SlidingPSN(3, surrogate_function=Sum(), algorithm=algorithm), x.detach())
    assert h.tolist() == pytest.approx([-0.5, 0.45, -0.575, 1.15, 0.825, 0.05])


# --- the sums as plain loops -----------------------------------------------------------------------------------------


def loop(x: list, entry: Any, bias: Any, g_s: list) -> tuple[list, list, list]:
    """H, dL/dx and dL/dH of H[t] = Σ_j entry(t, j)·x[j] + bias(t), s = Θ(H), L = Σ g_s·s."""
    T = len(x)
    h = [sum(entry(t, j) * x[j] for j in range(T)) + bias(t) for t in range(T)]
    g_h = [g_s[t] * slope(h[t]) for t in range(T)]
    return h, [sum(entry(t, j) * g_h[t] for t in range(T)) for j in range(T)], g_h


def check(node: nn.Module, x: list, g_s: list, run: Any, expected: tuple[list, list, list]) -> None:
    """H, spikes and dL/dx; of dL/dparameters the sums that every one of them shares: dL/dbias."""
    h, g_x, g_h = expected
    close = {"rel": 1e-9, "abs": 1e-9}
    x_seq = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    s = run(node, x_seq)
    (s * torch.tensor(g_s)).sum().backward()
    assert s.tolist() == [1.0 if value >= 0 else 0.0 for value in h]
    assert x_seq.grad.tolist() == pytest.approx(g_x, **close)
    assert node.bias.grad.flatten().tolist() == pytest.approx(g_h if node.bias.numel() > 1 else [sum(g_h)], **close)
    node.reset()
    node.surrogate_function = Sum()
    assert run(node, x_seq).tolist() == pytest.approx(h, **close)


values = st.floats(-2, 2, width=32)
lengths = st.integers(1, 6)


@settings(max_examples=25, deadline=None)
@given(T=lengths, data=st.data(), seed=st.integers(0, 999))
def test_psn_sums_over_all_steps(T, data, seed):
    x, g_s = (data.draw(st.lists(values, min_size=T, max_size=T), label=name) for name in ("x", "dL/ds"))
    node = filled(PSN(T), seed)
    weight, bias = node.weight.tolist(), node.bias.flatten().tolist()
    expected = loop(x, lambda t, j: weight[t][j], lambda t: bias[t], g_s)
    check(node, x, g_s, in_chunks, expected)
    g_weight = [[g * x_j for x_j in x] for g in expected[2]]
    assert node.weight.grad.tolist() == [pytest.approx(row, rel=1e-9, abs=1e-9) for row in g_weight]


@settings(max_examples=40, deadline=None)
@given(T=lengths, k=st.integers(1, 8), lam=st.sampled_from([0, 0.25, 1, 1.0]), data=st.data(), seed=st.integers(0, 999))
def test_masked_psn_weakens_what_lies_outside_its_band(T, k, lam, data, seed):
    x, g_s = (data.draw(st.lists(values, min_size=T, max_size=T), label=name) for name in ("x", "dL/ds"))
    weight, bias = (p.flatten().tolist() for p in filled(MaskedPSN(k, T), seed).parameters())

    def mask(t: int, j: int) -> float:
        return 1.0 if j <= t <= j + k - 1 else 1.0 - lam

    expected = loop(x, lambda t, j: mask(t, j) * weight[t * T + j], lambda t: bias[t], g_s)
    for run in (in_chunks, in_steps) if lam == 1 else (in_chunks,):
        node = filled(MaskedPSN(k, T, lam), seed)
        check(node, x, g_s, run, expected)
        g_weight = [mask(t, j) * expected[2][t] * x[j] for t in range(T) for j in range(T)]
        assert node.weight.grad.flatten().tolist() == pytest.approx(g_weight, rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(T=lengths, k=st.integers(1, 8), data=st.data(), seed=st.integers(0, 999))
def test_sliding_psn_sums_over_the_last_k_steps(T, k, data, seed):
    x, g_s = (data.draw(st.lists(values, min_size=T, max_size=T), label=name) for name in ("x", "dL/ds"))
    cut = data.draw(st.integers(0, T), label="cut")
    sizes = [size for size in (cut, T - cut) if size]
    weight, bias = (p.flatten().tolist() for p in filled(SlidingPSN(k), seed).parameters())

    def entry(t: int, j: int) -> float:
        return weight[k - 1 - (t - j)] if 0 <= t - j < k else 0.0

    expected = loop(x, entry, lambda t: bias[0], g_s)
    g_weight = [sum(g * x[t - k + 1 + i] for t, g in enumerate(expected[2]) if t - k + 1 + i >= 0) for i in range(k)]
    for algorithm in ("gemm", "conv"):
        for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, sizes)):
            node = filled(SlidingPSN(k, algorithm=algorithm), seed)
            check(node, x, g_s, run, expected)
            assert node.weight.grad.tolist() == pytest.approx(g_weight, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "make", [lambda s: PSN(4, s), lambda s: MaskedPSN(2, 4, 0.25, s, "m"), lambda s: SlidingPSN(3, True, s, "m")]
)
def test_gradcheck_holds_for_input_weight_and_bias(make):
    node = make(ATan(spiking=False))

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        node.reset()
        return torch.func.functional_call(node, {"weight": weight, "bias": bias}, (x,))

    leaves = [random(4, 3, dtype=torch.float64), *(p.detach().double() for p in node.parameters())]
    assert torch.autograd.gradcheck(run, [leaf.requires_grad_() for leaf in leaves])


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PSN, lambda T: MaskedPSN(2, T)])
def test_weights_start_uniform_and_the_threshold_at_one(make):
    torch.manual_seed(0)
    node = make(100)
    assert node.weight.shape == (100, 100) and node.bias.shape == (100, 1)
    assert node.weight.abs().max() <= 0.1 and node.weight.abs().max() > 0.0999
    assert node.weight.mean().abs() < 0.002 and node.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert (node.bias == -1).all()


def test_the_weights_of_sliding_psn_start_as_powers_of_two_or_uniform():
    assert SlidingPSN(4).weight.tolist() == [0.125, 0.25, 0.5, 1] and SlidingPSN(1).weight.tolist() == [1]
    torch.manual_seed(0)
    weight = SlidingPSN(10_000, exp_init=False).weight
    assert 0.00999 < weight.abs().max() <= 0.01 and weight.mean().abs() < 2e-4
    assert SlidingPSN(3).bias.shape == () and SlidingPSN(3).bias.item() == -1


def test_parameters_have_the_reference_librarys_names_and_its_checkpoints_load():
    assert list(PSN(3).state_dict()) == ["weight", "bias"]
    assert list(SlidingPSN(3).state_dict()) == ["weight", "bias"]
    assert list(MaskedPSN(2, 3).state_dict()) == ["weight", "bias", "_lambda_"]
    ours = MaskedPSN(2, 3)
    theirs = {"weight": torch.ones(3, 3), "bias": torch.zeros(3, 1), "_lambda_": torch.tensor(0.5)}
    theirs |= {"mask0": torch.ones(3, 3).tril(), "mask1": torch.ones(3, 3)}
    for module, prefix in ((ours, ""), (promises.inside_a_model(MaskedPSN(2, 3)), "block.neuron.")):
        result = module.load_state_dict({prefix + name: value for name, value in theirs.items()}, strict=True)
        assert not result.missing_keys and not result.unexpected_keys
    assert ours.lambda_.item() == 0.5 and ours.weight.eq(1).all()
    with pytest.raises(RuntimeError, match="mask2"):
        ours.load_state_dict(theirs | {"mask2": torch.ones(1)})


# --- MaskedPSN -------------------------------------------------------------------------------------------------------


def test_lambda_is_a_settable_buffer_that_checkpoints_keep():
    node = MaskedPSN(2, 4)
    assert node.lambda_.item() == 0 and dict(node.named_buffers())["_lambda_"] is node.lambda_
    for value in (0.5, 1, 0, 1.0):
        node.lambda_ = value
        assert node.lambda_.item() == value and not node.lambda_.requires_grad
    node.lambda_ = 0.75
    other = MaskedPSN(2, 4)
    other.load_state_dict(node.state_dict())
    assert other.lambda_.item() == 0.75 and "lambda_=0.75" in repr(other)


@pytest.mark.parametrize("value", [-0.1, 1.1, *promises.NOT_FINITE])
def test_a_lambda_outside_0_to_1_is_refused(value):
    node = MaskedPSN(2, 4, 0.5)
    with pytest.raises(ValueError, match=r"^MaskedPSN: lambda_ must be a finite number ≥ 0 and ≤ 1, got "):
        node.lambda_ = value
    assert node.lambda_.item() == 0.5


def test_mode_s_needs_lambda_1():
    node = MaskedPSN(2, 3, 0.5)
    with pytest.raises(ValueError, match=r"^block\.neuron \(MaskedPSN\): step_mode 's' needs lambda_ = 1, got 0\.5"):
        promises.inside_a_model(node)(torch.ones(2))
    assert node.t == 0 and node.queue == []
    node.lambda_ = 1
    node(torch.ones(2))


@pytest.mark.parametrize("then", [in_steps, in_chunks])
@pytest.mark.parametrize("first", [in_steps, in_chunks])
def test_a_step_beyond_the_sequence_asks_for_reset(first, then):
    node = causal(2, 4)
    x = random(4, 3)
    out = first(node, x)
    with pytest.raises(ValueError, match=r"MaskedPSN.* T = 4.*reset\(\)"):
        then(node, x)
    node.reset()
    assert torch.allclose(first(node, x), out)


def test_mode_m_in_mid_sequence_asks_for_reset():
    node = causal(2, 4)
    in_steps(node, random(2, 3))
    with pytest.raises(ValueError, match=r"MaskedPSN.* time step 2 of T = 4.*reset\(\)"):
        in_chunks(node, random(4, 3))


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_masked_psn_keeps_the_last_k_inputs_and_the_step_index(k):
    x = random(4, 2)
    node = causal(k, 4)
    for t in range(4):
        in_steps(node, x[t : t + 1])
        assert node.t == t + 1
        assert torch.equal(torch.stack(node.queue), x[max(0, t + 1 - k) : t + 1])
    other = causal(k, 4)
    in_chunks(other, x)
    assert other.t == 4 and torch.equal(torch.stack(other.queue), torch.stack(node.queue))


# --- sequences and kept inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [PSN(4), MaskedPSN(2, 4, step_mode="m")])
@pytest.mark.parametrize("T", [1, 3, 5])
def test_a_sequence_of_another_length_is_refused(node, T):
    title = rf"^block\.neuron \({type(node).__name__}\): the sequence must have T = 4 time steps, got {T}"
    with pytest.raises(ValueError, match=title):
        promises.inside_a_model(node)(torch.zeros(T, 2))


def test_psn_runs_in_mode_m_only():
    node = PSN(3)
    assert node.step_mode == "m" and node.supported_step_mode() == ("m",)
    for switch in (lambda: setattr(node, "step_mode", "s"), lambda: functional.set_step_mode(node, "s")):
        with pytest.raises(ValueError, match=r"^PSN: step_mode 's' is not supported, it runs in 'm' only"):
            switch()
    assert node.step_mode == "m" and [*node.named_memories()] == []


@over_algorithms
@pytest.mark.parametrize("k", [1, 2, 4])
def test_sliding_psn_keeps_the_last_k_minus_1_inputs(k, algorithm):
    x = random(6, 2)
    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, [1, 2, 3])):
        node = SlidingPSN(k, algorithm=algorithm)
        run(node, x)
        assert [item.tolist() for item in node.queue] == x[6 - (k - 1) :].tolist()
        node.reset()
        assert node.queue == []


@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), k=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_steps_sequences_and_chunks_of_sliding_psn_agree(sizes, k, seed):
    x = random(sum(sizes), 2, 3, seed=seed, dtype=torch.float64)
    by_conv = promises.assert_modes_agree(lambda: SlidingPSN(k, algorithm="conv"), x, sizes, exact=False)
    by_gemm = promises.assert_modes_agree(lambda: SlidingPSN(k), x, sizes, exact=False)
    promises.assert_same(by_gemm, by_conv, exact=False)
    x, make = x.float(), lambda: SlidingPSN(k, False, Sum(), algorithm="conv")
    values = [run(promises.seeded(make), x) for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, sizes))]
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2]), "'conv' sums in the order of 's'"


@settings(max_examples=4, deadline=None)
@given(T=st.integers(1, 6), k=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_steps_and_a_sequence_of_masked_psn_agree(T, k, seed):
    x = random(T, 2, 3, seed=seed, dtype=torch.float64)
    outcomes = [promises.outcome(promises.seeded(lambda: causal(k, T)), x, run) for run in (in_steps, in_chunks)]
    promises.assert_same(outcomes[0], outcomes[1], exact=False)


@pytest.mark.parametrize("make", [lambda: SlidingPSN(3), lambda: SlidingPSN(3, algorithm="conv")])
def test_sliding_psn_takes_sequences_of_any_length_and_changes_of_mode(make):
    x = random(40, 2, dtype=torch.float64)
    expected = in_steps(make(), x)
    node, outputs = make(), []
    for run, chunk in zip((in_chunks, in_steps) * 4, x.split([1, 1, 30, 3, 2, 3]), strict=False):
        outputs.append(run(node, chunk))
    assert torch.equal(torch.cat(outputs), expected)


def test_a_later_chunk_sends_gradient_to_the_earlier_one_until_detached():
    for detached in (False, True):
        node = SlidingPSN(2, step_mode="m")
        x = random(4, 3).requires_grad_()
        node(x[:2])
        if detached:
            node.detach()
        (gradient,) = torch.autograd.grad(node(x[2:]).sum(), x)
        assert (gradient[1].abs().sum() > 0) != detached and gradient[0].abs().sum() == 0


def test_an_infinite_input_reaches_only_the_steps_that_see_it_by_conv():
    node = SlidingPSN(2, surrogate_function=Sum(), step_mode="m", algorithm="conv")
    h = node(torch.tensor([1.0, math.inf, 1.0, 1.0, 1.0]))
    assert h.isfinite().tolist() == [True, False, False, True, True]
