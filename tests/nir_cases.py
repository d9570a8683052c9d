"""Nets with each node of NIR, and what each reader does with them: the table of docs/nir.md."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export.nir_net import Scale
from snntrain.lava_exchange import SumPool2d

RUN, REFUSED = "run", "refused"
READERS = ("snntorch", "norse", "sinabs")


@dataclass(frozen=True)
class Case:
    """A net, and for each of READERS whether it is run there or refused, naming the layer.

    Attributes:
        make: (how neurons are reset) → its parts; sinabs wants a soft reset, the others a hard one.
        shape: of a step.
    """

    make: Callable[[dict], list[nn.Module]]
    shape: tuple[int, ...]
    readers: tuple[str, str, str]

    def net(self, reader: str) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(*self.make({"v_reset": None if reader == "sinabs" else 0.0})).eval()
        functional.set_step_mode(net, "m")
        functional.set_backend(net, "torch")
        return net

    def input(self) -> torch.Tensor:
        torch.manual_seed(1)
        return (torch.rand(24, 3, *self.shape) < 0.4).float()


def dense(*middle: Callable[[], nn.Module]) -> Callable[[dict], list[nn.Module]]:
    """Parts between two layers of neurons."""
    return lambda reset: [
        *(layer.Linear(8, 9), neuron.IFNode(0.4, **reset), *(part() for part in middle)),
        *(layer.Linear(9, 6), neuron.IFNode(0.3, **reset), layer.Linear(6, 3)),
    ]


def ending(*last: Callable[[], nn.Module]) -> Callable[[dict], list[nn.Module]]:
    return lambda reset: [layer.Linear(8, 9), neuron.IFNode(0.4, **reset), layer.Linear(9, 3), *(end() for end in last)]


def path(reset: dict) -> nn.Module:
    return nn.Sequential(layer.Linear(9, 9), neuron.IFNode(0.3, **reset))


def joined(*parts: nn.Module) -> list[nn.Module]:
    return [layer.Linear(8, 9), neuron.IFNode(0.4, **_hard(parts)), *parts, layer.Linear(9, 3)]


def _hard(parts: tuple[nn.Module, ...]) -> dict:
    nodes = [module for part in parts for module in part.modules() if isinstance(module, neuron.IFNode)]
    return {"v_reset": nodes[0].v_reset}


def pictures(*middle: Callable[[], nn.Module], features: int = 36) -> Callable[[dict], list[nn.Module]]:
    return lambda reset: [
        *(layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(0.5, **reset), *(part() for part in middle)),
        *(layer.Flatten(), layer.Linear(features, 5), neuron.IFNode(0.4, **reset)),
    ]


def loop(reset: dict) -> list[nn.Module]:
    feedback = layer.FeedbackSum(layer.Linear(9, 9, bias=False))
    return [layer.Linear(8, 9), layer.ElementWiseRecurrentContainer(neuron.IFNode(0.4, **reset), feedback)]


def delayed() -> nn.Module:
    return layer.AxonalDelay(9, layer.DelaySettings(max=3, learn=False))


ALL = (RUN, RUN, RUN)
NONE = (REFUSED, REFUSED, REFUSED)

#: Row of the table → its net.
CASES = {
    "`Affine`, `Linear`": Case(dense(), (8,), ALL),
    "`Conv2d`, `Flatten`": Case(pictures(features=144), (2, 6, 6), ALL),
    "`SumPool2d`": Case(pictures(lambda: SumPool2d(2)), (2, 6, 6), ALL),
    "`AvgPool2d`": Case(pictures(lambda: layer.AvgPool2d(2)), (2, 6, 6), ALL),
    "`Conv1d`": Case(
        lambda reset: [layer.Conv1d(2, 4, 3, padding=1), neuron.IFNode(0.4, **reset), layer.Flatten()],
        (2, 6),
        (RUN, REFUSED, REFUSED),
    ),
    "`Scale`": Case(dense(lambda: Scale(torch.linspace(-1, 2, 9).numpy())), (8,), ALL),
    "`IF`": Case(dense(), (8,), ALL),
    "`LIF`": Case(
        lambda reset: [layer.Linear(8, 9), neuron.LIFNode(3.0, v_threshold=0.2, **reset), layer.Linear(9, 3)], (8,), ALL
    ),
    "`CubaLIF`": Case(
        lambda reset: [layer.Linear(8, 9), neuron.FloatCubaLIFNode(0.3, 0.2, 0.5, **reset), layer.Linear(9, 3)],
        (8,),
        (RUN, RUN, REFUSED),
    ),
    "`Threshold`": Case(
        lambda reset: [layer.Linear(8, 9), neuron.FloatCubaLIFNode(1.0, 1.0, 0.5, **reset), layer.Linear(9, 3)],
        (8,),
        (RUN, RUN, REFUSED),
    ),
    "`LI`": Case(ending(lambda: neuron.NonSpikingLIFNode(3.0)), (8,), (REFUSED, REFUSED, RUN)),
    "`CubaLI`": Case(
        ending(lambda: neuron.NonSpikingLIFNode(3.0), lambda: neuron.NonSpikingLIFNode(4.0)),
        (8,),
        (REFUSED, REFUSED, RUN),
    ),
    "`I`": Case(ending(neuron.NonSpikingIFNode), (8,), NONE),
    "`Delay`": Case(dense(delayed), (8,), NONE),
    "a loop around a neuron": Case(loop, (8,), NONE),
    "a sum with a shortcut": Case(lambda reset: joined(layer.Residual(path(reset))), (8,), ALL),
    "a sum of two paths": Case(
        lambda reset: joined(layer.Branches([path(reset), path(reset)], join="add")), (8,), (RUN, REFUSED, REFUSED)
    ),
    "a sum at the output": Case(lambda reset: joined(layer.Residual(path(reset)))[:-1], (8,), (REFUSED, RUN, RUN)),
}


@torch.no_grad()
def in_steps(make, path, x: torch.Tensor) -> torch.Tensor:
    """What a reader's net computes of a file, step by step: [T, N, *]; by samples, as importers flatten all dims."""
    import nir

    samples = []
    for sample in x.unbind(1):
        net, state, steps = make(nir.read(path)), None, []
        for step in sample:
            y, state = net(step) if state is None else net(step, state)
            steps.append(y)
        samples.append(torch.stack(steps))
    return torch.stack(samples, 1)
