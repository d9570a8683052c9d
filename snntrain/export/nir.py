"""Export to NIR, the intermediate representation that snnTorch, Norse, sinabs and others read.

Delays of channels are Delay nodes, in seconds.

Neurons are CubaLIF nodes, also those without a current of their own: snnTorch and Norse agree on these alone, and
sinabs has another form, see snntrain.export.sinabs. With steps of dt,

    i ← (1 − dt/tau_syn)·i + (dt/tau_syn)·w_in·x
    v ← (1 − dt/tau_mem)·v + (dt/tau_mem)·r·i,   spike where v > v_threshold, then v ← 0,

so that w_in = tau_syn/dt and r = tau_mem/dt give FloatCubaLIFNode's equations.

Source: Pedersen et al., Nature Communications 2024, 10.1038/s41467-024-52259-9.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.arguments import choice, real
from snntrain.export import sinabs
from snntrain.export.error import ExportError
from snntrain.export.nir_nodes import NirNodes
from snntrain.export.nir_readers import READERS
from snntrain.export.nir_writer import NirWriter
from snntrain.export.walker import step_graph_of
from snntrain.files import replacing
from snntrain.graph import linear_form_at
from snntrain.neuron import NonSpikingLIFNode
from snntrain.neuron.linear_form import LinearForm

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
    readout_tau: float | None = None,
    verify: bool = True,
) -> Any:
    """A net as a NIR graph.

    Neurons are CubaLIF nodes, or Threshold where they forget everything within a step; IF and LIF for sinabs. Batch
    normalizations are folded into the layers before them; a mean is a SumPool2d and weights that are divided.

    Args:
        net: layers of weights, poolings, delays and neurons, whose paths may branch and be added, as in residual nets;
            neurons with a linear form and v_reset = 0, such as IFNode, LIFNode, ParametricLIFNode, FloatCubaLIFNode,
            and, without its truncation, CubaLIFNode; NonSpikingIFNode and NonSpikingLIFNode become I and LI.
        example: an input [T, N, *] of it.
        path: of a file to write, whole or not at all; None: none.
        dt: seconds that a step stands for; 1e-4 is what snnTorch takes for granted.
        reader: who is to read it: 'nir', any program that computes NIR's equations; 'snntorch', 'norse': what their
            importers know of them; 'sinabs': IF and LIF neurons with soft reset (v_reset None), which it reads in its
            own way, with time constants in steps and several spikes in a step.
        readout_tau: > 1: the graph ends with LI neurons of this time constant in steps, which give the potential that
            the readout `membrane` looks at; None: it gives what the net gives.
        verify: for sinabs: compute the example as it does, and refuse where a spike differs.

    Returns: the nir.NIRGraph.
    Raises: ExportError naming a layer that NIR or the reader has not, or the first spike that differs; ImportError if
    the package nir is not installed.
    """
    nir = library()
    choice("export_nir", "reader", reader, tuple(READERS))
    real("export_nir", "dt", dt, above=0)
    readout = None if readout_tau is None else NonSpikingLIFNode(readout_tau)
    if reader == "snntorch" and not math.isclose(dt, _SNNTORCH_DT):
        raise ExportError("", f"dt is {dt:g}, and snnTorch takes 1e-4 for granted", "Use dt=1e-4.")
    if example.dim() not in (3, 4, 5) or 0 in example.shape:
        wanted = "[T, N, F], [T, N, C, L] or [T, N, C, H, W]"
        raise ExportError("", f"example must be {wanted}, got shape {list(example.shape)}")
    is_sinabs = reader == "sinabs"
    nodes = NirNodes(nir, tuple(example.shape[2:]), dt, READERS[reader])
    how = sinabs.forms(nir) if is_sinabs else _forms(nir, dt, "Threshold" in READERS[reader].kinds)
    graph = NirWriter(step_graph_of(net, example), nodes, **how).graph(readout)
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


def _forms(nir: Any, dt: float, has_threshold: bool) -> dict[str, Callable]:
    """How NirWriter makes neurons for all readers but sinabs."""

    def neuron_node(place: str, form: LinearForm, shape: tuple[int, ...], factor: float) -> Any:
        threshold = _threshold(form, shape)
        if has_threshold and form.current_decay == form.voltage_decay == 1:
            return nir.Threshold(threshold / factor)
        ones = np.ones(shape)
        decays = (form.current_decay, form.voltage_decay)
        w_in, r = (ones * (min(1 / decay, _LONGEST) if decay > 0 else _LONGEST) for decay in decays)
        return nir.CubaLIF(w_in * dt, r * dt, r, ones * 0, threshold, ones * 0, w_in * factor)

    def integrator(place: str, tau: float | None, shape: tuple[int, ...], factor: float) -> tuple[Any, float]:
        r = np.full(shape, factor)
        return (nir.I(r) if tau is None else nir.LI(np.full(shape, tau * dt), r, np.zeros(shape))), 1.0

    return {"form_of": _form_of, "neuron_node": neuron_node, "integrator": integrator}


def import_for_sinabs(graph: Any, dt: float) -> nn.Module:
    """A graph for sinabs, computed as sinabs does; nir_import needs this module, and is therefore imported late."""
    from snntrain.export.nir_import import import_nir

    return import_nir(graph, dt, reader="sinabs")
