"""IF, LIF and PLIF: the threshold, the two resets, and the learnable time constant."""

import math
from typing import Any

import pytest
import torch
from cases import PLAIN
from promises import INF, NAN, inside_a_model, one_call, random
from torch import Tensor, nn

from snntrain.neuron import IFNode, LIFNode, ParametricLIFNode, SimpleIFNode, SimpleLIFNode
from snntrain.surrogate import Rect, Sigmoid

over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])


class UserTheta(torch.autograd.Function):
    """A user's own surrogate, which knows nothing of `spiking`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


@pytest.mark.parametrize("name, make", PLAIN.items(), ids=PLAIN)
@over_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_reaching_the_threshold_fires_and_nan_does_not(name, make, step_mode, dtype):
    """The parameters make h = x exactly: tau does not touch v = r = 0 and the input is not decayed."""
    arguments = {"decay_input": False} if "LIF" in name else {}
    for threshold in (1.0, 0.5, -0.25, 0.0):
        node = make(v_threshold=threshold, **arguments)
        at = torch.tensor(threshold, dtype=dtype)
        x = torch.stack([at, at - 1 / 128, at + 1 / 128, torch.full_like(at, NAN)])
        assert one_call(node, x, step_mode).tolist() == [1, 0, 1, 0]
        assert node.v[1] == x[1] and node.v[3].isnan()


def test_the_threshold_in_float32_is_the_float32_nearest_to_the_argument():
    x = torch.tensor([0.1], dtype=torch.float32)
    assert IFNode(v_threshold=0.1)(x).item() == 1
    assert IFNode(v_threshold=0.1)(x.nextafter(torch.tensor(0.0))).item() == 0


@over_modes
@pytest.mark.parametrize("surrogate", [None, UserTheta.apply, Rect()])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, -0.2])
def test_hard_reset_selects_so_that_an_overflowing_potential_resets(step_mode, surrogate, detach_reset, v_reset):
    node = IFNode(v_reset=v_reset, surrogate_function=surrogate, detach_reset=detach_reset)
    s = one_call(node, torch.tensor([INF, 3e38, 0.5, -INF]), step_mode)
    assert s.tolist() == [1, 1, 0, 0]
    expected = torch.tensor([v_reset, v_reset, torch.tensor(v_reset) + 0.5, -INF])
    assert torch.equal(node.v, expected)


@pytest.mark.parametrize("surrogate", [torch.sigmoid, Sigmoid(1.0, spiking=False)])
def test_an_output_between_0_and_1_mixes_reset_value_and_potential(surrogate):
    node = IFNode(v_threshold=0.5, v_reset=-2.0, surrogate_function=surrogate)
    y = node(torch.tensor([2.5, 3.0], dtype=torch.float64))  # h = 0.5, 1
    assert y.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-0.5))])
    assert node.v.tolist() == pytest.approx([float(p * -2 + (1 - p) * h) for p, h in zip(y, (0.5, 1.0), strict=True)])


@over_modes
def test_a_users_own_surrogate_gives_value_and_gradient(step_mode):
    node = IFNode(surrogate_function=UserTheta.apply)
    x = torch.tensor([0.5, 1.5], requires_grad=True)
    s = one_call(node, x, step_mode)
    (s.sum() + node.v.sum()).backward()
    assert s.tolist() == [0, 1]
    assert x.grad.tolist() == [0.5 + (1 - 0.5 * 0.5), 0.5 + (0 - 1.5 * 0.5)]  # sg + (1 − s) + (r − h)·sg


# --- ParametricLIF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w, shown", [(0.0, "tau=2.0,"), (-1e4, "tau=inf,"), (1e4, "tau=1.0,")])
def test_parametric_lif_prints_its_current_tau_whatever_w_became(w, shown):
    node = ParametricLIFNode(init_tau=1.5)
    with torch.no_grad():
        node.w.fill_(w)
    assert shown in repr(node)


def test_a_parametric_lif_without_data_can_be_printed():
    assert "tau=nan" in repr(ParametricLIFNode().to("meta"))


@pytest.mark.parametrize("init_tau", [1.01, 1.5, 2.0, 4, 100.0])
def test_w_starts_at_minus_log_of_tau_minus_one(init_tau):
    node = ParametricLIFNode(init_tau)
    assert isinstance(node.w, nn.Parameter) and node.w.shape == () and node.w.requires_grad
    assert node.w.item() == pytest.approx(-math.log(init_tau - 1), rel=1e-6, abs=1e-7)
    assert node.tau == pytest.approx(init_tau, rel=1e-6)


def test_every_layer_learns_a_time_constant_of_its_own():
    first, second = ParametricLIFNode(), ParametricLIFNode()
    with torch.no_grad():
        first.w.fill_(5.0)
    assert second.w.item() == 0.0 and first.tau == pytest.approx(1 + math.exp(-5))


def test_tau_never_falls_below_one():
    node = ParametricLIFNode()
    for w in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            node.w.fill_(w)
        assert node.tau >= 1


def test_a_checkpoint_with_the_reference_librarys_key_loads():
    model = inside_a_model(ParametricLIFNode())
    model.load_state_dict({"block.neuron.w": torch.tensor(0.25)})
    assert model.block.neuron.w.item() == 0.25


@over_modes
def test_p_is_computed_in_the_state_dtype(step_mode):
    node = ParametricLIFNode(init_tau=3.0, v_threshold=9.0)
    p = torch.sigmoid(node.w.detach().double())
    one_call(node, torch.ones(1, dtype=torch.float64), step_mode)
    assert node.v.item() == p.item()


def test_without_decay_input_or_with_it_lif_and_parametric_lif_of_the_same_tau_agree():
    x = random(6, 4, dtype=torch.float64)
    for decay in (True, False):
        for v_reset in (None, 0.0, -0.3):
            lif = LIFNode(2.0, decay, v_reset=v_reset, step_mode="m")  # 1/2 is exact
            plif = ParametricLIFNode(2.0, decay, v_reset=v_reset, step_mode="m")
            assert torch.equal(lif(x), plif(x)) and torch.equal(lif.v, plif.v)


# --- the plain forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.5])
@pytest.mark.parametrize(
    "simple, full",
    [
        (lambda **kw: SimpleIFNode(1.0, **kw), IFNode),
        (lambda **kw: SimpleLIFNode(2.0, True, **kw), lambda **kw: LIFNode(2.0, True, **kw)),
        (lambda **kw: SimpleLIFNode(2.0, False, **kw), lambda **kw: LIFNode(2.0, False, **kw)),
    ],
)
def test_the_potential_starts_at_zero_and_goes_on_as_in_the_full_neuron(simple, full, v_reset):
    x = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    mine, other = simple(v_reset=v_reset, step_mode="m"), full(v_reset=v_reset, step_mode="m", backend="torch")
    mine.backend = "torch"
    for _ in range(2):
        other.v = torch.zeros(20)
        assert torch.equal(mine(x), other(x)) and torch.equal(mine.v, other.v)
        mine.reset()
        other.reset()
        assert mine.v == 0.0
