"""Quantizer, beside exact arithmetic on fractions, the equations of LSQ, a search over clips, and published numbers."""

import copy
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_inputs import normal
from torch import Tensor, nn

from snntrain.quantize import Quantizer, QuantParams
from snntrain.quantize.range_setting import gaussian_clip, range_of

ROUNDING = {"nearest": lambda a: math.floor(a + Fraction(1, 2)), "floor": math.floor, "ceil": math.ceil}
MODES = ("integer", "qualia")


def quantizer(kind: str | None = None, **quant_params) -> Quantizer:
    return Quantizer(quant_params, kind)


def fixed(values: list[float], step: Fraction, bits: int, roundtype: str) -> list[float]:
    """The equation in exact arithmetic."""
    half = 2 ** (bits - 1)
    rounded = [ROUNDING[roundtype](Fraction(value) / step) for value in values]
    return [float(min(max(a, -half), half - 1) * step) for a in rounded]


# --- fixed point -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "largest, bits, fractional", [(1.0, 8, 6), (0.99, 8, 7), (3.0, 8, 5), (0.2, 8, 9), (5.0, 4, 0)]
)
def test_fractional_bits_are_what_the_integer_bits_leave(mode, largest, bits, fractional):
    """spec: f = b − 1 − (floor(log2 max) + 1); max = 1.0 costs an integer bit, 8 bits → Q1.6."""
    q = quantizer(bits=bits, mode=mode)
    q(torch.tensor([0.1, -largest]))
    assert q.fractional_bits == fractional and q.step == 2.0**-fractional


# Where a + ½ is no float32 the sum itself is rounded: hence values of a few bits.
VALUES = st.lists(st.integers(-(2**17), 2**17).map(lambda k: k / 4096), min_size=1, max_size=20).filter(any)


@pytest.mark.parametrize("mode", MODES)
@given(
    values=VALUES,
    bits=st.integers(2, 12),
    roundtype=st.sampled_from(sorted(ROUNDING)),
    force_q=st.none() | st.integers(-2, 8),
)
@settings(max_examples=40, deadline=None)
def test_values_are_rounded_and_clipped_as_in_exact_arithmetic(mode, values, bits, roundtype, force_q):
    q = quantizer(bits=bits, roundtype=roundtype, force_q=force_q, mode=mode)
    fractional = bits - 1 - (math.floor(math.log2(max(map(abs, values)))) + 1) if force_q is None else force_q
    assert q(torch.tensor(values)).tolist() == fixed(values, Fraction(2) ** -fractional, bits, roundtype)
    assert q.fractional_bits == fractional


@pytest.mark.parametrize(
    "roundtype, expected",
    [("nearest", [0, 1, 0, -1, 3]), ("floor", [0, 0, -1, -2, 2]), ("ceil", [1, 1, 0, -1, 3])],
)
def test_ties_go_up(roundtype, expected):
    q = quantizer(bits=8, force_q=0, roundtype=roundtype)
    assert q(torch.tensor([0.25, 0.5, -0.5, -1.5, 2.5])).tolist() == expected


def test_forced_fractional_bits_hold_for_any_range():
    q = quantizer(bits=8, force_q=7)
    assert q(torch.tensor([1.0, -1.0, 0.5])).tolist() == [0.9921875, -1.0, 0.5]  # 127/128: 1.0 does not fit
    q(torch.tensor([100.0]))
    assert q.fractional_bits == 7 and q.step == 2.0**-7


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_one_and_zero_where_the_integer_was_clipped(mode):
    q = quantizer(bits=4, force_q=0, mode=mode)
    x = torch.tensor([-9.0, -8.4, -8.0, 0.3, 7.4, 7.6, 50.0], requires_grad=True)
    weights = torch.arange(1.0, 8.0)
    (q(x) * weights).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0, 0]


# --- free steps ------------------------------------------------------------------------------------------------------


def test_a_free_step_divides_the_range_by_the_number_of_integers_less_one():
    q = quantizer(bits=4, quantype="fake")
    outputs = q(torch.tensor([-0.75, 0.1, 0.3]))
    assert q.step.item() == pytest.approx(1.5 / 15) and q.fractional_bits is None
    assert outputs.tolist() == pytest.approx([-0.7, 0.1, 0.3])  # −7.5 is a tie and goes up


