"""NIR graphs of ours in snnTorch 1.0.0 and Norse 1.1.0: the same spikes."""

import itertools

import numpy as np
import pytest
import torch
from nir_cases import in_steps
from sampled import sampled
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import export_nir, import_nir

pytestmark = pytest.mark.optional
nir = pytest.importorskip("nir")
DT = 1e-4


def in_snntorch(graph):
    return pytest.importorskip("snntorch.import_nir").import_from_nir(graph)


def in_norse(graph):
    return pytest.importorskip("norse.torch").from_nir(graph, dt=DT)


def dense() -> list[nn.Module]:
    return [
        *(layer.Linear(20, 30), neuron.FloatCubaLIFNode(0.3, 0.2, v_threshold=0.5)),
        *(layer.Linear(30, 10, bias=False), neuron.LIFNode(v_threshold=0.2), layer.Linear(10, 4), neuron.IFNode(0.3)),
    ]


def convolutional() -> list[nn.Module]:
    return [
        *(layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.IFNode(0.5), layer.AvgPool2d(2)),
        *(layer.Conv2d(4, 4, 3, groups=2), neuron.ParametricLIFNode(v_threshold=0.3), layer.AvgPool2d(2)),
        *(layer.Flatten(), layer.Linear(4, 10), neuron.LIFNode(tau=3.0, decay_input=False), layer.Linear(10, 3)),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [in_snntorch, in_norse])
@pytest.mark.parametrize(("parts", "shape"), sampled([(convolutional, (2, 10, 8)), (dense, (20,))], 2))
def test_importers_compute_what_our_net_computes(tmp_path, make, parts, shape):
    torch.manual_seed(0)
    net = nn.Sequential(*parts()).eval()
    functional.set_step_mode(net, "m")
    x = (torch.rand(32, 4, *shape) < 0.4).float()
    export_nir(net, x, tmp_path / "net.nir", dt=DT, reader="norse" if make is in_norse else "snntorch")
    functional.reset_net(net)
    expected = net(x).detach()
    found = in_steps(make, tmp_path / "net.nir", x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # spikes, or sums of spikes
    assert len(expected.unique()) > 1


def conv(inputs: int, outputs: int, kernel: int, shape: tuple[int, int], **geometry):
    how = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1} | geometry
    weight = (torch.randn(outputs, inputs, kernel, kernel) + 0.2).numpy() / (inputs * kernel**2) ** 0.5
    return nir.Conv2d(shape, weight, bias=np.zeros(outputs, np.float32), **how)


def integrate(*shape: int):
    return nir.IF(r=np.ones(shape), v_threshold=np.ones(shape))


def dense_weights(inputs: int, outputs: int):
    return nir.Affine((torch.randn(outputs, inputs) + 0.1).numpy() / inputs**0.5, np.zeros(outputs, np.float32))


def paper_cnn():
    """The layers of scnn_mnist.nir (paper/02_cnn/mnist_sinabs_to_nir.py of github.com/neuromorphs/NIR), own weights."""
    torch.manual_seed(2)
    pair = lambda size: np.array([size, size])  # noqa: E731
    layers = [
        *(conv(2, 16, 5, (34, 34), stride=2), integrate(16, 16, 16)),
        *(conv(16, 16, 3, (16, 16)), integrate(16, 16, 16), nir.SumPool2d(pair(2), pair(2), pair(0))),
        *(conv(16, 8, 3, (8, 8)), integrate(8, 8, 8), nir.SumPool2d(pair(2), pair(2), pair(0))),
        *(nir.Flatten({"input": np.array([8, 4, 4])}, 0, -1), dense_weights(128, 256), integrate(256)),
        *(dense_weights(256, 10), integrate(10)),
    ]
    nodes = {"input": nir.Input({"input": np.array([2, 34, 34])})}
    nodes |= {str(number): node for number, node in enumerate(layers)} | {"out": nir.Output({"output": np.array([10])})}
    return nir.NIRGraph(nodes, list(itertools.pairwise(nodes)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@torch.no_grad()
def test_the_cnn_of_the_nir_paper_fires_as_in_norse(tmp_path):
    nir.write(tmp_path / "net.nir", paper_cnn())
    x = (torch.rand(16, 1, 2, 34, 34) < 0.3).float()
    ours = import_nir(tmp_path / "net.nir", dt=DT)(x)
    theirs = in_steps(in_norse, tmp_path / "net.nir", x)
    assert torch.equal(ours, theirs.reshape(ours.shape)) and ours.any() and not ours.all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_net_of_snntorch_is_read():
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    theirs = nn.Sequential(
        *(
            nn.Linear(6, 12),
            snntorch.Synaptic(alpha=torch.full((12,), 0.7), beta=0.8, threshold=torch.full((12,), 0.5)),
        ),
        *(nn.Linear(12, 4), snntorch.Synaptic(alpha=torch.full((4,), 0.5), beta=0.9, threshold=torch.full((4,), 0.3))),
    )
    for module in (theirs[1], theirs[3]):
        module.beta = module.beta.expand_as(module.alpha)
        module.init_hidden = True
    export_to_nir = pytest.importorskip("snntorch.export_nir").export_to_nir
    graph = export_to_nir(theirs, torch.rand(6))
    ours = import_nir(graph, dt=DT)
    assert [type(module).__name__ for module in ours] == ["Linear", "FloatCubaLIFNode"] * 2
    assert [round(module.voltage_decay, 5) for module in (ours[1], ours[3])] == [0.2, 0.1]
    assert [round(module.current_decay, 5) for module in (ours[1], ours[3])] == [0.3, 0.5]
    assert [round(module.v_threshold, 5) for module in (ours[1], ours[3])] == [0.5, 0.3]
    assert torch.equal(ours[0].weight, theirs[0].weight)
