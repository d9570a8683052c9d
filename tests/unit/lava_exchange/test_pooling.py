"""Sums over windows against a convolution with ones."""

import pytest
import torch
from torch.nn import functional as F

from snntrain.lava_exchange import SumPool2d

SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": (2, 3), "stride": (3, 1)},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "padding": (2, 0)},
    {"kernel_size": (3, 2), "stride": 1, "padding": 1, "dilation": (1, 2)},
]


@pytest.mark.parametrize("leading", [(5,), (2, 5), (3, 2, 5)], ids=["C", "N, C", "T, N, C"])
@pytest.mark.parametrize("arguments", SETTINGS, ids=str)
def test_each_window_of_each_channel_is_summed_exactly(arguments, leading):
    x = torch.randint(-9, 10, (*leading, 7, 8), generator=torch.Generator().manual_seed(0)).float()
    size = arguments["kernel_size"]
    kernel = torch.ones(1, 1, *((size, size) if isinstance(size, int) else size))
    options = {"stride": size} | {name: value for name, value in arguments.items() if name != "kernel_size"}
    maps = F.conv2d(x.reshape(-1, 1, 7, 8), kernel, **options)
    assert torch.equal(SumPool2d(**arguments)(x), maps.view(*leading, *maps.shape[-2:]))


def test_its_gradient_reaches_every_value_of_a_window():
    x = torch.zeros(1, 1, 4, 5, requires_grad=True)
    SumPool2d(2)(x).backward(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert x.grad[0, 0].tolist() == [[1, 1, 2, 2, 0]] * 2 + [[3, 3, 4, 4, 0]] * 2


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"kernel_size": 0}, "kernel_size must be an integer ≥ 1, got 0"),
        ({"kernel_size": (2, 2, 2)}, r"kernel_size must be one integer or two, got \(2, 2, 2\)"),
        ({"kernel_size": 2, "stride": 1.5}, "stride must be an integer ≥ 1, got 1.5"),
        ({"kernel_size": 2, "padding": -1}, "padding must be an integer ≥ 0, got -1"),
        ({"kernel_size": 2, "dilation": 0}, "dilation must be an integer ≥ 1, got 0"),
    ],
)
def test_a_bad_argument_is_refused(arguments, text):
    with pytest.raises(ValueError, match=f"^SumPool2d: {text}.$"):
        SumPool2d(**arguments)


def test_an_input_without_a_dim_in_front_is_refused():
    with pytest.raises(ValueError, match=r"^SumPool2d: the input must be of shape \[\*, H, W\]"):
        SumPool2d(2)(torch.zeros(4, 4))
