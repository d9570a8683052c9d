"""Random nets that branch: what is exported for any reader computes the same when it is read again."""

import numpy as np
import pytest
import torch
from exportable_nets import sequence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snntrain import create_model, functional, layer, neuron
from snntrain.export import ExportError, export_nir, import_nir
from snntrain.export.nir_net import Scale
from snntrain.hooks import spiking_layers, watching
from snntrain.lava_exchange import SumPool2d

nir = pytest.importorskip("nir")
CHANNELS = 3


class RandomNet:
    """Layers whose weights, gains and thresholds are multiples of powers of two, so that nothing is rounded."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def filled(self, module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            parameter.data = torch.from_numpy(self.rng.integers(-8, 10, tuple(parameter.shape)) / 16).float()
        return module

    def conv(self) -> nn.Module:
        groups = int(self.rng.choice([1, CHANNELS]))
        conv = layer.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=groups, bias=bool(self.rng.random() < 0.5))
        return self.filled(conv)

    def neuron(self) -> nn.Module:
        threshold = float(self.rng.choice([0.25, 0.5, 1.0]))
        made = self.rng.choice(["if", "lif", "cuba", "threshold"])
        if made == "if":
            return neuron.IFNode(threshold)
        if made == "lif":
            return neuron.LIFNode(2.0, v_threshold=threshold)
        decays = (0.5, 0.25) if made == "cuba" else (1.0, 1.0)
        return neuron.FloatCubaLIFNode(*decays, threshold)

    def scale(self) -> nn.Module:
        per_channel = self.rng.choice([-1.0, 0.5, 2.0], (CHANNELS, 1, 1))
        return Scale(np.broadcast_to(per_channel, (CHANNELS, 4, 4)).copy())

    def part(self, depth: int) -> nn.Module:
        kinds = ["conv", "neuron", "neuron", "pool", "scale"] + ["residual", "branches"] * (depth < 2)
        match self.rng.choice(kinds):
            case "conv":
                return self.conv()
            case "neuron":
                return self.neuron()
            case "pool":  # which keeps the size
                return layer.AvgPool2d(2, stride=1, padding=1) if self.rng.random() < 0.3 else layer.AvgPool2d(1)
            case "scale":
                return self.scale()
            case "residual":
                return layer.Residual(self.path(depth + 1, ends_small=True))
        return layer.Branches([self.path(depth + 1, ends_small=True) for _ in range(2)], join="add")

    def path(self, depth: int, *, ends_small: bool = False) -> nn.Sequential:
        """Parts, a large pooling among them left out where paths have to have one shape."""
        parts = [self.part(depth) for _ in range(int(self.rng.integers(1, 4)))]
        if ends_small:
            parts = [part for part in parts if not (isinstance(part, layer.AvgPool2d) and part.padding == 1)]
        return nn.Sequential(*parts, self.neuron() if self.rng.random() < 0.5 else self.conv())

    def net(self) -> nn.Sequential:
        body = [part for part in self.path(0) if not (isinstance(part, layer.AvgPool2d) and part.padding == 1)]
        pool = [layer.AvgPool2d(2), SumPool2d(2)][int(self.rng.integers(2))]
        linear = self.filled(layer.Linear(CHANNELS * 4, 5))
        return sequence(self.conv(), *body, pool, layer.Flatten(), linear, self.neuron())


@torch.no_grad()
def computed(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The outputs of all layers of neurons, in the order in which they fire, and of the net."""
    seen: dict[str, Tensor] = {}
    functional.reset_net(net)
    functional.set_backend(net, "torch")
    with watching(spiking_layers(net), lambda name, _, y: seen.update({name: y})):
        output = net(x)
    return [*seen.values(), output]


@pytest.mark.parametrize("reader", ["nir", "snntorch", "norse"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_branches_comes_back_as_it_was(reader, seed):
    net = RandomNet(seed).net()
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (5, 2, CHANNELS, 4, 4))).float()
    try:
        graph = export_nir(net, x, reader=reader)
    except ExportError as error:  # Norse cannot hold every sum
        assert reader == "norse" and "norse computes it before" in str(error)
        return
    expected, found = computed(net, x), computed(import_nir(graph), x)
    assert len(found) == len(expected)
    for ours, theirs in zip(expected, found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sew_resnet18", "ms_resnet18"])
def test_residual_nets_of_the_zoo_come_back_as_they_were(model, tmp_path):
    torch.manual_seed(0)
    net, x = (
        create_model(model, (1, 8, 8), 10, neuron={"name": "LIFNode", "v_threshold": 0.3}),
        torch.rand(4, 2, 1, 8, 8),
    )
    for module in net.modules():
        if isinstance(module, layer.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1), module.running_var.uniform_(0.5, 1.0)
    functional.set_step_mode(net.eval(), "m")
    export_nir(net, x, tmp_path / "net.nir")
    *spikes, scores = computed(net, x)
    *found, copied = computed(import_nir(tmp_path / "net.nir"), x)
    differing = sum(int((ours != theirs).sum()) for ours, theirs in zip(spikes, found, strict=True))
    assert differing <= 1e-4 * sum(map(torch.numel, spikes)) and sum(float(each.sum()) for each in spikes) > 1000
    torch.testing.assert_close(copied, scores, rtol=1e-2, atol=1e-2)
