"""Dropout with one mask per sequence, and dropped connections."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.base import StateMismatchError
from snntrain.layer.dropout import DropConnectLinear, Dropout, Dropout2d
from snntrain.neuron import IFNode

BOTH = pytest.mark.parametrize("make", [Dropout, Dropout2d])
SHAPE = (4, 6, 5, 3)


# --- Dropout ---------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("mode", ["s", "m"])
def test_the_mask_stays_over_time_and_calls_until_reset(make, mode: str):
    torch.manual_seed(0)
    dropout = make(0.4, step_mode=mode)
    x = torch.rand(3, *SHAPE) + 0.5
    calls = [torch.stack([dropout(step) for step in x]) if mode == "s" else dropout(x) for _ in range(2)]
    assert torch.equal(calls[0], calls[1])
    kept = calls[0] != 0
    assert torch.equal(kept, kept[:1].expand_as(kept)) and 0 < kept.float().mean() < 1
    assert_close(calls[0][kept], (x / (1 - 0.4))[kept])
    functional.reset_net(dropout)
    assert dropout.mask is None
    again = dropout(x[0] if mode == "s" else x) != 0
    assert not torch.equal(again.view(-1, *SHAPE)[0], kept[0])


@BOTH
def test_both_modes_and_their_mixture_draw_the_same_mask(make):
    x = torch.rand(4, *SHAPE)
    torch.manual_seed(1)
    whole = make(0.5, step_mode="m")(x)
    torch.manual_seed(1)
    mixed = make(0.5)
    first = mixed(x[0])
    mixed.step_mode = "m"
    assert torch.equal(torch.cat([first[None], mixed(x[1:])]), whole)


def test_entries_are_kept_with_the_given_probability():
    torch.manual_seed(0)
    mask = Dropout(0.3)(torch.ones(100, 1000))
    assert (mask != 0).float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert mask.mean().item() == pytest.approx(1, abs=0.015)
    channels = Dropout2d()(torch.ones(100, 200, 2, 2))
    assert (channels != 0).float().mean().item() == pytest.approx(0.8, abs=0.02)


def test_dropout2d_silences_whole_channels():
    torch.manual_seed(0)
    y = Dropout2d(0.5)(torch.ones(8, 16, 3, 4))
    assert set(y.mean((2, 3)).flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(y[0], y[1]), "each sample has its own draw"


@BOTH
def test_eval_is_the_identity_and_leaves_the_mask_alone(make):
    dropout = make(0.5)
    dropout(torch.ones(SHAPE))
    mask = dropout.mask
    dropout.eval()
    x = torch.ones(2, *SHAPE[1:])
    assert dropout(x) is x, "another batch size does not matter, no mask is used"
    dropout.step_mode = "m"
    x_seq = functional.repeat(x, 3)
    assert dropout(x_seq) is x_seq and functional.repeated_step(dropout(x_seq)) is x
    assert dropout.mask is mask
    assert make().eval()(x) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_repeated_step_stays_one(dtype: torch.dtype):
    dropout = Dropout(0.5, "m")
    x = torch.rand(4, 7).to(dtype)
    y = dropout(functional.repeat(x, 5))
    assert torch.equal(functional.repeated_step(y), y[0]) and y.shape == (5, 4, 7) and y.dtype == dtype
    assert torch.equal(y, dropout(x.expand(5, 4, 7).clone()))


@BOTH
@pytest.mark.parametrize("mode", ["s", "m"])
def test_another_shape_needs_reset(make, mode: str):
    dropout = make(step_mode=mode)
    leading = (3,) if mode == "m" else ()
    dropout(torch.ones(*leading, *SHAPE))
    for other in [(1, *SHAPE[1:]), (*SHAPE[:2], 1, 1)]:
        with pytest.raises(StateMismatchError, match=r"state mask has shape \[4, 6, 5, 3\].*reset"):
            dropout(torch.ones(*leading, *other))
    dropout.reset()
    assert dropout(torch.ones(*leading, 1, *SHAPE[1:])).shape == (*leading, 1, *SHAPE[1:])


@BOTH
def test_the_gradient_is_the_mask(make):
    dropout = make(0.5, step_mode="m")
    x = torch.rand(3, *SHAPE, requires_grad=True)
    dropout(x).sum().backward()
    assert torch.equal(x.grad, dropout.mask.expand_as(x))
    assert not dropout.mask.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_mask_is_never_below_float32(dtype: torch.dtype):
    dropout = Dropout(0.5)
    y = dropout(torch.ones(50, dtype=dtype))
    assert y.dtype == dtype and set(y.tolist()) == {0.0, 2.0}
    assert dropout.mask.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@BOTH
def test_the_mask_is_state(make):
    dropout = make(0.5)
    x = torch.rand(SHAPE, requires_grad=True)
    y = dropout(x)
    assert dropout.state_dict() == {}
    for twin in (copy.deepcopy(dropout), pickle.loads(pickle.dumps(dropout))):
        assert torch.equal(twin(x), y) and twin.mask is not dropout.mask
    states = functional.get_states(dropout)
    dropout.reset()
    functional.set_states(dropout, states)
    assert torch.equal(dropout(x), y)
    assert dropout(torch.ones(SHAPE)).shape == SHAPE and make()(torch.ones(0, 2, 3, 3)).shape == (0, 2, 3, 3)


@BOTH
@pytest.mark.parametrize("p", [1, -0.1, math.nan, "0.5", True])
def test_dropout_refuses_what_is_no_probability(make, p):
    with pytest.raises(ValueError, match=rf"{make.__name__}: p must be a finite number ≥ 0 and < 1, got"):
        make(p)


def test_defaults_and_text():
    assert repr(Dropout()) == "Dropout(p=0.5, step_mode=s)"
    assert repr(Dropout2d(step_mode="m")) == "Dropout2d(p=0.2, step_mode=m)"
    assert torch.equal(Dropout(0)(torch.arange(5.0)), torch.arange(5.0))


@pytest.mark.parametrize("training", [True, False])
def test_dropout2d_takes_images_only(training: bool):
    dropout = Dropout2d().train(training)
    with pytest.raises(ValueError, match=r"Dropout2d: .*'s' must be \[N, C, H, W\], got shape \[6, 5, 3\]\.$"):
        dropout(torch.ones(6, 5, 3))
    with pytest.raises(ValueError, match="is step_mode still 's'"):
        dropout(torch.ones(2, *SHAPE))
    dropout.step_mode = "m"
    with pytest.raises(ValueError, match=r"'m' must be \[T, N, C, H, W\], got shape \[4, 6, 5, 3\]"):
        dropout(torch.ones(SHAPE))
    for make in (Dropout, Dropout2d):
        with pytest.raises(ValueError, match="T ≥ 1"):
            make(step_mode="m").train(training)(torch.ones(0, *SHAPE))


# --- DropConnectLinear -----------------------------------------------------------------------------------------------


def dropconnect(mode: str = "s", **arguments) -> DropConnectLinear:
    torch.manual_seed(0)
    return DropConnectLinear(5, 4, step_mode=mode, **arguments)


@settings(max_examples=20, deadline=None)
@given(bias=st.booleans(), invariant=st.booleans(), training=st.booleans(), mode=st.sampled_from("sm"))
def test_without_dropping_it_is_a_linear_layer(bias: bool, invariant: bool, training: bool, mode: str):
    layer = dropconnect(mode, bias=bias, invariant=invariant, p=0).train(training)
    x = torch.randn(3, 2, 5) if mode == "m" else torch.randn(2, 5)
    linear = nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), linear.relu())
    layer.activation = None
    assert torch.equal(layer(x), linear)


def test_parameters_start_as_those_of_torchs_linear():
    layer = dropconnect()
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    assert list(layer.state_dict()) == list(linear.state_dict())
    for name, value in linear.state_dict().items():
        assert torch.equal(layer.state_dict()[name], value)
    assert dropconnect(bias=False).bias is None


def test_training_drops_connections_of_each_sample_without_rescaling():
    """The identity as input shows the masked weights: sample n, input e_i → column i."""
    layer = DropConnectLinear(50, 200, bias=False, p=0.3, activation=None)
    columns = layer(torch.eye(50))
    kept = columns != 0
    assert_close(columns[kept], layer.weight.T[kept])
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.02)
    biased = DropConnectLinear(1, 2000, p=0.3, activation=None)
    out = biased(torch.zeros(5, 1))
    assert_close(out[out != 0], biased.bias.expand(5, -1)[out != 0])
    assert (out != 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert len({tuple(row.tolist()) for row in out != 0}) == 5, "each sample has its own masks"


@pytest.mark.parametrize("mode", ["s", "m"])
def test_invariant_keeps_its_masks_until_reset(mode: str):
    layer = dropconnect(mode, invariant=True, activation=None)
    x = torch.randn(2, 5).expand(3, 2, 5)

    def outputs() -> Tensor:
        return layer(x) if mode == "m" else torch.stack([layer(step) for step in x])

    y = torch.cat([outputs(), outputs()])
    weights, biases = layer.weight * layer.dropped_w, layer.bias * layer.dropped_b
    assert weights.shape == (2, 4, 5) and set(layer.dropped_w.unique().tolist()) == {0, 1}
    assert_close(y[0], torch.stack([weights[n] @ x[0, n] + biases[n] for n in range(2)]))
    assert torch.equal(y, y[:1].expand_as(y))
    assert list(layer.state_dict()) == ["weight", "bias"]
    with pytest.raises(StateMismatchError, match=r"dropped_w has shape \[2, 4, 5\].*\[1, 5\]"):
        layer(x[:, :1] if mode == "m" else x[0, :1])
    layer.eval()(x[:, :1] if mode == "m" else x[0, :1])  # no masks there, so nothing to fit
    layer.train().reset()
    assert layer.dropped_w is None and not torch.equal(outputs()[0], y[0])


def test_else_masks_are_new_at_each_step_and_both_modes_agree():
    x = torch.randn(2, 5).expand(3, 2, 5)
    layer = dropconnect("m")
    torch.manual_seed(1)
    y = layer(x)
    assert not torch.equal(y[0], y[1]) and layer.dropped_w is None
    layer.step_mode = "s"
    torch.manual_seed(1)
    assert torch.equal(torch.stack([layer(step) for step in x]), y)


@pytest.mark.parametrize("bias", [True, False])
def test_eval_has_the_moments_of_training(bias: bool):
    """Mean and variance of many masked forwards, against eval's draws."""
    layer = dropconnect(bias=bias, p=0.3, samples_num=40_000, activation=None)
    x = torch.randn(1, 5)
    masked = layer(x.expand(40_000, 5))
    seen = []
    layer.activation = lambda y: seen.append(y) or y
    mean = layer.eval()(x)
    (draws,) = seen
    exact = 0.7 * nn.functional.linear(x, layer.weight, layer.bias)
    assert draws.shape == (40_000, 1, 4)
    assert_close(mean, exact, atol=0.02, rtol=0)
    assert_close(masked.mean(0), exact[0], atol=0.02, rtol=0)
    assert_close(draws.var((0, 1)), masked.var(0), atol=0.01, rtol=0.05)


