"""NeuNorm: its equation, golden numbers, state and shapes."""

import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from snntrain import functional, registry
from snntrain.base import StateMismatchError
from snntrain.layer.neunorm import NeuNorm

C, H, W = 3, 4, 5


@pytest.mark.parametrize("mode", ["s", "m"])
def test_golden_numbers(mode: str):
    """spec: C = 2, 1×1, k = 0.9, w = 1."""
    norm = NeuNorm(2, 1, 1, step_mode=mode)
    nn.init.ones_(norm.w)
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 2, 1, 1)
    if mode == "s":
        first = norm(x[0])
        assert_close(norm.x, torch.full((1, 1, 1, 1), 0.025))
        out = torch.stack([first, norm(x[1])])
    else:
        out = norm(x)
    assert_close(norm.x, torch.full((1, 1, 1, 1), 0.0725))
    assert_close(out.flatten(), torch.tensor([0.975, -0.025, 0.9275, 0.9275]))


@settings(max_examples=30, deadline=None)
@given(k=st.floats(0, 1) | st.sampled_from([0, 1]), shared=st.booleans(), steps=st.integers(1, 5), n=st.integers(0, 3))
def test_a_sequence_is_the_sum_over_the_past_written_out(k: float, shared: bool, steps: int, n: int):
    """x[t] = Σ_{s ≤ t} k^(t − s)·(1 − k)/C²·Σ_c in[s, c]."""
    torch.manual_seed(0)
    norm = NeuNorm(C, H, W, k, shared, step_mode="m").double()
    x = torch.randn(steps, n, C, H, W, dtype=torch.double)
    for t, y in enumerate(norm(x)):
        trace = sum(k ** (t - s) * (1 - k) / C**2 * x[s].sum(1, keepdim=True) for s in range(t + 1))
        assert_close(y, x[t] - norm.w * trace)
    assert norm.x.shape == (n, 1, H, W)


@pytest.mark.parametrize("shared", [True, False])
def test_a_sequence_equals_its_steps_with_gradients_and_in_parts(shared: bool):
    torch.manual_seed(0)
    together = NeuNorm(C, H, W, shared_across_channels=shared, step_mode="m")
    apart, parts = copy.deepcopy(together), copy.deepcopy(together).eval()
    apart.step_mode = "s"
    x = torch.rand(4, 2, C, H, W)
    y, steps = together(x), torch.stack([apart(step) for step in x])
    assert torch.equal(y, steps) and torch.equal(together.x, apart.x)
    assert torch.equal(torch.cat([parts(x[:1]), parts(x[1:])]), y)
    for out in (y, steps):
        (out**2).sum().backward()
    assert together.w.grad.abs().sum() > 0
    assert_close(together.w.grad, apart.w.grad)


@pytest.mark.parametrize("shared", [True, False])
def test_the_weight_starts_uniform(shared: bool):
    """As kaiming-uniform with a = √5."""
    norm = NeuNorm(30, 8, 32, shared_across_channels=shared)
    assert list(norm.state_dict()) == ["w"]
    assert norm.w.shape == ((1 if shared else 30), 8, 32)
    assert norm.w.abs().max() <= 1 / 16
    assert_close(norm.w.std().item(), 1 / 16 / 3**0.5, rtol=0.1, atol=0)
    assert abs(norm.w.mean().item()) < 0.01
    norm.w.data.fill_(9.0)
    norm.reset_parameters()
    assert norm.w.abs().max() <= 1 / 16


def test_the_state_is_reset_and_kept_out_of_checkpoints():
    net, x = nn.Sequential(NeuNorm(C, H, W)), torch.rand(2, C, H, W)
    first = net(x)
    assert not torch.equal(net(x), first)
    assert list(net.state_dict()) == ["0.w"] and list(functional.get_states(net)) == ["0.x"]
    with pytest.raises(StateMismatchError, match=r"0 \(NeuNorm\): state x has shape \[2, 1, 4, 5\].*reset"):
        net(x[:1])
    functional.reset_net(net)
    assert torch.equal(net(x), first)
    net[0].detach()
    assert not net[0].x.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_input_keeps_its_dtype_and_the_state_stays_exact(dtype: torch.dtype):
    norm = NeuNorm(C, H, W).to(dtype)
    assert norm(torch.rand(2, C, H, W, dtype=dtype)).dtype == dtype
    assert norm.x.dtype == torch.float32


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("s", (2, C + 1, H, W)),
        ("s", (2, C, W, H)),
        ("s", (C, H, W)),
        ("m", (2, C, H, W)),
        ("m", (3, 2, C, H, W + 1)),
        ("m", (3, 2, 1, H, W)),
    ],
)
def test_another_shape_is_refused(mode: str, shape: tuple[int, ...]):
    letters = "[T, N, C, H, W]" if mode == "m" else "[N, C, H, W]"
    text = f"NeuNorm: the input in step_mode '{mode}' must be {letters} with C, H, W = 3, 4, 5, got shape {list(shape)}"
    with pytest.raises(ValueError, match=re.escape(text)):
        NeuNorm(C, H, W, step_mode=mode)(torch.zeros(shape))


def test_a_sequence_in_s_is_recognized():
    with pytest.raises(ValueError, match="is step_mode still 's'"):
        NeuNorm(C, H, W)(torch.zeros(3, 2, C, H, W))
    with pytest.raises(ValueError, match="T ≥ 1 steps"):
        NeuNorm(C, H, W, step_mode="m")(torch.zeros(0, 2, C, H, W))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"in_channels": 0}, "in_channels must be an integer ≥ 1, got 0"),
        ({"height": 2.0}, "height must be an integer ≥ 1, got 2.0"),
        ({"width": True}, "width must be an integer ≥ 1, got True"),
        ({"k": 1.1}, "k must be a finite number ≥ 0 and ≤ 1, got 1.1"),
        ({"k": -0.1}, "k must be"),
        ({"shared_across_channels": 1}, "shared_across_channels must be True or False, got 1"),
        ({"step_mode": "n"}, "step_mode must be"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, text: str):
    with pytest.raises(ValueError, match=f"NeuNorm: {text}"):
        registry.build("layer", "NeuNorm", **{"in_channels": C, "height": H, "width": W, **wrong})
