"""Quantized layers beside their formulas."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.functional import repeat
from snntrain.quantize import (
    QuantizationError,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedLayer,
    QuantizedLinear,
    Quantizer,
    QuantizerActProtocol,
    QuantizerInputProtocol,
    QuantParams,
)
from snntrain.quantize.current import Current, along_channels
from snntrain.quantize.integer_layer import InputQuantizer, IntegerConv2d, IntegerLinear, IntegerScale, step_of_rows
from snntrain.quantize.pooling import RateMaxPool, SumPool


def to_grid(x: Tensor, step: float, bits: int) -> Tensor:
    return (torch.floor(x / step + 0.5)).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step


# --- layers that exchange values -------------------------------------------------------------------------------------

QUANT = {"bits": 6, "quantype": "fake", "act": {"quant_enable": False}, "input": {"quant_enable": False}}


def test_a_quantized_linear_rounds_weight_and_bias_with_one_step_then_input_and_output():
    torch.manual_seed(0)
    layer = QuantizedLinear(4, 3, {"bits": 6, "quantype": "fake"}, activation=nn.ReLU())
    x = torch.randn(7, 4)
    largest = torch.cat([layer.weight.flatten(), layer.bias]).abs().max().item()
    weight, bias = (to_grid(p, 2 * largest / 63, 6) for p in (layer.weight, layer.bias))
    y = torch.relu(F.linear(to_grid(x, 2 * x.abs().max().item() / 63, 6), weight, bias))
    torch.testing.assert_close(layer(x), to_grid(y, 2 * y.max().item() / 63, 6))


def test_a_key_bias_gives_the_bias_its_own_quantizer():
    torch.manual_seed(0)
    layer = QuantizedLinear(4, 3, {**QUANT, "bias": {"bits": 2}})
    assert isinstance(layer.quantizer_bias, Quantizer) and layer.quantizer_bias.bits == 2
    _, bias = layer.quantized_parameters()
    assert bias.unique().numel() <= 3
    assert QuantizedLinear(4, 3, QUANT).quantizer_bias is None


@pytest.mark.parametrize("kind, shape", [(QuantizedConv1d, (9,)), (QuantizedConv2d, (9, 9))])
def test_quantized_convolutions_are_torchs_with_rounded_weights(kind, shape):
    torch.manual_seed(0)
    layer = kind(4, 6, QUANT, kernel_size=3, stride=2, padding=1, dilation=2, groups=2, step_mode="m")
    x = torch.randn(3, 2, 4, *shape)
    largest = torch.cat([layer.weight.flatten(), layer.bias]).abs().max().item()
    weight, bias = (to_grid(p, 2 * largest / 63, 6) for p in (layer.weight, layer.bias))
    convolve = F.conv1d if len(shape) == 1 else F.conv2d
    expected = convolve(x.flatten(0, 1), weight, bias, 2, 1, 2, 2).unflatten(0, (3, 2))
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_norm", [True, False])
def test_a_quantized_layer_from_one_of_torch_and_its_normalization(bias, with_norm):
    torch.manual_seed(0)
    pairs = [
        (nn.Linear(4, 3, bias), QuantizedLinear, (4,)),
        (nn.Conv2d(2, 3, 3, 2, 1, bias=bias), QuantizedConv2d, (2, 6, 6)),
    ]
    for module, kind, shape in pairs:
        norm = nn.BatchNorm1d(3) if kind is QuantizedLinear else nn.BatchNorm2d(3)
        for p in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            p.data.uniform_(0.5, 2.0)
        x = torch.randn(5, *shape)
        expected = norm.eval()(module(x)) if with_norm else module(x)
        many_bits = {"bits": 24, "quantype": "fake"}
        layer = kind.from_module(module, many_bits, norm if with_norm else None)
        assert (layer.bias is None) == (not bias and not with_norm)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_protocols_and_properties_of_quantized_layers():
    layer = QuantizedConv2d(1, 2, {"bits": 8, "w": {"bits": 4}, "act": {"force_q": 5}})
    assert isinstance(layer, (QuantizedLayer, QuantizerInputProtocol, QuantizerActProtocol))
    assert isinstance(layer, QuantizerInputProtocol) and isinstance(layer, QuantizerActProtocol)
    assert (layer.bits, layer.fractional_bits, layer.weights_bits) == (8, 5, 4)
    with torch.no_grad():
        layer.weight.fill_(0.3), layer.bias.zero_()
    layer(torch.rand(1, 1, 5, 5))
    assert layer.weights_q == 4  # 0.3 < 2^−1: 4 − 1 − (−1)
    assert not isinstance(nn.Linear(1, 1), QuantizerActProtocol)
    with pytest.raises(ValueError, match="activation must be a module"):
        QuantizedLinear(1, 1, {}, activation=torch.relu)


# --- layers of a prepared net ----------------------------------------------------------------------------------------


def integer_linear(weight: Tensor, b: Tensor | None = None, step: float = 0.1, **quant: object) -> IntegerLinear:
    layer = IntegerLinear(weight.shape[1], weight.shape[0], b is not None)
    layer.weight = nn.Parameter(weight)
    if b is not None:
        layer.bias = nn.Parameter(b)
    layer.set_up(QuantParams.of({"bits": 4, "quantype": "fake", **quant}), 1, False, 1)
    layer.input_step.fill_(1.0)
    current = Current(1, learnable=bool(quant.get("LSQ")))
    current.settle(torch.tensor([step]))
    layer.count_in(current)
    return layer


def test_integers_of_weights_and_biases():
    layer = integer_linear(torch.tensor([[0.24, -0.26, 5.0], [-5.0, 0.05, 0.0]]), torch.tensor([0.31, -123.0]))
    assert layer.integer_weight().tolist() == [[2.0, -3.0, 7.0], [-8.0, 1.0, 0.0]]
    assert layer.integer_bias().tolist() == [3.0, -1230.0]
    y = layer(torch.tensor([[[1.0, 0.0, 1.0]]]))
    assert y.tolist() == [[[12.0, -1238.0]]]
    assert layer.largest_sum() == 8 + 1 + 1230


def test_a_bias_has_as_many_bits_as_it_is_given():
    layer = integer_linear(torch.ones(2, 1), torch.tensor([100.0, -100.0]), bias={"bits": 4})
    assert layer.integer_bias().tolist() == [7.0, -7.0]


def test_gradients_of_weights_stop_where_they_are_clipped():
    layer = integer_linear(torch.tensor([[0.24, -5.0, 5.0, 0.7]]))
    (layer.integer_weight() * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[10.0, 0.0, 0.0, 40.0]]))  # 1/step, 0 outside


def test_a_learned_step_has_the_gradient_of_lsq():
    """Beside LSQ in values, by autograd: ŵ = s·clip(R(w/s)), straight through R, the step's gradient by 1/√(Q·n)."""
    torch.manual_seed(0)
    weight, wanted = torch.randn(3, 5) * 0.4, torch.randn(3, 5)
    layer = integer_linear(weight.clone(), LSQ=True)
    log2_step = layer.current.log2_step
    step = torch.exp2(log2_step.detach()).requires_grad_()
    w = weight.clone().requires_grad_()
    a = w / step
    q = (a + (torch.floor(a + 0.5) - a).detach()).clamp(-8, 7)
    ((q * step) * wanted).sum().backward()
    # The layer gives q; what comes back to it is the gradient of ŵ in steps.
    (layer.integer_weight() * wanted * step.detach()).sum().backward()
    torch.testing.assert_close(layer.weight.grad, w.grad)
    expected = step.grad / math.sqrt(7 * 15) * step.detach() * math.log(2)
    torch.testing.assert_close(log2_step.grad, expected)


