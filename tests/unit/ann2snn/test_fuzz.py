"""Random nets from what can be converted: converted right, or refused by name; never silently wrong."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_conversion import convert_by_maximum, error, in_evaluation, settled
from torch import nn
from torch.nn import functional as F
from watched_nets import fingerprint

from snntrain import layer
from snntrain.ann2snn.graph import ConversionError
from snntrain.functional import set_backend
from snntrain.neuron import ReLU

X = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
ENOUGH = 0.02

# What a layer is drawn as: a name and numbers; modules are made from it later, by `build`.
ACTIVATIONS = ("ReLU", "inplace", "ReLU6", "Hardtanh", "snntrain", "F.relu", "relu_", "clamp", "clamp_min", "shared")
numbers = st.integers(0, 5)
activation = st.tuples(st.just("activation"), st.sampled_from(ACTIVATIONS))
simple = st.one_of(
    activation,
    activation,
    st.tuples(st.just("conv"), st.sampled_from([(1, 0), (3, 1), (3, 0), (3, "circular")]), numbers, st.booleans()),
    st.tuples(st.sampled_from(["norm", "dropout", "avg", "max", "F.max", "pad", "scale", "mean_free"])),
)
layers = st.recursive(
    simple,
    lambda inner: st.tuples(
        st.sampled_from(["residual", "inplace residual", "concat", "Residual", "Branches"]),
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)
nets = st.tuples(
    st.lists(layers, min_size=1, max_size=6),
    st.sampled_from(["linear", "mlp", "adaptive", "view", "max"]),
    st.integers(0, 999),
)


class Applied(nn.Module):
    """A function as a layer, traced through."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Joined(nn.Module):
    def __init__(self, kind: str, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.kind, self.a, self.b = kind, a, b

    def forward(self, x):
        if self.kind == "concat":
            return torch.cat([self.a(x), self.b(x)], 1)
        y = self.a(x)
        if self.kind == "residual":
            return y + self.b(x)
        y += self.b(x)
        return y


class Builder:
    """Modules for what was drawn, with the shape that each gets."""

    def __init__(self) -> None:
        self.shared = nn.ReLU()

    def sequence(self, drawn: list, shape: tuple[int, int]) -> tuple[nn.Module, tuple[int, int]]:
        modules = []
        for item in drawn:
            module, shape = self.layer(item, shape)
            modules.append(module)
        return nn.Sequential(*modules), shape

    def layer(self, drawn: tuple, shape: tuple[int, int]) -> tuple[nn.Module, tuple[int, int]]:
        kind, (C, size) = drawn[0], shape
        if kind == "activation":
            return self.activation(drawn[1]), shape
        if kind == "conv":
            (k, padding), number, bias = drawn[1:]
            options = {"padding": k // 2, "padding_mode": padding} if isinstance(padding, str) else {"padding": padding}
            if size + 2 * options["padding"] < k or (isinstance(padding, str) and size < 2):
                return nn.Identity(), shape
            outputs = (4, 6, 8, 3, 5, C)[number]
            groups = 2 if number == 0 and C % 2 == 0 else 1
            conv = nn.Conv2d(C, outputs, k, bias=bias, groups=groups, **options)
            return conv, (outputs, size + 2 * options["padding"] - k + 1)
        if kind in ("avg", "max", "F.max"):
            if size < 2:
                return nn.Identity(), shape
            pools = {"avg": nn.AvgPool2d(2), "max": nn.MaxPool2d(2), "F.max": Applied(lambda x: F.max_pool2d(x, 2))}
            return pools[kind], (C, size // 2)
        if kind == "pad":
            return nn.ZeroPad2d(1), (C, size + 2)
        if kind in ("residual", "inplace residual", "concat", "Residual", "Branches"):
            return self.join(kind, drawn[1], drawn[2], shape)
        others = {
            "norm": lambda: nn.BatchNorm2d(C),
            "dropout": lambda: nn.Dropout2d(),
            "scale": lambda: Applied(lambda x: (x * 2 - 1) / 3),
            "mean_free": lambda: Applied(lambda x: x - x.mean((1, 2, 3), keepdim=True)),
        }
        return others[kind](), shape

    def activation(self, kind: str) -> nn.Module:
        return {
            "ReLU": lambda: nn.ReLU(),
            "inplace": lambda: nn.ReLU(inplace=True),
            "ReLU6": lambda: nn.ReLU6(),
            "Hardtanh": lambda: nn.Hardtanh(0, 0.5),
            "snntrain": lambda: ReLU(),
            "F.relu": lambda: Applied(F.relu),
            "relu_": lambda: Applied(lambda x: x.relu_()),
            "clamp": lambda: Applied(lambda x: torch.clamp(x, 0, 0.7)),
            "clamp_min": lambda: Applied(lambda x: x.clamp_min(0)),
            "shared": lambda: self.shared,
        }[kind]()

    def join(self, kind: str, first: list, second: list, shape: tuple[int, int]) -> tuple[nn.Module, tuple[int, int]]:
        (a, of_a), (b, of_b) = self.sequence(first, shape), self.sequence(second, shape)
        if of_a[1] != of_b[1]:  # sizes that differ are brought to the same
            a, b = nn.Sequential(a, nn.AdaptiveAvgPool2d(2)), nn.Sequential(b, nn.AdaptiveAvgPool2d(2))
            of_a, of_b = (of_a[0], 2), (of_b[0], 2)
        if kind == "Branches":
            return layer.Branches([a, b]), (of_a[0] + of_b[0], of_a[1])
        if kind == "concat":
            return Joined(kind, a, b), (of_a[0] + of_b[0], of_a[1])
        if of_a != of_b:
            b = nn.Sequential(b, nn.Conv2d(of_b[0], of_a[0], 1))
        return (layer.Residual(a, b) if kind == "Residual" else Joined(kind, a, b)), of_a

    def head(self, kind: str, shape: tuple[int, int]) -> nn.Module:
        C, size = shape
        inputs = C * size * size
        return {
            "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 5)),
            "mlp": lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 5)
            ),
            "adaptive": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 5)),
            "view": lambda: nn.Sequential(Applied(lambda x: x.view(x.size(0), -1)), nn.Linear(inputs, 5)),
            "max": lambda: nn.Sequential(nn.Conv2d(C, 5, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        }[kind]()


def build(drawn: tuple) -> nn.Module:
    body, head, seed = drawn
    torch.manual_seed(seed)
    builder = Builder()
    features, shape = builder.sequence(body, (2, 8))
    return settled(nn.Sequential(features, builder.head(head, shape)), X, seed)


def check(drawn: tuple) -> str:
    """What became of the net; AssertionError if it is silently wrong."""
    net = build(drawn)
    before = fingerprint(net)
    try:
        snn = convert_by_maximum(net, X)
    except ConversionError as refusal:
        assert "pooling cannot be moved before it" in str(refusal), refusal  # nothing else here is not supported
        return "refused"
    assert fingerprint(net) == before
    set_backend(snn, "torch")
    wanted = in_evaluation(net, X)
    found = error(snn.predict(X, 256), wanted)
    if found >= ENOUGH:
        # Outputs much smaller than what cancels in them need more steps. What is wrong stays so with any number.
        later = error(snn.predict(X, 4096), wanted)
        assert later < found / 6 and later < ENOUGH, (found, later, net)
        return "slow"
    return "right"


OPTIONS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=12, **OPTIONS)
@given(nets)
def test_random_nets(drawn):
    check(drawn)


@pytest.mark.slow
def test_two_hundred_random_nets():
    outcomes = []

    @settings(max_examples=200, **OPTIONS)
    @given(nets)
    def run(drawn):
        outcomes.append(check(drawn))

    run()
    assert len(outcomes) >= 200
    assert outcomes.count("right") > 0.75 * len(outcomes) and outcomes.count("slow") < 0.15 * len(outcomes)
