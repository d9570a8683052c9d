"""One recurrent layer of LIF neurons in snntrain and in other libraries, for benchmarks, and its products alone.

i[t] = W·x[t] + V·y[t−1],  h = v + (i − v)/2,  y = Θ(h − 1),  v' = 0 where y = 1, h elsewhere

Norse's layer gets the current of the step before. snnTorch's resets one step after the spike. Both spike about as much.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from peers import ATAN, spikingjelly_module
from torch import Tensor, nn

from snntrain import functional, layer, neuron, surrogate

#: Standard deviation of a current by which 7 to 8 % of the neurons fire, in thresholds: see conf/model/recurrent.yaml.
CURRENT = 6.0 * 0.05**0.5


@dataclass(frozen=True)
class Size:
    """Steps, samples, inputs and neurons; classes of a readout after them, 0 for none."""

    T: int
    N: int
    inputs: int
    neurons: int
    classes: int = 0

    def __str__(self) -> str:
        return f"[{self.T}, {self.N}] {self.inputs} → {self.neurons}" + (f" → {self.classes}" if self.classes else "")


@dataclass(frozen=True)
class Weights:
    """Of inputs [neurons, inputs], feedback [neurons, neurons] and readout [classes, neurons]."""

    inputs: Tensor
    feedback: Tensor
    readout: Tensor | None

    @classmethod
    def of(cls, size: Size, density: float) -> "Weights":
        """Weights with which the neurons fire if that share of the inputs are spikes."""
        std = CURRENT / (size.inputs * density) ** 0.5
        inputs = torch.empty(size.neurons, size.inputs).normal_(std=std)
        feedback = nn.init.orthogonal_(torch.empty(size.neurons, size.neurons))
        readout = torch.empty(size.classes, size.neurons).normal_(std=size.neurons**-0.5) if size.classes else None
        return cls(inputs, feedback, readout)


class Net(nn.Module):
    """Inputs, the recurrent layer, and the readout if there is one.

    Args:
        hidden: x [T, N, inputs] → spikes [T, N, neurons], from the reset state.
        weights: of the readout.
    """

    def __init__(self, hidden: Callable[[Tensor], Tensor], weights: Weights) -> None:
        super().__init__()
        self.hidden = hidden
        self.readout = None if weights.readout is None else nn.Parameter(weights.readout.clone())

    def forward(self, x: Tensor) -> Tensor:
        y = self.hidden(x)
        return y if self.readout is None else y @ self.readout.t()

    def train_step(self, x: Tensor, g: Tensor) -> None:
        """Forward, and backward from the gradient g of the output."""
        self.zero_grad()
        self(x).backward(g)


def linear(weight: Tensor, **more: object) -> nn.Linear:
    """A layer with these weights and no bias."""
    made = layer.Linear(weight.shape[1], weight.shape[0], bias=False, **more)
    made.weight.data.copy_(weight)
    return made


# --- snntrain --------------------------------------------------------------------------------------------------------


class Ours(nn.Module):
    """FeedbackSum, or with `joined` a LinearRecurrentContainer, whose weights of the input are then the identity."""

    def __init__(self, weights: Weights, backend: str, joined: bool = False) -> None:
        super().__init__()
        self.fc = linear(weights.inputs, step_mode="m")
        node = neuron.LIFNode(surrogate_function=surrogate.ATan(ATAN["alpha"]), detach_reset=True)
        H = len(weights.feedback)
        if joined:
            self.recurrent = layer.LinearRecurrentContainer(node, H, H, bias=False, step_mode="m", backend=backend)
            self.recurrent.rc.weight.data.copy_(torch.cat([torch.eye(H), weights.feedback], dim=1))
        else:
            feedback = layer.FeedbackSum(linear(weights.feedback))
            self.recurrent = layer.ElementWiseRecurrentContainer(node, feedback, "m", backend)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        return self.recurrent(self.fc(x))


# --- other libraries -------------------------------------------------------------------------------------------------


class Norse(nn.Module):
    """norse's LIFRecurrent, which has the weights of the inputs in it."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        library = importlib.import_module("norse.torch")
        parameters = library.LIFParameters(tau_syn_inv=torch.tensor(1.0), tau_mem_inv=torch.tensor(0.5))
        H, inputs = weights.inputs.shape
        self.recurrent = library.LIFRecurrent(inputs, H, parameters, autapses=True, dt=1.0)
        self.recurrent.input_weights.data.copy_(weights.inputs)
        self.recurrent.recurrent_weights.data.copy_(weights.feedback)

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x)[0]


class SnnTorch(nn.Module):
    """snnTorch's RLeaky, which does not divide its input by tau: the weights are halved."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.fc = linear(weights.inputs / 2, step_mode="m")
        library = importlib.import_module("libraries.contenders.snntorch")  # peers makes it known
        self.recurrent = library.Recurrent(weights.feedback.numpy() / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(self.fc(x))


class SpikingJelly(nn.Module):
    """SpikingJelly's LinearRecurrentContainer, whose weights of the input are the identity."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        layers, self.library = spikingjelly_module("layer"), spikingjelly_module("functional")
        H, inputs = weights.inputs.shape
        self.fc = layers.Linear(inputs, H, bias=False, step_mode="m")
        self.fc.weight.data.copy_(weights.inputs)
        self.recurrent = importlib.import_module("libraries.contenders.spikingjelly").recurrent(
            weights.feedback.numpy()
        )

    def forward(self, x: Tensor) -> Tensor:
        self.library.reset_net(self.recurrent)
        return self.recurrent(self.fc(x))


#: Title → the layer with these weights.
LAYERS: dict[str, Callable[[Weights], nn.Module]] = {
    "fused": lambda weights: Ours(weights, "fused"),
    "torch": lambda weights: Ours(weights, "torch"),
    "fused, joined": lambda weights: Ours(weights, "fused", joined=True),
    "Norse": Norse,
    "snnTorch": SnnTorch,
    "SpikingJelly": SpikingJelly,
}


# --- the products alone ----------------------------------------------------------------------------------------------


class Products:
    """The matrix products of a training step, with these spikes and any gradients: no net can do with fewer."""

    def __init__(self, weights: Weights, x: Tensor, spikes: Tensor) -> None:
        self.weights, self.x, self.y = weights, x.flatten(0, 1), spikes
        self.flat, self.g = spikes.flatten(0, 1), torch.randn_like(spikes)
        self.current = torch.empty_like(spikes[0])

    def train_step(self) -> None:
        W, V, U = self.weights.inputs, self.weights.feedback, self.weights.readout
        g = self.g.flatten(0, 1)
        _ = self.x @ W.t()
        for y in self.y.unbind(0):
            torch.mm(y, V.t(), out=self.current)
        if U is not None:
            out = self.flat @ U.t()
            _, _ = out.t() @ self.flat, out @ U
        for g_t in self.g.unbind(0):
            torch.mm(g_t, V, out=self.current)
        _, _ = g.t() @ self.flat, g.t() @ self.x
