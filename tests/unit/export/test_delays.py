"""Axonal delays in exported files: the same spikes as the net's, and refusals of what has no form."""

import numpy as np
import pytest
import torch
from exportable_nets import Grid, sequence, spikes_of
from refused import message_of
from seeded_inputs import spikes
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import ExportError, emulate, export, export_nir, import_nir, plan
from snntrain.export.netx_file import NetxLayer, read, write
from snntrain.lava_exchange import BlockContainer, CubaLIFNode
from snntrain.layer import AxonalDelay, DelaySettings, with_delay


def delayed(part: nn.Module, max: int = 5, kind: str = "axonal") -> nn.Module:
    return with_delay(part, DelaySettings(max=max, kind=kind))


def block(rng: np.random.Generator, inputs: int, outputs: int, max: int) -> nn.Module:
    """Delays, weights of 8 bits and Loihi's neurons, as `lava_block` entries with a delay make them."""
    fc = Grid(64, 40).fill(rng, layer.Linear(inputs, outputs, bias=False))
    use = CubaLIFNode(0.5, 0.25, v_threshold=1.0, scale=64)
    delay = AxonalDelay(inputs, DelaySettings(max=max))
    return nn.Sequential(delay, BlockContainer(fc, use))


def chip_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    return sequence(layer.Flatten(), block(rng, 12, 9, 6), block(rng, 9, 7, 3))


