"""Mode 'qualia', beside numbers computed by hand and plain loops; beside the reference itself: tests/peers."""

import math
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from snntrain.quantize import Quantizer, QuantParams, qualia
from snntrain.quantize.qualia import Hyperparameters
from snntrain.surrogate import Sigmoid


def quantizers(**quant_params: Any) -> SimpleNamespace:
    kinds = ("input", "v", "act")
    made = {f"quantizer_{kind}": Quantizer({**quant_params, "mode": "qualia"}, kind) for kind in kinds}
    return SimpleNamespace(**made, train=lambda on: [quantizer.train(on) for quantizer in made.values()])


def run(q: SimpleNamespace, x_seq: Tensor, p: Hyperparameters, training: bool = True, **switches: Any) -> tuple:
    """Spikes and potentials of all steps, and the hyper-parameters after the last one."""
    q.train(training)
    v = torch.full_like(x_seq[0], p.v_reset or 0.0)
    spikes, potentials = [], []
    for x in x_seq:
        s, v, p = qualia.neuron_step(x, v, p, q, Sigmoid(4.0), training=training, **switches)
        spikes.append(s)
        potentials.append(v)
    return torch.stack(spikes), torch.stack(potentials), p


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- neurons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "v_reset, inputs, potentials, spikes",
    [
        (None, [0.7, 0.5, 0.75, -0.75], [0.75, 0.25, 0.0, -0.75], [0, 1, 1, 0]),
        (0.0, [0.7, 0.5, 0.75, -2.6], [0.75, 0.0, 0.75, -1.25], [0, 1, 0, 0]),
    ],
)
def test_an_if_neuron_counts_in_quarters(v_reset, inputs, potentials, spikes, training):
    """By hand: 4 bits with 2 of them behind the point, [−2, 1.75]; 0.7 → 0.75 (2.8 → 3), −2.6 → −2."""
    q = quantizers(bits=4, force_q=2, act={"quant_enable": False})
    found, v, _ = run(q, torch.tensor(inputs).view(-1, 1), Hyperparameters(1.0, v_reset), training)
    assert found.flatten().tolist() == spikes and v.flatten().tolist() == potentials


def test_a_lif_neuron_leaks_by_a_rounded_rate():
    """By hand: 1/3 in 1/8 is 3/8 (2.67 → 3), h = v + (x − v)·3/8 in training, rounded to eighths."""
    q = quantizers(bits=8, force_q=3, act={"quant_enable": False})
    s, v, p = run(q, torch.tensor([[1.0], [2.0], [2.0]]), Hyperparameters(1.0, 0.0, tau=3.0))
    assert p.tau == pytest.approx(8 / 3)
    # 0.375;  0.375 + 1.625·0.375 = 0.984 → 7.875 eighths → 1.0, a spike;  0.75
    assert (s.flatten().tolist(), v.flatten().tolist()) == ([0, 1, 0], [0.375, 0.0, 0.75])


@pytest.mark.parametrize(
    "v_reset, training, factored", [(None, True, True), (None, False, True), (0.0, True, True), (0.0, False, False)]
)
def test_the_leak_without_decayed_input_has_two_forms(v_reset, training, factored):
    x, v = uniform(2000), uniform(2000, seed=1)
    h = qualia.charge(x, v, Hyperparameters(1.0, v_reset, tau=3.0), False, training)
    product, difference = v * (1 - 1 / 3.0) + x, v - v / 3.0 + x
    assert torch.equal(h, product if factored else difference) and not torch.equal(product, difference)


