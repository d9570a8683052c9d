"""NIR graphs: what is exported computes the same when it is imported again, and what is in them."""

import itertools

import numpy as np
import pytest
import torch
from exportable_nets import sequence
from seeded_inputs import spikes
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import ExportError, export_nir, import_nir
from snntrain.lava_exchange import CubaLIFNode, SumPool2d

nir = pytest.importorskip("nir")
DT = 1e-4


@torch.no_grad()
def output(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(net)
    functional.set_backend(net, "torch")
    return net(x)


NETS = {
    "cuba": lambda: [layer.Linear(8, 9), neuron.FloatCubaLIFNode(0.3, 0.2, v_threshold=0.5)],
    "lif": lambda: [layer.Linear(8, 9, bias=False), neuron.LIFNode(tau=3.0, v_threshold=0.2)],
    "lif, input not divided": lambda: [layer.Linear(8, 9), neuron.LIFNode(tau=1.5, decay_input=False)],
    "parametric lif": lambda: [layer.Linear(8, 9), neuron.ParametricLIFNode(v_threshold=0.2)],
    "if": lambda: [layer.Linear(8, 9), neuron.IFNode(v_threshold=0.7)],
    "readout": lambda: [layer.Linear(8, 9), neuron.IFNode(v_threshold=0.7), layer.Linear(9, 3)],
    "no weights": lambda: [neuron.IFNode(v_threshold=1.7)],
}


@pytest.mark.parametrize("name", NETS)
def test_dense_nets_come_back_as_they_were(tmp_path, name):
    torch.manual_seed(0)
    net, x = sequence(*NETS[name]()), spikes(30, 4, 8)
    export_nir(net, x, tmp_path / "net.nir")
    expected, found = output(net, x), output(import_nir(tmp_path / "net.nir"), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.any()


def test_convolutional_nets_come_back_as_they_were(tmp_path):
    torch.manual_seed(0)
    norm = layer.BatchNorm2d(4)
    norm.running_mean.uniform_(-0.5, 0.5), norm.running_var.uniform_(0.5, 2)
    net = sequence(
        *(layer.Conv2d(2, 4, 3, padding=1, bias=False), norm, neuron.IFNode(v_threshold=0.4), layer.AvgPool2d(2)),
        *(layer.Conv2d(4, 4, 3, groups=2, stride=(1, 2)), layer.AvgPool2d(1, 1), neuron.LIFNode(v_threshold=0.1)),
        *(SumPool2d(2), layer.Flatten(), layer.Dropout(0.5), layer.Linear(8, 6), neuron.IFNode(0.3)),
    )
    x = spikes(12, 3, 2, 12, 10)
    graph = export_nir(net, x, tmp_path / "net.nir")
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds == [
        *("Input", "Conv2d", "CubaLIF", "SumPool2d", "Conv2d", "SumPool2d", "CubaLIF", "SumPool2d"),
        *("Flatten", "Affine", "CubaLIF", "Output"),
    ]
    expected, found = output(net, x), output(import_nir(tmp_path / "net.nir"), x)
    assert torch.equal(found, expected) and expected.any() and not expected.all()


def test_pooling_that_pads_is_folded():
    net = sequence(
        neuron.IFNode(0.5), layer.AvgPool2d(2, padding=1), layer.Flatten(), layer.Linear(25, 2), neuron.IFNode(0.1)
    )
    x = spikes(6, 2, 1, 8, 8)
    graph = export_nir(net, x)
    assert "SumPool2d" not in {type(node).__name__ for node in graph.nodes.values()}
    assert torch.equal(output(import_nir(graph), x), output(net, x))


def test_time_constants_are_those_of_the_equations():
    """spec: r = tau_mem/dt, w_in = tau_syn/dt, a decay is dt/tau."""
    node = export_nir(sequence(layer.Linear(3, 2), neuron.FloatCubaLIFNode(0.25, 0.1)), spikes(2, 1, 3)).nodes[
        "neuron_2"
    ]
    np.testing.assert_allclose([node.tau_syn, node.tau_mem], [[4 * DT] * 2, [10 * DT] * 2])
    np.testing.assert_allclose([node.w_in, node.r], [[4.0] * 2, [10.0] * 2])
    assert not node.v_leak.any() and not node.v_reset.any() and node.tau_syn.shape == (2,)
    assert np.float32(node.v_threshold[0]) == np.nextafter(np.float32(1), np.float32(0))
    other = export_nir(sequence(layer.Linear(3, 2), neuron.FloatCubaLIFNode(0.25, 0.1)), spikes(2, 1, 3), dt=1e-3)
    np.testing.assert_allclose(other.nodes["neuron_2"].tau_mem, 1e-2)
    loihi = export_nir(sequence(layer.Linear(3, 2), CubaLIFNode(0.5, 0.3, 1.01)), spikes(2, 1, 3)).nodes["neuron_2"]
    np.testing.assert_allclose(1 / loihi.r, round(0.3 * 4096) / 4096)
    assert loihi.v_threshold[0] == 1.0


def test_a_threshold_that_is_met_exactly_fires_before_and_after():
    """NIR's neuron fires above its threshold, ours at it."""
    fc = layer.Linear(1, 1, bias=False)
    fc.weight.data.fill_(0.5)
    net, x = sequence(fc, neuron.IFNode(1.0)), torch.ones(4, 1, 1)
    assert (
        output(net, x).flatten().tolist()
        == output(import_nir(export_nir(net, x)), x).flatten().tolist()
        == [0, 1, 0, 1]
    )


def nodes(**more) -> dict:
    ones = np.ones(2)
    cuba = nir.CubaLIF(ones * 2 * DT, ones * 4 * DT, ones * 4, ones * 0, ones, ones * 0, ones * 2)
    affine = nir.Affine(np.ones((2, 3), np.float32), np.zeros(2, np.float32))
    ends = {"input": nir.Input({"input": np.array([3])}), "output": nir.Output({"output": np.array([2])})}
    return {"input": ends["input"], "affine": affine, "cuba": cuba, "output": ends["output"]} | more


def graph_of(nodes: dict, edges: list | None = None):
    names = list(nodes)
    return nir.NIRGraph(nodes, edges or list(itertools.pairwise(names)), type_check=False)


def test_graphs_of_other_programs_are_read():
    """Linear without bias; r and w_in that scale; LIF; mean pooling; padding 'same'; a Flatten with its own dims."""
    ones = np.ones(2)
    lif = nir.LIF(tau=ones * 4 * DT, r=ones * 2, v_leak=ones * 0, v_threshold=ones * 3)
    net = import_nir(graph_of(nodes(affine=nir.Linear(np.ones((2, 3), np.float32)), cuba=lif)))
    assert net[0].bias is None and (net[1].current_decay, net[1].voltage_decay) == (1.0, 0.25)
    np.testing.assert_allclose(net[1].v_threshold, 3 / 0.5, rtol=1e-6)
    scaled = nodes()["cuba"]
    scaled.r, scaled.w_in = scaled.r * 3, scaled.w_in / 2
    np.testing.assert_allclose(import_nir(graph_of(nodes(cuba=scaled)))[1].v_threshold, 1 / 1.5, rtol=1e-6)
    conv = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3), np.float32), 1, "same", 1, 1, np.zeros(2, np.float32))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flatten = nir.Flatten({"input": np.array([2, 2, 2])}, start_dim=0, end_dim=-1)
    ends = {"input": nir.Input({"input": np.array([1, 4, 4])}), "output": nir.Output({"output": np.array([8])})}
    chain = {"input": ends["input"], "conv": conv, "pool": pool, "flat": flatten, "output": ends["output"]}
    found = output(import_nir(graph_of(chain)), torch.ones(1, 1, 1, 4, 4))
    assert found.shape == (1, 1, 8) and found[0, 0, 0] == (4 + 6 + 6 + 9) / 4


