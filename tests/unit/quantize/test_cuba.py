"""Nets of neurons in Loihi's integers: quantized, in both integer engines and in C they spike as they were trained."""

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets_in_c import compiled, differences
from random_nets import in_integers
from torch import Tensor, nn
from watched_nets import outputs_of

from snntrain import layer, neuron
from snntrain.functional import reset_net, set_step_mode
from snntrain.lava_exchange import BlockContainer, CubaLIFNode, SumPool2d
from snntrain.quantize import QuantizationError, QuantizedNet, observe, prepare, preset, to_integer

SEEDS = st.integers(0, 2**32 - 1)


def nets(few: int) -> settings:
    return settings(
        max_examples=few, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def cuba(rng: random.Random) -> CubaLIFNode:
    decays = [rng.choice([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) for _ in range(2)]
    return CubaLIFNode(*decays, rng.choice([0.5, 1.0, 1.7, 4.0]), scale=rng.choice([16, 64, 128]), backend="torch")


def block_net(seed: int) -> tuple[nn.Sequential, Tensor]:
    """A net of lava_blocks that ends with spikes, and spikes [T, N, *] for it."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    shape: tuple[int, ...] = (12,)
    if rng.random() < 0.6:
        shape, channels = (2, 6, 6), rng.choice([2, 4])
        sizes = {"kernel_size": rng.choice([1, 3]), "stride": rng.choice([1, 2]), "padding": rng.choice([0, 1])}
        conv = layer.Conv2d(2, channels, groups=rng.choice([1, 2]), bias=False, **sizes)
        modules.append(BlockContainer(conv, cuba(rng)))
        modules += [BlockContainer(SumPool2d(2, 1), cuba(rng))] if rng.random() < 0.3 else []
        modules += [layer.MaxPool2d(2, 1)] if rng.random() < 0.3 else []
        modules.append(layer.Flatten())
    x = (torch.rand(rng.choice([2, 7]), 3, *shape) < 0.5).float()
    features = nn.Sequential(*modules)
    set_step_mode(features, "m")
    width = features(x).shape[-1] if modules else 12
    reset_net(features)
    dense = [layer.Linear(width, 7, bias=False), layer.Linear(7, 4, bias=False)]
    modules += [BlockContainer(each, cuba(rng)) for each in dense]
    net = nn.Sequential(*modules)
    with torch.no_grad():  # so that neurons fire, and weights reach both ends of 8 bits
        for parameter in net.parameters():
            parameter.mul_(rng.choice([2.0, 6.0, 20.0]))
    set_step_mode(net, "m")
    return net.eval(), x


def prepared(net: nn.Module, x: Tensor, quant: object = None) -> QuantizedNet:
    quantized = prepare(net, preset("int8") if quant is None else quant, x)
    observe(quantized, [x])
    return quantized


@torch.no_grad()
def spikes_of(net: nn.Module, x: Tensor, *kinds: type) -> list[Tensor]:
    """The spikes of all neurons, in order."""
    reset_net(net)
    with outputs_of({name: each for name, each in net.named_modules() if isinstance(each, kinds)}) as found:
        net(x)
    reset_net(net)
    return [spikes for (spikes,) in found.values()]


@nets(15)
@given(seed=SEEDS)
def test_nothing_is_rounded_that_was_trained_in_integers(seed):
    """Every spike is that of CubaLIFNode, and every potential an integer of it; both engines compute the same."""
    net, x = block_net(seed)
    quantized = prepared(net, x)
    ours = spikes_of(quantized, x, *{type(node) for node in quantized.neurons.values()})
    theirs = spikes_of(net, x, CubaLIFNode)
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs)), seed
    assert torch.equal(quantized(x), net(x))
    assert not in_integers(quantized, x)[0], seed


@compiled
@pytest.mark.parametrize("few", [3, pytest.param(60, marks=pytest.mark.slow)], ids=["few", "60"])
def test_the_same_in_c(few, tmp_path):
    @nets(few)
    @given(seed=SEEDS)
    def check(seed: int) -> None:
        net, x = block_net(seed)
        assert not differences(to_integer(prepared(net, x)), x, tmp_path, "-O1", event_driven=seed % 2 == 0), seed

    check()


def test_the_generator_makes_nets_that_fire():
    rates, weights = [], set()
    for seed in range(40):
        net, x = block_net(seed)
        rates += [float(spikes.mean()) for spikes in spikes_of(net, x, CubaLIFNode)]
        integers = to_integer(prepared(net, x))
        weights |= {int(each.min()) for name, each in integers.arrays.items() if name.endswith("weight")}
    assert sum(0.02 < rate < 0.98 for rate in rates) > len(rates) / 2
    assert -128 in weights


@pytest.mark.parametrize("quant", [preset("int8"), preset("w4v4"), preset("mcu")], ids=["int8", "w4v4", "mcu"])
def test_layers_of_floats_before_it_are_quantized_around_its_integers(quant):
    """Steps are a power of two times those of the states; training changes nothing about equality."""
    torch.manual_seed(0)
    blocks = [
        layer.Conv2d(1, 4, 3, padding=1),
        layer.BatchNorm2d(4),
        CubaLIFNode(0.5, 0.25, backend="torch"),
        layer.AvgPool2d(2),
    ]
    node = CubaLIFNode(0.3, 0.1, scale=100, backend="torch")
    more = [layer.Flatten(), layer.Linear(36, 8), node, layer.Linear(8, 3)]
    net = nn.Sequential(*blocks, *more)
    set_step_mode(net, "m")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    x = torch.rand(5, 4, 1, 6, 6)
    quantized = prepared(net.eval(), x, quant)
    optimizer = torch.optim.Adam(quantized.parameters(), lr=0.05)
    before = [weight.clone() for weight in quantized.parameters()]
    for _ in range(2):
        reset_net(quantized)
        optimizer.zero_grad()
        (quantized.train()(x) * torch.linspace(-1, 1, 3)).sum().backward()
        optimizer.step()
        different, integers = in_integers(quantized.eval(), x)
        assert not different
    assert not any(map(torch.equal, before, quantized.parameters()))  # gradients reach every weight
    assert [operation["op"] for operation in integers.operations].count("cuba") == 2
    rates = [float(spikes.float().mean()) for spikes in integers.run(x, record=True).spikes.values()]
    assert all(0.02 < rate < 0.98 for rate in rates), rates


def test_states_saturate_at_24_bits():
    """By hand: iDecay 0 and vDecay 0; each step adds 2·64·127 to the current, and potentials fall without end."""
    net = nn.Sequential(BlockContainer(layer.Linear(1, 1, bias=False), CubaLIFNode(0.0, 0.0, backend="torch")))
    net[0].synapse.weight.data.fill_(-254 / 64)
    x = torch.ones(60, 1, 1)
    quantized = prepared(net, x)
    different, integers = in_integers(quantized, x)
    assert not different
    (potentials,) = integers.run(x, record=True).potentials.values()
    current = -64 * 254 * torch.arange(1, 61)
    assert potentials.flatten().tolist() == current.cumsum(0).clamp(min=-(2**23)).tolist()
    assert potentials.min() == -(2**23)


def linear(*nodes: nn.Module) -> nn.Sequential:
    net = nn.Sequential(*(part for node in nodes for part in (layer.Linear(4, 4), node)))
    set_step_mode(net, "m")
    return net


@pytest.mark.parametrize(
    "net, quant, text",
    [
        (linear(CubaLIFNode(0.5, 0.25)), {"bits": 8, "LSQ": True}, r"1 \(CubaLIFNode\).*are to be learned \(w.LSQ\)"),
        (linear(CubaLIFNode(0.5, 0.25)), preset("loihi"), r"in Loihi's integers already.*callbacks=\[default,lava\]"),
        (linear(CubaLIFNode(0.5, 0.25, 0.001)), {"bits": 8}, "its threshold is not above 0"),
        (linear(neuron.FloatCubaLIFNode()), {"bits": 8}, r"Use current_decay = 1, CubaLIFNode \(neuron=cuba_lif\)"),
    ],
)
def test_what_its_integers_do_not_allow_is_refused_by_name(net, quant, text):
    with pytest.raises(QuantizationError, match=text):
        prepare(net, quant, torch.rand(2, 2, 4))


def test_neurons_of_other_integers_cannot_share_its_input():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.a, self.b = layer.Linear(4, 4), CubaLIFNode(0.5, 0.25), neuron.IFNode()

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x)
            return self.a(y) + self.b(y)

    net = Two()
    set_step_mode(net, "m")
    with pytest.raises(QuantizationError, match=r"a \(CubaLIFNode\) cannot be quantized: its input also goes to b"):
        prepare(net, {"bits": 8}, torch.rand(2, 2, 4))