@pytest.mark.parametrize("power_of_two", [True, False])
def test_steps_of_weights_by_range(power_of_two):
    rows = torch.tensor([[0.5, -1.4, 0.2], [0.01, 0.02, -0.03], [0.0, 0.0, 0.0]])
    params = QuantParams(bits=4, power_of_two=power_of_two)
    step = step_of_rows(rows, params)
    expected = [0.25, 2.0**-7] if power_of_two else [0.2, 0.03 / 7]
    torch.testing.assert_close(step[:2], torch.tensor(expected))
    assert step[2].isnan()
    forced = step_of_rows(rows, QuantParams(bits=4, force_q=3))
    assert forced.tolist() == [0.125] * 3


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_steps_of_least_error_have_less_error_than_those_of_the_range(bits):
    torch.manual_seed(0)
    rows, errors = torch.randn(4, 2000), {}
    for setting in ("minmax", "MSE_simulation", "MSE_analysis"):
        params = QuantParams(bits=bits, quantype="fake", range_setting=setting)
        step = step_of_rows(rows, params).unsqueeze(1)
        q = torch.floor(rows / step + 0.5).clamp(params.smallest, params.largest) * step
        errors[setting] = (q - rows).square().mean().item()
    assert errors["MSE_simulation"] < 0.5 * errors["minmax"]
    assert errors["MSE_simulation"] <= errors["MSE_analysis"] * 1.01 < 1.01 * errors["minmax"]


def test_a_current_keeps_its_step_on_the_grid_and_above_the_floor():
    current = Current(3)
    current.settle(torch.tensor([0.3, 0.01, 7.0]), floor=torch.tensor([0.1]), grid=torch.tensor([1.0]))
    torch.testing.assert_close(current.value(), torch.tensor([1 / 3, 0.1, 1.0]))
    before = current.value().clone()
    current.settle(before, floor=torch.tensor([0.1]), grid=torch.tensor([1.0]))
    assert torch.equal(current.value(), before)
    current = Current(2, power_of_two=True)
    current.settle(torch.tensor([0.3, 0.01]), floor=torch.tensor([0.07]))
    assert current.value().tolist() == [0.25, 0.125]


