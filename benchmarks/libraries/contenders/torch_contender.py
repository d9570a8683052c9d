"""What the contenders on torch have in common: layers that keep no state run once for all steps."""

import numpy as np
import torch
from torch import Tensor, nn

from libraries.cases import Arrays, Case, Layer, has_weights
from libraries.equations import Form


class Folded(nn.Module):
    """A layer without state on [T, N, *]: one call for all steps, and BatchNorm's statistics over all of them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class StepByStep(nn.Module):
    """A neuron that a library calls step by step with its state, on [T, N, *], from the reset state.

    Args:
        node: (x, state) → (spikes, state).
    """

    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.node = node

    def start(self) -> object:
        """The state before the first step."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        state, spikes = self.start(), []
        for x_t in x.unbind(0):
            s, state = self.node(x_t, state)
            spikes.append(s)
        return torch.stack(spikes)


class FeedBack(nn.Module):
    """A neuron with the spikes of the step before, times weights, added to its input; for StepByStep."""

    def __init__(self, node: nn.Module, feedback: nn.Module) -> None:
        super().__init__()
        self.node, self.feedback = node, feedback

    def forward(self, x: Tensor, state: tuple[Tensor, object] | None) -> tuple[Tensor, tuple[Tensor, object]]:
        spikes, inner = (torch.zeros_like(x), None) if state is None else state
        spikes, inner = self.node(x + self.feedback(spikes), inner)
        return spikes, (spikes, inner)


