"""Batch normalizations joined with their neighbors: exact where they are joined, kept where that would not be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_conversion import error, in_evaluation, settled
from torch import nn

from snntrain import layer
from snntrain.ann2snn.converted import to_spiking
from snntrain.ann2snn.graph import prepare
from snntrain.ann2snn.report import ConversionReport
from snntrain.graph import ChannelAffine

X = torch.randn(5, 4, 7, 7, generator=torch.Generator().manual_seed(0))


def kinds(gm: nn.Module) -> list[str]:
    return [type(gm.get_submodule(n.target)).__name__ for n in gm.graph.nodes if n.op == "call_module"]


def checked(*layers: nn.Module, x: torch.Tensor = X) -> list[str]:
    """The kinds of layers left, after the result was compared."""
    torch.manual_seed(0)
    net = settled(nn.Sequential(*layers), x)
    gm = prepare(net.double(), x.double())
    assert error(gm(x.double()), in_evaluation(net, x.double())) < 1e-12
    return kinds(gm)


@settings(deadline=None, max_examples=12)
@given(
    groups=st.sampled_from([1, 2, 4]), bias=st.booleans(), affine=st.booleans(), stride=st.integers(1, 2),
    dilation=st.integers(1, 2), eps=st.sampled_from([1e-5, 0.1]),
)  # fmt: skip
def test_before_and_after_any_convolution(groups, bias, affine, stride, dilation, eps):
    options = {"groups": groups, "bias": bias, "stride": stride, "dilation": dilation}
    norm = lambda: nn.BatchNorm2d(4, eps=eps, affine=affine)  # noqa: E731
    assert checked(nn.Conv2d(4, 4, 2, padding=1, **options), norm(), nn.ReLU()) == ["Conv2d", "Rectifier"]
    assert checked(norm(), nn.Conv2d(4, 4, 2, **options), norm()) == ["Conv2d"]


@pytest.mark.parametrize(
    "padding, mode, joined",
    [
        (0, "zeros", True),
        ("valid", "zeros", True),
        (1, "circular", True),
        (1, "reflect", True),
        ((0, 1), "zeros", False),
        ("same", "zeros", False),
    ],
)
def test_a_shift_before_padded_zeros_stays(padding, mode, joined):
    left = checked(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=padding, padding_mode=mode))
    assert left == ["Rectifier", "Conv2d"] if joined else ["Rectifier", "ChannelAffine", "Conv2d"]


def test_a_scale_alone_may_be_joined_with_a_padded_convolution():
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)).eval()
    net[1].running_var.uniform_(0.5, 2)
    gm = prepare(net, X)
    assert kinds(gm) == ["Rectifier", "Conv2d"] and error(gm(X), net(X)) < 1e-5


def test_what_stands_between_keeps_the_norm():
    assert (
        checked(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1))[2]
        == "ChannelAffine"
    )
    assert checked(nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(196, 3))[1] == "ChannelAffine"
    assert checked(nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()) == ["Rectifier", "ChannelAffine", "Rectifier"]
    assert "ChannelAffine" in checked(nn.ConvTranspose2d(4, 4, 2), nn.BatchNorm2d(4), nn.ReLU())


def test_norms_in_a_row_and_layers_of_snntrain():
    assert checked(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)) == ["Conv2d"]
    assert checked(layer.WSConv2d(4, 6, 3), layer.BatchNorm2d(6), nn.ReLU()) == ["Conv2d", "Rectifier"]
    assert checked(layer.Conv2d(4, 6, 3), layer.SyncBatchNorm(6), nn.ReLU()) == ["Conv2d", "Rectifier"]


def test_linear_layers():
    x = torch.randn(16, 6)
    assert checked(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2), x=x) == [
        "Linear",
        "Rectifier",
        "Linear",
    ]
    x = torch.randn(16, 6, 6)  # channels are not features, although there are as many
    left = checked(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2), x=x)
    assert left == ["Linear", "ChannelAffine", "Rectifier", "ChannelAffine", "Linear"]


def test_a_layer_used_twice_is_left_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(self.conv(x)) + self.conv(self.norm(x)).relu()

    net = settled(Net(), X)
    gm = prepare(net, X)
    assert kinds(gm).count("ChannelAffine") == 2 and error(gm(X), in_evaluation(net, X)) < 1e-5


def test_an_affine_keeps_dtype_and_state():
    affine = ChannelAffine(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]))
    x = torch.ones(1, 2, 1)
    assert affine(x).flatten().tolist() == [1.5, 2.0] and affine(x.bfloat16()).dtype == torch.bfloat16
    assert set(affine.state_dict()) == {"scale", "shift"}


def test_the_report_tells_what_was_joined_with_what():
    net = settled(
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)), X
    )
    gm = prepare(net, X)
    rows = {row.node: row.became for row in ConversionReport.of(gm, to_spiking(gm)).rows}
    assert rows == {"0": "kept", "1": "joined with 0", "2": "spiking neurons", "3": "joined with 4", "4": "kept"}
