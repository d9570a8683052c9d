"""prepare, observe and freeze: what a net becomes."""

import copy

import pytest
import torch
from prepared_nets import INT16, pictures, prepared, small_net
from random_nets import in_integers
from torch import Tensor, nn
from watched_nets import fingerprint

from snntrain import layer, neuron
from snntrain.ann2snn import SpikingRectifier, convert
from snntrain.functional import repeat, reset_net, set_backend, set_step_mode
from snntrain.quantize import (
    QuantizedConv2d,
    QuantizedIFNode,
    QuantizedLIFNode,
    QuantizedLinear,
    QuantSettings,
    freeze,
    observe,
    prepare,
    preset,
)


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "ParametricLIFNode", "ATIFNode"])
def test_with_many_bits_it_is_the_float_net(kind):
    net, x = small_net(kind, residual=kind != "ATIFNode"), pictures(6, 4)
    with torch.no_grad():
        expected = net(x)
        found = prepared(net, INT16, x)(x)
    # Few spikes differ, of which the output is a sum: the mean error is small, not each one.
    assert expected.std() > 0.1
    assert (found - expected).abs().mean() < 0.05 * expected.std()


def test_the_net_itself_stays_as_it_is():
    net, x = small_net(), pictures(4, 2)
    net(x)
    before, state = fingerprint(net), net.layers[2].v.clone()
    quantized = prepared(net, {"bits": 8}, x)
    quantized.train()(x).sum().backward()
    assert fingerprint(net) == before and torch.equal(net.layers[2].v, state)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_layers_and_neurons_keep_their_places_and_names():
    quantized = prepare(small_net(), {"bits": 8})
    assert list(quantized.layers) == ["layers.0", "layers.4.residual.0", "layers.8", "layers.10"]
    assert list(quantized.neurons) == ["layers.2", "layers.4.residual.2", "layers.9"]
    assert all(type(node) is QuantizedLIFNode for node in quantized.neurons.values())
    assert [junction.consumers for junction in quantized.junctions] == [
        ("layers.2",),
        ("layers.4.residual.2",),
        ("layers.9",),
        ("readout",),
    ]
    kinds = {type(module).__name__ for module in quantized.modules()}
    assert not kinds & {"BatchNorm2d", "Dropout", "AvgPool2d", "Conv2d", "LIFNode"}


def test_between_its_ends_are_integers_only():
    quantized, seen = prepared(small_net(), {"bits": 5}, pictures(4, 3)), []
    for module in quantized.net.modules():
        module.register_forward_hook(lambda m, i, y: seen.append((m, y)) if isinstance(y, Tensor) else None)
    with torch.no_grad():
        quantized(pictures(4, 3))
    inner = [(module, y) for module, y in seen if module not in (quantized.net, quantized.net.readout)]
    assert len(inner) > 8 and [type(m).__name__ for m, y in inner if not torch.equal(y, y.round())] == []


def test_thresholds_are_integers_without_rounding_and_leave_the_margin():
    for quant in ({"bits": 8, "quantype": "fake"}, {"bits": 4, "quantype": "fake", "margin": 2.0, "overflow": "wrap"}):
        quantized = prepared(small_net(), quant, pictures(4, 3))
        for node in quantized.neurons.values():
            exact = node.theta_value / node.potential_step()
            torch.testing.assert_close(exact, node.threshold().expand_as(exact), rtol=1e-5, atol=0)
            assert node.threshold().min() >= 1 and node.threshold().max() <= node.largest_threshold


def test_powers_of_two_make_every_step_one():
    quantized = prepared(small_net(), preset("mcu"), pictures(4, 3))
    for module in quantized.layers.values():
        mantissa, _ = torch.frexp(module.current.value())
        assert (mantissa == 0.5).all() and module.current.size == 1
        assert isinstance(module.weights_q, int) and module.weights_bits == 8
    assert all(node.leak.form == "shift" for node in quantized.neurons.values())


