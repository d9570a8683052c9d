"""Quantized neurons beside plain Python integers, beside the float neurons, and beside qualia's functions."""

import copy
import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import sampled
from torch import nn

from snntrain import functional, registry
from snntrain.neuron import ATIFNode, IFNode, LIFNode
from snntrain.quantize import QuantizedATIF, QuantizedIFNode, QuantizedLIFNode, Quantizer, QuantParams, qualia
from snntrain.quantize.arithmetic import Leak, fitted, leak_of, nearest_power_of_two, power_of_two_above, shifted
from snntrain.quantize.current import Current
from snntrain.surrogate import Sigmoid

ROUND = {
    "nearest": lambda a: math.floor(a + Fraction(1, 2)),
    "floor": math.floor,
    "ceil": math.ceil,
    "zero": math.trunc,
}


def by_hand(node: nn.Module, currents: list[int]) -> tuple[list[int], list[int]]:
    """Spikes and potentials of one neuron, in Python's integers and fractions."""
    half, theta, u = 2 ** (node.bits - 1), int(node.threshold()), 0
    spikes, potentials = [], []
    for current in currents:
        if node.leak is not None and node.leak.form == "shift":
            u -= ROUND[node.leak.rounding](Fraction(u, 2**node.leak.bits))
        elif node.leak is not None:
            u = ROUND[node.leak.rounding](Fraction(u * node.leak.factor, 2**node.leak.bits))
        h = u + current
        h = max(-half, min(half - 1, h)) if node.overflow == "saturate" else (h + half) % (2 * half) - half
        fired = h >= theta
        u = (h - theta if node.v_reset is None else 0) if fired else h
        spikes.append(int(fired))
        potentials.append(u)
    return spikes, potentials


@st.composite
def neurons(draw: st.DrawFn) -> nn.Module:
    quant_params = {
        "bits": draw(st.integers(2, 24)),
        "quantype": draw(st.sampled_from(["fxp", "fake"])),
        "roundtype": draw(st.sampled_from(["nearest", "floor", "ceil"])),
        "overflow": draw(st.sampled_from(["saturate", "wrap"])),
        "leak": draw(st.sampled_from(["multiply", "shift"])),
        "margin": draw(st.floats(1, 8)),
    }
    common = {
        "v_threshold": draw(st.floats(0.1, 9)),
        "v_reset": draw(st.sampled_from([None, 0.0, 0.05, -3.0])),
        "step_mode": "m",
        "store_v_seq": True,
    }
    if draw(st.booleans()):
        return QuantizedIFNode(quant_params, **common)
    return QuantizedLIFNode(quant_params, tau=draw(st.floats(1.001, 300)), decay_input=draw(st.booleans()), **common)


@settings(max_examples=60, deadline=None)
@given(neurons(), st.lists(st.floats(-4, 4), min_size=1, max_size=12))
def test_spikes_and_potentials_are_those_of_python_integers(node, inputs):
    x = torch.tensor(inputs).view(-1, 1) * node.v_threshold
    currents = [ROUND[node.v_params.roundtype](Fraction(float(value / torch.tensor(node.v_step)))) for value in x]
    if node.v_params.roundtype == "nearest":  # a + ½ is a float32 as well
        currents = [int(torch.floor(value / torch.tensor(node.v_step) + 0.5)) for value in x]
    spikes, potentials = by_hand(node, [max(-(2**22), min(2**22, current)) for current in currents])
    assert node(x).flatten().tolist() == spikes
    assert node.v_seq.flatten().tolist() == potentials


@settings(max_examples=100, deadline=None)
@given(
    st.integers(-(2**23), 2**23 - 1),
    st.sampled_from(["multiply", "shift"]),
    st.integers(0, 4096),
    st.integers(0, 12),
    st.sampled_from(sorted(ROUND)),
)
def test_leaks_of_24_bit_potentials_are_exact(u, form, factor, bits, rounding):
    factor = min(factor, 2**bits)
    if form == "shift":
        expected = u - ROUND[rounding](Fraction(u, 2**bits))
    else:
        expected = ROUND[rounding](Fraction(u * factor, 2**bits))
    assert int(Leak(form, factor, bits, rounding)(torch.tensor([float(u)]))) == expected


@settings(max_examples=80, deadline=None)
@given(st.integers(-(2**23), 2**23), st.integers(-6, 20), st.sampled_from(["nearest", "floor", "ceil"]))
def test_shifts_are_exact(a, shift, rounding):
    expected = a * 2**-shift if shift <= 0 else ROUND[rounding](Fraction(a, 2**shift))
    assert int(shifted(torch.tensor([float(a)]), shift, rounding)) == expected


