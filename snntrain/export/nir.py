"""Export to NIR, the intermediate representation that snnTorch, Norse, sinabs and others read.

Delays of channels are Delay nodes, in seconds.

Neurons are CubaLIF nodes, also those without a current of their own: snnTorch and Norse agree on these alone, and
sinabs has another form, see snntrain.export.sinabs. With steps of dt,

    i ← (1 − dt/tau_syn)·i + (dt/tau_syn)·w_in·x
    v ← (1 − dt/tau_mem)·v + (dt/tau_mem)·r·i,   spike where v > v_threshold, then v ← 0,

so that w_in = tau_syn/dt and r = tau_mem/dt give FloatCubaLIFNode's equations.

Source: Pedersen et al., Nature Communications 2024, 10.1038/s41467-024-52259-9.
"""

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.arguments import choice, real
from snntrain.export import sinabs
from snntrain.export.chain import Chain, Row, check_rows, step_shape
from snntrain.export.error import ExportError
from snntrain.export.synapse import Pool, Synapse
from snntrain.export.walker import walk
from snntrain.files import replacing
from snntrain.graph import linear_form_at
from snntrain.neuron.linear_form import LinearForm

READERS = ("nir", "snntorch", "norse", "sinabs")
_SNNTORCH_DT = 1e-4
_LONGEST = 2.0**30  # in steps: a neuron with so long a time constant loses nothing in float32


def library() -> Any:
    """The package nir. Raises: ImportError saying how to install it."""
    try:
        import nir
    except ImportError as error:
        raise ImportError("NIR needs the package nir: pip install nir, or pip install snntrain[nir].") from error
    return nir


@torch.no_grad()
def export_nir(
    net: nn.Module,
    example: Tensor,
    path: str | os.PathLike | None = None,
    dt: float = 1e-4,
    *,
    reader: str = "nir",
    verify: bool = True,
) -> Any:
    """A net as a NIR graph of Affine, Conv2d, SumPool2d, Flatten, Delay and CubaLIF nodes; IF and LIF for sinabs.

    Batch normalizations are folded into the layers before them; a mean is a SumPool2d and weights that are divided.

    Args:
        net: one layer after the other; neurons with a linear form and v_reset = 0, such as IFNode, LIFNode,
            ParametricLIFNode, FloatCubaLIFNode, and, without its truncation, CubaLIFNode.
        example: an input [T, N, *] of it.
        path: of a file to write, whole or not at all; None: none.
        dt: seconds that a step stands for; 1e-4 is what snnTorch takes for granted.
        reader: who is to read it: 'nir', any program that computes NIR's equations; 'snntorch', 'norse': what their
            importers know of them; 'sinabs': IF and LIF neurons with soft reset (v_reset None), which it reads in its
            own way, with time constants in steps and several spikes in a step.
        verify: for sinabs: compute the example as it does, and refuse where a spike differs.

    Returns: the nir.NIRGraph.
    Raises: ExportError naming a layer that NIR or the reader has not, or the first spike that differs; ImportError if
    the package nir is not installed.
    """
    nir = library()
    choice("export_nir", "reader", reader, READERS)
    if reader == "snntorch" and not math.isclose(dt, _SNNTORCH_DT):
        raise ExportError("", f"dt is {dt:g}, and snnTorch takes 1e-4 for granted", "Use dt=1e-4.")
    is_sinabs = reader == "sinabs"
    made = _SinabsChain if is_sinabs else _NirChain
    chain = made(step_shape(example), real("export_nir", "dt", dt, above=0), nir, reader)
    check_rows(walk(net, example, chain, sinabs.form_of if is_sinabs else _form_of))
    graph = chain.graph()
    if is_sinabs and verify:
        sinabs.verify(net, import_for_sinabs(graph, dt), example)
    if path is not None:
        with replacing(Path(path)) as temporary:
            nir.write(temporary, graph)
    return graph


def _form_of(place: str, neuron: nn.Module) -> LinearForm:
    remedy = "Use one of IFNode, LIFNode, ParametricLIFNode, FloatCubaLIFNode, CubaLIFNode."
    form = linear_form_at(place, neuron, "its dynamics are not those of a CubaLIF node", remedy)
    if form.v_reset != 0:
        raise ExportError(place, f"v_reset is {form.v_reset}, and importers know 0 only", "Use neuron.v_reset=0.")
    absent = {"height": "spikes that are not 1", "bias": "a bias", "v_start": "a start potential"}
    extra = [words for name, words in absent.items() if getattr(form, name) is not None]
    if extra:
        raise ExportError(place, f"it has {' and '.join(extra)}, which a CubaLIF node has not", remedy)
    return form


def _threshold(form: LinearForm, shape: tuple[int, ...]) -> np.ndarray:
    """What the potential must exceed; a neuron that fires at its threshold exceeds the float32 just below it."""
    threshold = form.threshold.cpu().numpy().reshape(-1, *[1] * (len(shape) - 1))
    if form.fires_at_threshold:
        threshold = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    return np.ones(shape) * threshold


