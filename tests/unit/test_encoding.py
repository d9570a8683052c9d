"""Encoders: shapes, firing statistics, refusals."""

import math

import pytest
import torch

from snntrain import registry
from snntrain.encoding import DirectEncoder, PoissonEncoder

ENCODERS = [registry.get("encoder", name) for name in registry.names("encoder")]
over_encoders = pytest.mark.parametrize("encoder_class", ENCODERS)
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@over_encoders
@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 4, 5), (0, 4), ()])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_time_dimension_comes_in_front_and_the_dtype_stays(encoder_class, shape, dtype):
    x = torch.full(shape, 0.5, dtype=dtype)
    for T in (1, 5):
        y = encoder_class()(x, T)
        assert y.shape == (T, *shape) and y.dtype == dtype
    assert torch.equal(x, torch.full(shape, 0.5, dtype=dtype))


@over_encoders
@pytest.mark.parametrize("T", [0, -1, 2.0, True, None, "4"])
def test_a_number_of_steps_below_one_is_refused(encoder_class, T):
    with pytest.raises(ValueError) as error:
        encoder_class()(torch.zeros(2, 3), T)
    assert str(error.value) == f"{encoder_class.__name__}: T must be an integer ≥ 1, got {T!r}."


@over_encoders
def test_an_encoder_has_no_weights_and_no_state(encoder_class):
    assert not encoder_class().state_dict()


# --- direct ----------------------------------------------------------------------------------------------------------


def test_direct_presents_the_same_input_at_every_step_without_copying_it():
    x = torch.randn(2, 3)
    y = DirectEncoder()(x, 4)
    assert all(torch.equal(step, x) for step in y)
    assert y.data_ptr() == x.data_ptr() and y.stride(0) == 0


def test_direct_sums_the_gradient_over_the_steps():
    x = torch.randn(2, 3, requires_grad=True)
    weights = torch.randn(4, 2, 3)
    (DirectEncoder()(x, 4) * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights.sum(0))


def test_direct_takes_any_values():
    x = torch.tensor([-3.0, math.inf, 7.0])
    assert torch.equal(DirectEncoder()(x, 2)[1], x)
    assert DirectEncoder()(torch.tensor([3, -1]), 2).dtype == torch.int64


# --- Poisson ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.0, 1e-4, 1e-3, 0.01, 0.3, 0.5, 0.9, 0.996, 1.0])
def test_poisson_fires_as_often_as_the_input_says(p, dtype):
    """Also in half precision, whose own random numbers come in steps of 2^-8 or 2^-11."""
    torch.manual_seed(0)
    x = torch.full((4000,), p, dtype=dtype)
    p, n = x[0].item(), 100 * 4000  # as rounded to the dtype
    y = PoissonEncoder()(x, 100)
    assert set(y.unique().tolist()) <= {0.0, 1.0}
    assert y.double().sum().item() == pytest.approx(n * p, abs=5 * math.sqrt(n * p * (1 - p)) + 1e-6)


def test_poisson_is_silent_at_0_and_certain_at_1_whatever_is_drawn(monkeypatch):
    x = torch.tensor([0.0, 1.0])
    for drawn in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand", lambda size, drawn=drawn, **more: torch.full(size, drawn, **more))
        assert PoissonEncoder()(x, 2).tolist() == [[0, 1], [0, 1]]


def test_poisson_draws_every_step_and_every_element_anew():
    torch.manual_seed(0)
    y = PoissonEncoder()(torch.full((1000,), 0.5), 6)
    for a in range(6):
        for b in range(a):
            assert abs((y[a] == y[b]).double().mean().item() - 0.5) < 0.08
    assert abs((y[:, 0::2] == y[:, 1::2]).double().mean().item() - 0.5) < 0.05


def test_poisson_follows_torchs_generator():
    x = torch.rand(50, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    first = PoissonEncoder()(x, 8)
    second = PoissonEncoder()(x, 8)
    torch.manual_seed(3)
    assert torch.equal(PoissonEncoder()(x, 8), first) and not torch.equal(first, second)


@pytest.mark.parametrize(
    "values, shown",
    [
        ([0.5, 1.001], "[0.5, 1.001]"),
        ([-0.001, 0.5], "[-0.001, 0.5]"),
        ([0.0, 255.0], "[0, 255]"),
        ([0.5, math.nan], "[nan, nan]"),
        ([math.inf, 0.5], "[0.5, inf]"),
    ],
)
def test_poisson_refuses_what_is_no_probability(values, shown):
    with pytest.raises(ValueError, match=r"^PoissonEncoder: .*\[0, 1\].*Scale the data to \[0, 1\]") as error:
        PoissonEncoder()(torch.tensor(values), 4)
    assert f"got {shown}" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_poisson_refuses_an_input_that_is_not_floating_point(dtype):
    with pytest.raises(ValueError, match=f"^PoissonEncoder: the input has dtype {dtype}; cast it to a float dtype"):
        PoissonEncoder()(torch.ones(3).to(dtype), 4)