@given(values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), bits=st.integers(2, 10))
@settings(max_examples=40, deadline=None)
def test_a_zero_point_covers_the_range_and_keeps_zero(values, bits):
    q = quantizer(bits=bits, quantype="fake", is_asymmetric=True)
    x = torch.tensor([*values, 0.0])
    outputs = q(x)
    assert outputs[-1] == 0
    spread = (x.max() - x.min()).item()
    assert (outputs - x).abs().max() <= 0.501 * spread / (2**bits - 1) + 1e-30
    assert float(q.zero_point).is_integer() and q.params.smallest <= q.zero_point <= q.params.largest


def test_a_zero_point_spends_all_integers_on_one_sign():
    q = quantizer(bits=8, quantype="fake", is_asymmetric=True)
    q(torch.tensor([0.25, 2.55]))  # 0 belongs to the range
    assert q.step.item() == pytest.approx(0.01) and q.zero_point == -128


# --- ranges ----------------------------------------------------------------------------------------------------------


def test_the_range_is_the_largest_seen_in_training():
    q = quantizer("act", bits=8)
    for value, expected in [(1.0, 1.0), (3.0, 3.0), (2.0, 3.0)]:
        q(torch.tensor([value]))
        assert (q.range_min, q.range_max) == (-expected, expected)
    q.eval()
    assert q(torch.tensor([9.0])).item() == 127 / 32 and q.range_max == 3


@pytest.mark.parametrize("kind, mode, last", [("w", "integer", 7), ("bias", "integer", 7), ("w", "qualia", 4)])
def test_the_range_of_weights_follows_them(kind, mode, last):
    q = quantizer(kind, bits=8, mode=mode)
    q(torch.tensor([5.0]))
    q(torch.tensor([0.75]))
    assert q.fractional_bits == last


def test_weights_that_changed_after_training_are_quantized_alike_in_training_and_evaluation():
    q, w = quantizer("w", bits=4, quantype="fake"), normal(50)
    q(w)
    w *= 0.3
    expected = copy.deepcopy(q).train()(w)
    assert torch.equal(q.eval()(w), expected) and not torch.equal(expected, w)


def test_a_second_tensor_shares_range_and_step():
    q = quantizer(bits=8)
    w, bias = q(torch.tensor([[0.3, -0.2]]), torch.tensor([1.5]))
    assert w.tolist() == [[0.296875, -0.203125]] and bias.tolist() == [1.5]  # of 1/64
    q = quantizer(bits=8)
    assert q(torch.tensor([[0.3, -0.2]])).flatten().tolist() == [77 / 256, -51 / 256]


@pytest.mark.parametrize("keys", [{}, {"quantype": "fake", "is_asymmetric": True}, {"LSQ": True}])
@pytest.mark.parametrize("mode", MODES)
def test_a_state_dict_holds_all_that_evaluation_needs(keys, mode):
    q = quantizer("act", bits=4, mode=mode, **keys)
    q(normal(100))
    copied = quantizer("act", bits=4, mode=mode, **keys)
    copied.load_state_dict(q.state_dict())
    x = normal(100, seed=1) * 3
    assert torch.equal(q.eval()(x), copied.eval()(x)) and torch.isfinite(q(x)).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keys", [{}, {"quantype": "fake"}, {"LSQ": True}])
def test_evaluation_before_training_goes_by_the_tensor_at_hand(mode, keys):
    x = normal(100)
    q = quantizer("act", mode=mode, **keys)
    trained = copy.deepcopy(q)
    trained(x)
    first = q.eval()(x)
    assert torch.equal(first, trained.eval()(x))
    assert q.range_max == -math.inf  # looked at, not remembered


def test_frozen_ranges_stay_in_training():
    for kind, keys in [("act", {}), ("w", {}), ("act", {"quantype": "fake", "is_asymmetric": True})]:
        q = quantizer(kind, bits=8, **keys)
        q(normal(50))
        q.freeze()
        before = {name: value.clone() for name, value in q.state_dict().items()}
        q(normal(50, seed=1) * 10)
        assert all(torch.equal(value, before[name]) for name, value in q.state_dict().items())
        q.freeze(False)
        q(normal(50, seed=1) * 10)
        assert q.range_max > before["range_max"]