def test_training_lowers_the_loss_and_reaches_every_parameter():
    torch.manual_seed(0)
    quantized = prepared(small_net(), {**preset("w4v4"), "w": {"bits": 4, "LSQ": True}}, pictures(4, 16)).train()
    x, y = pictures(4, 16), torch.arange(16) % 4
    x = x * (0.2 + 0.2 * y).view(1, 16, 1, 1, 1)  # the class is the brightness
    optimizer, losses = torch.optim.Adam(quantized.parameters(), 5e-3), []
    for _ in range(40):
        reset_net(quantized)
        loss = nn.functional.cross_entropy(quantized(x).mean(0), y)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert min(losses[-5:]) < 0.8 * losses[0], losses
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in quantized.parameters())


def test_gradients_of_many_bits_are_those_of_the_float_net():
    net, x = small_net(), pictures(4, 6)
    quantized = prepared(net, INT16, x)
    for module in (net, quantized):
        (module(x).mean(0) * torch.linspace(-1, 1, 4)).sum().backward()
    for path, ours in quantized.layers.items():
        if path == "layers.8" or path == "layers.10":  # no normalization was joined with them
            theirs = net.get_submodule(path).weight.grad
            assert nn.functional.cosine_similarity(ours.weight.grad.flatten(), theirs.flatten(), 0) > 0.95, path


def test_a_state_dict_gives_the_same_net_again(tmp_path):
    net, x = small_net(), pictures(4, 3)
    quant = {"bits": 4, "LSQ": True, "v": {"bits": 6}}
    quantized = prepared(net, quant, x)
    with torch.no_grad():
        for parameter in quantized.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    other = prepare(net, quant, x)
    with pytest.raises(RuntimeError, match="Call observe"):
        other(x)
    torch.save(quantized.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(x), quantized(x))
    for name, value in quantized.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)
    again = copy.deepcopy(quantized)
    reset_net(again), reset_net(other)
    assert torch.equal(again(x), other(x))


def test_frozen_steps_are_not_trained_on():
    quantized = prepared(small_net(), {"bits": 4, "LSQ": True}, pictures(4, 3))
    learned = [name for name, p in quantized.named_parameters() if "log2_step" in name and p.requires_grad]
    freeze(quantized)
    assert len(learned) == 4
    assert not [name for name, p in quantized.named_parameters() if "log2_step" in name and p.requires_grad]


def test_a_static_input_gives_the_same_as_its_repetition():
    quantized, x = prepared(small_net(), {"bits": 6}, pictures(1, 3)), pictures(1, 3)[0]
    y = quantized(repeat(x, 5))
    reset_net(quantized)
    assert torch.equal(y, quantized(x.expand(5, *x.shape)))
    torch.testing.assert_close(quantized.predict(x, 5), y.mean(0))


def test_observing_more_batches_widens_the_range_and_the_steps_follow():
    quantized = prepare(small_net(), {"bits": 8, "quantype": "fake"})
    observe(quantized, [pictures(1, 4)[0]])
    assert quantized.input_quantizer.per_step.item() == pytest.approx(255 / pictures(1, 4).max().item())
    before = quantized.layers["layers.0"].input_step.item()
    observe(quantized, [(3 * pictures(1, 4)[0], torch.zeros(4)), (pictures(1, 4)[0], torch.zeros(4))])
    assert quantized.layers["layers.0"].input_step.item() == pytest.approx(3 * before)
    with pytest.raises(ValueError, match="gave no batch"):
        observe(quantized, [])


def test_steps_of_one_channel_do_not_depend_on_the_others():
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(5, 3, bias=False), neuron.IFNode(backend="torch"), layer.Linear(3, 2))
    set_step_mode(net, "m")
    with torch.no_grad():
        net[0].weight[1] *= 100
        net[0].weight[2] = 0
    x = (torch.rand(4, 2, 5) < 0.5).float()
    for granularity, sizes in (("channel", [3, 2]), ("tensor", [1, 1])):
        quantized = prepared(net, {"bits": 8, "quantype": "fake", "granularity": granularity}, x)
        assert [module.current.size for module in quantized.layers.values()] == sizes
        weight = quantized.layers["0"].integer_weight()
        assert (weight[0].abs().max() > 20) == (granularity == "channel")
        assert weight[2].abs().max() == 0 and not in_integers(quantized, x)[0]


def test_all_zero_layers_and_inputs_are_taken():
    net = nn.Sequential(layer.Linear(4, 3), neuron.LIFNode(), layer.Linear(3, 2))
    set_step_mode(net, "m")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    quantized = prepared(net, {"bits": 8}, torch.zeros(2, 1, 4))
    assert torch.equal(quantized(torch.ones(2, 1, 4)), torch.zeros(2, 1, 2))