def test_hyperparameters_drift_when_the_range_widens():
    """spec: tau 3.0 → 2.909. By hand: 1/3 → 21/64 → 10.5/32, a tie, 11/32 → 5.5/16, 6/16; at once it were 5/16."""
    q, p = quantizers(bits=8), Hyperparameters(1.0, 0.0, tau=3.0)
    found = []
    for v in (0.5, 2.5, 5.0):
        _, p = qualia.quantize_together(torch.tensor([v]), p, q.quantizer_v)
        found.append(1 / p.tau)
    assert found == [21 / 64, 11 / 32, 6 / 16] and p.v_threshold == 1.0
    _, p = qualia.quantize_together(torch.tensor([5.0]), Hyperparameters(1.0, 0.0, tau=3.0), quantizers().quantizer_v)
    assert 1 / p.tau == 5 / 16


def test_a_spike_that_does_not_fit_comes_out_smaller():
    """spec: force_q = 7 with 8 bits turns a spike 1.0 into 0.992."""
    s, _, _ = run(quantizers(bits=8, force_q=7), torch.tensor([[0.9], [0.9]]), Hyperparameters(0.5, 0.0))
    assert s.flatten().tolist() == [127 / 128, 127 / 128]


@pytest.mark.parametrize("v_reset", [None, 0.0])
@pytest.mark.parametrize("tau", [None, 2.0])
def test_training_and_evaluation_differ_unless_rounding_is_floor(tau, v_reset):
    """floor(h) ≥ θ just where h ≥ θ, for θ on the grid; nearest rounds up to θ what has not reached it."""
    x_seq = uniform(20, 500) * 1.5
    for roundtype in ("nearest", "floor"):
        q = quantizers(bits=6, roundtype=roundtype, input={"quant_enable": False}, act={"quant_enable": False})
        p = run(q, x_seq, Hyperparameters(1.0, v_reset, tau))[2]  # ranges and hyper-parameters have settled
        q.quantizer_v.freeze()
        differ = (run(q, x_seq, p)[0] != run(q, x_seq, p, training=False)[0]).float().mean().item()
        assert differ == 0 if roundtype == "floor" else 0.001 < differ < 0.2


@pytest.mark.parametrize("training", [True, False])
def test_a_rate_that_rounds_to_zero_stays_as_it_is(training):
    q = quantizers(bits=4, force_q=0, act={"quant_enable": False})
    with pytest.warns(
        RuntimeWarning, match=r"1/tau = 0\.3333 rounds to 0 and is not quantized\. Give the potential more"
    ):
        s, v, p = run(q, torch.tensor([[3.0], [3.0]]), Hyperparameters(1.0, 0.0, tau=3.0), training)
    assert p.tau == 3.0 and s.flatten().tolist() == [1, 1] and torch.isfinite(v).all()


def test_hyperparameters_are_packed_in_the_order_threshold_rate_reset():
    device = torch.device("cpu")
    for p, packed in [
        (Hyperparameters(0.75), [0.75, 0.0]),
        (Hyperparameters(0.75, None), [0.75]),
        (Hyperparameters(0.75, -0.5, 4.0), [0.75, 0.25, -0.5]),
        (Hyperparameters(0.75, None, 4.0), [0.75, 0.25]),
    ]:
        values = p.tensor(device, torch.float64)
        assert values.tolist() == packed and values.dtype == torch.float64
        assert p.replaced(values) == p
        changed = p.replaced(values * 2)
        assert changed.tensor(device, torch.float64).tolist() == [2 * value for value in packed]


def test_gradients_flow_through_time_and_detach_reset_cuts_one_way():
    x_seq = uniform(4, 50)
    gradients = []
    for detach_reset in (False, True):
        leaf = x_seq.clone().requires_grad_()
        s, _, _ = run(quantizers(bits=8), leaf, Hyperparameters(0.6, None, 2.0), detach_reset=detach_reset)
        s[-1].sum().backward()
        gradients.append(leaf.grad)
    assert all((gradient[0] != 0).all() for gradient in gradients)
    assert torch.equal(gradients[0][-1], gradients[1][-1]) and not torch.equal(gradients[0][0], gradients[1][0])


