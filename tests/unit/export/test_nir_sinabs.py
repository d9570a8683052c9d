"""NIR graphs for sinabs: what it computes of them, and the nets that it would change."""

import pytest
import torch
from exportable_nets import sequence
from seeded_inputs import spikes
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import ExportError, export_nir, import_nir
from snntrain.export.sinabs import SinabsNode

nir = pytest.importorskip("nir")


def quiet_net() -> nn.Module:
    """Neurons whose inputs are positive and below the threshold, so that none fires twice or meets the floor."""
    torch.manual_seed(0)
    net = sequence(
        *(layer.Conv2d(1, 3, 3, padding=1, bias=False), neuron.IFNode(v_reset=None), layer.AvgPool2d(2)),
        *(layer.Flatten(), layer.Linear(12, 6, bias=False), neuron.LIFNode(v_reset=None), layer.Linear(6, 2)),
    )
    for module in (net[0], net[4]):
        module.weight.data = module.weight.data.abs() / module.weight[0].numel()
    net[0].weight.data *= 5
    net[4].weight.data *= 16
    return net


@torch.no_grad()
def output(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(net)
    return net(x)


def test_a_net_that_sinabs_does_not_change_is_written(tmp_path):
    net, x = quiet_net(), spikes(20, 4, 1, 4, 4)
    graph = export_nir(net, x, tmp_path / "net.nir", reader="sinabs")
    kinds = ["Input", "Conv2d", "IF", "SumPool2d", "Flatten", "Affine", "LIF", "Affine", "Output"]
    assert [type(node).__name__ for node in graph.nodes.values()] == kinds
    assert float(graph.nodes["neuron_6"].tau[0]) == pytest.approx(1 / torch.log(torch.tensor(2.0)).item())
    expected = output(net, x)
    found = output(import_nir(tmp_path / "net.nir", reader="sinabs"), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 0


def test_the_arithmetic_of_sinabs():
    """Several spikes in a step, a threshold that is subtracted for each, and a floor."""
    node = SinabsNode(torch.tensor(1.0), 1.0, has_floor=True)
    x = torch.tensor([2.5, 0.5, -3.0, 1.5, 0.25, 0.25]).view(6, 1, 1)
    assert node(x).flatten().tolist() == [2, 1, 0, 0, 0, 1]  # it falls to −1 only
    leaky = SinabsNode(torch.tensor(1.0), 0.5, has_floor=False)
    assert leaky(torch.tensor([0.75, 0.75, -3.0, 2.0]).view(4, 1, 1)).flatten().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("weight", "text"), [(2.5, "2 for 1"), (-1.5, "the first in step")])
def test_a_spike_that_sinabs_would_change_is_named(tmp_path, weight, text):
    fc = layer.Linear(1, 1, bias=False)
    fc.weight.data.fill_(weight)
    net, x = sequence(fc, neuron.IFNode(v_reset=None)), torch.tensor([1.0, 1, -1, -1, -1]).view(5, 1, 1)
    with pytest.raises(ExportError, match=f"export: 1 cannot be exported: sinabs would give other spikes.*{text}"):
        export_nir(net, x, tmp_path / "net.nir", reader="sinabs")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([neuron.IFNode()], "v_reset is 0.0, and sinabs subtracts the threshold"),
        ([neuron.FloatCubaLIFNode(0.5, 0.2, v_reset=None)], "it has a current, and sinabs imports no CubaLIF"),
        ([neuron.LIFNode(v_reset=None), layer.Flatten(), layer.Linear(16, 2)], "fails on LIF neurons of a step"),
        ([neuron.QIFNode(v_reset=None)], "its dynamics are not those of an IF or LIF neuron"),
    ],
)
def test_neurons_that_sinabs_has_not_are_refused(parts, text):
    with pytest.raises(ExportError, match=text):
        export_nir(sequence(*parts), spikes(2, 1, 1, 4, 4), reader="sinabs")


def test_what_the_importers_of_others_drop_is_refused():
    delayed = (layer.with_delay(layer.Linear(8, 9), layer.DelaySettings(max=3)), neuron.IFNode())
    loop = layer.ElementWiseRecurrentContainer(neuron.IFNode(), layer.FeedbackSum(layer.Linear(9, 9, bias=False)))
    for reader in ("snntorch", "norse"):
        with pytest.raises(ExportError, match=f"the importer of {reader} has no Delay node"):
            export_nir(sequence(*delayed), spikes(2, 1, 8), reader=reader)
        with pytest.raises(ExportError, match=f"the importer of {reader} fails on recurrence"):
            export_nir(sequence(layer.Linear(8, 9), loop), spikes(2, 1, 8), reader=reader)
    with pytest.raises(ExportError, match=r"dt is 0\.001, and snnTorch takes 1e-4 for granted"):
        export_nir(sequence(layer.Linear(8, 9), neuron.IFNode()), spikes(2, 1, 8), dt=1e-3, reader="snntorch")
    with pytest.raises(ValueError, match="reader must be one of 'nir', 'snntorch', 'norse', 'sinabs'"):
        export_nir(sequence(*delayed), spikes(2, 1, 8), reader="rockpool")


def test_a_recurrent_net_comes_back_as_it_was(tmp_path):
    torch.manual_seed(0)
    loop = layer.ElementWiseRecurrentContainer(
        neuron.FloatCubaLIFNode(0.3, 0.2, v_threshold=0.5), layer.FeedbackSum(layer.Linear(9, 9, bias=False))
    )
    net, x = nn.Sequential(layer.Linear(8, 9, step_mode="m"), loop).eval(), spikes(30, 4, 8)
    loop.step_mode = "m"
    graph = export_nir(net, x, tmp_path / "net.nir")
    assert list(graph.nodes["recurrent_2"].nodes) == ["input", "lif", "w_rec", "output"]
    expected = output(net, x)
    assert torch.equal(output(import_nir(tmp_path / "net.nir"), x), expected) and expected.any()