_PARAMETERS = ("r", "v_threshold", "v_leak", "tau", "tau_mem", "tau_syn", "w_in")


def simulated(weight, bias, node, x: np.ndarray, dt: float) -> np.ndarray:
    """The equations of LIF and CubaLIF in steps of dt, for one layer of neurons, in float64."""
    i, v, fired = 0.0, 0.0, []
    one = {name: np.asarray(value, dtype=np.float64) for name, value in vars(node).items() if name in _PARAMETERS}
    for step in x @ np.asarray(weight, dtype=np.float64).T + bias:
        if isinstance(node, nir.CubaLIF):
            i = i + dt / one["tau_syn"] * (one["w_in"] * step - i)
            tau = one["tau_mem"]
        else:
            i, tau = step, one["tau"]
        v = v + dt / tau * (one["v_leak"] - v + one["r"] * i)
        fired.append(v > one["v_threshold"])
        v = np.where(fired[-1], 0.0, v)
    return np.array(fired)


@pytest.mark.parametrize("r", [1.0, -1.0, 3.5, -0.25])
@pytest.mark.parametrize("w_in", [None, 2.0, -2.0])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.float32, np.asfortranarray])
def test_what_is_imported_fires_as_the_equations_say(r, w_in, kind):
    source = np.random.default_rng(7)
    weight, bias = source.normal(size=(5, 6)), source.normal(size=5) * 0.2
    if w_in is None:
        node = nir.LIF(*(np.full(5, value) for value in (7 * DT, r, 0.0, 0.06)))
    else:
        node = nir.CubaLIF(*(np.full(5, value) for value in (3 * DT, 7 * DT, r, 0.0, 0.04, 0.0, w_in)))
    for name in {*_PARAMETERS} & {*vars(node)}:  # nir itself computes with some while it is constructed
        setattr(node, name, kind(getattr(node, name)))
    made = {
        "input": nir.Input({"input": np.array([6])}),
        "affine": nir.Affine(kind(weight), kind(bias)),
        "neuron": node,
    }
    net = import_nir(graph_of(made | {"output": nir.Output({"output": np.array([5])})}))
    x = (source.random((60, 6)) < 0.3).astype(np.float32)
    found = output(net, torch.from_numpy(x).unsqueeze(1))[:, 0].detach().bool().numpy()
    expected = simulated(weight, bias, node, x, DT)
    assert np.array_equal(found, expected) and 0.02 < expected.mean() < 0.9