class _NirChain(Chain):
    """Makes nodes, one after the other."""

    def __init__(self, shape: tuple[int, ...], dt: float, library: Any, reader: str) -> None:
        super().__init__(shape)
        self.dt, self.library, self.reader = dt, library, reader
        self.nodes: dict[str, Any] = {"input": library.Input({"input": np.array(shape)})}
        self.divisor = 1  # of the next weights: by how much sums are larger than means

    def add(self, kind: str, node: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes[name] = node
        return name

    def pool(self, row: Row, pool: Pool) -> None:
        if self.synapse is not None or self.pools or self.flat or len(self.shape) != 3 or pool.padding != (0, 0):
            super().pool(row, pool)  # importers ignore padding
            return
        sizes = (np.array(pool.kernel), np.array(pool.stride), np.array((0, 0)))
        row.becomes = self.add("pool", self.library.SumPool2d(*sizes))
        self.divisor *= pool.area if pool.average else 1
        self.shape = pool.output_shape(self.shape)

    def recurrent(self, row: Row, weight_rec: Tensor) -> None:
        if self.reader != "nir":  # that of snnTorch 1.0.0 fails on two such layers
            reason = f"the importer of {self.reader} fails on recurrence"
            raise ExportError(row.place, reason, "Leave it out, or use reader 'nir'.")
        super().recurrent(row, weight_rec)

    def emit_flatten(self) -> None:
        self.add("flatten", self.library.Flatten({"input": np.array(self.shape)}, start_dim=0, end_dim=-1))

    def delays(self, row: Row, steps: Tensor) -> None:
        if self.reader != "nir":
            raise ExportError(row.place, f"the importer of {self.reader} has no Delay node", "Use reader 'nir'.")
        super().delays(row, steps)

    def emit(self, row: Row, synapse: Synapse, neuron: LinearForm, shape: tuple[int, ...]) -> str:
        name = self._add_weights(synapse, neuron.gain)
        node = self.neuron_node(neuron, shape)
        if synapse.weight_rec is None:
            row.becomes = self.add("neuron", node)
        else:
            row.becomes = self.add("recurrent", self._with_loop(node, synapse.weight_rec * neuron.gain, shape))
        return name

    def _with_loop(self, node: Any, weight: Tensor, shape: tuple[int, ...]) -> Any:
        """Neurons and the weights from their last spikes to their input, as a graph within the graph."""
        loop = self.library.Affine(weight.float().numpy(), np.zeros(len(weight), np.float32))
        ends = np.array(shape)
        nodes = {"input": self.library.Input({"input": ends}), "lif": node, "w_rec": loop}
        edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
        return self.library.NIRGraph(nodes | {"output": self.library.Output({"output": ends})}, edges)

    def neuron_node(self, neuron: LinearForm, shape: tuple[int, ...]) -> Any:
        """The node of a layer of neurons, whose gain is in the weights."""
        ones = np.ones(shape)
        steps = [
            min(1 / decay, _LONGEST) if decay > 0 else _LONGEST
            for decay in (neuron.current_decay, neuron.voltage_decay)
        ]
        w_in, r = (ones * count for count in steps)
        zeros, threshold = np.zeros(shape), _threshold(neuron, shape)
        taus = (w_in * self.dt, r * self.dt)
        return self.library.CubaLIF(*taus, r, zeros, threshold, zeros.copy(), w_in)

    def emit_readout(self, synapse: Synapse) -> str:
        self.flatten_now()
        return self._add_weights(synapse, 1.0)

    def _add_weights(self, synapse: Synapse, gain: float) -> str:
        if synapse.delay is not None:
            steps = synapse.delay.double().numpy().reshape(-1, *[1] * (len(self.shape) - 1))
            self.add("delay", self.library.Delay(np.ones(self.shape) * steps * self.dt))
        factor, self.divisor = gain / self.divisor, 1
        weight = (synapse.weight * factor).float().numpy()
        bias = torch.zeros(len(weight)) if synapse.bias is None else synapse.bias * gain
        bias = bias.float().numpy()
        if not synapse.is_conv:
            return self.add("affine", self.library.Affine(weight, bias))
        weight = _without_groups(weight, synapse.groups)
        geometry = (synapse.stride, synapse.padding, synapse.dilation, 1)
        return self.add("conv", self.library.Conv2d(tuple(self.shape[1:]), weight, *geometry, bias))

    def graph(self) -> Any:
        """Raises: ExportError with what nir says, if it refuses the graph."""
        if self.synapse is None:
            self.flatten_now()
        self.nodes["output"] = self.library.Output({"output": np.array(self.now)})
        names = list(self.nodes)
        try:
            return self.library.NIRGraph(self.nodes, list(itertools.pairwise(names)))
        except ValueError as error:  # version 1.0.8 takes every kernel for square
            raise ExportError("", f"nir refuses the graph: {error}", "Use square kernels.") from error


class _SinabsChain(_NirChain):
    """Makes the nodes that sinabs reads."""

    def emit(self, row: Row, synapse: Synapse, neuron: LinearForm, shape: tuple[int, ...]) -> str:
        if neuron.voltage_decay and len(shape) > 1:  # it asks for the truth of an array
            reason = f"the importer of sinabs fails on LIF neurons of a step {list(shape)}, and takes only [N]"
            raise ExportError(row.place, reason, "Use IFNode behind convolutions.")
        return super().emit(row, synapse, neuron, shape)

    def neuron_node(self, neuron: LinearForm, shape: tuple[int, ...]) -> Any:
        return sinabs.node_of(self.library, neuron, shape)


def import_for_sinabs(graph: Any, dt: float) -> nn.Module:
    """A graph for sinabs, computed as sinabs does; nir_import needs this module, and is therefore imported late."""
    from snntrain.export.nir_import import import_nir

    return import_nir(graph, dt, reader="sinabs")


def _without_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """The same convolution with zeros between the groups: nir 1.0.8 takes a group's inputs for all of them."""
    out, into = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((weight.shape[0], into * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        whole[rows, group * into : (group + 1) * into] = weight[rows]
    return whole