X = spikes(14, 3, 3, 2, 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_netx_file_gives_every_spike_of_the_net(tmp_path, seed):
    net = chip_net(seed)
    exported = export(net, tmp_path / "net.h5", X)
    assert exported.is_exact
    expected = spikes_of(net, X)[:2]
    assert expected[1].any() and not expected[1].all()
    for runner in ("torch", "numpy"):
        found = emulate(tmp_path / "net.h5", exported.input.encode(X), runner=runner).spikes
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(torch.as_tensor(ours).float(), theirs)
    steps = [part[0].steps().numpy() for part in net[1:]]
    written = [one.delay for one in read(tmp_path / "net.h5") if one.has_neurons]
    assert all(map(np.array_equal, written, steps)) and steps[0].max() > 2
    assert "delays up to" in str(plan(net, X))


def test_the_delays_are_needed(tmp_path):
    """Without them the spikes would be others, so that the test above says something."""
    net = chip_net()
    with_them = spikes_of(net, X)[0]
    for part in net[1:]:
        part[0].delay.data.zero_()
    assert not torch.equal(with_them, spikes_of(net, X)[0])


@pytest.mark.parametrize("conv", [False, True])
def test_a_nir_graph_gives_every_spike_of_the_net(tmp_path, conv):
    nir = pytest.importorskip("nir")
    torch.manual_seed(0)
    if conv:
        first = [delayed(layer.Conv2d(3, 4, 2, padding=1)), neuron.IFNode(0.3), layer.AvgPool2d(3), layer.Flatten()]
        net = sequence(*first, delayed(layer.Linear(4, 6), max=3), neuron.LIFNode(v_threshold=0.1))
        kinds = ["Input", "Delay", "Conv2d", "CubaLIF", "SumPool2d", "Flatten", "Delay", "Affine", "CubaLIF", "Output"]
    else:
        net = sequence(layer.Flatten(), delayed(layer.Linear(12, 9)), neuron.IFNode(0.4), delayed(layer.Linear(9, 3)))
        kinds = ["Input", "Flatten", "Delay", "Affine", "CubaLIF", "Delay", "Affine", "Output"]
    graph = export_nir(net, X, tmp_path / "net.nir", dt=1e-3)
    assert [type(node).__name__ for node in graph.nodes.values()] == kinds
    node = next(node for node in graph.nodes.values() if isinstance(node, nir.Delay))
    steps = (net[0] if conv else net[1]).delay.steps().numpy()
    shape = (3, 2, 2) if conv else (12,)
    np.testing.assert_allclose(node.delay, np.ones(shape) * steps.reshape(-1, *[1] * (len(shape) - 1)) * 1e-3)
    copy = import_nir(tmp_path / "net.nir", dt=1e-3).eval()
    functional.set_backend(copy, "torch")
    with torch.no_grad():
        functional.reset_net(net)
        expected, found = net(X), copy(X)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.any() and steps.max() > 2


def test_delays_of_another_graph_are_checked():
    nir = pytest.importorskip("nir")

    def graph(delay: np.ndarray):
        ends = nir.Input({"input": np.array(delay.shape)}), nir.Output({"output": np.array(delay.shape)})
        nodes = {"in": ends[0], "wait": nir.Delay(delay), "out": ends[1]}
        return nir.NIRGraph(nodes, [("in", "wait"), ("wait", "out")])

    copy = import_nir(graph(np.array([0.0, 2e-4, 1e-4], dtype=np.float32))).eval()
    assert copy[0].steps().tolist() == [0, 2, 1]
    for delay, said in (
        ([0.0, 1.5e-4], "delay must be whole steps of dt = 0.0001, ≥ 0; it is 0 to 1.5 steps; is dt right?"),
        ([0.0, -1e-4], "≥ 0; it is -1 to 0 steps"),
        ([0.0, 1.0], "delay is 0 to 10000 steps, and at most 4095 are known"),
    ):
        assert said in message_of(ExportError, import_nir, graph(np.array(delay)))
    picture = np.zeros((2, 2, 2))
    picture[0, 1] = 1e-4
    assert "differs within a channel" in message_of(ExportError, import_nir, graph(picture))


SEQUENCE = spikes(6, 2, 8)


def refused(what, *parts: nn.Module, x=SEQUENCE) -> str:
    return message_of(ExportError, what, sequence(*parts), x)


def export_to(folder):
    return lambda net, x: export(net, folder / "net.h5", x)


def test_synaptic_delays_are_refused_by_name(tmp_path):
    for what in (export_to(tmp_path), export_nir):
        said = refused(what, delayed(layer.Linear(8, 4), kind="synaptic"), neuron.IFNode())
        assert "0 (SynapticDelay) cannot be exported: each of its weights has a delay of its own." in said
        assert "Use delay.kind=axonal" in said


def test_what_lava_has_no_delays_for_is_refused(tmp_path):
    netx = export_to(tmp_path)
    said = refused(netx, delayed(layer.Linear(8, 4)), neuron.IFNode(), delayed(layer.Linear(4, 2)))
    assert "the host computes the last layer, which has no neurons, and knows no delays" in said
    assert "no convolutions" in refused(netx, delayed(layer.Conv2d(3, 4, 2)), neuron.IFNode(), x=X)
    loop = layer.ElementWiseRecurrentContainer(neuron.IFNode(), layer.FeedbackSum(layer.Linear(4, 4, bias=False)))
    said = refused(netx, layer.Linear(8, 4), neuron.IFNode(), delayed(layer.Linear(4, 4, bias=False)), loop)
    assert "no recurrent layers" in said
    biased = (layer.Linear(8, 4), neuron.IFNode(0.1), delayed(layer.Linear(4, 2, bias=False)), neuron.IFNode())
    assert "Train without biases up to the layer before the last delays" in refused(netx, *biased)
    longest = NetxLayer("dense", (2,), np.full((2, 3), 40), threshold=30, delay=np.array([0, 62, 63]))
    said = message_of(ExportError, write, [NetxLayer("input", (3,)), longest], tmp_path / "net.h5")
    assert "a delay must be from 0 to 62, got 63. Use a smaller delay.max." in said
    assert not (tmp_path / "net.h5").exists()


def test_delays_that_stand_elsewhere_are_refused(tmp_path):
    delay = AxonalDelay(8, DelaySettings(max=3, init=2))
    netx = export_to(tmp_path)
    assert "no weights lie between it and the delays" in refused(netx, delay, neuron.IFNode())
    assert "it delays what 0 gives" in refused(netx, layer.Linear(8, 8), delay, neuron.IFNode())


@torch.no_grad()
def test_nir_holds_delays_anywhere():
    delay = AxonalDelay(8, DelaySettings(max=3, init=2))
    pooled = (layer.AvgPool2d(2, padding=1), layer.Flatten(), delayed(layer.Linear(12, 3)), neuron.IFNode(0.1))
    nets = ((delay, neuron.IFNode(0.5)), (layer.Linear(8, 8), delay, neuron.IFNode(0.1)), pooled)
    for parts, x in zip(nets, (SEQUENCE, SEQUENCE, X), strict=True):
        net = sequence(*parts)
        functional.reset_net(net)
        expected = net(x)
        assert torch.equal(import_nir(export_nir(net, x))(x), expected) and expected.any()
