"""lava-dl's batch normalization: its numbers, its power of two, its statistics, and its gradient."""

import math
from functools import partial

import pytest
import torch

from snntrain.lava_exchange import BatchNorm2d, CubaLIFNode, quantize_8b

X = torch.tensor(
    [
        [[[1.0, 2.0], [3.0, -1.0]], [[0.5, 0.25], [4.0, -2.0]]],
        [[[0.0, 1.5], [-2.5, 1.0]], [[3.0, 1.0], [2.0, -0.75]]],
    ]
)


def test_training_and_evaluation_give_the_numbers_of_lava_dl():
    """Computed by lava-dl 0.6.0's WgtScaleBatchNorm: X in training, 3·X in training, X in evaluation."""
    norm = BatchNorm2d(2)
    trained = [0.1875, 0.6875, 1.1875, -0.8125, -0.25, -0.375, 1.5, -1.5]
    trained += [-0.3125, 0.4375, -1.5625, 0.1875, 1.0, 0.0, 0.5, -0.875]
    assert norm(X).flatten().tolist() == trained
    assert norm.running_mean.tolist() == pytest.approx([0.0625, 0.1])
    assert norm.running_var.tolist() == pytest.approx([0.27118054032325745])
    norm(3 * X)
    norm.eval()
    evaluated = [0.378125, 0.878125, 1.378125, -0.621875, 0.055, -0.07, 1.805, -1.195]
    evaluated += [-0.121875, 0.628125, -1.371875, 0.378125, 1.305, 0.305, 0.805, -0.57]
    assert norm(X).flatten().tolist() == pytest.approx(evaluated, abs=1e-6)
    assert norm.running_var.tolist() == pytest.approx([2.684687614440918])


@pytest.mark.parametrize("gain, bits", [(1e-4, 3), (0.3, 3), (1.0, 3), (5.0, 3), (1e4, 3), (1e4, 1), (5.0, 0)])
def test_the_scale_is_the_next_power_of_two_within_its_bits(gain, bits):
    x = gain * X
    deviation = math.sqrt(float(x.var(correction=0)) + 1e-5)
    exponent = max(-bits, min(bits, math.ceil(math.log2(deviation))))
    expected = (x - x.mean((0, 2, 3), keepdim=True)) / 2.0**exponent
    torch.testing.assert_close(BatchNorm2d(2, weight_exp_bits=bits)(x), expected)


def test_the_mean_passes_through_the_hook():
    norm = BatchNorm2d(2, pre_hook_fx=partial(quantize_8b, scale=4))
    means = quantize_8b(X.mean((0, 2, 3)), 4).view(1, 2, 1, 1)
    assert means.flatten().tolist() != X.mean((0, 2, 3)).tolist()
    torch.testing.assert_close(norm(X), (X - means) / 2)


def test_without_tracking_the_batch_counts_in_evaluation_too():
    norm = BatchNorm2d(2, track_running_stats=False)
    expected = norm(X)
    assert torch.equal(norm.eval()(X), expected) and norm.running_mean.tolist() == [0, 0]


def test_evaluation_leaves_the_statistics_alone():
    norm = BatchNorm2d(2)
    norm(X)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.eval()(5 * X)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_the_gradient_passes_through_the_mean_and_not_through_the_scale():
    x = X.double().requires_grad_()
    g = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view_as(x)
    (found,) = torch.autograd.grad((BatchNorm2d(2)(x) * g).sum(), x)
    torch.testing.assert_close(found, (g - g.mean((0, 2, 3), keepdim=True)) / 2)


def test_in_a_neuron_it_gives_the_numbers_of_lava_dl():
    """Computed by lava-dl 0.6.0 in evaluation, potentials times 4096."""
    norm = BatchNorm2d(2).eval()
    norm.running_mean, norm.running_var = torch.tensor([0.3, -0.2]), torch.tensor([0.2])
    x = torch.tensor([70, 40, -90, 128, 6, 54, -22, 100, 34, -8, 62, -254]) / 64
    node = CubaLIFNode(0.5, 0.25, v_threshold=0.5, norm=norm, step_mode="m", backend="torch")
    out = node(torch.stack([x, -x], 1).view(12, 1, 2, 1, 1)).view(12, 2)
    assert out.T.tolist() == [[1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert (node.voltage_state * 4096).flatten().tolist() == [-29940, 0]


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"num_features": 0}, "num_features must be an integer ≥ 1, got 0"),
        ({"eps": -1.0}, "eps must be a finite number ≥ 0, got -1.0"),
        ({"momentum": 1.5}, "momentum must be a finite number ≥ 0 and ≤ 1, got 1.5"),
        ({"track_running_stats": 1}, "track_running_stats must be True or False, got 1"),
        ({"weight_exp_bits": 2.5}, "weight_exp_bits must be an integer ≥ 0, got 2.5"),
        ({"pre_hook_fx": None}, "pre_hook_fx must be a function of the mean, got None"),
    ],
)
def test_a_bad_argument_is_refused(arguments, text):
    with pytest.raises(ValueError, match=f"^BatchNorm2d: {text}.$"):
        BatchNorm2d(**{"num_features": 2} | arguments)


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (4, 2, 5), (6, 4, 2, 5, 5)])
def test_an_input_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"^BatchNorm2d: the input must be of shape \[N, 2, H, W\], got \["):
        BatchNorm2d(2)(torch.zeros(shape))
