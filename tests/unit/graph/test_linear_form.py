"""linear_form: it says what a neuron computes, and a neuron that has one is quantized and exported by it alone."""

import pytest
import torch
from exportable_nets import sequence
from seeded_inputs import spikes
from torch import Tensor, nn

from snntrain import functional, layer, neuron
from snntrain.ann2snn import SpikingRectifier
from snntrain.export import ExportError, export, export_nir, import_nir, plan
from snntrain.lava_exchange import CubaLIFNode
from snntrain.lava_exchange.neuron import CubaParameters, cuba_parameters
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm, NoLinearForm, linear_form_of
from snntrain.quantize import QuantizationError, freeze, observe, prepare, preset, to_integer


class Plugin(BaseNode):
    """h = kept·v + gain·x, written down nowhere in snntrain."""

    def __init__(self, kept: float = 0.75, gain: float = 0.5, **common: object) -> None:
        super().__init__(**common)
        self.kept, self.gain = kept, gain

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return self.kept * v + self.gain * x

    def linear_form(self) -> LinearForm:
        return LinearForm.of(self, voltage_decay=1.0 - self.kept, gain=self.gain)


class Bent(neuron.LIFNode):
    """A subclass that computes something else."""

    def charge(self, x: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        return super().charge(x, v, tau) + 0.1


class Above(Plugin):
    """A neuron of floats that does not fire at its threshold."""

    def linear_form(self) -> LinearForm:
        return LinearForm.of(self, fires_at_threshold=False)


class Renamed(neuron.LIFNode):
    """A subclass that computes the same."""


@torch.no_grad()
def simulated(form: LinearForm, x_seq: Tensor) -> Tensor:
    """The equations of LinearForm's docstring, in float64."""
    i, v = 0.0, torch.full(x_seq.shape[1:], form.rest, dtype=torch.float64)
    v = v if form.v_start is None else v * 0 + form.v_start.double()
    outputs = []
    for x in x_seq.double():
        i = (1 - form.current_decay) * i + x + (0.0 if form.bias is None else form.bias)
        h = form.rest + (1 - form.voltage_decay) * (v - form.rest) + form.gain * i
        s = (h >= form.threshold if form.fires_at_threshold else h > form.threshold).double()
        v = h - form.threshold * s if form.v_reset is None else torch.where(s > 0, form.v_reset, h)
        outputs.append(s if form.height is None else s * form.height)
    return torch.stack(outputs)


def rectifier() -> SpikingRectifier:
    made = SpikingRectifier(torch.tensor([0.5, 1.0, 1.5]), v_init=torch.tensor([0.2, 0.5, 0.7]))
    made.bias = torch.tensor([0.1, -0.1, 0.05])
    return made


NEURONS = {
    "if": lambda: neuron.IFNode(0.7, v_reset=-0.25),
    "if, soft": lambda: neuron.IFNode(0.75, v_reset=None),
    "lif": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.4, v_reset=0.125),
    "lif, input not divided": lambda: neuron.LIFNode(tau=1.5, decay_input=False, v_threshold=0.6),
    "parametric lif, soft": lambda: neuron.ParametricLIFNode(2.7, v_reset=None, v_threshold=0.3),
    "cuba": lambda: neuron.FloatCubaLIFNode(0.3, 0.2, v_threshold=1.5),
    "cuba, v_reset beside the rest": lambda: neuron.FloatCubaLIFNode(0.5, 0.25, v_reset=0.125),
    "learnable cuba": lambda: neuron.FloatCubaLIFNode(0.3, 0.2, requires_grad=True),
    "atif": neuron.ATIFNode,
    "simple": lambda: neuron.SimpleLIFNode(2.0, True, v_threshold=0.3),
    "loihi, without a leak": lambda: CubaLIFNode(1.0, 0.0, 1.0),
    "plugin": lambda: Plugin(v_threshold=0.6),
    "renamed": lambda: Renamed(v_threshold=0.3),
}


@pytest.mark.parametrize("name", NEURONS)
def test_the_form_gives_the_output_of_the_neuron(name):
    torch.manual_seed(0)
    node = NEURONS[name]()
    node.step_mode, node.backend = "m", "torch"
    x = torch.randint(-16, 48, (40, 3, 5)) / 64  # what a float32 holds exactly, mostly below the thresholds
    expected = simulated(linear_form_of(node), x)
    with torch.no_grad():
        found = node(x)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    assert 0.02 < (found != 0).float().mean() < 0.9


def test_the_form_of_a_rectifier_has_threshold_height_start_and_bias():
    node, x = rectifier(), torch.randint(0, 64, (30, 2, 3)) / 64
    expected = simulated(linear_form_of(node), x)
    node.T = 30
    functional.set_backend(node, "torch")
    with torch.no_grad():
        found = node(x.flatten(0, 1)).unflatten(0, (30, -1))
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    node.delay = 2
    with pytest.raises(NoLinearForm) as error:
        linear_form_of(node)
    assert error.value.reason == "it waits 2 steps before it fires"


OTHERS = [neuron.KLIFNode(), neuron.QIFNode(), Bent(), neuron.SimpleIFNode(v_reset=0.5), neuron.LIAFNode("relu", False)]