def test_a_negative_gain_turns_what_the_neuron_reads_not_the_neuron():
    """The potential of −1 · x, step by step: −0.1, −0.19, −0.071, 0.036 on 1, 1, −1, −1, all below 0.05."""
    ones = np.ones(1)
    inverted = nir.LIF(tau=ones * 1e-3, r=-ones, v_leak=ones * 0, v_threshold=ones * 0.05)
    conv = nir.Conv2d((2, 2), -np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flat = nir.Flatten({"input": np.array([1, 1, 1])}, start_dim=0, end_dim=-1)
    ends = {"input": nir.Input({"input": np.array([1, 2, 2])}), "output": nir.Output({"output": np.array([1])})}
    chain = {"input": ends["input"], "conv": conv, "pool": pool, "flat": flat, "lif": inverted, "out": ends["output"]}
    assert output(import_nir(graph_of(chain)), torch.ones(2, 1, 1, 2, 2)).flatten().tolist() == [1, 1]
    one = {"input": nir.Input({"input": np.array([1])}), "lif": inverted, "output": ends["output"]}
    copy = import_nir(graph_of(one))
    assert output(copy, torch.tensor([1.0, 1, -1, -1]).view(4, 1, 1)).flatten().tolist() == [0, 0, 0, 0]
    assert output(copy, -torch.ones(4, 1, 1)).flatten().tolist() == [1, 1, 1, 1]


def test_spikes_that_change_where_a_normalization_is_folded_were_at_the_threshold():
    """docs: folding rounds weights anew, so that only a potential within float32's rounding of θ can cross it."""
    torch.manual_seed(1)
    norm = layer.BatchNorm2d(8)
    norm.running_mean.uniform_(-0.5, 0.5), norm.running_var.uniform_(0.5, 2), norm.weight.data.uniform_(0.5, 1.5)
    current = sequence(layer.Conv2d(2, 8, 3, padding=1, bias=False), norm)
    x, changed = spikes(1, 16, 2, 12, 12), 0
    potentials, exact = output(current, x), output(sequence(*current).double(), x.double())
    current.float()
    for theta in potentials[potentials > 0.5][:40].tolist():  # each is met exactly by a neuron, or missed by a hair
        net = sequence(*current, neuron.IFNode(theta, backend="torch"))
        differing = output(import_nir(export_nir(net, x)), x) != output(net, x)
        assert ((exact - theta).abs()[differing] < 2e-6).all()
        changed += int(differing.sum())
    assert 0 < changed < 80


class Izhikevich(nir.Threshold):
    """A node that nobody knows."""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"affine": Izhikevich(np.ones(2))}, r"node affine \(Izhikevich\) cannot be imported: it is not one of Affine"),
        ({"tau_mem": np.array([3 * DT, 4 * DT])}, "tau_mem differs from neuron to neuron"),
        ({"v_leak": np.array([0.0, 0.1])}, "v_reset is not v_leak, where the potential starts"),
        ({"v_reset": np.array([0.5, 0.5])}, "v_reset is not 0"),
        ({"r": np.array([1.0, 0.0])}, "r is 0, so that no input reaches it"),
        ({"tau_mem": np.full(2, DT / 2)}, "dt/tau_mem must be from 0 to 1, it is 2; is dt right"),
        ({"tau_mem": np.zeros(2)}, r"node cuba \(CubaLIF\) cannot be imported: tau_mem must be > 0, it is 0"),
        ({"tau_syn": np.full(2, -DT)}, "tau_syn must be > 0"),
        ({"r": np.zeros(2)}, "r is 0, so that no input reaches it"),
        ({"w_in": np.zeros(2)}, "w_in is 0, so that"),
        ({"r": np.array([1.0, np.nan])}, "r holds nan, and must be finite"),
        ({"v_leak": np.full(2, np.nan)}, "v_leak holds nan"),
        ({"v_threshold": np.full(2, np.inf)}, "v_threshold holds inf"),
        ({"v_threshold": -np.ones(2)}, "v_threshold must be ≥ 0, it is -1: it would fire without any input"),
        ({"v_threshold": np.full(2, 1e38), "r": np.full(2, 1e-9)}, "is beyond float32"),
        ({"tau_mem": np.array(["a", "b"])}, "tau_mem must hold real numbers"),
        ({"w_in": np.ones(2) * 1j}, "w_in must hold real numbers"),
        ({"r": np.ones(3)}, r"r has the shape \[3\], and the neurons \[2\]"),
        ({"affine": nir.Affine(np.full((2, 3), np.nan), np.zeros(2))}, r"node affine \(Affine\).*weight holds nan"),
        ({"affine": nir.Affine(np.full((2, 3), 1e39), np.zeros(2))}, "weight holds 1e.39, which is beyond float32"),
        ({"affine": nir.Affine(np.ones((2, 4)), np.zeros(2))}, r"weight has the shape \[2, 4\], and the input \[3\]"),
        ({"affine": nir.Affine(np.ones((2, 3)), np.zeros(3))}, "bias has 3 values for 2 outputs"),
        ({"affine": nir.Linear(np.ones((5, 2, 3)))}, "weight must have 2 dims"),
        ({"output": nir.Output({"output": np.array([7])})}, r"its shape is \[7\], and it gets \[2\]"),
    ],
)
def test_nodes_that_are_not_known_are_refused(changes, text):
    made = nodes()
    for name, value in changes.items():
        if name in made:
            made[name] = value
        else:
            setattr(made["cuba"], name, value)
    with pytest.raises(ExportError, match=text):
        import_nir(graph_of(made))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: [neuron.QIFNode()], "its dynamics are not those of a CubaLIF node. Use one of IFNode, LIFNode"),
        (lambda: [neuron.IFNode(v_reset=None)], "v_reset is None, and importers know 0 only"),
        (lambda: [neuron.IFNode(v_reset=0.2)], "v_reset is 0.2"),
        (lambda: [layer.MaxPool2d(2), neuron.IFNode()], "there is no maximum. Use AvgPool2d"),
        (lambda: [layer.Residual(neuron.IFNode(), neuron.IFNode(), join="and")], "has no product of paths. Join paths"),
        (lambda: [layer.Branches([neuron.IFNode(), neuron.IFNode()])], "has no concatenation of paths. Join paths by"),
        (lambda: [neuron.NonSpikingLIFNode(decode="last-mem")], "one potential for all steps, decode='last-mem'"),
        (lambda: [layer.BatchNorm2d(2), neuron.IFNode()], "no convolution or linear layer comes just before it"),
    ],
)
def test_what_nir_has_not_is_refused_and_no_file_appears(tmp_path, make, text):
    with pytest.raises(ExportError) as error:
        export_nir(sequence(*make()), spikes(2, 1, 2, 6, 6), tmp_path / "net.nir")
    assert text in str(error.value) and not list(tmp_path.iterdir())


def test_kernels_that_nir_takes_for_square_ones_are_refused():
    """nir 1.0.8 computes the output's shape from the kernel's height alone."""
    net = sequence(layer.Conv2d(1, 1, (3, 1)), neuron.IFNode(), layer.Flatten(), layer.Linear(24, 2), neuron.IFNode())
    with pytest.raises(ExportError, match=r"nir refuses the graph.*Use square kernels"):
        export_nir(net, spikes(2, 1, 1, 6, 6))


def test_wrong_arguments_are_refused():
    net = sequence(layer.Linear(3, 2), neuron.IFNode())
    with pytest.raises(ValueError, match="dt must be a finite number > 0, got 0"):
        export_nir(net, spikes(2, 1, 3), dt=0)
    with pytest.raises(ExportError, match="example must be"):
        export_nir(net, spikes(2, 3))


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"pip install snntrain\[nir\]"):
        export_nir(sequence(layer.Linear(3, 2), neuron.IFNode()), spikes(2, 1, 3))
