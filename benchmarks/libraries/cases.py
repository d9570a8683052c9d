"""What is measured: sizes, layers, and the arrays that every contender gets. It needs numpy alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TAU = 2.0  # of every neuron, in steps: what is left of a potential after a step is 1 - 1/TAU
SEED = 0

#: "neuron", or the name of a layer of torch.nn with its arguments; `std` is that of its weights.
Layer = str | Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: for the command line and the results.
        title: for tables.
        T, N: steps and samples.
        sample: shape of one sample at one step.
        layers: applied one after the other.
        inputs: "randn"; "picture": randn, the same at every step; or the share of the inputs that are spikes.
        gain: factor of randn.
        long: takes so long that a third of the rounds has to do, and --quick leaves it out.
        classes: of the scores, which a net ends with; 0: a layer, whose spikes get a given gradient.
        calls: how many calls make one measured value.
    """

    name: str
    title: str
    T: int
    N: int
    sample: tuple[int, ...]
    layers: Sequence[Layer]
    inputs: str | float = "randn"
    classes: int = 0
    calls: int = 1
    gain: float = 1.0
    long: bool = False

    @property
    def is_net(self) -> bool:
        """Whether it is trained by a loss and an optimizer."""
        return self.classes > 0

    @property
    def static(self) -> bool:
        """Whether every step has the same input."""
        return self.inputs == "picture"

    @property
    def needs(self) -> set[str]:
        """The kinds of layers in it."""
        return {layer if isinstance(layer, str) else layer["name"] for layer in self.layers}


def linear(inputs: int, outputs: int, std: float) -> Layer:
    """A dense layer without bias."""
    return {"name": "Linear", "in_features": inputs, "out_features": outputs, "bias": False, "std": std}


def conv(inputs: int, outputs: int) -> list[Layer]:
    """Convolution of 3 × 3, normalization, neuron."""
    sizes = {"in_channels": inputs, "out_channels": outputs, "kernel_size": 3, "padding": 1}
    return [
        {"name": "Conv2d", **sizes, "bias": False, "std": (9 * inputs) ** -0.5},
        {"name": "BatchNorm2d", "num_features": outputs},
        "neuron",
    ]


def after_spikes(inputs: int, outputs: int, share: float) -> Layer:
    """A dense layer by which neurons fire if that share of its inputs are spikes."""
    return linear(inputs, outputs, CURRENT / (inputs * share) ** 0.5)


#: Standard deviation of a current, in thresholds, by which a neuron of TAU = 2 fires in about a tenth of the steps.
CURRENT = 1.5
_MAX, _MEAN = ({"name": name, "kernel_size": 2} for name in ("MaxPool2d", "AvgPool2d"))


def dense(n: int) -> Case:
    """One Linear(n, n) and one layer of LIF neurons, the case of Open Neuromorphic's benchmark."""
    layers = (linear(n, n, CURRENT * n**-0.5), "neuron")
    return Case(f"linear{n}", f"Linear({n}, {n}) + LIF", 500, 16, (n,), layers, long=n > 1000)