def test_an_atif_neuron_subtracts_its_threshold_and_fires_its_quantized_one():
    """By hand: θ = 0.7, in quarters 0.75 (2.8 → 3); fires where h − θ rounds to 0 or more."""
    q = quantizers(bits=6, force_q=2)
    theta, v = torch.tensor([0.7], requires_grad=True), torch.zeros(1)
    outputs, potentials = [], []
    for x in (0.5, 0.25, 0.5, 0.5):
        y, v = qualia.atif_step(torch.tensor([x]), v, theta, q, Sigmoid(1.0))
        outputs.append(y.item())
        potentials.append(v.item())
    # h − θ: −0.2 → −1 quarter;  0.05 → 0, rest 0.05 → 0;  −0.2;  0.3 → 1 quarter, the rest
    assert outputs == [0, 0.75, 0, 0.75] and potentials == [0.5, 0, 0.5, 0.25]
    y.sum().backward()
    assert theta.grad.item() != 0


# --- ranges ----------------------------------------------------------------------------------------------------------


def gaussian_error(bound: float, sigma: float, bits: int) -> float:
    """Mean square error of values N(0, σ²) clipped to ±bound and rounded to 2^bits steps."""
    outside = (sigma**2 + bound**2) * math.erfc(bound / (sigma * math.sqrt(2)))
    edge = math.sqrt(2 / math.pi) * bound * sigma * math.exp(-(bound**2) / (2 * sigma**2))
    return outside - edge + bound**2 / (3 * 4**bits)


@pytest.mark.parametrize("scale, bits", [(0.1, 8), (1.0, 4), (3.0, 4), (3.0, 2)])
def test_ranges_of_least_error_are_twice_the_best_bound_not_below_one(scale, bits):
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) * scale
    params = QuantParams(bits=bits, mode="qualia", range_setting="MSE_analysis")
    low, high = qualia.range_of(values, params)
    bounds = [1 + k / 100 for k in range(7900)]
    best = min(bounds, key=lambda bound: gaussian_error(bound, values.std().item(), bits))
    assert high.item() == pytest.approx(2 * best, abs=0.041) and low == -high

    def error(bound: float) -> float:
        step = 2 * bound / 2**bits
        return sum((round(min(max(x, -bound), bound) / step) * step - x) ** 2 for x in values.tolist())

    params = QuantParams(bits=bits, mode="qualia", range_setting="MSE_simulation")
    _, high = qualia.range_of(values, params)
    best = min((1 + k / 10 for k in range(390)), key=error)
    assert high.item() == pytest.approx(2 * best, abs=1e-3)
    if scale == 0.1:
        assert high == 2  # although no value is above 0.4


def test_the_zero_point_is_clipped_to_the_range():
    """By hand: step (3 + 1)/255, −128 − round(−1/step) = −64, which the range [−1, 3] clips to −1."""
    step, zero_point = qualia.step_and_zero_point(
        torch.tensor(-1.0), torch.tensor(3.0), QuantParams(mode="qualia", quantype="fake", is_asymmetric=True)
    )
    assert step.item() == pytest.approx(4 / 255) and zero_point == -1


@pytest.mark.parametrize(
    "largest, expected", [(-math.inf, 7), (0.0, 6), (1.0, 6), (0.5, 7), (math.inf, 7), (300.0, -2)]
)
def test_fractional_bits_are_those_of_the_reference_where_there_is_no_range(largest, expected):
    assert qualia.fractional_bits(torch.tensor(largest), 8) == expected


def test_a_learned_step_rounds_ties_to_even_whatever_roundtype_says():
    q = Quantizer({"bits": 8, "LSQ": True, "roundtype": "floor", "mode": "qualia"})
    q(torch.ones(3))
    torch.nn.init.constant_(q.step, 1.0)
    assert q.eval()(torch.tensor([0.5, 1.5, 2.5, 2.9])).tolist() == [0, 2, 2, 3]


def test_nothing_warns_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(quantizers(bits=8), uniform(4, 9), Hyperparameters(1.0, 0.0, 3.0))
