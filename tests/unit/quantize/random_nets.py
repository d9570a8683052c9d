"""Random spiking nets and random ways to quantize them: what several test files need."""

import random
from typing import Any

import torch
from torch import Tensor, nn
from watched_nets import outputs_of

from snntrain import layer, neuron
from snntrain.functional import reset_net, set_backend, set_step_mode
from snntrain.quantize import IntegerNet, QuantizedNet, to_integer


def random_neuron(rng: random.Random) -> nn.Module:
    """A neuron of any kind that can be quantized."""
    v_reset = rng.choice([None, 0.0, -0.25, 0.125])
    common = {"v_threshold": rng.choice([0.5, 0.75, 1.0, 1.3]), "v_reset": v_reset}
    kind = rng.choice(["IF", "LIF", "LIF", "PLIF", "ATIF", "Cuba"])
    if kind == "IF":
        return neuron.IFNode(**common)
    if kind == "LIF":
        return neuron.LIFNode(tau=rng.choice([1.1, 1.7, 2.0, 3.0, 8.0, 40.0]), decay_input=rng.random() < 0.5, **common)
    if kind == "PLIF":
        return neuron.ParametricLIFNode(init_tau=rng.choice([1.5, 2.0, 5.3]), **common)
    if kind == "ATIF":
        return neuron.ATIFNode(v_threshold=common["v_threshold"])
    common["v_reset"] = None if v_reset is None else 0.0
    return neuron.FloatCubaLIFNode(current_decay=1.0, voltage_decay=rng.choice([0.0, 0.2, 1.0]), **common)


def _norm(rng: random.Random, channels: int, rank: int) -> nn.Module:
    if rng.random() < 0.3:
        kind = getattr(layer, f"ThresholdDependentBatchNorm{rank}d")
        norm = kind(alpha=1.0, v_th=1.0, num_features=channels)
    else:
        norm = getattr(layer, f"BatchNorm{rank}d")(channels)
    with torch.no_grad():
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.3, 2.0)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.3, 0.4)
    return norm


def _conv(rng: random.Random, before: int, after: int, rank: int, same: bool = False) -> list[nn.Module]:
    """A convolution, perhaps with a normalization; same: it keeps the size."""
    kernel, dilation, groups = rng.choice([1, 3]), rng.choice([1, 1, 2]), rng.choice([1, 1, 2])
    groups = groups if before % groups == after % groups == 0 else 1
    padding = dilation * (kernel - 1) // 2 if same else rng.choice([0, 1])
    stride = 1 if same else rng.choice([1, 1, 2])
    if not same and kernel == 3:
        dilation = 1
    kind = layer.Conv2d if rank == 2 else layer.Conv1d
    modules: list[nn.Module] = [kind(before, after, kernel, stride, padding, dilation, groups, rng.random() < 0.6)]
    return modules + ([_norm(rng, after, rank)] if rng.random() < 0.6 else [])


def _pool(rng: random.Random, rank: int) -> list[nn.Module]:
    if rng.random() < 0.4:
        return []
    if rank == 1:
        return [layer.MaxPool1d(2, 1)]
    return [
        rng.choice([layer.MaxPool2d(2, 1), layer.MaxPool2d(3, 2, 1), layer.AvgPool2d(2, 1), layer.AvgPool2d(3, 2, 1)])
    ]


def _block(rng: random.Random, channels: int, rank: int) -> nn.Module:
    """Something that keeps the shape: spikes in, spikes out."""
    path = nn.Sequential(*_conv(rng, channels, channels, rank, same=True), random_neuron(rng))
    kind = rng.choice(["path", "add", "and", "iand", "current"])
    if kind == "path":
        return _plain_spikes(path)
    if kind == "current":  # currents are added, as in ResNet and in MS-ResNet
        shortcut = nn.Sequential(*_conv(rng, channels, channels, rank, same=True)) if rng.random() < 0.5 else None
        body = nn.Sequential(*path, *_conv(rng, channels, channels, rank, same=True))
        return _plain_spikes(nn.Sequential(layer.Residual(body, shortcut, "add"), random_neuron(rng)))
    return layer.Residual(_plain_spikes(path), None, kind)


def _plain_spikes(path: nn.Sequential) -> nn.Sequential:
    """The path with spikes of height 1 at its end."""
    return path if not isinstance(path[-1], neuron.ATIFNode) else nn.Sequential(*path[:-1], neuron.IFNode())