@pytest.mark.parametrize("node", OTHERS, ids=lambda node: type(node).__name__)
def test_neurons_that_compute_something_else_have_none_and_are_refused(node):
    assert linear_form_of(node) is None
    net = sequence(layer.Linear(4, 4), node)
    with pytest.raises(QuantizationError, match=r"its dynamics are not known.*needs a method linear_form"):
        prepare(net, {"bits": 8})
    assert "its dynamics are not those of Loihi's CUBA neuron" in plan(net, spikes(3, 2, 4)).problems[0]


def test_what_an_arithmetic_has_not_is_refused():
    """Integers of Loihi, a start beside the rest, spikes that are not 1."""
    with pytest.raises(QuantizationError, match="fires above its threshold only"):
        prepare(sequence(layer.Linear(4, 4), Above(0.5, 0.0)), {"bits": 8})
    with pytest.raises(QuantizationError, match=r"its leak pulls to 0 and its reset to 0\.5"):
        prepare(sequence(layer.Linear(4, 4), neuron.FloatCubaLIFNode(1.0, 0.5, v_reset=0.5)), {"bits": 8})
    tall = sequence(layer.Linear(3, 3), SpikingRectifier(2.0, hard_reset=True))
    assert "it has spikes that are not 1" in plan(tall, spikes(3, 2, 3)).problems[0]
    with pytest.raises(ExportError, match="it has spikes that are not 1, which a CubaLIF node has not"):
        export_nir(tall, spikes(3, 2, 3))


def test_a_plugin_neuron_goes_through_qat_and_lava_without_a_mismatch(tmp_path):
    torch.manual_seed(0)
    net = sequence(
        *(layer.Conv2d(1, 4, 3), layer.BatchNorm2d(4), Plugin(v_threshold=0.2), layer.AvgPool2d(2), layer.Flatten()),
        *(layer.Linear(36, 12), Plugin(0.5, 2.0, v_threshold=0.3), layer.Linear(12, 3)),
    )
    x = torch.rand(6, 8, 1, 8, 8)
    quantized = prepare(net, preset("loihi"), x)
    observe(quantized, [x])
    optimizer = torch.optim.SGD(quantized.parameters(), 0.05)
    for _ in range(3):
        functional.reset_net(quantized)
        loss = nn.functional.cross_entropy(quantized(x).mean(0), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    freeze(quantized)
    exported, integers = export(quantized, tmp_path / "net.h5", x), to_integer(quantized).run(x, record=True)
    assert exported.is_exact and len(integers.spikes) == 2
    for ours, theirs in zip(exported.run(x).spikes, integers.spikes.values(), strict=True):
        assert int((ours != theirs.bool()).sum()) == 0 and 0.01 < ours.float().mean() < 0.9
    torch.testing.assert_close(exported.logits(x), integers.logits, rtol=1e-6, atol=0)


def test_a_quantized_plugin_neuron_stays_near_the_float_one():
    """What is quantized is the neuron that was given, its gain and its leak included."""
    torch.manual_seed(0)
    net = sequence(layer.Linear(20, 30), Plugin(0.8, 3.0, v_threshold=1.1), layer.Linear(30, 4))
    x = spikes(20, 16, 20)
    quantized = prepare(net, {"quantype": "fake", "bits": 8, "v": {"bits": 16}}, x)
    observe(quantized, [x])
    with torch.no_grad():
        expected, found = net(x), quantized(x)
    assert (found - expected).norm() < 0.3 * expected.norm()  # a few of the spikes are different


def test_a_plugin_neuron_goes_to_nir_and_back(tmp_path):
    pytest.importorskip("nir")
    torch.manual_seed(0)
    net, x = sequence(layer.Linear(8, 9), Plugin(v_threshold=0.3), layer.Linear(9, 3)), spikes(30, 4, 8)
    export_nir(net, x, tmp_path / "net.nir")
    back = sequence(import_nir(tmp_path / "net.nir"))
    with torch.no_grad():
        expected, found = net(x), back(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.any()


def test_lava_dl_gets_the_parameters_of_the_form():
    """On a grid the threshold of a neuron without a leak is one step lower, because lava-dl's fires above it."""
    assert cuba_parameters(Plugin(0.75, 1.0, v_threshold=0.6)) == CubaParameters(0.6, 1.0, 0.25)
    for node in (
        neuron.IFNode(0.5),
        Plugin(1.0, 1.0, v_threshold=0.5),
        neuron.FloatCubaLIFNode(1.0, 0.0, v_threshold=0.5),
    ):
        assert cuba_parameters(node) == CubaParameters(31 / 64, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"inputs are multiplied by 0\.5"):
        cuba_parameters(Plugin())
    with pytest.raises(NotImplementedError, match="cannot stand for it"):
        cuba_parameters(Bent())


def test_a_float_neuron_with_a_gain_is_rounded_to_netx_with_its_threshold_divided_by_it():
    """LIF that divides its input by tau: the same spikes as without the division, at tau times the threshold."""
    fc = layer.Linear(2, 2, bias=False)
    fc.weight.data = torch.tensor([[0.5, -1.0], [0.25, 1.5]])
    planned = plan(sequence(fc, neuron.LIFNode(tau=4.0, v_threshold=0.5)), spikes(3, 1, 2))
    written = planned.layers[1]
    assert (written.i_decay, written.v_decay, written.threshold) == (4096, 1024, round(2.0 * planned.scales[1].scale))
    assert not planned.is_exact