def test_settings_of_single_layers():
    quant = {"bits": 8, "layers": {"layers.0": {"w": {"bits": 4}}, "*.2": {"v": {"bits": 12}}, "*": {"margin": 3.0}}}
    quantized = prepare(small_net(), quant)
    assert [module.w_params.bits for module in quantized.layers.values()] == [4, 8, 8, 8]
    assert [node.bits for node in quantized.neurons.values()] == [12, 12, 8]
    assert all(node.quant_params["margin"] == 3.0 for node in quantized.neurons.values())
    again = QuantSettings(quantized.quant)
    assert again.of("layers.0").kind("w").bits == 4 and again.as_dict() == quantized.quant


def test_nets_of_quantized_layers_and_neurons_can_be_prepared_too():
    torch.manual_seed(0)
    quant = {"bits": 8}
    net = nn.Sequential(
        QuantizedConv2d(1, 4, quant, kernel_size=3),
        QuantizedIFNode(quant),
        layer.Flatten(),
        QuantizedLinear(400, 3, quant),
    )
    set_step_mode(net, "m")
    x = pictures(3, 2)
    quantized = prepared(net, quant, x)
    assert list(quantized.layers) == ["0", "3"] and not in_integers(quantized, x)[0]


# --- sums of currents, converted nets --------------------------------------------------------------------------------


def test_layers_that_are_added_share_one_step():
    torch.manual_seed(0)
    path = nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), layer.BatchNorm2d(4))
    shortcut = nn.Sequential(layer.Conv2d(2, 4, 1), layer.BatchNorm2d(4))
    first = nn.Sequential(layer.Conv2d(1, 2, 3, padding=1), neuron.IFNode())
    net = nn.Sequential(
        first, layer.Residual(path, shortcut), neuron.IFNode(), layer.Flatten(), layer.Linear(4 * 144, 3)
    )
    set_step_mode(net.eval(), "m")
    set_backend(net, "torch")
    x = pictures(3, 2)
    quantized = prepared(net, {"bits": 8, "quantype": "fake"}, x)
    assert quantized.junctions[1].layers == ("1.residual.0", "1.shortcut.0")
    assert quantized.layers["1.residual.0"].current is quantized.layers["1.shortcut.0"].current
    assert not in_integers(quantized, x)[0]


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(y)) + x)


class _ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.block, self.pool, self.head = _Block(6), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.block(self.stem(x))), 1))


@pytest.mark.parametrize("quant", ["int8", "mcu"])
@pytest.mark.parametrize("calibration", ["none", "bias"])
def test_a_converted_residual_net_stays_near_its_ann_and_is_equal_in_integers(calibration, quant):
    torch.manual_seed(0)
    ann = _ResNet()
    for _ in range(5):
        ann(2 * torch.rand(32, 1, 12, 12))
    x = pictures(1, 16)[0]
    snn = convert(ann.eval(), [2 * torch.rand(64, 1, 12, 12)], T=16, calibration=calibration)
    set_backend(snn, "torch")
    quantized = prepared(snn, preset(quant), repeat(x, 16))
    assert "stem.2" in quantized.neurons and any("current" in path for path in quantized.layers)
    assert not in_integers(quantized, repeat(x[:4], 16))[0]
    with torch.no_grad():
        expected, found = snn.predict(x, 16), quantized.predict(x, 16)
    error = (found - expected).norm() / (expected - expected.mean(0)).norm()
    assert error < 0.4


def test_start_potentials_and_thresholds_of_channels_are_kept():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    snn = convert(net, [torch.rand(64, 1, 1, 1)], "max_norm", T=8, calibration="none")
    theta = {name: node.theta for name, node in snn.neurons.items()}
    quantized = prepared(snn, INT16, torch.rand(2, 3, 1, 1, 1))
    for name, node in quantized.neurons.items():
        torch.testing.assert_close(node.theta_value, theta[name].reshape(-1))
        assert isinstance(snn.neurons[name], SpikingRectifier)
        assert (node.v_start is None) == (not snn.neurons[name].v_init.any())