def test_sums_that_do_not_fit_are_refused_by_name():
    layer = integer_linear(torch.full((1, 1000), 1.0), step=1e-4, w={"bits": 16})
    layer.input_largest = 255
    with pytest.raises(
        QuantizationError,
        match=r"layers\.3 .* sums of up to 2,550,000,000 may occur",
    ):
        layer.check_exact("layers.3", layer.largest_sum())


def test_a_repeated_step_is_computed_once_and_gives_the_same():
    torch.manual_seed(0)
    layer = IntegerConv2d(2, 3, 3)
    layer.set_up(QuantParams.of({"bits": 8}), 255, True, 1)
    layer.input_step.fill_(1.0)
    current = Current(3)
    current.settle(torch.full((3,), 0.01))
    layer.count_in(current)
    layer.step_mode = "m"
    x = torch.randint(0, 200, (2, 2, 5, 5)).float()
    y = layer(repeat(x, 4))
    assert torch.equal(y, layer(x.expand(4, -1, -1, -1, -1))) and y.stride(0) == 0
    assert torch.equal(y, y.round())


def test_half_precision_and_autocast_do_not_cut_integers():
    layer = integer_linear(torch.full((1, 4096), 0.7), step=0.1)
    x = torch.ones(1, 1, 4096)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16()).item() == 7 * 4096


def test_a_scale_multiplies_channels():
    layer = IntegerScale(torch.tensor([0.5, -0.25]))
    layer.set_up(QuantParams.of({"bits": 4, "quantype": "fake"}), 1, False, 1)
    layer.input_step.fill_(1.0)
    current = Current(2)
    current.settle(torch.tensor([0.1, 0.1]))
    layer.count_in(current)
    assert layer(torch.ones(1, 1, 2, 2)).flatten().tolist() == [5, 5, -2, -2]
    assert layer.largest_sum() == 5


@pytest.mark.parametrize(
    "x, per_step, limits",
    [
        (torch.tensor([0.0, 1.0, 3.0]), 1.0, [0, 15]),  # integers that fit: as they are
        (torch.tensor([0.0, 0.5, 3.0]), 5.0, [0, 15]),
        (torch.tensor([0.0, 16.0, 30.0]), 0.5, [0, 15]),  # integers that do not
        (torch.tensor([-0.7, 0.1, 0.2]), 10.0, [-8, 7]),
        (torch.zeros(3), 1.0, [0, 15]),
    ],
)
def test_the_range_of_the_input(x, per_step, limits):
    quantizer = InputQuantizer(QuantParams.of({"bits": 4, "quantype": "fake"}))
    quantizer.observe(x)
    quantizer.settle()
    assert quantizer.per_step.item() == pytest.approx(per_step) and quantizer.limits.tolist() == limits
    found = quantizer(x.view(1, 1, -1)).flatten()
    assert torch.equal(found, torch.floor(x * quantizer.per_step + 0.5).clamp(*limits))


def test_powers_of_two_also_for_the_input_and_nan_is_refused():
    quantizer = InputQuantizer(QuantParams.of({"bits": 4}))
    quantizer.observe(torch.tensor([0.1, 3.0]))
    quantizer.settle()
    assert quantizer.per_step.item() == 4.0
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantizer.observe(torch.tensor([torch.nan]))


def test_sums_stand_for_means_and_maxima_of_rates_for_maxima():
    torch.manual_seed(0)
    x = torch.randint(0, 3, (5, 2, 3, 6, 6)).float()
    pool = SumPool(3, 2, 1)
    expected = F.avg_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, (5, 2)) * 9
    torch.testing.assert_close(pool(x), expected)
    rate = RateMaxPool(nn.MaxPool2d(2))
    y = torch.cat([rate(x[:2]), rate(x[2:])])
    torch.testing.assert_close(y.sum(0), F.max_pool2d(x.sum(0), 2))
    torch.testing.assert_close(y[:3].sum(0), F.max_pool2d(x[:3].sum(0), 2))


def test_values_along_channels():
    x = torch.zeros(2, 6, 4)
    assert along_channels(torch.tensor([3.0]), x).shape == (1, 1, 1)
    assert along_channels(torch.arange(6.0), x)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert along_channels(torch.arange(2.0), x)[0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert along_channels(torch.zeros(6, 4), x).shape == (1, 6, 4)
    with pytest.raises(ValueError, match="fits neither the channels"):
        along_channels(torch.zeros(5), x)


def test_copies_of_a_layer_keep_their_current():
    pair = nn.ModuleList([integer_linear(torch.ones(2, 2)), integer_linear(torch.ones(2, 2))])
    pair[1].count_in(pair[0].current)
    pair = copy.deepcopy(pair)
    assert pair[0].current is pair[1].current
