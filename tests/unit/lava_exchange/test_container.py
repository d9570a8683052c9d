"""BlockContainer: 8-bit weights and integer neurons in training, and what it takes over from its parts."""

import hashlib

import pytest
import torch
from seeded_inputs import spikes
from torch import nn
from torch.nn import functional as F

from snntrain import functional, layer
from snntrain.lava_exchange import BatchNorm2d, BlockContainer, CubaLIFNode, SumPool2d, quantize_8b
from snntrain.neuron import FloatCubaLIFNode, IFNode, LIFNode, ParametricLIFNode, QIFNode
from snntrain.surrogate import ATan


def linear(out: int = 6, gain: float = 2.0) -> nn.Linear:
    torch.manual_seed(0)
    fc = nn.Linear(20, out, bias=False)
    nn.init.normal_(fc.weight, std=gain / 20**0.5)
    return fc


def fingerprint(module: nn.Module) -> str:
    tensors = [*module.parameters(), *module.buffers()]
    return hashlib.sha256(b"".join(value.detach().numpy().tobytes() for value in tensors)).hexdigest()


SYNAPSES = {
    "Linear": (lambda: linear(), (20,)),
    "Linear of snntrain": (lambda: layer.Linear(20, 6, bias=False), (20,)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=False), (2, 7, 7)),
    "Conv2d of snntrain": (lambda: layer.Conv2d(2, 4, (1, 3), dilation=2, bias=False), (2, 7, 7)),
    "SumPool2d": (lambda: SumPool2d(2), (2, 6, 6)),
}
over_synapses = pytest.mark.parametrize("make, shape", SYNAPSES.values(), ids=SYNAPSES)


@over_synapses
def test_it_computes_with_rounded_weights_and_the_integer_neuron(make, shape):
    synapse, x = make(), spikes(5, 3, *shape)
    rounded = make()
    rounded.load_state_dict(synapse.state_dict())
    for parameter in rounded.parameters():
        parameter.data = quantize_8b(parameter.data, 32)
    node = CubaLIFNode(0.5, 0.25, scale=32, backend="torch")
    expected = torch.stack([node(rounded(x_t)) for x_t in x])
    container = BlockContainer(synapse, CubaLIFNode(0.5, 0.25, scale=32, backend="torch"), step_mode="m")
    assert torch.equal(container(x), expected) and expected.any()
    functional.reset_net(container)
    functional.set_step_mode(container, "s")
    assert torch.equal(torch.stack([container(x_t) for x_t in x]), expected)


@over_synapses
def test_running_and_training_never_round_the_weights_themselves(make, shape):
    synapse, x = make(), spikes(5, 3, *shape).requires_grad_()
    before = fingerprint(synapse)
    container = BlockContainer(synapse, CubaLIFNode(0.5, 0.25, backend="torch"), step_mode="m")
    container(x).sum().backward()
    assert fingerprint(synapse) == before
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in (x, *synapse.parameters()))


@over_synapses
def test_autocast_changes_nothing(make, shape):
    x = spikes(5, 3, *shape)
    container = BlockContainer(make(), CubaLIFNode(0.5, 0.25, backend="torch"), step_mode="m")
    expected, state = container(x), container.neuron.v
    container.neuron.reset()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(container(x), expected) and torch.equal(container.neuron.v, state)


def test_flatten_has_no_neuron():
    x = spikes(4, 3, 2, 5, 5)
    assert torch.equal(BlockContainer(nn.Flatten(), None, step_mode="m")(x), x.view(4, 3, 50))
    assert torch.equal(BlockContainer(layer.Flatten(), None)(x[0]), x[0].view(3, 50))


def test_an_if_neuron_becomes_an_integer_neuron_with_equal_spikes():
    """Though the one fires at the threshold, and the other above it."""
    fc, x = linear(gain=3.0), spikes(30, 4, 20)
    node, equal = IFNode(v_threshold=1.0, backend="torch"), 0
    rounded = quantize_8b(fc.weight.detach(), 64)
    container = BlockContainer(fc, IFNode(v_threshold=1.0, backend="torch"))
    for x_t in x:
        before = node.v
        s = node(F.linear(x_t, rounded))
        equal += int((before + F.linear(x_t, rounded) == 1.0).sum())
        assert torch.equal(container(x_t), s)
    assert equal > 0, "no potential met the threshold"
    assert container.neuron.chip_parameters() == {"iDecay": 4096, "vDecay": 0, "vThMant": 63}


