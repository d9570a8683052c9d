"""NIR graphs of ours in sinabs 3.1.3: the same spikes, also where it fires several times in a step."""

import pytest
import torch
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import export_nir, import_nir

pytestmark = pytest.mark.optional
nir = pytest.importorskip("nir")


def in_sinabs(path, x: torch.Tensor) -> torch.Tensor:
    """[T, N, *]; it reads [N·T, *]."""
    load = pytest.importorskip("sinabs.nir").from_nir
    net = load(nir.read(path), num_timesteps=len(x))
    y = net(x.transpose(0, 1).flatten(0, 1))
    return (y[0] if isinstance(y, tuple) else y).unflatten(0, (x.shape[1], len(x))).transpose(0, 1)


def dense() -> list[nn.Module]:
    return [
        *(layer.Linear(20, 30), neuron.IFNode(0.8, v_reset=None), layer.Linear(30, 10, bias=False)),
        *(neuron.LIFNode(v_threshold=0.3, v_reset=None), layer.Linear(10, 4)),
    ]


def convolutional() -> list[nn.Module]:
    return [
        *(layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.IFNode(0.9, v_reset=None)),
        *(layer.AvgPool2d(2), layer.Conv2d(4, 4, 3, groups=2), neuron.IFNode(0.7, v_reset=None), layer.Flatten()),
        *(layer.Linear(24, 3), neuron.IFNode(0.5, v_reset=None)),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("parts", "shape"), [(dense, (20,)), (convolutional, (2, 10, 8))])
@pytest.mark.parametrize("scale", [0.15, 1.0, 4.0])
@torch.no_grad()
def test_sinabs_computes_what_we_say_it_computes(tmp_path, parts, shape, scale):
    torch.manual_seed(0)
    net = nn.Sequential(*parts()).eval()
    net[0].weight *= scale
    functional.set_step_mode(net, "m")
    x = (torch.rand(32, 4, *shape) < 0.3).float()
    export_nir(net, x, tmp_path / "net.nir", reader="sinabs", verify=False)
    found = in_sinabs(tmp_path / "net.nir", x)
    expected = import_nir(tmp_path / "net.nir", reader="sinabs")(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # spikes, or sums of spikes
    assert len(found.unique()) > 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@torch.no_grad()
def test_a_net_that_is_not_refused_gives_our_spikes(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(20, 30), neuron.IFNode(v_reset=None), layer.Linear(30, 5), neuron.LIFNode(v_reset=None)
    )
    functional.set_step_mode(net, "m")
    for part, factor in ((net[0], 0.4), (net[2], 1.2)):
        part.weight.copy_(part.weight.abs() * factor)
        part.bias.zero_()
    x = (torch.rand(32, 4, 20) < 0.3).float()
    export_nir(net, x, tmp_path / "net.nir", reader="sinabs")
    functional.reset_net(net)
    expected = net(x)
    assert torch.equal(in_sinabs(tmp_path / "net.nir", x), expected) and expected.any() and not expected.all()