def small_conv(name: str, title: str, T: int, N: int, sample: tuple[int, ...], inputs: str | float, calls: int) -> Case:
    """The net of conf/model/csnn.yaml with 32 channels."""
    features = 32 * (sample[1] // 4) * (sample[2] // 4)
    layers = [*conv(sample[0], 32), _MAX, *conv(32, 32), _MAX, "Flatten"]
    layers += [after_spikes(features, 512, 0.15), "neuron", linear(512, 10, 512**-0.5)]
    return Case(name, title, T, N, sample, tuple(layers), inputs, 10, calls)


def vgg9() -> Case:
    """The net of conf/model/vgg9.yaml at the shapes of CIFAR-10."""
    layers = [*conv(3, 64), *conv(64, 64), _MEAN, *conv(64, 128), *conv(128, 128), _MEAN]
    layers += [*conv(128, 256), *conv(256, 256), *conv(256, 256), _MEAN, "Flatten"]
    layers += [after_spikes(4096, 1024, 0.02), "neuron", linear(1024, 10, 1024**-0.5)]
    return Case("vgg9", "VGG-9, 3×32×32", 4, 32, (3, 32, 32), tuple(layers), "picture", 10, long=True)


def recurrent() -> Case:
    """A net for SHD as in conf/model/recurrent.yaml: its currents make 7 to 8 % of the neurons fire in a step."""
    layers = (
        linear(700, 128, 6.0 * 700**-0.5),
        {"name": "Recurrent", "features": 128},
        linear(128, 20, 128**-0.5),
    )
    return Case("shd", "recurrent, 700 → 128 → 20", 100, 128, (700,), layers, 0.05, 20)


CASES = {
    case.name: case
    for case in (
        dense(512),
        dense(2048),
        # i / TAU is randn, which the rows that Spyx publishes have.
        Case("lif64", "LIF at [64, 64, 64]", 64, 64, (64,), ("neuron",), calls=30, gain=TAU),
        small_conv("csnn", "csnn, 1×28×28", 4, 64, (1, 28, 28), "picture", calls=2),
        vgg9(),
        recurrent(),
        small_conv("events", "csnn on events, 2×34×34", 10, 32, (2, 34, 34), 0.05, calls=2),
    )
}


@dataclass
class Arrays:
    """What a contender computes with: the same for all.

    Attributes:
        x: inputs [T, N, *sample]; [N, *sample] where every step has the same.
        weights: of the layers that have some, in their order; [outputs, inputs, …] as in torch.
        g: gradient of the output [T, N, *], for layers.
        target: class of each sample [N], for nets.
    """

    x: np.ndarray
    weights: list[np.ndarray] = field(default_factory=list)
    g: np.ndarray | None = None
    target: np.ndarray | None = None

    @classmethod
    def of(cls, case: Case) -> "Arrays":
        """The arrays of a case, from a fixed seed."""
        random = np.random.default_rng(SEED)
        shape = (case.N, *case.sample) if case.static else (case.T, case.N, *case.sample)
        if isinstance(case.inputs, float):
            x = (random.random(shape, dtype=np.float32) < case.inputs).astype(np.float32)
        else:
            x = random.standard_normal(shape, dtype=np.float32) * np.float32(case.gain)
        weights = [_weights(layer, random) for layer in case.layers if has_weights(layer)]
        if case.is_net:
            return cls(x, weights, target=random.integers(case.classes, size=case.N))
        features = len(weights[-1]) if weights else case.sample[0]
        return cls(x, weights, g=random.standard_normal((case.T, case.N, features), dtype=np.float32) / case.N)

    def save(self, path: str) -> None:
        """Write an .npz file."""
        rest = {name: value for name in ("g", "target") if (value := getattr(self, name)) is not None}
        np.savez(path, x=self.x, **{f"w{i}": weight for i, weight in enumerate(self.weights)}, **rest)

    @classmethod
    def load(cls, path: str) -> "Arrays":
        """Read what save wrote."""
        with np.load(path) as file:
            weights = [file[f"w{i}"] for i in range(sum(name.startswith("w") for name in file.files))]
            return cls(file["x"], weights, file.get("g"), file.get("target"))


def has_weights(layer: Layer) -> bool:
    """Whether a layer takes one of Arrays.weights: BatchNorm starts with ones and zeros by itself."""
    return not isinstance(layer, str) and layer["name"] in ("Linear", "Conv2d", "Recurrent")


def _weights(layer: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
    if layer["name"] == "Recurrent":  # orthogonal feedback
        size = layer["features"]
        return np.linalg.qr(random.standard_normal((size, size)))[0].astype(np.float32)
    if layer["name"] == "Linear":
        shape = (layer["out_features"], layer["in_features"])
    else:
        shape = (layer["out_channels"], layer["in_channels"], layer["kernel_size"], layer["kernel_size"])
    return random.standard_normal(shape, dtype=np.float32) * np.float32(layer["std"])
