"""Correct a converted net until the mean outputs of its neurons are those of the ANN's activations."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.ann2snn.activation import rectifiers
from snntrain.ann2snn.converted import SpikingNet
from snntrain.ann2snn.method import by_channel, hooked, to_net
from snntrain.arguments import integer, invalid
from snntrain.base import state_dtype
from snntrain.error import Diverged
from snntrain.functional import repeat, reset_net
from snntrain.graph import per_channel

_IMAGES_AT_ONCE = 1024  # of all steps together: bounds memory, and more corrections follow one another
_SMALLEST_GAIN = 0.2


@torch.inference_mode(False)  # buffers made in it could not be trained later
@torch.no_grad()
def calibrate(
    ann: fx.GraphModule,
    snn: SpikingNet,
    loader: Iterable[Any],
    T: int,
    steps: int = 3,
    calibration: str = "bias",
) -> None:
    """Correct the neurons of a converted net layer by layer, those before them spiking.

    d_c = mean over samples and places of relu(z) of the ANN minus the output of the neurons, averaged over T:

        bias        b_c += g·d_c
        step_bias   b_c[t] += g·d_c[t], with the output at step t instead of its average
        potential   v_init_c += g·T·d_c
        weight      gradient descent on the squared difference between the response of a layer to its mean spiking
                    input and relu(z); of convolutions and linear layers that directly feed neurons and nothing else

    The corrections are made while the data streams through, a part of a batch at a time, in order of execution. The
    gain g is 1 at first, then 1/2, 1/3 … down to 0.2, and in proportion less for a smaller part: that averages over the
    parts, and yet follows the corrections of the layers before. No activation is kept for longer than a part.

    Args:
        ann: the prepared net that snn was made of.
        snn: corrected in place; the ANN stays as it is.
        loader: batches x [N, *], or tuples that start with x; must give them again at each pass.
        T: time steps that the net is to run.
        steps: passes through the loader for each correction, ≥ 1.
        calibration: 'none', or corrections joined by '+', made one after the other: 'bias+potential'.

    Raises: Diverged naming what is no longer finite.
    Source: Li et al., ICML 2021, arXiv 2106.06984 (bias, potential); Wu et al., ECCV 2024, arXiv 2403.18388
    (bias of each step).
    """
    T, steps = integer("calibrate", "T", T, at_least=1), integer("calibrate", "steps", steps, at_least=1)
    if not isinstance(ann, fx.GraphModule) or list(rectifiers(ann)) != list(snn.neurons):
        raise invalid("calibrate", "ann", "the prepared net that snn was made of, see prepare", type(ann).__name__)
    infinite_before = set(_infinite(snn))
    for correction in corrections(calibration):
        correct, seen, largest = correction(snn), 0, 0
        for _ in range(steps):
            before = seen
            for batch in loader:
                for x in to_net(snn, batch).split(max(1, _IMAGES_AT_ONCE // T)):
                    seen, largest = seen + len(x), max(largest, len(x))
                    gain = max(len(x) / seen, _SMALLEST_GAIN * len(x) / largest)
                    _correct_on(x, ann, snn, T, correct, gain)
            if seen == before:
                raise ValueError(
                    "calibrate: the loader has no batches, or none in a second pass; hand it a DataLoader or a list, "
                    "not a generator."
                )
    broken = [name for name in _infinite(snn) if name not in infinite_before]
    if broken:
        raise Diverged(
            f"calibrate: {calibration!r} left values in {broken[0]} that are not finite. Check that the calibration "
            "data are, or use another calibration, such as 'none' (callbacks.ann2snn.calibration)."
        )


def _infinite(snn: SpikingNet) -> list[str]:
    """Names of weights and corrections that hold NaN or infinity."""
    tensors = [*snn.named_parameters(), *snn.named_buffers()]
    return [name for name, x in tensors if x.is_floating_point() and not x.isfinite().all()]


class Correction:
    """One kind of correction of the neurons of a net.

    Attributes:
        watch: modules beside the neurons → forward hooks that are needed while the net runs.
    """

    def __init__(self, snn: SpikingNet) -> None:
        self.neurons = snn.neurons
        self.watch: dict[nn.Module, Callable[..., None]] = {}

    def __call__(self, name: str, y: Tensor, r: Tensor, gain: float) -> None:
        """Correct the neurons `name`: the ANN's activation gave y [N, C, *], they give r [T, N, C, *]."""
        raise NotImplementedError

    def add(self, name: str, buffer: str, change: Tensor) -> None:
        """Add [C], or [T, C], to a buffer that may have fewer dims, or be None."""
        neurons = self.neurons[name]
        held = getattr(neurons, buffer)
        if held is None:
            held = torch.zeros_like(neurons.theta)
        elif buffer == "bias" and held.dim() == change.dim() == 2:
            held = _for_steps(held, len(change))
        elif buffer == "v_init" and held.dim() > change.dim():  # one for each neuron
            change = change.view(-1, *[1] * (held.dim() - 1))
        setattr(neurons, buffer, held + change.to(held))


class BiasCorrection(Correction):
    """b_c += g·d_c."""

    def __call__(self, name: str, y: Tensor, r: Tensor, gain: float) -> None:
        self.add(name, "bias", gain * _missing(y, r))


