"""prepare: from a trained net to one that computes in integers and can be trained on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain import layer
from snntrain.ann2snn import RatePooling
from snntrain.base import StepModule
from snntrain.graph import (
    call_after,
    free_path,
    library_name,
    linear_form_at,
    module_at,
    operation,
    place_of,
    shape_of,
    step_graph,
    tidy,
)
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.linear_form import LinearForm
from snntrain.quantize.arithmetic import Leak
from snntrain.quantize.cuba import QuantizedCubaLIFNode
from snntrain.quantize.current import Current
from snntrain.quantize.error import QuantizationError
from snntrain.quantize.integer_layer import (
    InputQuantizer,
    IntegerConv1d,
    IntegerConv2d,
    IntegerLayer,
    IntegerLinear,
    IntegerScale,
    Readout,
)
from snntrain.quantize.join import JOINS
from snntrain.quantize.layer import QuantizedConv1d, QuantizedConv2d, QuantizedLinear
from snntrain.quantize.node import QuantizedIFNode, QuantizedLIFNode, QuantizedNode
from snntrain.quantize.params import QuantParams
from snntrain.quantize.pooling import POOLS, pool, votes
from snntrain.quantize.quantized_net import Junction, QuantizedNet
from snntrain.quantize.settings import QuantSettings
from snntrain.quantize.signal import Group, Signal
from snntrain.quantize.twin import fold_height, integer_twin, padding

# Loihi's potentials count 1/64 of a weight, and its weights are even.
LOIHI_SHIFT, LOIHI_GRID = -7, 64
_LAYERS = {"Linear": IntegerLinear, "Conv1d": IntegerConv1d, "Conv2d": IntegerConv2d}
_QUANTIZED = {QuantizedLinear: "Linear", QuantizedConv1d: "Conv1d", QuantizedConv2d: "Conv2d"}
_MOST_W_BITS = 16
# Part of a class name → why it has no integer form, and what to do.
_REFUSED = {
    "RecurrentContainer": (
        "it feeds its output back to its input, and an integer net runs from its input to its output",
        "Use a net without feedback, or export this one with callbacks=[default,onnx].",
    ),
    "ConvTranspose": (
        "it spreads an input over a window of its output, and an integer convolution gathers",
        "Use Conv1d or Conv2d.",
    ),
}


def prepare(
    net: nn.Module, quant: Mapping[str, Any] | QuantParams | QuantSettings, example: Tensor | None = None
) -> QuantizedNet:
    """A copy of a net that computes in integers, to be observed, trained on and converted.

    Batch normalizations are joined with layers, dropout goes. Layers get integer weights, whose steps come with
    `observe`; neurons become QuantizedIFNode or QuantizedLIFNode; average pooling becomes sums. The net stays as it is.

    Args:
        net: [T, N, *] → [T, N, K], of linear layers and convolutions (1-d, 2-d), batch normalization, pooling, spiking
            neurons with a linear form, sums of currents, sums, products and concatenations of spikes; or a SpikingNet.
        quant: see QuantSettings, or one of PRESETS.
        example: an input [T, N, *], needed where a pooling adapts to the size of its input.

    Raises: QuantizationError naming the place, its type and what to do; ValueError naming a key of quant.
    """
    settings = QuantSettings(quant)
    with QuantizationError.instead():
        gm = step_graph(net, example)
        builder = Builder(gm, settings)
        for node in list(gm.graph.nodes):
            builder.visit(node)
    settings.check_patterns(builder.paths)
    junctions = builder.junctions()
    tidy(gm, dead_code=False)
    prepared = QuantizedNet(gm, junctions, settings)
    prepared.readout_start = getattr(net, "readout_start", 0)
    device = next((parameter.device for parameter in net.parameters()), None)
    return prepared.to(device).train(net.training)


class Builder:
    """Walks a graph once, and replaces what it meets.

    Attributes:
        signals: what is known of the output of each node.
        paths: of layers and neurons.
    """

    def __init__(self, gm: fx.GraphModule, settings: QuantSettings) -> None:
        self.gm, self.settings = gm, settings
        self.signals: dict[fx.Node, Signal] = {}
        self.paths: list[str] = []
        self._groups: list[Group] = []
        self._replaced: set[str] = set()
        self._originals: dict[str, nn.Module] = {}

    def visit(self, node: fx.Node) -> None:
        """Replace one node, whose sources were visited before."""
        if node.op == "placeholder":
            self._input(node)
        elif node.op == "output":
            self._output(node)
        elif node.op == "call_module":
            self.signals[node] = self._module(node)
        elif operation(node) in JOINS:
            self.signals[node] = JOINS[operation(node)](self, node)
        else:
            remedy = "Build the net from layers, sums, products of spikes and concatenations."
            raise self.error(node, "it is not known in integers", remedy)

    def error(self, node: fx.Node, reason: str, remedy: str) -> QuantizationError:
        """The error that names a node."""
        return QuantizationError(self.place(node), reason, remedy)

    def place(self, node: fx.Node) -> str:
        """A node, with the class that its module had before it was replaced."""
        original = self._originals.get(node.target) if node.op == "call_module" else None
        return place_of(self.gm, node) if original is None else f"{node.target} ({type(original).__name__})"

    def replace(self, node: fx.Node, module: nn.Module) -> None:
        """Put another module where a node's is; a module that was used in several places becomes several."""
        if node.target in self._replaced:
            node.target = free_path(self.gm, f"{node.target}_use2")
        self._replaced.add(node.target)
        if isinstance(module, StepModule):
            module.step_mode = "m"
        self.gm.add_submodule(node.target, module)

    def make_current(self, node: fx.Node, user: fx.Node, channels: int | None) -> Signal:
        """Put a weight for each channel between spikes and one of their users, which makes them a current.

        Args:
            channels: if known.
        """
        signal, shape = self.signals[node], shape_of(node)
        height = torch.ones(1) if signal.height is None else signal.height
        channels = channels or (height.numel() if height.numel() > 1 else shape[1] if shape else 1)
        module = IntegerScale(height.expand(channels) if height.numel() == 1 else height)
        new = self._insert_after(node, f"{node.name}_current", module, [user])
        self.signals[new] = self._new_current(new.target, module, signal)
        return self.signals[new]

    def junctions(self) -> list[Junction]:
        """Give each group its Current."""
        found = []
        for group in self._groups:
            if group.merged_into is not None:
                continue
            self._check_integers(group)
            current = Current(group.steps, group.learnable, group.power_of_two)
            for path in group.layers:
                self.gm.get_submodule(path).count_in(current)
            for path, divisor in group.consumers:
                self.gm.get_submodule(path).attach(current, divisor)
            found.append(Junction(tuple(group.layers), tuple(path for path, _ in group.consumers)))
        return found

    def _check_integers(self, group: Group) -> None:
        """Refuse what neurons in Loihi's integers cannot share a current with, and let their states set its steps."""
        paths = [path for path, _ in group.consumers]
        consumers = {path: self.gm.get_submodule(path) for path in paths}
        cuba = [path for path, module in consumers.items() if isinstance(module, QuantizedCubaLIFNode)]
        if not cuba:
            return
        place = f"{cuba[0]} (CubaLIFNode)"
        if group.learnable:
            reason = "its integers fix the steps of the weights before it, and these are to be learned (w.LSQ)"
            raise QuantizationError(place, reason, "Use LSQ = false for them, or a neuron that is not in integers.")
        steps = {getattr(module, "state_step", None) for module in consumers.values()}
        if len(steps) > 1 or len({divisor for _, divisor in group.consumers}) > 1:
            reason = f"its input also goes to {', '.join(path for path in paths if path != cuba[0])}"
            raise QuantizationError(place, reason, "Let all that share an input be CubaLIFNode of the same scale.")
        group.power_of_two = False  # steps are a power of two times those of the states, whatever these are

    # --- kinds of nodes ----------------------------------------------------------------------------------------------

    def _insert_after(self, node: fx.Node, path: str, module: nn.Module, users: list[fx.Node]) -> fx.Node:
        new = call_after(self.gm, node, free_path(self.gm, path), module)
        new.meta = dict(node.meta)
        for user in users:
            user.replace_input_with(node, new)
        return new

    def _input(self, node: fx.Node) -> None:
        quantizer = InputQuantizer(self.settings.params.kind("input"))
        new = self._insert_after(node, "input_quantizer", quantizer, list(node.users))
        self.signals[new] = Signal("input", quantizer.largest)

    def _output(self, node: fx.Node) -> None:
        source = node.args[0]
        if not isinstance(source, fx.Node):
            raise QuantizationError("", "the net returns several values", "Let it return one tensor.")
        signal = self.signals[source]
        if signal.base == "input":
            raise QuantizationError("", "the output of the net is its input", "Put layers and neurons between them.")
        new = self._insert_after(source, "readout", Readout(signal.divisor, signal.height), [node])
        if signal.is_current:
            signal.group.root().consumers.append((new.target, signal.divisor))

    def _module(self, node: fx.Node) -> Signal:
        source = self.signals[node.args[0]]
        module = self._originals.setdefault(node.target, self.gm.get_submodule(node.target))
        name = _QUANTIZED.get(type(module)) or library_name(module)
        if name in _LAYERS:
            return self._layer(node, module, _LAYERS[name], source)
        if name in POOLS or isinstance(module, RatePooling):
            return pool(self, node, module, source)
        if name == "VotingLayer":
            return votes(self, node, module, source)
        if name == "Flatten" and (module.start_dim, module.end_dim) == (1, -1):
            self.replace(node, layer.Flatten())
            return source
        if hasattr(module, "linear_form"):
            return self._neuron(node, module, source)
        if "Norm" in name or name == "ChannelAffine":
            reason = "no convolution or linear layer comes just before it, or its statistics are not fixed"
            raise self.error(node, reason, "Put a BatchNorm between a layer and its neuron.")
        for part, (reason, remedy) in _REFUSED.items():
            if part in type(module).__name__:
                raise self.error(node, reason, remedy)
        remedy = "Use Linear, Conv1d, Conv2d, BatchNorm, MaxPool, AvgPool2d, Flatten(1, -1) and spiking neurons."
        raise self.error(node, "it is not known in integers", remedy)

    # --- layers ------------------------------------------------------------------------------------------------------

    def _layer(self, node: fx.Node, module: nn.Module, kind: type, source: Signal) -> Signal:
        if source.is_current and operation(node.args[0]) in JOINS:
            reason = "it reads a sum of currents, as the shortcuts of MS-ResNet do, and integer layers read spikes"
            raise self.error(node, reason, "Put a neuron before it, or use SEW-ResNet.")
        if source.is_current:
            reason = "it follows another layer without a neuron between them"
            raise self.error(node, reason, "Put a neuron between the two, or make them one layer.")
        if node.target in self._replaced:
            raise self.error(node, "it is used in several places", "Give each place a layer of its own.")
        if getattr(module, "padding_mode", "zeros") != "zeros":
            raise self.error(node, f"padding_mode is {module.padding_mode!r}", "Use padding_mode 'zeros'.")
        if padding(module) is None:
            reason = "padding is 'same', which for this kernel is one more value at the end than at the start"
            raise self.error(node, reason, "Use an odd kernel_size, or an even dilation.")
        new = integer_twin(module, kind)
        if source.height is not None:
            fold_height(new, source.height)
        self.replace(node, new)
        return self._new_current(node.target, new, source)

    def _new_current(self, path: str, module: IntegerLayer, source: Signal) -> Signal:
        params = self.settings.of(path)
        w = params.kind("w")
        for name, expected in (("quant_enable", True), ("is_asymmetric", False)):
            if getattr(w, name) != expected:
                raise ValueError(f"quant: {path}: w.{name} must be {expected} in mode 'integer', got {not expected}.")
        if w.bits > _MOST_W_BITS:
            raise ValueError(f"quant: {path}: w.bits must be at most {_MOST_W_BITS} in mode 'integer', got {w.bits}.")
        self.paths.append(path)
        channels = module.weight.shape[0]
        group = Group(channels, channels if w.granularity == "channel" else 1, w.LSQ, w.power_of_two, [path])
        self._groups.append(group)
        module.set_up(params, source.largest, source.base == "input", source.divisor)
        return Signal("current", group=group)

    # --- neurons -----------------------------------------------------------------------------------------------------

    def _neuron(self, node: fx.Node, module: nn.Module, source: Signal) -> Signal:
        form = self._quantizable_form(node, module)
        if node.target in self._replaced:
            raise self.error(node, "it is used in several places", "Give each place a neuron of its own.")
        if not source.is_current:
            source = self.make_current(node.args[0], node, None)
        neuron = _quantized_neuron(self.settings.of(node.target), form, module)
        if self.settings.target == "loihi":
            self._adapt_to_loihi(node, neuron, form)
        if form.bias is not None:
            self._add_bias(node, form.bias.float())
        self.replace(node, neuron)
        self.paths.append(node.target)
        source.group.root().consumers.append((node.target, source.divisor))
        return Signal("spike", 1, height=None if form.height is None else form.height.float())

    def _quantizable_form(self, node: fx.Node, module: nn.Module) -> LinearForm:
        remedy = "Use LIFNode, IFNode, ParametricLIFNode or ATIFNode."
        form = linear_form_at(self.place(node), module, "its dynamics are not known in integers", remedy)
        at_rest = 0.0 if form.v_reset is None else form.v_reset
        of_the_chip = (form.v_reset, form.gain, form.threshold.numel(), form.v_start) == (0.0, 1.0, 1, None)
        if form.scale is not None and (form.fires_at_threshold or not of_the_chip):
            reason = "it is in Loihi's integers, and has a threshold, reset, gain or start that Loihi's neuron has not"
            raise self.error(node, reason, "Use CubaLIFNode (neuron=cuba_lif).")
        if form.scale is None and not form.fires_at_threshold:
            raise self.error(node, "it fires above its threshold only", remedy)
        if form.scale is None and form.current_decay != 1.0:
            reason = f"its current has a memory of its own (current_decay = {form.current_decay:g})"
            raise self.error(node, reason, "Use current_decay = 1, CubaLIFNode (neuron=cuba_lif), or LIFNode.")
        if form.voltage_decay and form.rest != at_rest:
            reason = f"its leak pulls to {form.rest:g} and its reset to {at_rest:g}"
            raise self.error(node, reason, "Use v_reset = 0 or None.")
        if not bool((form.threshold > at_rest).all()):
            reason = f"its threshold is not above {at_rest:g} (v_reset, or 0 with soft reset)"
            raise self.error(node, reason, "Raise it.")
        return form

    def _adapt_to_loihi(self, node: fx.Node, neuron: QuantizedNode, form: LinearForm) -> None:
        if form.scale is not None:
            remedy = "Leave out qat: callbacks=[default,lava]."
            raise self.error(node, "it is in Loihi's integers already, and target is 'loihi'", remedy)
        remedy = "Set v_reset; of an ANN, convert with reset='hard' (callbacks.ann2snn.reset=hard)."
        if form.v_reset is None:
            raise self.error(node, "Loihi resets to a value, and this neuron subtracts (soft reset)", remedy)
        if form.v_start is not None:
            raise self.error(node, "its potential does not start at 0, where Loihi's does", remedy)
        neuron.shift, neuron.threshold_grid = LOIHI_SHIFT, LOIHI_GRID
        if neuron.leak is not None:
            neuron.leak = Leak("multiply", round(4096 * (1.0 - form.voltage_decay)), 12, "zero")

    def _add_bias(self, node: fx.Node, bias: Tensor) -> None:
        """Add a neuron's bias to the layer before it, whose output must go nowhere else."""
        place = node.args[0]
        while len(place.users) == 1:
            module = module_at(self.gm, place)
            if isinstance(module, IntegerLayer) and bias.numel() in (1, module.weight.shape[0]):
                old = torch.zeros(module.weight.shape[0]) if module.bias is None else module.bias.detach()
                module.bias = nn.Parameter(old + bias.to(old).expand_as(old))
                return
            if isinstance(module, IntegerLayer):
                break
            place = place.args[0]
        reason = "it has a bias, and no layer before it feeds it alone"
        raise self.error(node, reason, "Use callbacks.ann2snn.calibration=none, or potential.")