@pytest.mark.parametrize("bits, h, saturated, wrapped", [(8, 130, 127, -126), (8, -129, -128, 127), (2, 5, 1, 1)])
def test_what_does_not_fit_saturates_or_wraps(bits, h, saturated, wrapped):
    h = torch.tensor([float(h)])
    assert (fitted(h, bits, "saturate").item(), fitted(h, bits, "wrap").item()) == (saturated, wrapped)


@pytest.mark.parametrize(
    "rate, form, expected", [(0.5, "multiply", 2048), (1 / 3, "multiply", 2731), (0.3, "shift", 2)]
)
def test_the_leak_nearest_to_a_time_constant(rate, form, expected):
    leak = leak_of(rate, form, "nearest")
    assert (leak.factor if form == "multiply" else leak.bits) == expected
    assert abs(leak.rate - rate) <= (2**-13 if form == "multiply" else 0.05)


def test_a_slow_leak_neither_divides_by_zero_nor_is_refused():
    """1/tau below the resolution: the neuron becomes one without a leak."""
    node = QuantizedLIFNode({"bits": 4}, tau=1e6, decay_input=False, step_mode="m")
    assert node.leak.factor == 4096 and torch.isfinite(node(torch.rand(5, 3))).all()
    with pytest.raises(ValueError, match="use an IF neuron"):
        QuantizedLIFNode({"bits": 4, "leak": "shift"}, tau=1e9)


@pytest.mark.parametrize("x", [0.25, 0.3, 0.5000001, 3.0, 1e-8, 70000.0])
def test_powers_of_two_are_exact(x):
    above, nearest = (f(torch.tensor([x])).item() for f in (power_of_two_above, nearest_power_of_two))
    x = torch.tensor(x).item()
    assert math.log2(above).is_integer() and above / 2 < x <= above
    assert math.log2(nearest).is_integer() and abs(math.log2(nearest) - math.log2(x)) <= 0.5 + 1e-6


# --- beside float neurons --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.5])
@pytest.mark.parametrize("kind", [IFNode, LIFNode])
def test_with_many_bits_it_is_the_float_neuron(kind, v_reset):
    """Inputs are multiples of the step and of the leak's, so that nothing is rounded but far behind the point."""
    arguments = {"tau": 2.0} if kind is LIFNode else {}
    twin = QuantizedLIFNode if kind is LIFNode else QuantizedIFNode
    quantized = twin({"bits": 24}, v_reset=v_reset, step_mode="m", **arguments)
    exact = kind(v_reset=v_reset, step_mode="m", backend="torch", store_v_seq=True, **arguments)
    quantized.store_v_seq = True
    torch.manual_seed(0)
    x = ((torch.rand(6, 50) * 1.2 - 0.2) * (2 if kind is LIFNode else 1) * 256).round() / 256
    x.requires_grad_()
    ours, theirs = quantized(x), exact(x)
    assert torch.equal(ours, theirs) and 0.01 < theirs.mean() < 0.9
    gain = 2.0 if kind is LIFNode else 1.0  # decay_input
    potential = quantized.v_seq * quantized.v_step / gain + (v_reset or 0.0)
    torch.testing.assert_close(potential, exact.v_seq, atol=1e-5, rtol=0)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_gradients_pass_rounding_and_stop_where_the_potential_is_clipped():
    node = QuantizedIFNode({"bits": 4, "quantype": "fake"}, v_threshold=7.0, step_mode="m", v_reset=None)
    node.v_step, node.theta_value[0] = 1.0, 100.0  # thresholds stop at 7: nothing is subtracted below
    x = torch.tensor([[0.3, 2.7, -30.0, 5.2]], requires_grad=True)
    node(x)
    node.v.sum().backward()
    inside = x.grad[0, :2]
    assert (inside > 0.5).all() and x.grad[0, 2] == 0


