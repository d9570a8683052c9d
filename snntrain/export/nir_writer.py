"""From a traced net to a NIR graph, one operation after the other; paths that a net adds are edges to one node."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from snntrain import layer
from snntrain.export.chain import Row
from snntrain.export.error import ExportError, ExportErrors
from snntrain.export.nir_nodes import NirNodes, Signal, multiply
from snntrain.export.walker import double, linear_of, only, pool_of, synapse_of, unknown_layer, votes_of
from snntrain.graph import kind_of, library_name, operation, shape_of, title_of
from snntrain.hooks import carries_state
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer
from snntrain.neuron import NonSpikingIFNode, NonSpikingLIFNode
from snntrain.neuron.linear_form import LinearForm

FormOf = Callable[[str, nn.Module], LinearForm]
NeuronNode = Callable[[str, LinearForm, tuple[int, ...], float], Any]
"""(place, dynamics, shape of a step, what the input is multiplied by) → a node."""
Integrator = Callable[[str, float | None, tuple[int, ...], float], tuple[Any, float]]
"""(place, tau or None, shape of a step, what the input is multiplied by) → a node, and what is left of the factor."""

_JOINS = {"mul": "product", "cat": "concatenation", "sub": "difference", "rsub": "difference"}
_DIVISIONS = {"div", "divide", "truediv", "true_divide"}


class NirWriter:
    """Goes through a traced net.

    Args:
        gm: see graph.step_graph; its nodes know their shapes.
        nodes: where they are written.
        form_of: (place, neuron) → its dynamics; raises ExportError for one that the reader has not.
        neuron_node: makes the node of a layer of neurons.
        integrator: makes that of neurons that never fire.
    """

    def __init__(
        self,
        gm: fx.GraphModule,
        nodes: NirNodes,
        *,
        form_of: FormOf,
        neuron_node: NeuronNode,
        integrator: Integrator,
    ) -> None:
        self.gm, self.nodes = gm, nodes
        self.form_of, self.neuron_node, self.integrator = form_of, neuron_node, integrator
        self.signals: dict[fx.Node, Signal] = {}

    def graph(self, readout: nn.Module | None = None) -> Any:
        """The graph of the net, and of neurons that read it out.

        Raises: ExportError with all parts that cannot be written.
        """
        problems: list[ExportError] = []
        for node in self.gm.graph.nodes:
            row = Row(title_of(node), kind_of(self.gm, node))
            try:
                with ExportError.instead():
                    if node.op == "output":
                        break
                    if node.op != "get_attr":
                        self.signals[node] = self.written(row, node)
            except ExportError as error:
                problems.append(error)
                self.signals[node] = Signal((), (shape_of(node) or (0,))[1:])
        if problems:
            raise ExportErrors(*problems)
        signal = self.signal(node.args[0])
        if readout is not None:
            signal = self.leaky(Row("the readout", type(readout).__name__), readout, signal)
        return self.nodes.graph(signal)

    def signal(self, source: fx.Node) -> Signal:
        """What a node of the net gives to one of those that read it."""
        signal = self.signals[source]
        return signal if len(source.users) == 1 else replace(signal, weights=())

    def written(self, row: Row, node: fx.Node) -> Signal:
        if node.op == "placeholder":
            return self.nodes.input
        if node.op != "call_module":
            return self.function(row, node)
        module = self.gm.get_submodule(node.target)
        uses = sum(other.target == node.target for other in self.gm.graph.nodes if other.op == "call_module")
        if uses > 1 and carries_state(module):
            reason = "it is used in several places, which share its state"
            raise ExportError(row.place, reason, "Give each place neurons of its own.")
        return self.module(row, module, self.signal(node.args[0]))

    def function(self, row: Row, node: fx.Node) -> Signal:
        """A sum of two paths, or a product with constants; joins that are neither are refused."""
        name = operation(node)
        paths = [part for part in node.args if isinstance(part, fx.Node) and part in self.signals]
        if name == "add" and len(paths) == len(node.args) == 2 and node.kwargs in ({}, {"alpha": 1}):
            return self.nodes.added(row.place, *map(self.signal, paths))
        is_product = name in ("mul", "multiply")
        if (is_product or name in _DIVISIONS) and len(paths) == 1 and (is_product or paths[0] is node.args[0]):
            signal = self.signal(paths[0])
            value = self.constant(next(part for part in node.args if part is not paths[0]))
            if value.dim() <= len(signal.shape):
                return self.nodes.scaled(row.place, signal, value if is_product else 1 / value)
        what = _JOINS.get(name, "node for it")
        reason = f"NIR adds what reaches a node, and has no {what}" + (" of paths" if name in _JOINS else "")
        raise ExportError(row.place, reason, "Join paths by their sum, join=add.")

    def constant(self, value: Any) -> Tensor:
        if isinstance(value, fx.Node):  # get_attr: a parameter or buffer
            owner, _, name = value.target.rpartition(".")
            value = getattr(self.gm.get_submodule(owner), name)
        return torch.as_tensor(value).detach().cpu().double()

    def module(self, row: Row, module: nn.Module, signal: Signal) -> Signal:
        kind = library_name(module)
        if kind in ("Linear", "Conv1d", "Conv2d"):
            dims = {"Linear": 1, "Conv1d": 2, "Conv2d": 3}[kind]
            return self.weights(row, synapse_of(row, module), signal, dims)
        if kind in ("AvgPool2d", "AdaptiveAvgPool2d"):
            if len(signal.shape) != 3:
                raise ExportError(row.place, f"it pools a step of shape {list(signal.shape)}", "Pool [C, H, W].")
            return self.nodes.pool(row.place, pool_of(row, module, signal.shape), signal)
        if kind in ("MaxPool1d", "MaxPool2d"):
            raise ExportError(row.place, "there is no maximum", "Use AvgPool2d.")
        if kind == "Flatten":
            return self.flatten(row, module, signal)
        if kind == "VotingLayer":
            return self.weights(row, votes_of(row, module, signal.shape[-1]), signal, 1)
        if isinstance(module, layer.AxonalDelay):
            return self.delay(row, module, signal)
        if isinstance(module, layer.SynapticDelay):
            remedy = "Use delay.kind=axonal, one delay for each channel of its input."
            raise ExportError(row.place, "each of its weights has a delay of its own", remedy)
        if isinstance(module, (ElementWiseRecurrentContainer, LinearRecurrentContainer)):
            return self.recurrent(row, module, signal)
        if type(module) in (NonSpikingIFNode, NonSpikingLIFNode):
            return self.leaky(row, module, signal)
        if hasattr(module, "linear_form"):
            return self.neurons(row.place, self.form_of(row.place, module), signal)
        raise unknown_layer(row)

    def weights(self, row: Row, synapse: Any, signal: Signal, dims: int) -> Signal:
        if len(signal.shape) != dims:
            remedy = "Put Flatten before Linear." if dims == 1 else "Use a convolution of as many dims."
            raise ExportError(row.place, f"it reads a step of shape {list(signal.shape)}", remedy)
        return self.nodes.weights(row.place, synapse, signal)

    def flatten(self, row: Row, module: nn.Module, signal: Signal) -> Signal:
        rank = len(signal.shape) + 1
        start, end = (dim % rank for dim in (module.start_dim, module.end_dim))
        if start < 1:
            raise ExportError(row.place, "it flattens the batch", "Use Flatten(1, -1).")
        if start == end:
            return signal
        shape = (*signal.shape[: start - 1], math.prod(signal.shape[start - 1 : end]), *signal.shape[end:])
        if len(shape) > 1 and self.nodes.reader.name != "nir":
            reason = f"it flattens some dims of a step, and the importer of {self.nodes.reader.name} all"
            raise ExportError(row.place, reason, "Use Flatten(1, -1), or reader 'nir'.")
        last = -1 if end == rank - 1 else end - 1
        node = self.nodes.library.Flatten({"input": np.array(signal.shape)}, start_dim=start - 1, end_dim=last)
        return self.nodes.passed(row.place, "flatten", node, signal, shape)

    def delay(self, row: Row, module: layer.AxonalDelay, signal: Signal) -> Signal:
        steps = module.steps().cpu().double().numpy()
        if module.channel_dim not in (1, -len(signal.shape)) or signal.shape[0] != len(steps):
            reason = f"it delays {len(steps)} channels, and a step has the shape {list(signal.shape)}"
            raise ExportError(row.place, reason, "Delay the first dim of a step.")
        seconds = np.ones(signal.shape) * steps.reshape(-1, *[1] * (len(signal.shape) - 1)) * self.nodes.dt
        return self.nodes.passed(row.place, "delay", self.nodes.library.Delay(seconds), signal)

    # --- what has a state --------------------------------------------------------------------------------------------

    def neurons(self, place: str, form: LinearForm, signal: Signal) -> Signal:
        """Neurons; their gain goes into the weights before them, or to them."""
        factor = form.gain / signal.divisor
        left = 1.0 if self.nodes.multiplied(signal, factor) else factor
        name = self.nodes.add(place, "neuron", self.neuron_node(place, form, signal.shape, left), signal)
        return Signal((name,), signal.shape)

    def leaky(self, row: Row, module: nn.Module, signal: Signal) -> Signal:
        """An integrator that never fires."""
        if module.decode is not None:
            reason = f"it gives one potential for all steps, decode={module.decode!r}"
            raise ExportError(row.place, reason, "Use decode=None, and task.readout=last or max.")
        node, left = self.integrator(row.place, getattr(module, "tau", None), signal.shape, 1 / signal.divisor)
        signal = replace(signal, divisor=1.0)
        if not self.nodes.multiplied(signal, left):
            signal = self.nodes.scaled(row.place, signal, left)
        name = self.nodes.add(row.place, "leaky", node, signal)
        return Signal((name,), signal.shape)

    def recurrent(self, row: Row, module: nn.Module, signal: Signal) -> Signal:
        """A neuron with what leads from its last spikes to its input, as a graph within the graph."""
        neuron = only(module.sub_module)
        if not hasattr(neuron, "linear_form"):
            reason = f"it feeds {type(neuron).__name__} in its loop"
            raise ExportError(row.place, reason, "Keep a neuron alone in the loop; put layers before it.")
        form = self.form_of(f"{row.name}.sub_module ({type(neuron).__name__})", neuron)
        self.nodes.reader.check_kind(row.place, "NIRGraph")
        if isinstance(module, LinearRecurrentContainer):
            signal = self.weights(row, linear_of(row, module.rc, slice(0, module.in_features)), signal, 1)
            back = [self.nodes.library.Affine(*_no_bias(double(module.rc.weight[:, module.in_features :])))]
        else:
            back = self.feedback(row, module.element_wise_function, signal.shape)
        factor = form.gain / signal.divisor
        left = 1.0 if self.nodes.multiplied(signal, factor) else factor
        multiply(back[-1], form.gain / left)
        nodes = {"lif": self.neuron_node(row.place, form, signal.shape, left)}
        names = ["w_rec"] if len(back) == 1 else [f"w_rec_{number}" for number in range(len(back))]
        nodes |= dict(zip(names, back, strict=True))
        stations = ["lif", *names, "lif"]
        edges = [("input", "lif"), *itertools.pairwise(stations), ("lif", "output")]
        graph = self.nodes.inner_graph(row.place, nodes, edges, signal.shape)
        name = self.nodes.add(row.place, "recurrent", graph, signal)
        return Signal((name,), signal.shape)

    def feedback(self, row: Row, function: Any, shape: tuple[int, ...]) -> list[Any]:
        """The nodes from a neuron's output to its input."""
        if function in (torch.add, torch.Tensor.add) or getattr(function, "__name__", "") == "add":
            return [self.nodes.library.Scale(np.ones(shape))]
        if isinstance(function, FeedbackSum):
            nodes, now = [], shape
            for part in _parts(function.feedback):
                if hasattr(part, "scale") and not hasattr(part, "weight"):
                    nodes.append(self.nodes.library.Scale(np.ones(now) * double(part.scale).numpy()))
                    continue
                if library_name(part) not in ("Linear", "Conv1d", "Conv2d"):
                    break
                synapse = synapse_of(row, part)
                nodes.append(self.nodes.weight_node(synapse, now))
                now = synapse.output_shape(now)
            else:
                if now == shape and nodes:
                    return nodes
        reason = "feedback must be weights from the neurons to their input"
        raise ExportError(row.place, reason, "Use a Linear or convolution, or several, as feedback.")


def _parts(module: nn.Module) -> Sequence[nn.Module]:
    if isinstance(module, nn.Sequential):
        return [part for child in module for part in _parts(child)]
    return [module]


def _no_bias(weight: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return weight.numpy(), np.zeros(len(weight))