def test_a_range_that_is_not_known_cannot_be_frozen():
    with pytest.raises(RuntimeError, match=r"no range was seen yet; run data through the net in train\(\) first"):
        quantizer().freeze()
    quantizer(quant_enable=False).freeze()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keys", [{}, {"quantype": "fake"}, {"LSQ": True}, {"force_q": 4}])
def test_zeros_stay_zeros(mode, keys):
    q = quantizer(mode=mode, **keys)
    assert q(torch.zeros(3)).tolist() == [0, 0, 0] == q.eval()(torch.zeros(3)).tolist()
    assert torch.isfinite(q(torch.ones(3))).all()


# --- ranges of least error -------------------------------------------------------------------------------------------


def test_the_clip_of_normal_values_is_the_published_one():
    """Banner et al., table 1: 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92 deviations for 2 … 8 bits."""
    published = [1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92]
    assert [gaussian_clip(bits) for bits in range(2, 9)] == pytest.approx(published, abs=0.01)
    values = normal(2000) * 0.2
    _, high = range_of(values, QuantParams(bits=3, quantype="fake", range_setting="MSE_analysis"))
    assert high.item() == pytest.approx(2.15 * 0.2, rel=0.05)
    _, high = range_of(values, QuantParams(bits=16, quantype="fake", range_setting="MSE_analysis"))
    assert high == values.abs().max()  # not the clip of 5.9 deviations, where there is nothing


def error_of(values: Tensor, step: float, bits: int) -> float:
    """Mean square error of rounding and clipping."""
    exact = values.double()
    rounded = torch.floor(exact / step + 0.5).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
    return (rounded - exact).square().mean().item()


@pytest.mark.parametrize("quantype, bits", [("fake", 2), ("fake", 4), ("fake", 8), ("fxp", 3), ("fxp", 4)])
def test_the_simulated_range_has_the_least_error_of_all(quantype, bits):
    values = normal(500)
    q = quantizer("w", bits=bits, quantype=quantype, range_setting="MSE_simulation")
    found = (q(values) - values).square().mean().item()
    steps = 2.0 ** torch.arange(-12, 4, 1.0 if quantype == "fxp" else 0.005)
    best = min(error_of(values, step, bits) for step in steps.tolist())
    widest = (quantizer("w", bits=bits, quantype=quantype)(values) - values).square().mean().item()
    assert best * 0.999 <= found <= min(best * 1.05, widest)
    assert bits == 8 or found < 0.9 * widest  # in few bits it is worth while to clip


@pytest.mark.parametrize("setting", ["MSE_simulation", "MSE_analysis"])
def test_ranges_of_least_error_take_the_sign_of_the_values(setting):
    x = normal(500).abs() + 0.5
    _, largest = range_of(x, QuantParams(quantype="fake", is_asymmetric=True))
    low, high = range_of(x, QuantParams(bits=4, quantype="fake", is_asymmetric=True, range_setting=setting))
    assert low == 0 and 0.5 * largest < high <= largest
    low, high = range_of(-x, QuantParams(bits=4, quantype="fake", is_asymmetric=True, range_setting=setting))
    assert high == 0 and -largest <= low < -0.5 * largest


# --- learned steps ---------------------------------------------------------------------------------------------------