@pytest.mark.parametrize(
    "kind, overflow",
    sampled(  # every kernel is compiled for seconds
        [
            (QuantizedLIFNode, "saturate"),
            (QuantizedIFNode, "wrap"),
            (QuantizedIFNode, "saturate"),
            (QuantizedLIFNode, "wrap"),
            (QuantizedATIF, "wrap"),
            (QuantizedATIF, "saturate"),
        ],
        6,
    ),
)
def test_kernels_compute_what_the_loop_computes(kind, overflow):
    torch.manual_seed(0)
    quant_params = {"bits": 5, "overflow": overflow, "roundtype": "nearest"}
    loop = kind(quant_params, step_mode="m", backend="torch")
    fused = copy.deepcopy(loop)
    fused.backend = "fused"
    results = []
    for node in (loop, fused):
        node.store_v_seq = True
        x = (3 * torch.linspace(-20, 20, 8 * 3 * 40).view(8, 3, 40).sin()).requires_grad_()
        y = node(x)
        (y * torch.linspace(0, 1, y.numel()).view(y.shape)).sum().backward()
        gradient = node.v_threshold.grad if kind is QuantizedATIF else torch.zeros(1)
        results.append((y.detach(), node.v_seq.detach(), x.grad, gradient))
    assert results[0][0].mean() > 0
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert torch.equal(results[0][1], results[1][1])


def test_steps_one_by_one_are_a_sequence_and_training_is_evaluation():
    torch.manual_seed(1)
    node, x = QuantizedLIFNode({"bits": 6}, step_mode="m"), torch.randn(7, 4, 5) * 2
    whole = node(x)
    functional.reset_net(node)
    node.eval().step_mode = "s"
    assert torch.equal(whole, torch.stack([node(step) for step in x])) and whole.mean() > 0


def test_hyperparameters_stay_and_the_state_is_no_part_of_a_checkpoint():
    node = QuantizedLIFNode({"bits": 4}, tau=3.0, v_threshold=0.9, v_reset=0.1, step_mode="m")
    for _ in range(5):
        node(torch.randn(4, 10))
        node.quantize_v_and_hyperparams()
    assert (node.tau, node.v_threshold, node.v_reset) == (3.0, 0.9, 0.1)
    expected = torch.tensor([0.9, 1 / 3, 0.1])
    torch.testing.assert_close(node.get_hyperparams_tensor(torch.device("cpu"), torch.float32), expected)
    other = QuantizedLIFNode({"bits": 4}, tau=2.0, v_threshold=0.9, v_reset=0.1, step_mode="m")
    other.load_state_dict(node.state_dict())
    functional.reset_net(node)
    x = torch.randn(6, 20)
    assert torch.equal(node(x), other(x))


def test_bits_and_fractional_bits():
    node = QuantizedIFNode({"bits": 8, "v": {"bits": 6}, "margin": 1.0}, v_threshold=1.0)
    assert (node.bits, node.weights_bits) == (6, 6)
    assert node.fractional_bits == node.weights_q == 4  # 1.0 is 16 steps of 1/16: 31 would not be a power of two
    assert QuantizedIFNode({"bits": 8, "quantype": "fake"}, v_threshold=1.0).weights_q is None


def test_a_current_gives_the_step_and_thresholds_of_channels():
    node = QuantizedIFNode({"bits": 8, "quantype": "fake"}, v_reset=None, step_mode="m")
    current = Current(2)
    current.settle(torch.tensor([0.1, 0.2]))
    node.attach(current)
    node.shift = -1  # a step of the potential is half of the current's
    assert node.threshold().tolist() == [20, 10]
    spikes = node(torch.tensor([9.0, 10.0, 4.0, 5.0]).view(1, 1, 2, 2))
    assert spikes.flatten().tolist() == [0, 1, 0, 1]


def test_neurons_start_where_they_are_told():
    node = QuantizedIFNode({"bits": 8, "quantype": "fake", "margin": 1.0}, v_reset=None, step_mode="m")
    node.start_at(torch.tensor([0.5]))
    assert node(torch.full((1, 3), 0.51)).tolist() == [[1.0, 1.0, 1.0]]
    functional.reset_net(node)
    assert node(torch.full((1, 3), 0.48)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("v_reset", [None, 0.0])
def test_two_bits_of_potential_still_fire_and_integrate(bits, v_reset):
    node = QuantizedIFNode({"bits": bits}, v_reset=v_reset, step_mode="m")
    assert node.threshold().item() >= 1
    spikes = node(torch.full((8, 1), 1.0))
    assert spikes.mean() == 1.0 and node(torch.zeros(3, 1)).sum() == 0


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: QuantizedIFNode({"bits": 8, "bitz": 1}), "'bitz' is not a key. Did you mean bits"),
        (lambda: QuantizedIFNode({"v": {"bits": 25}}), "v.bits must be at most 24 in mode 'integer', got 25"),
        (lambda: QuantizedIFNode({"v": {"quant_enable": False}}), "v.quant_enable must be True"),
        (lambda: QuantizedIFNode({"v": {"force_q": 3}}), "v.force_q must be None"),
        (lambda: QuantizedIFNode({}, v_threshold=0.5, v_reset=0.5), "v_threshold must be > 0.5"),
        (lambda: QuantizedIFNode({}, v_threshold=0.0, v_reset=None), "v_threshold must be > 0 "),
        (lambda: QuantizedLIFNode({}, tau=1.0), "tau must be a finite number > 1"),
        (lambda: QuantizedIFNode({"mode": "qualia"}, backend="fused"), "mode 'qualia' only the loop"),
        (lambda: QuantizedATIF({}, vth_init_l=2.0), "vth_init_h must be a finite number ≥ 2"),
        (lambda: QuantizedIFNode({})(torch.ones(3, dtype=torch.long)), "cast spikes to a float dtype"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, text):
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        make()