class StepBiasCorrection(Correction):
    """b_c[t] += g·d_c[t]."""

    def __call__(self, name: str, y: Tensor, r: Tensor, gain: float) -> None:
        d = by_channel(y).mean(1) - r.transpose(1, 2).flatten(2).mean(2)
        self.add(name, "bias", gain * d)


class PotentialCorrection(Correction):
    """v_init_c += g·T·d_c."""

    def __call__(self, name: str, y: Tensor, r: Tensor, gain: float) -> None:
        self.add(name, "v_init", gain * len(r) * _missing(y, r))


class WeightCorrection(Correction):
    """Gradient descent on mean (clip(W·x̄ + b, 0, θ) − relu(z))², with x̄ the mean spiking input of the layer.

    What is trained are copies of the layers, in the state dtype: half precision would lose the squares that Adam keeps.
    """

    relative_rate = 0.03  # of Adam, in standard deviations of the weights

    def __init__(self, snn: SpikingNet) -> None:
        super().__init__(snn)
        self.layers = _layers_before_neurons(snn)
        self.inputs: dict[str, Tensor] = {}
        self.trained: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for name, layer in self.layers.items():
            self.watch[layer] = self._keep_input(name)
            trained = copy.deepcopy(layer).to(state_dtype(layer.weight.dtype)).requires_grad_(False)
            weight = trained.weight.requires_grad_()
            rate = self.relative_rate * weight.square().mean().sqrt().item()
            self.trained[name] = trained
            self.optimizers[name] = torch.optim.Adam([weight], max(rate, 1e-12))

    def _keep_input(self, name: str) -> Callable[..., None]:
        return lambda module, arguments, z: self.inputs.__setitem__(name, arguments[0])

    def __call__(self, name: str, y: Tensor, r: Tensor, gain: float) -> None:
        if name not in self.layers:
            return
        neurons, layer, optimizer = self.neurons[name], self.trained[name], self.optimizers[name]
        x = self.inputs.pop(name).to(layer.weight.dtype).unflatten(0, (len(r), -1)).mean(0)
        with torch.enable_grad():
            z = layer(x)
            if neurons.bias is not None:
                bias = neurons.bias if neurons.bias.dim() == 1 else _for_steps(neurons.bias, len(r)).mean(0)
                z = z + per_channel(bias, z)
            F.mse_loss(torch.minimum(z.relu(), per_channel(neurons.theta.to(z), z)), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        self.layers[name].weight.copy_(layer.weight)


CORRECTIONS: dict[str, type[Correction]] = {
    "bias": BiasCorrection,
    "step_bias": StepBiasCorrection,
    "potential": PotentialCorrection,
    "weight": WeightCorrection,
}


def corrections(calibration: str) -> list[type[Correction]]:
    """The corrections that a text such as 'bias+potential' names."""
    names = [] if calibration == "none" else str(calibration).split("+")
    if not set(names) <= set(CORRECTIONS):
        expected = f"'none', or of {', '.join(map(repr, CORRECTIONS))} one or several joined by '+'"
        raise invalid("calibrate", "calibration", expected, calibration)
    return [CORRECTIONS[name] for name in names]


def _correct_on(x: Tensor, ann: fx.GraphModule, snn: SpikingNet, T: int, correct: Correction, gain: float) -> None:
    """Run both nets on x [N, *], and correct all neurons in the order in which they spike."""
    expected: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, arguments, y: expected.__setitem__(name, y.to(state_dtype(y.dtype)))

    def compare(name: str) -> Callable[..., None]:
        def after(module: nn.Module, arguments: tuple[Tensor], r: Tensor) -> None:
            correct(name, expected.pop(name), r.to(state_dtype(r.dtype)).unflatten(0, (T, -1)), gain)

        return after

    with hooked({module: keep(name) for name, module in rectifiers(ann).items()}):
        ann(x)
    reset_net(snn)
    with hooked(correct.watch | {module: compare(name) for name, module in snn.neurons.items()}):
        snn(repeat(x, T))
    reset_net(snn)


def _missing(y: Tensor, r: Tensor) -> Tensor:
    """d_c: mean over samples and places of y minus the mean output, [C]."""
    return by_channel(y).mean(1) - by_channel(r.mean(0)).mean(1)


def _for_steps(bias: Tensor, T: int) -> Tensor:
    """A bias [steps, C] as one of T steps: the last row serves all later ones."""
    return bias[torch.arange(T, device=bias.device).clamp(max=len(bias) - 1)]


def _layers_before_neurons(snn: SpikingNet) -> dict[str, nn.Module]:
    """Name of neurons → the convolution or linear layer that feeds them and nothing else.

    Layers that use a weight together are not among them, nor are those before the first neurons: their input is the
    ANN's, there is nothing to correct.
    """
    calls = [node.target for node in snn.net.graph.nodes if node.op == "call_module"]
    weights = [id(weight) for _, weight in snn.net.named_parameters(remove_duplicate=False)]
    found = {}
    for node in snn.net.graph.nodes:
        if node.op != "call_module" or node.target not in snn.neurons or snn.neurons[node.target].follows_static:
            continue
        source = node.all_input_nodes[0]
        if source.op != "call_module" or len(source.users) > 1 or calls.count(source.target) > 1:
            continue
        layer = snn.net.get_submodule(source.target)
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)) and weights.count(id(layer.weight)) == 1:
            found[node.target] = layer
    return found
