"""Linear on the last dim, Flatten on the dims of one step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from snntrain import layer


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=4), st.sampled_from("sm"))
def test_linear_acts_on_the_last_dim_of_any_rank(leading: list[int], mode: str):
    torch.manual_seed(0)
    linear = layer.Linear(3, 2, step_mode=mode).double()
    x = torch.randn(*leading, 3, dtype=torch.double)
    assert_close(linear(x), x @ linear.weight.T + linear.bias)


def test_linear_without_bias():
    linear = layer.Linear(3, 2, False, "m")
    assert linear.bias is None and linear.step_mode == "m" and list(linear.state_dict()) == ["weight"]


def test_linear_refuses_an_empty_sequence_but_not_an_empty_batch():
    linear = layer.Linear(3, 2)
    assert linear(torch.zeros(0, 3)).shape == (0, 2)
    linear.step_mode = "m"
    assert linear(torch.zeros(4, 0, 3)).shape == (4, 0, 2)
    with pytest.raises(ValueError, match=r"Linear: .*T ≥ 1.*\[0, 4, 3\]"):
        linear(torch.zeros(0, 4, 3))


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (2, 3, 120)),
        ({"start_dim": 1, "end_dim": 2}, (2, 3, 20, 6)),
        ({"start_dim": 2}, (2, 3, 4, 30)),
        ({"start_dim": -2}, (2, 3, 4, 30)),
        ({"start_dim": -3, "end_dim": -2}, (2, 3, 20, 6)),
        ({"start_dim": 2, "end_dim": 2}, (2, 3, 4, 5, 6)),
    ],
)
def test_flatten_counts_dims_as_in_one_step(arguments: dict[str, int], shape: tuple[int, ...]):
    x = torch.arange(720.0).view(2, 3, 4, 5, 6)
    y = layer.Flatten(**arguments, step_mode="m")(x)
    assert y.shape == shape
    assert torch.equal(y, x.view(shape))
    assert torch.equal(y, torch.stack([nn.Flatten(**arguments)(step) for step in x]))


@pytest.mark.parametrize("start_dim", [0, -4])
def test_flatten_never_merges_time_into_the_batch(start_dim: int):
    flatten, x = layer.Flatten(start_dim, 1), torch.arange(720.0).view(2, 3, 4, 5, 6)
    assert torch.equal(flatten(x[0]), x[0].view(12, 5, 6)), "in 's' the batch may be flattened, as in torch"
    flatten.step_mode = "m"
    with pytest.raises(ValueError, match=rf"Flatten: start_dim .*\[2, 3, 4, 5, 6\].*got {start_dim}"):
        flatten(x)


def test_flatten_leaves_dims_that_do_not_exist_to_torch():
    x = torch.zeros(2, 3, 4, 5)
    for start_dim in (3, -5):
        with pytest.raises(IndexError):
            layer.Flatten(start_dim, step_mode="m")(x)