def test_quantized_neurons_are_registered():
    names = registry.names("neuron", "Quantized*")
    assert names == ["QuantizedATIF", "QuantizedIFNode", "QuantizedLIFNode"]
    assert isinstance(registry.build("neuron", "QuantizedATIF", quant_params={"bits": 8}), QuantizedATIF)


# --- ATIF ------------------------------------------------------------------------------------------------------------


def test_atif_fires_its_threshold_which_is_a_multiple_of_the_step_and_learns():
    torch.manual_seed(0)
    node = QuantizedATIF({"bits": 8}, step_mode="m")
    x = 2 * torch.rand(6, 4, 10)
    y = node(x)
    theta = node.get_coeffs().item()
    assert set(y.unique().tolist()) == {0.0, theta} and (theta / node.v_step).is_integer()
    assert abs(theta - node.v_threshold.item()) <= node.v_step / 2
    y.sum().backward()
    assert node.v_threshold.grad.abs().item() > 0
    node.set_coeffs(torch.tensor([0.5]))
    assert node.v_threshold.item() == node.get_coeffs().item() == 0.5


def test_atif_with_many_bits_is_the_float_neuron():
    torch.manual_seed(0)
    exact, quantized = ATIFNode(step_mode="m", backend="torch"), QuantizedATIF({"bits": 24}, step_mode="m")
    with torch.no_grad():
        quantized.v_threshold.copy_(quantized.get_coeffs())
        exact.v_threshold.copy_(quantized.v_threshold)
    x = (torch.rand(6, 100) * 512).round() / 512
    torch.testing.assert_close(quantized(x), exact(x), rtol=1e-5, atol=1e-6)


# --- mode 'qualia' ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [QuantizedIFNode, QuantizedLIFNode])
def test_mode_qualia_is_qualias_step_and_its_hyperparameters_drift(kind, training):
    quant_params = {"bits": 6, "mode": "qualia", "roundtype": "floor"}
    arguments = {"tau": 3.0} if kind is QuantizedLIFNode else {}
    node = kind(quant_params, v_threshold=0.9, step_mode="m", **arguments).train(training)
    for kind_of_tensor in ("input", "v", "act"):
        setattr(node, f"quantizer_{kind_of_tensor}", _seen(Quantizer(quant_params, kind_of_tensor), training))
    twin, surrogate = copy.deepcopy(node), Sigmoid(4.0)
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) * 2
    p, v, expected = qualia.Hyperparameters(0.9, 0.0, arguments.get("tau")), torch.zeros(3), []
    for step in x:
        s, v, p = qualia.neuron_step(step, v, p, twin, surrogate, training=training)
        expected.append(s)
    assert torch.equal(node(x), torch.stack(expected)) and torch.equal(node.v, v)
    assert (node.v_threshold, node.v_reset) == (p.v_threshold, p.v_reset) != (0.9, 0.0)
    assert node.weights_bits == 6
    other = kind(quant_params, v_threshold=0.9, step_mode="m", **arguments)
    other.load_state_dict(node.state_dict())
    assert other.v_threshold == node.v_threshold


def _seen(quantizer: Quantizer, training: bool) -> Quantizer:
    """A quantizer that has seen a range."""
    quantizer.train()(torch.tensor([1.7]))
    return quantizer.train(training)


def test_mode_qualia_of_atif_trains():
    torch.manual_seed(0)
    node = QuantizedATIF({"bits": 8, "mode": "qualia"}, step_mode="m")
    y = node(2 * torch.rand(4, 3, 5))
    y.sum().backward()
    assert torch.isfinite(y).all() and y.max() > 0 and node.v_threshold.grad.abs().item() > 0


def test_random_numbers_of_python_are_not_used():
    state = random.getstate()
    QuantizedATIF(QuantParams(bits=4))
    assert random.getstate() == state
