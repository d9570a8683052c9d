"""Delays of layers with weights, against loops in numpy over the steps."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refused import message_of
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.layer import (
    AvgPool2d,
    AxonalDelay,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose2d,
    DelaySettings,
    DropConnectLinear,
    Linear,
    SynapticDelay,
    WSConv2d,
    WSLinear,
    delay_lines,
    interpolated,
    with_delay,
)

KINDS = ("axonal", "synaptic")


def settings_of(max: int = 5, **more) -> DelaySettings:
    return DelaySettings(max=max, **more)


def dense(kind: str, max: int = 5, inputs: int = 4, outputs: int = 3, **more) -> nn.Module:
    layer = with_delay(Linear(inputs, outputs), settings_of(max, kind=kind, **more))
    functional.set_step_mode(layer, "m")
    return layer


def line_of(layer: nn.Module) -> AxonalDelay | SynapticDelay:
    return next(iter(delay_lines(layer).values()))


def whole_numbers(layer: nn.Module) -> nn.Module:
    """Weights that are whole numbers: with spikes every sum is exact, in whatever order it is taken."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "delay" not in name:
                parameter.copy_(torch.randint(-8, 9, parameter.shape))
    return layer


def spikes(*shape: int, rate: float = 0.4) -> Tensor:
    return (torch.rand(*shape) < rate).float()


def window(delay: np.ndarray, max: int, width: float) -> np.ndarray:
    """The weights of the steps, [max, …], by their formula in float64."""
    found = np.empty((max, *delay.shape))
    for place in np.ndindex(delay.shape):
        d = min(max - 1.0, delay[place]) if delay[place] > 0 else 0.0
        g = np.array([np.exp(-((j - d) ** 2) / (2 * width**2)) for j in range(max)])
        found[(slice(None), *place)] = g / g.sum()
    return found