def test_eval_averages_the_activation_not_its_argument():
    layer = dropconnect(samples_num=20_000).eval()
    x = torch.randn(3, 5)
    mean = 0.5 * nn.functional.linear(x, layer.weight, layer.bias)
    deviation = (0.25 * nn.functional.linear(x**2, layer.weight**2, layer.bias**2)).sqrt()
    normal = torch.distributions.Normal(0.0, 1.0)
    z = mean / deviation
    assert_close(layer(x), mean * normal.cdf(z) + deviation * normal.log_prob(z).exp(), atol=0.02, rtol=0)


def test_eval_has_gradients_and_follows_torchs_generator():
    layer = dropconnect(samples_num=8).double().eval()
    x = torch.randn(3, 5, dtype=torch.double, requires_grad=True)

    def forward(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(2)
        return layer(x)

    assert torch.equal(forward(x), forward(x))
    assert torch.autograd.gradcheck(forward, (x, *layer.parameters()))
    silent = torch.zeros(1, 5, requires_grad=True)  # without a bias, σ² is 0 here
    dropconnect(bias=False).eval()(silent).sum().backward()
    assert silent.grad.isfinite().all() and silent.grad.any()


def test_each_layer_has_its_own_activation():
    first, second = dropconnect(), dropconnect()
    assert isinstance(first.activation, nn.ReLU) and first.activation is not second.activation
    assert dropconnect(activation=torch.tanh)(torch.zeros(2, 5)).abs().max() < 1
    assert "activation=tanh" in repr(dropconnect(activation=torch.tanh))


def test_a_stateful_activation_keeps_its_state_over_steps():
    layer = DropConnectLinear(1, 1, bias=False, p=0, activation=IFNode(v_reset=None, backend="torch"))
    nn.init.constant_(layer.weight, 0.4)
    functional.set_step_mode(layer, "m")  # stops at this layer, which gives its activation single steps
    assert layer(torch.ones(6, 2, 1))[..., 0].T.tolist() == [[0, 0, 1, 0, 1, 0]] * 2  # .4 .8 1.2→.2 .6 1.0→0 .4
    assert layer.activation.v.shape == (2, 1)
    layer.reset()
    assert layer.activation.v == 0
    layer.activation.step_mode = "m"
    with pytest.raises(ValueError, match=r"DropConnectLinear: activation \(IFNode\) is in step_mode 'm'"):
        layer(torch.ones(6, 2, 1))
    with pytest.raises(ValueError, match="activation"):
        DropConnectLinear(1, 1, activation=layer.activation)


def test_switching_to_eval_with_a_stateful_activation_needs_reset():
    layer = dropconnect(activation=nn.Sequential(IFNode(backend="torch")))
    layer(torch.zeros(2, 5))
    with pytest.raises(StateMismatchError, match="state v"):
        layer.eval()(torch.zeros(2, 5))
    layer.reset()
    assert layer(torch.zeros(2, 5)).shape == (2, 4)
    assert layer.activation[0].v.shape == (1024, 2, 4)


@pytest.mark.parametrize("training", [True, False])
def test_half_precision_and_empty_batches(training: bool):
    layer = dropconnect("m").half().train(training)
    assert layer(torch.ones(3, 2, 5, dtype=torch.float16)).dtype == torch.float16
    assert layer(torch.ones(3, 0, 5)).shape == (3, 0, 4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"p": 1}, "p must be a finite number ≥ 0 and < 1, got 1"),
        ({"samples_num": 0}, "samples_num must be an integer ≥ 1, got 0"),
        ({"invariant": 1}, "invariant must be True or False, got 1"),
        ({"bias": None}, "bias must be True or False, got None"),
        ({"activation": "relu"}, "activation must be a module or function .*, got 'relu'"),
        ({"mode": "x"}, "step_mode must be 's' .*, got 'x'"),
    ],
)
def test_dropconnect_refuses_other_arguments(arguments, text: str):
    with pytest.raises(ValueError, match=rf"DropConnectLinear: {text}"):
        dropconnect(**arguments)