def test_a_learned_step_starts_as_lsq_says_and_is_a_parameter_from_the_start():
    q, w = quantizer("w", bits=3, quantype="fake", LSQ=True), normal(200)
    assert [name for name, _ in q.named_parameters()] == ["step"]
    q(w)
    assert q.step.item() == pytest.approx(2 * w.abs().mean().item() / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("roundtype", sorted(ROUNDING))
def test_the_gradients_of_a_learned_step_are_those_of_lsq(roundtype):
    """Esser et al., eq. 3 and 5: ds = R(w/s) − w/s inside, −Q_n or Q_p outside, times 1/√(N·Q_p)."""
    q, w = quantizer("w", bits=3, quantype="fake", LSQ=True, roundtype=roundtype), (normal(200) ** 3).requires_grad_()
    weights = normal(200, seed=1)
    (q(w) * weights).sum().backward()
    a = w.detach().double() / q.step.item()
    inside = (a >= -4) & (a <= 3)
    assert 20 < inside.sum() < 190
    rounded = torch.tensor([float(ROUNDING[roundtype](Fraction(value))) for value in a.tolist()], dtype=torch.double)
    slope = torch.where(inside, rounded - a, a.clamp(-4, 3))
    expected = (weights.double() * slope).sum() / math.sqrt(3 * 200)
    assert q.step.grad.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.equal(w.grad != 0, inside) and torch.allclose(w.grad[inside], weights[inside])


@pytest.mark.parametrize("quantype, share", [("fake", 1.1), ("fxp", 1.5)])  # fxp keeps jumping to and fro
def test_training_a_step_lowers_the_error(quantype, share):
    q, w = quantizer("w", bits=3, quantype=quantype, LSQ=True), normal(1000)
    q(w)
    nn.init.constant_(q.step, 3.0)
    optimizer = torch.optim.Adam(q.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (q(w) - w).square().mean()
        loss.backward()
        optimizer.step()
    steps = [0.5, 1.0] if quantype == "fxp" else [0.01 * k for k in range(40, 90)]
    assert loss.item() < share * min(error_of(w, step, 3) for step in steps) < 0.2 * error_of(w, 3.0, 3)


@pytest.mark.parametrize("quantype", ["fake", "fxp"])
def test_a_learned_step_gives_the_same_in_training_and_evaluation(quantype):
    q, x = quantizer("act", bits=4, quantype=quantype, LSQ=True), normal(500)
    q(x)
    nn.init.constant_(q.step, 0.3)
    assert torch.equal(q(x), q.eval()(x))
    if quantype == "fxp":
        assert q.fractional_bits == 2 and torch.equal(q(x) * 4, (q(x) * 4).round())


def test_a_learned_step_that_became_negative_counts_by_its_size():
    q, x = quantizer("act", bits=4, quantype="fake", LSQ=True), normal(100)
    q(x)
    nn.init.constant_(q.step, 0.3)
    expected, gradient = q(x), torch.autograd.grad(q(x).square().sum(), q.step)[0]
    nn.init.constant_(q.step, -0.3)
    assert torch.equal(q(x), expected)
    assert torch.autograd.grad(q(x).square().sum(), q.step)[0] == -gradient


def test_a_frozen_step_learns_no_more():
    q, x = quantizer("act", quantype="fake", LSQ=True), normal(100).requires_grad_()
    q(x)
    q.freeze()
    q(x).sum().backward()
    assert q.step.grad is None and x.grad is not None


# --- the module ------------------------------------------------------------------------------------------------------


def test_a_kind_takes_its_own_keys():
    params = {"bits": 8, "w": {"bits": 3}, "input": {"quant_enable": False}}
    assert Quantizer(params, "w").bits == 3 and Quantizer(params, "v").bits == 8 == Quantizer(params).bits
    x, bias = normal(4), normal(2)
    assert Quantizer(params, "input")(x) is x
    assert Quantizer(params, "input")(x, bias) == (x, bias)
    assert Quantizer(params, "input").fractional_bits is None
    with pytest.raises(ValueError, match=r"kind must be one of 'act', .*, got 'weights'"):
        Quantizer(params, "weights")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_outputs_have_the_dtype_of_the_input_and_half_precision_is_rounded_in_single(dtype):
    x = (normal(200) * 4).to(dtype)
    outputs = quantizer(bits=6)(x)
    assert outputs.dtype == dtype
    assert outputs.double().tolist() == fixed(x.double().tolist(), Fraction(1, 2), 6, "nearest")


@pytest.mark.parametrize("keys", [{}, {"quantype": "fake", "is_asymmetric": True}, {"LSQ": True}])
def test_a_range_seen_in_inference_mode_can_be_trained_with(keys):
    q = quantizer("act", **keys)
    with torch.inference_mode():
        q(normal(10))
    x = normal(10).requires_grad_()
    for _ in range(2):  # ranges are replaced while the graph of an earlier step still needs the old ones
        y = q(x * 2)
        q(x * 9)
        y.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_it_prints_what_is_not_the_default():
    assert repr(quantizer("w", bits=4, w={"roundtype": "floor"})) == "Quantizer(bits=4, roundtype=floor, kind=w)"