@pytest.mark.parametrize(
    "neuron, told",
    [
        (IFNode(v_threshold=0.3), {"iDecay": 4096, "vDecay": 0, "vThMant": 19}),
        (LIFNode(tau=4.0, decay_input=False, v_threshold=1.7), {"iDecay": 4096, "vDecay": 1024, "vThMant": 108}),
        (ParametricLIFNode(4.0, decay_input=False), {"iDecay": 4096, "vDecay": 1024, "vThMant": 64}),
        (FloatCubaLIFNode(0.3, 0.1), {"iDecay": 1229, "vDecay": 410, "vThMant": 64}),
        (CubaLIFNode(0.3, 0.1, scale=100), {"iDecay": 1229, "vDecay": 410, "vThMant": 100}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_neurons_become_the_integers_of_loihi(neuron, told):
    assert BlockContainer(linear(), neuron).neuron.chip_parameters() == told


def test_the_settings_of_a_neuron_are_taken_over():
    surrogate = ATan(3.0)
    neuron = LIFNode(
        *(2.0, False),
        surrogate_function=surrogate,
        detach_reset=True,
        backend="torch",
        store_v_seq=True,
    )
    made = BlockContainer(linear(), neuron, step_mode="m").neuron
    assert made.surrogate_function is surrogate and made.detach_reset and made.store_v_seq
    assert (made.backend, made.step_mode) == ("torch", "m")
    own = CubaLIFNode(0.5, 0.25)
    assert BlockContainer(linear(), own).neuron is own


def test_a_norm_reaches_the_neuron():
    norm = BatchNorm2d(4)
    conv = nn.Conv2d(2, 4, 3, bias=False)
    container = BlockContainer(conv, IFNode(backend="torch"), norm, step_mode="m")
    assert container.neuron.norm is norm
    assert norm.pre_hook_fx(torch.tensor(0.1)).item() == 6 / 64
    assert container(spikes(3, 2, 2, 7, 7)).shape == (3, 2, 4, 5, 5)
    assert norm.running_mean.abs().sum() > 0


def test_a_net_of_containers_learns():
    """Which of two halves of the inputs spikes more; every weight stays a float that is rounded on the way."""
    torch.manual_seed(0)
    net = nn.Sequential(
        BlockContainer(nn.Linear(20, 24, bias=False), CubaLIFNode(0.5, 0.25, detach_reset=True, backend="torch")),
        BlockContainer(nn.Linear(24, 2, bias=False), IFNode(detach_reset=True, backend="torch")),
    )
    functional.set_step_mode(net, "m")
    classes = torch.randint(0, 2, (64,))
    rates = torch.where((torch.arange(20) < 10) == classes.bool()[:, None], 0.5, 0.2)
    x = (torch.rand(8, 64, 20) < rates).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        functional.reset_net(net)
        loss = F.cross_entropy(net(x).mean(0) * 4, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    functional.reset_net(net)
    accuracy = (net(x).mean(0).argmax(1) == classes).float().mean().item()
    assert losses[-1] < 0.6 * losses[0] and accuracy > 0.9, (losses, accuracy)


class StandardizedConv(nn.Conv2d):
    """Computes something else than a Conv2d with its weights."""


@pytest.mark.parametrize(
    "synapse, neuron, error, text",
    [
        (nn.Linear(4, 2), IFNode(), ValueError, "^Linear: it has a bias, .* Use bias=False"),
        (nn.Conv2d(1, 2, 3), IFNode(), ValueError, "^Conv2d: it has a bias, .* Use bias=False"),
        (
            nn.Conv2d(1, 2, 3, bias=False, padding=1, padding_mode="circular"),
            *(IFNode(), ValueError),
            "^Conv2d: padding_mode must be 'zeros' .*, got 'circular'",
        ),
        (
            nn.Conv2d(1, 2, 3, bias=False, padding="same"),
            *(IFNode(), ValueError),
            "^Conv2d: padding must be .*, got 'same'",
        ),
        (nn.Flatten(2), None, ValueError, "^Flatten: start_dim must be 1 for lava-dl, got 2"),
        (nn.Flatten(1, 2), None, ValueError, "^Flatten: end_dim must be -1 for lava-dl, got 2"),
        (nn.Flatten(), IFNode(), ValueError, "^BlockContainer: neuron and norm must be None"),
        (linear(), None, ValueError, "^BlockContainer: neuron must be a spiking neuron where the layer is Linear"),
        (nn.AvgPool2d(2), IFNode(), NotImplementedError, "^BlockContainer: AvgPool2d .* use SumPool2d"),
        (nn.MaxPool2d(2), IFNode(), NotImplementedError, "^BlockContainer: MaxPool2d is none of"),
        (StandardizedConv(1, 2, 3, bias=False), IFNode(), NotImplementedError, "^BlockContainer: StandardizedConv"),
        (linear(), IFNode(v_reset=None), ValueError, r"^IFNode: v_reset is None \(soft reset\)"),
        (linear(), IFNode(v_reset=-0.1), ValueError, "^IFNode: v_reset is -0.1"),
        (linear(), IFNode(v_threshold=-0.5), ValueError, "^IFNode: v_threshold is -0.5"),
        (linear(), LIFNode(2.0), ValueError, r"^LIFNode: inputs are multiplied by 0\.5 .* \(divided by tau\)"),
        (
            linear(),
            QIFNode(v_reset=0.0),
            NotImplementedError,
            "^QIFNode: .* Use CubaLIFNode, IFNode",
        ),
        (linear(), nn.ReLU(), NotImplementedError, "^ReLU: "),
    ],
)
def test_what_lava_dl_cannot_do_is_refused(synapse, neuron, error, text):
    with pytest.raises(error, match=text):
        BlockContainer(synapse, neuron)


def test_a_second_norm_and_a_wrong_step_mode_are_refused():
    node = CubaLIFNode(0.5, 0.25, norm=BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"^CubaLIFNode: norm must be a module .*, once"):
        BlockContainer(nn.Conv2d(2, 4, 3, bias=False), node, BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"^BlockContainer: step_mode must be"):
        BlockContainer(linear(), IFNode(), step_mode="x")