def dense_in_loops(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """y[t, n, o] = b[o] + Σ_i Σ_j taps[j, o, i]·w[o, i]·x[t − j, n, i]; x is [T, N, I]."""
    y = np.zeros((*x.shape[:2], len(weight)))
    for t in range(len(x)):
        for j in range(min(t + 1, len(taps))):
            y[t] += x[t - j] @ (taps[j] * weight).T
    return y + bias


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def taps_of(layer: nn.Module) -> np.ndarray:
    """[max, out, in] of a layer in training, from the parameters alone."""
    line = line_of(layer)
    taps = window(numbers(line.delay), line.how.max, float(line.width))
    return taps if taps.ndim == 3 else np.repeat(taps[:, None, :], 3, axis=1)


# --- what is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [2.5, 0.5, 0.05])
def test_training_interpolates_with_a_window_of_exponentials(kind: str, width: float):
    layer = dense(kind, start_width=width, final_width=width)
    x = torch.randn(7, 2, 4)
    expected = dense_in_loops(numbers(x), numbers(weight_of(layer)), numbers(layer.layer.bias), taps_of(layer))
    assert_close(layer(x).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def weight_of(layer: nn.Module) -> Tensor:
    return layer.layer.weight


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_rounds_every_delay_to_a_whole_step(kind: str):
    layer = dense(kind).eval()
    line = line_of(layer)
    with torch.no_grad():
        line.delay.view(-1)[:4] = torch.tensor([0.4, 1.6, 3.5, 9.0])  # halves go to the even neighbor
    x = torch.randn(7, 2, 4)
    whole = np.clip(np.rint(numbers(line.delay)), 0, 4)
    assert whole.ravel()[:4].tolist() == [0, 2, 4, 4]
    taps = np.stack([whole == j for j in range(5)]).astype(float)
    taps = taps if kind == "synaptic" else np.repeat(taps[:, None, :], 3, axis=1)
    expected = dense_in_loops(numbers(x), numbers(weight_of(layer)), numbers(layer.layer.bias), taps)
    assert_close(layer(x).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    functional.reset_net(layer)
    with interpolated(layer):
        inside = layer(x)
    functional.reset_net(layer)
    assert_close(inside, layer.train()(x))
    assert not torch.allclose(inside.double(), torch.from_numpy(expected), atol=1e-3)


def test_axonal_delays_move_spikes_without_touching_them():
    delay = AxonalDelay(3, settings_of(4), step_mode="m").eval()
    with torch.no_grad():
        delay.delay.copy_(torch.tensor([0.0, 1.0, 3.0]))
    x = torch.randn(6, 2, 3)
    y = delay(x)
    for channel, steps in enumerate((0, 1, 3)):
        assert torch.equal(y[steps:, :, channel], x[: 6 - steps, :, channel])
        assert not y[:steps, :, channel].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channels_of_pictures_are_delayed_as_a_whole(training: bool, layout: torch.memory_format):
    delay = AxonalDelay(3, settings_of(4), channel_dim=1, step_mode="m").train(training)
    x = torch.randn(10, 3, 2, 5).contiguous(memory_format=layout).unflatten(0, (5, 2))
    y = delay(x)
    flat = x.permute(0, 1, 3, 4, 2).reshape(5, -1, 3)
    other = copy.deepcopy(delay)
    other.channel_dim = -1
    other.reset()
    assert_close(y, other(flat).view(5, 2, 2, 5, 3).permute(0, 1, 4, 2, 3))


CONVOLUTIONS = [
    (lambda: Conv1d(2, 3, 3, stride=2), (2, 7)),
    (lambda: Conv2d(2, 4, 3, padding=1, groups=2, bias=False), (2, 5, 5)),
    (lambda: Conv2d(2, 4, 3, padding=1, padding_mode="circular"), (2, 5, 5)),
    (lambda: Conv3d(1, 2, 2), (1, 3, 3, 3)),
    (lambda: WSConv2d(2, 3, 3), (2, 4, 4)),
    (lambda: WSLinear(4, 3), (4,)),
]


@pytest.mark.parametrize("make, shape", CONVOLUTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_any_weight_layer_is_the_sum_of_it_over_the_delays(make, shape, kind: str, training: bool):
    plain = make()
    layer = with_delay(copy.deepcopy(plain), settings_of(3, kind=kind)).train(training)
    functional.set_step_mode(layer, "m")
    functional.set_step_mode(plain, "m")
    line = line_of(layer)
    taps = window(numbers(line.delay), 3, float(line.width))
    if not training:
        taps = np.stack([np.rint(numbers(line.delay)) == j for j in range(3)])
    x = torch.randn(4, 2, *shape)
    weight = plain.get_weight() if hasattr(plain, "get_weight") else plain.weight
    bias = plain.bias
    total = 0
    for j in range(3):
        tap = torch.from_numpy(taps[j]).float()
        past = torch.cat([torch.zeros(j, *x.shape[1:]), x[: 4 - j]])
        if kind == "axonal":
            past = past * tap.view(-1, *[1] * (len(shape) - 1))
        plain_weight = weight if kind == "axonal" else weight * tap
        one = Linear(4, 3, bias=False) if isinstance(plain, nn.Linear) else copy.deepcopy(plain)
        one.__class__ = {WSConv2d: Conv2d, WSLinear: Linear}.get(type(plain), type(plain))
        one.bias, one.step_mode = None, "m"
        one.weight = nn.Parameter(plain_weight.detach())
        total = total + one(past)
    if bias is not None:
        total = total + (bias if isinstance(plain, nn.Linear) else bias.view(-1, *[1] * (len(shape) - 1)))
    assert_close(layer(x), total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str):
    layer = dense(kind, max=4, inputs=2, outputs=2).double()
    line = line_of(layer)
    with torch.no_grad():  # within the range, where the window is smooth
        line.delay.clamp_(0.2, 2.8)
    x = torch.randn(5, 2, 2, dtype=torch.double, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        functional.reset_net(layer)
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_a_delay_beyond_the_range_keeps_the_gradient_that_leads_back():
    delay = AxonalDelay(4, settings_of(5, start_width=1.0), step_mode="m")
    with torch.no_grad():
        delay.delay.copy_(torch.tensor([-1.0, -1.0, 6.0, 6.0]))
    x = torch.randn(9, 2, 4)
    y = delay(x)
    inside = copy.deepcopy(delay)
    inside.reset()
    with torch.no_grad():
        inside.delay.clamp_(0, 4)
    assert torch.equal(y, inside(x))
    for sign in (1, -1):
        delay.reset()
        delay.delay.grad = None
        (gradient,) = torch.autograd.grad(delay(x).cumsum(0).mul(sign).sum(), delay.delay)
        leads_in = torch.tensor([-1.0, -1.0, 1.0, 1.0]) * gradient > 0  # descent moves against it
        assert ((gradient == 0) | leads_in).all()


# --- state -----------------------------------------------------------------------------------------------------------


def pieces(module: nn.Module, x: Tensor, sizes: list[int]) -> Tensor:
    """The outputs of consecutive calls on pieces of a sequence; a piece of size 0 stands for one step in 's'."""
    out, start = [], 0
    for size in sizes:
        functional.set_step_mode(module, "m" if size else "s")
        piece = x[start : start + max(size, 1)]
        out.append(module(piece) if size else module(piece[0])[None])
        start += max(size, 1)
    functional.set_step_mode(module, "m")
    return torch.cat(out)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    learn=st.booleans(),
    most=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    conv=st.booleans(),
    seed=st.integers(0, 100),
)
def test_chunks_and_single_steps_are_the_whole_sequence(kind, learn, most, sizes, conv, seed):
    torch.manual_seed(seed)
    layer, shape = (Conv2d(2, 3, 2), (2, 3, 3)) if conv else (Linear(4, 3), (4,))
    layer = whole_numbers(with_delay(layer, settings_of(most, kind=kind, learn=learn))).eval()
    functional.set_step_mode(layer, "m")
    x = spikes(sum(max(size, 1) for size in sizes), 2, *shape)
    whole = layer(x)
    line = line_of(layer).line
    functional.reset_net(layer)
    assert torch.equal(pieces(layer, x, sizes), whole)
    assert torch.equal(line_of(layer).line, line)


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(KINDS), sizes=st.lists(st.integers(0, 4), min_size=2, max_size=5), seed=st.integers(0, 100))
def test_gradients_of_chunks_are_those_of_the_whole_sequence(kind, sizes, seed):
    torch.manual_seed(seed)
    layer = dense(kind, max=4)
    x = torch.randn(sum(max(size, 1) for size in sizes), 2, 4, requires_grad=True)
    gradients = []
    for run in (lambda: layer(x), lambda: pieces(layer, x, sizes)):
        functional.reset_net(layer)
        gradients.append(torch.autograd.grad(run().square().sum(), (x, *layer.parameters())))
    for ours, theirs in zip(*gradients, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_arrives_after_the_end_of_a_sequence_is_dropped(kind: str):
    layer = dense(kind, init=3, learn=False).eval()
    x = torch.zeros(4, 1, 4)
    x[2:] = 1  # it would arrive at steps 5 and 6
    assert torch.equal(layer(x), layer.layer.bias.expand(4, 1, 3))
    functional.reset_net(layer)
    assert torch.equal(layer(torch.zeros(4, 1, 4)), layer.layer.bias.expand(4, 1, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_that_of_other_stateful_layers(kind: str):
    layer = dense(kind)
    names = {"axonal": ["delay.delay", "delay.width"], "synaptic": ["delay", "width"]}[kind]
    assert [name for name in layer.state_dict() if not name.startswith("layer.")] == names
    layer(spikes(3, 2, 4))
    copied = copy.deepcopy(layer)
    assert torch.equal(line_of(copied).line, line_of(layer).line)
    assert torch.equal(layer.eval()(x := spikes(2, 2, 4)), copied.eval()(x))
    layer.reset() if kind == "synaptic" else functional.reset_net(layer)
    other = dense(kind)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), other.eval()(x))
    assert "line" in message_of(RuntimeError, layer, spikes(2, 3, 4))  # another batch, without a reset


def test_half_precision_keeps_its_dtype():
    for kind in KINDS:
        layer = dense(kind)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(spikes(3, 2, 4)).dtype == torch.bfloat16


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_width_shrinks_exponentially_until_a_share_of_the_training():
    line = AxonalDelay(2, settings_of(8, final_width=0.5, until=0.5))
    widths = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        line.anneal(progress)
        widths.append(float(line.width))
    assert_close(widths, [8.0, 2.0, 0.5, 0.5])
    assert settings_of(16, final_width=0.5, until=0.0).width_at(0.0) == 0.5
    assert settings_of(1, final_width=2.0).widest == 2.0


def test_the_first_delays():
    torch.manual_seed(0)
    drawn = AxonalDelay(2000, settings_of(5)).delay
    assert 0 <= drawn.min() < 0.1 and 3.9 < drawn.max() <= 4
    fixed = AxonalDelay(2000, settings_of(5, learn=False))
    counts = torch.bincount(fixed.steps(), minlength=5)
    assert counts.min() > 300 and counts.sum() == 2000
    assert not list(fixed.parameters())
    assert AxonalDelay(3, settings_of(5, init=2.5)).delay.tolist() == [2.5] * 3
    assert AxonalDelay(3, settings_of(5, init=2.5, learn=False)).delay.tolist() == [2.0] * 3


@pytest.mark.parametrize(
    "given, said",
    [
        ({"max": 0}, "delay: max must be an integer ≥ 1"),
        ({"max": 4, "kind": "dendritic"}, "delay: kind must be one of 'axonal', 'synaptic', got 'dendritic'"),
        ({"max": 4, "learn": 1}, "delay: learn must be True or False, got 1"),
        ({"max": 4, "init": 4}, "delay: init must be a finite number ≥ 0 and ≤ 3 (max − 1), or 'uniform', got 4"),
        ({"max": 4, "init": "unifrom"}, "got 'unifrom'. Did you mean uniform?"),
        ({"max": 4, "start_width": 0}, "delay: start_width must be a finite number > 0 or null, got 0"),
        ({"max": 4, "start_width": 1.0, "final_width": 2.0}, "delay: final_width must be at most start_width = 1"),
        ({"max": 4, "final_width": 0.0}, "delay: final_width must be a finite number > 0"),
        ({"max": 4, "until": 1.5}, "delay: until must be a finite number ≥ 0 and ≤ 1"),
        ({"max": 4, "lr_factor": 0}, "delay: lr_factor must be a finite number > 0"),
    ],
)
def test_settings_out_of_range_are_refused(given, said: str):
    assert said in message_of(ValueError, lambda: DelaySettings(**given))


def test_layers_without_such_delays_are_refused():
    for layer in (AvgPool2d(2), nn.ReLU()):
        name = type(layer).__name__
        assert f"{name} is none of them" in message_of(ValueError, with_delay, layer, settings_of())
    transposed = ConvTranspose2d(2, 3, 2)
    assert "Use kind: axonal" in message_of(ValueError, with_delay, transposed, settings_of(kind="synaptic"))
    for layer in (transposed, DropConnectLinear(4, 3)):
        assert isinstance(with_delay(layer, settings_of()).delay, AxonalDelay)
    said = message_of(ValueError, dense("axonal"), torch.zeros(3, 2, 5))
    assert "delays for 4 channels, which are to be dim 2" in said