def random_net(seed: int) -> tuple[nn.Sequential, Tensor]:
    """A net in evaluation and step mode 'm' whose neurons fire, and an input [T, N, *] of it."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    rank, T = rng.choice([0, 1, 2, 2]), rng.choice([1, 3, 6])
    channels = rng.choice([1, 2, 3])
    shape = (rng.choice([5, 12]),) if rank == 0 else (channels, *[rng.choice([6, 7])] * rank)
    modules: list[nn.Module] = []
    if rank:
        width = rng.choice([2, 4])
        modules += [*_conv(rng, channels, width, rank)]
        modules += [layer.AvgPool2d(2, 1)] if rank == 2 and rng.random() < 0.2 else []
        first = neuron.IFNode() if rng.random() < 0.5 else random_neuron(rng)
        modules += [first, *_pool(rng, rank)]
        averaged = any(isinstance(module, layer.AvgPool2d) for module in modules)
        if not isinstance(first, neuron.ATIFNode) and not averaged:
            modules += [_block(rng, width, rank) for _ in range(rng.choice([0, 1, 2]))]
        modules += [layer.AdaptiveAvgPool2d(1)] if rank == 2 and rng.random() < 0.3 else []
        modules += [layer.Flatten(), layer.Dropout()]
    net = nn.Sequential(*modules)
    set_step_mode(net, "m")
    set_backend(net, "torch")  # kernels would have to be compiled
    x = _input(rng, (T, 2, *shape))
    with torch.no_grad():
        features = net.eval()(x).shape[-1]
    hidden, classes = rng.choice([3, 6]), 3
    modules += [layer.Linear(features, hidden), random_neuron(rng)]
    if rng.random() < 0.3:
        modules += [layer.Linear(hidden, classes * 2, bias=False), neuron.LIFNode(), layer.VotingLayer(2)]
    else:
        modules += [layer.Linear(hidden, classes)]
    net = nn.Sequential(*modules)
    with torch.no_grad():  # so that neurons fire
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.mul_(rng.choice([1.5, 3.0, 6.0]))
                if rng.random() < 0.05:
                    parameter.zero_()
    set_step_mode(net, "m")
    set_backend(net, "torch")
    reset_net(net)
    return net.eval(), x


def _input(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    kind = rng.choice(["spikes", "positive", "signed", "large"])
    if kind == "spikes":
        return (torch.rand(shape) < 0.4).float()
    return {"positive": torch.rand(shape), "signed": torch.randn(shape), "large": 300 * torch.rand(shape)}[kind]


def random_quant(seed: int) -> dict[str, Any]:
    """Settings of every kind."""
    rng = random.Random(seed)
    quant: dict[str, Any] = {
        "bits": rng.choice([2, 3, 4, 8]),
        "quantype": rng.choice(["fxp", "fake"]),
        "roundtype": rng.choice(["nearest", "floor", "ceil"]),
        "range_setting": rng.choice(["minmax", "MSE_simulation", "MSE_analysis"]),
        "granularity": rng.choice(["channel", "tensor"]),
        "overflow": rng.choice(["saturate", "wrap"]),
        "leak": rng.choice(["multiply", "shift"]),
        "margin": rng.choice([1.0, 1.5, 2.0, 5.0]),
        "LSQ": rng.random() < 0.2,
    }
    quant["v"] = {"bits": rng.choice([2, 4, 5, 8, 12, 16]), "roundtype": rng.choice(["nearest", "floor", "ceil"])}
    if rng.random() < 0.3:
        quant["w"] = {"bits": rng.choice([2, 6, 8])}
    if rng.random() < 0.3:
        quant["input"] = {"bits": rng.choice([2, 4, 8]), "quantype": "fake"}
    if rng.random() < 0.2:
        quant["bias"] = {"bits": rng.choice([4, 8])}
    return quant


def in_integers(net: QuantizedNet, x: Tensor) -> tuple[dict[str, int], IntegerNet]:
    """Names of what differs between a quantized net and both runners of its integer form → how many values do."""
    for node in net.neurons.values():
        node.store_v_seq = True
    reset_net(net)
    with torch.no_grad(), outputs_of(net.neurons) as spikes:
        y = net(x)
    integers, different = to_integer(net), {}
    for runner in ("torch", "numpy"):
        found = integers.run(x, record=True, runner=runner)
        pairs = {"logits": (y, found.logits)}
        pairs |= {f"spikes {name}": (ours, found.spikes[name]) for name, (ours,) in spikes.items()}
        pairs |= {f"v {name}": (node.v_seq, found.potentials[name]) for name, node in net.neurons.items()}
        for name, (ours, theirs) in pairs.items():
            assert ours.shape == theirs.shape, name
            count = int((ours.double() != theirs.double()).sum())
            if count:
                different[f"{runner}: {name}"] = count
    reset_net(net)
    return different, integers
