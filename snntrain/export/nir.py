"""Export to NIR, the intermediate representation that snnTorch, Norse and others read.

Neurons are CubaLIF nodes, also those without a current of their own: importers agree on these alone. With steps of dt,

    i ← (1 − dt/tau_syn)·i + (dt/tau_syn)·w_in·x
    v ← (1 − dt/tau_mem)·v + (dt/tau_mem)·r·i,   spike where v > v_threshold, then v ← 0,

so that w_in = tau_syn/dt and r = tau_mem/dt give CubaLIFNode's equations.

Source: Pedersen et al., Nature Communications 2024, 10.1038/s41467-024-52259-9.
"""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.arguments import real
from snntrain.export.chain import Chain, Row
from snntrain.export.error import ExportError, refusal
from snntrain.export.synapse import Pool, Synapse
from snntrain.export.walker import walk
from snntrain.files import replacing
from snntrain.neuron import CubaLIFNode, IFNode, LIFNode, ParametricLIFNode
from snntrain.neuron.cuba_loihi import LoihiCubaLIFNode

_LONGEST = 2.0**30  # steps; a time constant of as many loses nothing in float32


def library() -> Any:
    """The package nir. Raises: ImportError saying how to install it."""
    try:
        import nir
    except ImportError as error:
        raise ImportError("NIR needs the package nir: pip install nir, or pip install snntrain[nir].") from error
    return nir


@torch.no_grad()
def export_nir(net: nn.Module, example: Tensor, path: str | os.PathLike | None = None, dt: float = 1e-4) -> Any:
    """A net as a NIR graph of Affine, Conv2d, SumPool2d, Flatten and CubaLIF nodes.

    Batch normalizations are folded into the layers before them; a mean is a SumPool2d and weights that are divided.

    Args:
        net: one layer after the other; neurons IFNode, LIFNode, ParametricLIFNode, CubaLIFNode, and as its equations
            without truncation lava_exchange.CubaLIFNode, with v_reset = 0.
        example: an input [T, N, *] of it.
        path: of a file to write, whole or not at all; None: none.
        dt: seconds that a step stands for; 1e-4 is what snnTorch takes for granted.

    Returns: the nir.NIRGraph.
    Raises: ExportError naming a layer that NIR has not; ImportError if the package nir is not installed.
    """
    nir = library()
    if example.dim() not in (3, 5) or 0 in example.shape:
        raise ExportError(f"export: example must be [T, N, F] or [T, N, C, H, W], got shape {list(example.shape)}.")
    chain = _NirChain(tuple(example.shape[2:]), real("export_nir", "dt", dt, above=0), nir)
    rows = walk(net, example, chain, _neuron_of)
    problems = [row.problem for row in rows if row.problem]
    if problems:
        raise ExportError("\n".join(problems))
    graph = chain.graph()
    if path is not None:
        with replacing(Path(path)) as temporary:
            nir.write(temporary, graph)
    return graph


@dataclass(frozen=True)
class _Neuron:
    """Decays, the factor that inputs are multiplied by, and the threshold that v must exceed."""

    current_decay: float
    voltage_decay: float
    gain: float
    threshold: float


def _neuron_of(name: str, neuron: nn.Module) -> _Neuron:
    kind = type(neuron).__name__
    if type(neuron) not in _DECAYS:
        known = ", ".join(one.__name__ for one in _DECAYS)
        raise refusal(name, kind, "its dynamics are not those of a CubaLIF node", f"Use one of {known}.")
    if neuron.v_reset != 0:
        raise refusal(name, kind, f"v_reset is {neuron.v_reset}, and importers know 0 only", "Use neuron.v_reset=0.")
    decays = _DECAYS[type(neuron)](neuron)
    gain = decays[1] if getattr(neuron, "decay_input", False) else 1.0
    if type(neuron) is LoihiCubaLIFNode:
        return _Neuron(*decays, gain, neuron.threshold_mantissa / neuron.scale)
    # Ours fires at the threshold too: above the number just below it is the same.
    below = float(np.nextafter(np.float32(neuron.v_threshold), np.float32(-np.inf)))
    return _Neuron(*decays, gain, below)


def _of_cuba(neuron: CubaLIFNode) -> tuple[float, float]:
    current_decay, voltage_decay = (float(decay) for decay in neuron.step_parameters(torch.float64))
    return current_decay, voltage_decay


def _of_loihi(neuron: LoihiCubaLIFNode) -> tuple[float, float]:
    chip = neuron.chip_parameters()
    return chip["iDecay"] / neuron.p_scale, chip["vDecay"] / neuron.p_scale


_DECAYS: dict[type, Callable[[Any], tuple[float, float]]] = {
    IFNode: lambda neuron: (1.0, 0.0),
    LIFNode: lambda neuron: (1.0, 1.0 / neuron.tau),
    ParametricLIFNode: lambda neuron: (1.0, 1.0 / neuron.tau),
    CubaLIFNode: _of_cuba,
    LoihiCubaLIFNode: _of_loihi,
}


class _NirChain(Chain):
    """Makes nodes, one after the other."""

    def __init__(self, shape: tuple[int, ...], dt: float, library: Any) -> None:
        super().__init__(shape)
        self.dt, self.library = dt, library
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
        raise refusal(row.name, row.kind, "importers read recurrence in different ways", "Leave it out.")

    def emit_flatten(self) -> None:
        self.add("flatten", self.library.Flatten({"input": np.array(self.shape)}, start_dim=0, end_dim=-1))

    def emit(self, row: Row, synapse: Synapse, neuron: _Neuron, shape: tuple[int, ...]) -> str:
        name = self._add_weights(synapse, neuron.gain)
        ones = np.ones(shape)
        steps = [
            min(1 / decay, _LONGEST) if decay > 0 else _LONGEST
            for decay in (neuron.current_decay, neuron.voltage_decay)
        ]
        w_in, r = (ones * count for count in steps)
        zeros, threshold = np.zeros(shape), ones * neuron.threshold
        taus = (w_in * self.dt, r * self.dt)
        row.becomes = self.add("neuron", self.library.CubaLIF(*taus, r, zeros, threshold, zeros.copy(), w_in))
        return name

    def emit_readout(self, synapse: Synapse) -> str:
        self.flatten_now()
        return self._add_weights(synapse, 1.0)

    def _add_weights(self, synapse: Synapse, gain: float) -> str:
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
            raise ExportError(f"export: nir refuses the graph: {error}. Use square kernels.") from error


def _without_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """The same convolution with zeros between the groups: nir 1.0.8 takes a group's inputs for all of them."""
    out, into = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((weight.shape[0], into * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        whole[rows, group * into : (group + 1) * into] = weight[rows]
    return whole
