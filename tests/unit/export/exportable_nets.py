"""Nets and inputs for the tests of export: small ones, and random ones that lose nothing when they are exported."""

from dataclasses import dataclass

import numpy as np
import torch
from seeded_inputs import spikes
from torch import Tensor, nn
from watched_nets import outputs_of

from snntrain import functional, layer, neuron
from snntrain.lava_exchange import BlockContainer, CubaLIFNode, SumPool2d

Rng = np.random.Generator


def sequence(*parts: nn.Module) -> nn.Sequential:
    """A net in evaluation and step mode 'm', for which no kernels have to be compiled."""
    net = nn.Sequential(*parts).eval()
    functional.set_step_mode(net, "m")
    functional.set_backend(net, "torch")
    return net


PICTURES = spikes(4, 2, 2, 8, 8)


@dataclass
class Case:
    """A net in step mode 'm', and an input [T, N, *] of integers."""

    net: nn.Sequential
    x: Tensor


def random_case(seed: int) -> Case:
    """A net of one to four layers of neurons: dense, or convolutions first; one in four is recurrent."""
    rng = np.random.default_rng(seed)
    T, N = int(rng.integers(3, 12)), int(rng.integers(1, 4))
    is_recurrent = rng.random() < 0.25
    parts: list[nn.Module] = []
    if rng.random() < 0.6:
        shape = (int(rng.choice([1, 2, 4])), int(rng.integers(5, 10)), int(rng.integers(5, 10)))
        now = shape
        for _ in range(int(rng.integers(1, 3))):
            now = _add_convolution(rng, parts, now, not is_recurrent)
        parts.append(layer.Flatten())
        features = int(np.prod(now))
    else:
        shape = (int(rng.integers(2, 30)),)
        features = shape[0]
    for _ in range(int(rng.integers(1, 3))):
        features = _add_dense(rng, parts, features, is_recurrent)
    net = sequence(*parts).train()
    high = int(rng.choice([1, 1, 1, 3, 15]))
    x = rng.integers(0, high + 1, (T, N, *shape)) * (rng.random((T, N, *shape)) < 0.5)
    return Case(net, torch.from_numpy(x).float())


@dataclass(frozen=True)
class Grid:
    """Weights are 2k/scale, with |k| up to `largest`."""

    scale: int
    largest: int

    def fill(self, rng: Rng, module: nn.Module) -> nn.Module:
        """Never all of one sign, so that nothing is special about them."""
        values = rng.integers(-self.largest, self.largest + 1, tuple(module.weight.shape)) * 2
        values.flat[0], values.flat[-1] = 2 * self.largest, -2
        module.weight.data = torch.from_numpy(values / self.scale).float()
        if module.bias is not None:
            biases = rng.integers(-self.largest, 2 * self.largest, tuple(module.bias.shape))
            module.bias.data = torch.from_numpy(biases / self.scale).float()
        return module


def _add_convolution(rng: Rng, parts: list[nn.Module], shape: tuple[int, ...], may_bias: bool) -> tuple[int, ...]:
    if parts and shape[1] % 2 == 0 and shape[2] % 2 == 0 and rng.random() < 0.6:
        pool = layer.AvgPool2d(2) if rng.random() < 0.5 else SumPool2d(2)
        parts.append(pool)
        shape = (shape[0], shape[1] // 2, shape[2] // 2)
    groups = int(rng.choice([size for size in (1, 2, 4) if shape[0] % size == 0]))
    out = groups * int(rng.integers(1, 4))
    kernel = tuple(int(rng.integers(1, min(size, 3) + 1)) for size in shape[1:])
    has_room = [(size - 1) * 2 < side for size, side in zip(kernel, shape[1:], strict=True)]
    dilation = tuple(int(rng.integers(1, 3)) if room else 1 for room in has_room)
    settings = {"stride": pairs(rng, 1, 3), "padding": pairs(rng, 0, 2), "dilation": dilation, "groups": groups}
    use, grid, has_bias = _neuron(rng, may_bias, of_average=bool(parts) and isinstance(parts[-1], layer.AvgPool2d))
    conv = grid.fill(rng, layer.Conv2d(shape[0], out, kernel, bias=has_bias, **settings))
    shape = tuple(conv(torch.zeros(1, *shape)).shape[1:])
    if not has_bias and type(use) is CubaLIFNode and rng.random() < 0.5:
        parts.append(BlockContainer(conv, use))
    else:
        parts += [conv, use]
    return shape


def _add_dense(rng: Rng, parts: list[nn.Module], features: int, is_recurrent: bool) -> int:
    out = int(rng.integers(2, 20))
    use, grid, has_bias = _neuron(rng, not is_recurrent)
    parts.append(grid.fill(rng, layer.Linear(features, out, bias=has_bias)))
    if is_recurrent:
        feedback = grid.fill(rng, layer.Linear(out, out, bias=False))
        use = layer.ElementWiseRecurrentContainer(use, layer.FeedbackSum(feedback))
    parts.append(use)
    return out


def _neuron(rng: Rng, may_bias: bool, of_average: bool = False) -> tuple[nn.Module, Grid, bool]:
    """A neuron, the grid of the weights before it, and whether there is a bias."""
    grid = Grid(int(2 ** rng.integers(3, 8)), int(rng.choice([2, 9, 40, 127])))
    threshold = float(rng.uniform(0.2, 2.0)) * 2 * grid.largest / grid.scale
    kind = rng.random()
    if kind < 0.4 or of_average:  # where nothing leaks, means are as good as sums
        return neuron.IFNode(threshold), grid, may_bias and rng.random() < 0.5
    if kind < 0.5:
        return neuron.FloatCubaLIFNode(1.0, 0.0, threshold), grid, may_bias and rng.random() < 0.5
    current_decay = float(rng.choice([0.0, 0.1, 0.5, 1.0, rng.random()]))
    voltage_decay = float(rng.choice([0.0, 0.25, 1.0, rng.random()]))
    use = CubaLIFNode(current_decay, voltage_decay, threshold, scale=grid.scale)
    return use, grid, may_bias and current_decay == 1.0 and rng.random() < 0.5


def pairs(rng: Rng, low: int, high: int) -> tuple[int, int]:
    """Two integers, low … high − 1."""
    return int(rng.integers(low, high)), int(rng.integers(low, high))


@torch.no_grad()
def spikes_of(net: nn.Module, x: Tensor) -> list[Tensor]:
    """What every layer of neurons puts out, in order, and at the end the output of the net."""
    kinds = (neuron.IFNode, neuron.FloatCubaLIFNode, CubaLIFNode, layer.ElementWiseRecurrentContainer)
    layers = {name: module for name, module in net.named_modules() if isinstance(module, kinds)}
    inner = {name for name in layers for other in layers if name.startswith(f"{other}.")}
    functional.reset_net(net)
    with outputs_of({name: module for name, module in layers.items() if name not in inner}) as seen:
        net(x)
    functional.reset_net(net)
    return [output for outputs in seen.values() for output in outputs]