def _quantized_neuron(params: QuantParams, form: LinearForm, module: nn.Module) -> QuantizedNode:
    """The neuron of a linear form, trained as the BaseNode that the module is or holds."""
    node = next((part for part in module.modules() if isinstance(part, BaseNode)), None)
    threshold = form.threshold.float()
    common = {
        # A threshold for each channel stands in theta_value; surrogates then see potentials divided by it.
        "v_threshold": float(threshold) if threshold.numel() == 1 else 1.0,
        "v_reset": form.v_reset,
        "detach_reset": getattr(node, "detach_reset", False),
        "step_mode": "m",
        "backend": "torch" if getattr(node, "backend", "auto") == "torch" else "auto",
        "surrogate_function": getattr(node, "surrogate_function", None),
    }
    if form.scale is not None:
        del common["v_threshold"], common["v_reset"]
        return QuantizedCubaLIFNode(params, form, **common)
    if not form.voltage_decay:
        neuron = QuantizedIFNode(params, **common)
    else:
        tau = max(1.0 / form.voltage_decay, 1.0 + 1e-6)
        neuron = QuantizedLIFNode(params, tau=tau, decay_input=form.gain != 1.0, **common)
    neuron.theta_value = (threshold - (form.v_reset or 0.0)) * (1.0 / form.gain)
    if form.v_start is not None:
        neuron.start_at((form.v_start.float() - (form.v_reset or 0.0)) * (1.0 / form.gain))
    return neuron