def test_dropconnect_refuses_other_shapes():
    layer = dropconnect()
    with pytest.raises(ValueError, match=r"\[N, in_features\], got shape \[3, 2, 5\]; is step_mode still 's'"):
        layer(torch.zeros(3, 2, 5))
    with pytest.raises(ValueError, match=r"in_features = 5, got shape \[2, 4\]"):
        layer(torch.zeros(2, 4))
    layer.step_mode = "m"
    with pytest.raises(ValueError, match=r"\[T, N, in_features\], got shape \[2, 5\]"):
        layer(torch.zeros(2, 5))


# --- masks that the caller draws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [Dropout(0.5), Dropout2d(0.5)])
def test_a_mask_that_was_created_is_used(layer):
    x = torch.ones(3, 4, 5, 5)
    layer.create_mask(x)
    mask = layer.mask
    assert set(mask.unique().tolist()) <= {0.0, 2.0}
    assert torch.equal(layer(x), mask) and layer.mask is mask


def test_a_subclass_may_create_its_own_mask():
    class Even(Dropout):
        def create_mask(self, x: Tensor) -> None:
            self.mask = (torch.arange(x.shape[-1]) % 2 == 0).to(x).expand(x.shape)

    assert Even()(torch.ones(1, 4)).tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize("bias", [False, True])
def test_masks_that_were_dropped_are_used_by_an_invariant_layer(bias):
    layer = DropConnectLinear(4, 3, bias=bias, invariant=True, activation=None)
    layer.drop(2)
    masks, x = (layer.dropped_w, layer.dropped_b), torch.rand(2, 4)
    y = torch.einsum("noi,ni->no", layer.weight * masks[0], x)
    assert_close(layer(x), y + layer.bias * masks[1] if bias else y)
    assert layer.dropped_w is masks[0]
    free = DropConnectLinear(4, 3, activation=None)
    assert not torch.equal(free(x), free(x))
