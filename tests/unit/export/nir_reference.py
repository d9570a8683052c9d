"""NIR's equations, node by node and step by step in float64: what imported graphs are compared with."""

import itertools

import nir
import numpy as np
import torch
from torch.nn import functional as F

MAPS = ("Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Scale", "Threshold")


def graph_of(nodes: dict, edges: list | None = None) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, edges or list(itertools.pairwise(nodes)), type_check=False)


def ends(inputs, outputs) -> tuple[nir.Input, nir.Output]:
    return nir.Input({"input": np.atleast_1d(inputs)}), nir.Output({"output": np.atleast_1d(outputs)})


def mapped(node, x: np.ndarray) -> np.ndarray:
    """What a node without a state gives for a step x [*]."""
    kind, value = type(node).__name__, torch.from_numpy(x)[None]

    def parameter(name: str):
        return torch.as_tensor(np.asarray(getattr(node, name)), dtype=torch.float64)

    if kind in ("Affine", "Linear"):
        return np.asarray(node.weight, np.float64) @ x + (np.asarray(node.bias, np.float64) if kind == "Affine" else 0)
    if kind in ("Conv1d", "Conv2d"):
        how = (node.stride, node.padding, node.dilation, node.groups)
        return getattr(F, kind.lower())(value, parameter("weight"), parameter("bias"), *how)[0].numpy()
    if kind in ("SumPool2d", "AvgPool2d"):
        divisor = {"divisor_override": 1} if kind == "SumPool2d" else {}
        sizes = (tuple(map(int, getattr(node, name))) for name in ("kernel_size", "stride", "padding"))
        return F.avg_pool2d(value, *sizes, **divisor)[0].numpy()
    if kind == "Flatten":
        return x.reshape(-1)
    return x * node.scale if kind == "Scale" else (x > node.threshold).astype(np.float64)


class Neuron:
    """A node with a state, in steps of dt."""

    def __init__(self, node, dt: float) -> None:
        self.node, self.dt, self.i = node, dt, 0.0
        self.v = np.asarray(getattr(node, "v_leak", 0.0), np.float64)  # it starts where it rests

    def __call__(self, x: np.ndarray) -> np.ndarray:
        node, kind, dt = self.node, type(self.node).__name__, self.dt
        if kind.startswith("Cuba"):
            self.i = self.i + dt / node.tau_syn * (node.w_in * x - self.i)
            x = self.i
        if kind in ("I", "IF"):
            self.v = self.v + node.r * x  # an input is what arrives in a step
        else:
            tau = node.tau_mem if kind.startswith("Cuba") else node.tau
            self.v = self.v + dt / tau * (node.v_leak - self.v + node.r * x)
        if not kind.endswith("IF"):
            return self.v
        fired = self.v > node.v_threshold
        self.v = np.where(fired, node.v_reset, self.v)
        return fired.astype(np.float64)


class Waiting:
    """A Delay node."""

    def __init__(self, node, dt: float) -> None:
        self.steps, self.past = np.rint(np.asarray(node.delay) / dt).astype(int), []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.past.append(x)
        old = [self.past[-1 - step] if step < len(self.past) else np.zeros_like(x) for step in self.steps.flat]
        return np.array([each.flat[at] for at, each in enumerate(old)]).reshape(x.shape)


class Inner:
    """A graph within a graph, or the whole, whose loops bring back the outputs of the last step."""

    def __init__(self, graph: nir.NIRGraph, dt: float) -> None:
        self.graph, self.last = graph, {}
        self.nodes = {name: computed(node, dt) for name, node in graph.nodes.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.now: dict[str, np.ndarray] = {}
        output = next(name for name, node in self.graph.nodes.items() if isinstance(node, nir.Output))
        self.x = x
        value = self.value(output, frozenset())
        self.last = self.now
        return value

    def before(self, neuron: str) -> np.ndarray:
        """The output of the last step."""
        return self.last.get(neuron, np.zeros(np.shape(self.graph.nodes[neuron].r)))

    def value(self, name: str, above: frozenset) -> np.ndarray:
        if name not in self.now:
            if isinstance(self.graph.nodes[name], nir.Input):
                return self.x
            of_loop = {source for source, target in self.graph.edges if target == name and source in above}
            parts = [
                self.before(source) if source in of_loop else self.value(source, above | {name})
                for source, target in self.graph.edges
                if target == name
            ]
            self.now[name] = self.nodes[name](sum(parts[1:], parts[0]))
        return self.now[name]


def computed(node, dt: float):
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return lambda x: x
    if kind in MAPS:
        return lambda x: mapped(node, x)
    return {"Delay": Waiting, "NIRGraph": Inner}.get(kind, Neuron)(node, dt)


def simulated(graph: nir.NIRGraph, x: np.ndarray, dt: float) -> np.ndarray:
    """What a graph gives for a sequence x [T, *]."""
    net = Inner(graph, dt)
    return np.array([net(step) for step in x.astype(np.float64)])