def linear(weight: np.ndarray) -> nn.Linear:
    """A layer with these weights and no bias."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.data.copy_(torch.from_numpy(weight))
    return made


class TorchContender:
    """Builds a case out of torch's layers and the library's neuron; a library overrides what it does differently.

    Attributes:
        gain: factor of the weights before neurons, for libraries that do not divide their input by tau.
        nets: what it can state beyond one layer: "Conv2d", "Recurrent".
        why_not: why not others.
        repeats: takes a picture that is the same at every step without a copy for each, as a view.
    """

    title: str
    packages: tuple[str, ...] = ("torch",)
    form = Form()
    gain = 1.0
    nets: tuple[str, ...] = ("Conv2d", "Recurrent")
    why_not = ""
    repeats = False

    def refusal(self, case: Case) -> str | None:
        """Why the library cannot state this case; None: it can."""
        wanted = case.needs & {"Conv2d", "Recurrent"}
        return None if wanted <= set(self.nets) else self.why_not

    # --- what a library overrides ---

    def neuron(self, shape: tuple[int, ...]) -> nn.Module:
        """[T, N, *] → spikes, for one sample's shape at one step."""
        raise NotImplementedError

    def recurrent(self, weight: np.ndarray) -> nn.Module:
        """Neurons that get their own spikes of the step before through these weights [features, features]."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the state of the sequence before; part of what is measured."""

    def own_layout(self, x: Tensor) -> Tensor:
        """[T, N, *] → the library's order of dimensions."""
        return x

    def common_layout(self, x: Tensor) -> Tensor:
        """The library's order of dimensions → [T, N, *]."""
        return x

    def net(self, case: Case, weights: list[np.ndarray]) -> nn.Module:
        """The layers of a case with these weights."""
        weights, layers = iter(weights), []
        for i, layer in enumerate(case.layers):
            weight = next(weights) if has_weights(layer) else None
            layers.append(self._layer(case, layer, weight, feeds_neurons(case, i)))
        return nn.Sequential(*layers)

    def _layer(self, case: Case, layer: Layer, weight: np.ndarray | None, feeds: bool) -> nn.Module:
        if layer == "neuron":
            return self.neuron(case.sample)
        if layer == "Flatten":
            return nn.Flatten(2)
        if layer["name"] == "Recurrent":
            return self.recurrent(weight * np.float32(self.gain))
        arguments = {key: value for key, value in layer.items() if key not in ("name", "std")}
        made = getattr(nn, layer["name"])(**arguments)
        if weight is not None:
            made.weight.data.copy_(torch.from_numpy(weight))
            if feeds:
                made.weight.data.mul_(self.gain)
        elif feeds and isinstance(made, nn.BatchNorm2d):
            made.weight.data.mul_(self.gain)
        return self.stateless(made)

    def stateless(self, layer: nn.Module) -> nn.Module:
        """A layer of torch that is to be applied at every step."""
        return Folded(layer)

    # --- what the worker calls ---

    def build(self, case: Case, arrays: Arrays) -> None:
        """Make the net with these weights, and the inputs in the library's layout."""
        torch.manual_seed(0)
        self.case, self.y = case, None
        self.model = self.net(case, arrays.weights)
        x = torch.from_numpy(arrays.x)
        if case.static:
            x = x.expand(case.T, *x.shape)
        # The first layer would copy a view in every pass, in the library's time.
        self.x = self.own_layout(x) if case.static and self.repeats else self.own_layout(x).contiguous()
        if case.is_net:
            self.target = torch.from_numpy(arrays.target)
            self.optimizer = torch.optim.Adam(self.model.parameters())
            return
        self.g = self.own_layout(torch.from_numpy(arrays.g)).contiguous()
        if case.layers[0] == "neuron":
            self.x = (self.x * self.gain).requires_grad_()

    def forget(self) -> None:
        """Free what the pass before left: its graph and its gradients."""
        self.y = None
        self.model.zero_grad(set_to_none=True)
        self.x.grad = None

    def forward(self) -> None:
        """One pass from the reset state."""
        self.reset()
        self.y = self.model(self.x)

    def backward(self) -> None:
        """Gradients of the weights, or of the input where there are none."""
        if self.case.is_net:
            nn.functional.cross_entropy(self.y.mean(0), self.target).backward()
        else:
            self.y.backward(self.g)

    def step(self) -> None:
        """One step of Adam."""
        self.optimizer.step()

    def output(self) -> np.ndarray:
        """What the last forward put out, [T, N, *]."""
        return self.common_layout(self.y.detach()).contiguous().numpy()

    def gradient(self) -> np.ndarray:
        """Of the first weight, or of the input: with respect to the case's own weights or input, gain undone."""
        if self.case.layers[0] == "neuron":
            return self.common_layout(self.x.grad * self.gain).contiguous().numpy()
        factor = self.gain if feeds_neurons(self.case, 0) else 1.0
        first = next(p for p in self.model.parameters() if p.dim() >= 2)
        return (first.grad * factor).numpy().reshape(len(first), -1)

    def rates(self) -> list[float]:
        """Share of the steps in which the neurons of each layer fire, in a net found in a pass of its own."""
        if not self.case.is_net:
            return [self.y.mean().item()]
        found: dict[nn.Module, list[float]] = {module: [] for module in self.spiking()}

        def note(module: nn.Module, _inputs: object, spikes: Tensor) -> None:
            found[module].append(spikes.mean().item())  # all steps, or one of those that a recurrence calls it for

        hooks = [module.register_forward_hook(note) for module in found]
        self.forget()
        with torch.no_grad():
            self.forward()
        for hook in hooks:
            hook.remove()
        return [sum(values) / len(values) for values in found.values() if values]

    def spiking(self) -> list[nn.Module]:
        """The modules that put out spikes [T, N, *]."""
        return [module for module in self.model if not isinstance(module, (Folded, nn.Flatten))]


def feeds_neurons(case: Case, i: int) -> bool:
    """Whether what layer i puts out enters neurons without other weights in between."""
    for layer in case.layers[i + 1 :]:
        if layer == "neuron" or (layer != "Flatten" and layer["name"] == "Recurrent"):
            return True
        if layer != "Flatten" and (has_weights(layer) or layer["name"] == "BatchNorm2d"):
            return False
    return False
