"""NIR graphs as sinabs 3.1 reads them, which is not what their equations say.

IF   v ← v + x,                       LIF  v ← exp(−1/tau)·v + x, tau in steps; r is not looked at
s = trunc(v/v_threshold) where v > 0, otherwise 0: several spikes in a step;  v ← v − s·v_threshold
IF also: v ← max(v, −v_threshold)

A net of ours gives the same spikes where its neurons have a soft reset, and no potential reaches twice its threshold
or, for IF, falls below minus its threshold. That depends on the input, so that it is tried.

Source: sinabs.nir and sinabs.layers of sinabs 3.1.3.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.base import MemoryModule
from snntrain.export.error import ExportError
from snntrain.export.nir_node import NirNode, Shape
from snntrain.functional import reset_net
from snntrain.graph import linear_form_at
from snntrain.hooks import spiking_layers, watching
from snntrain.neuron import NonSpikingLIFNode
from snntrain.neuron.linear_form import LinearForm

_REMEDY = "Use IFNode or LIFNode with neuron.v_reset=null."


class SinabsNode(MemoryModule):
    """An IF or LIF node of NIR in the arithmetic of sinabs; it is not trained.

    Args:
        threshold: of one step [*], or [].
        kept: part of the potential that a step keeps, exp(−1/tau); 1 for IF.
        has_floor: whether the potential stays above minus the threshold.

    Shapes: 's': [N, *]; 'm': [T, N, *].
    """

    state_names = ("v",)
    is_spiking = True

    def __init__(self, threshold: Tensor, kept: Tensor | float, *, has_floor: bool) -> None:
        super().__init__("m")
        self.register_buffer("threshold", threshold)
        self.register_buffer("kept", torch.as_tensor(kept, dtype=torch.float32))
        self.has_floor = has_floor
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        v = self.kept * self.v + x
        spikes = (v > 0) * torch.div(v, self.threshold, rounding_mode="trunc")
        v = v - spikes * self.threshold
        if self.has_floor:
            v = torch.relu(v + self.threshold) - self.threshold
        self.v = v
        return spikes


def read_node(node: NirNode, shape: Shape) -> SinabsNode:
    """What sinabs makes of an IF or LIF node. Raises: NirImportError for parameters that it refuses."""
    has_floor = node.kind == "IF"
    if not has_floor and node.numbers("v_leak").any():
        raise node.error("v_leak is not 0")
    threshold = torch.as_tensor(np.array(node.values("v_threshold", shape)), dtype=torch.float32)
    if not (threshold > 0).all():
        raise node.error("v_threshold must be > 0")
    if has_floor:
        return SinabsNode(threshold, 1.0, has_floor=True)
    tau = torch.as_tensor(np.array(node.values("tau", shape)), dtype=torch.float32)
    if not (tau > 0).all():
        raise node.error("tau must be > 0")
    return SinabsNode(threshold, torch.exp(-1.0 / tau), has_floor=False)


def read_integrator(node: NirNode, shape: Shape) -> tuple[nn.Module, float]:
    """What sinabs makes of an LI node, v ← exp(−1/tau)·v + x, and what its input is multiplied by for that."""
    tau = node.one("tau", shape)
    if node.numbers("v_leak").any() or tau <= 0:
        raise node.error("v_leak is not 0, or tau not > 0")
    own = -1 / math.expm1(-1 / tau)
    return NonSpikingLIFNode(own), own


def form_of(place: str, neuron: nn.Module) -> LinearForm:
    """The dynamics of a neuron. Raises: ExportError where sinabs has none like it."""
    form = linear_form_at(place, neuron, "its dynamics are not those of an IF or LIF neuron", _REMEDY)
    if form.v_reset is not None:
        raise ExportError(place, f"v_reset is {form.v_reset}, and sinabs subtracts the threshold", _REMEDY)
    if form.current_decay != 1:
        raise ExportError(place, "it has a current, and sinabs imports no CubaLIF", _REMEDY)
    if form.rest or not form.fires_at_threshold or not 0 <= form.voltage_decay < 1:
        reason = "it rests at another potential than 0, keeps none, or fires only above, and sinabs has none such"
        raise ExportError(place, reason, _REMEDY)
    absent = {"height": "spikes that are not 1", "bias": "a bias", "v_start": "a start potential"}
    extra = [words for name, words in absent.items() if getattr(form, name) is not None]
    if extra:
        raise ExportError(place, f"it has {' and '.join(extra)}, which sinabs has not", _REMEDY)
    if not (form.threshold > 0).all():
        raise ExportError(place, "its threshold is not positive", "Use a positive one.")
    return form


def forms(nir: Any) -> dict[str, Callable]:
    """How NirWriter makes neurons for sinabs, which leaves gains out: they divide the thresholds."""

    def neuron_node(place: str, form: LinearForm, shape: tuple[int, ...], factor: float) -> Any:
        if form.voltage_decay and len(shape) > 1:  # it asks for the truth of an array
            raise _too_many_dims(place, "LIF neurons", shape)
        ones, zeros = np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        threshold = form.threshold.cpu().numpy().reshape(-1, *[1] * (len(shape) - 1)) / factor
        threshold = (ones * threshold).astype(np.float32)
        if form.voltage_decay == 0:
            return nir.IF(r=ones, v_threshold=threshold, v_reset=zeros)
        tau = ones * np.float32(-1 / math.log1p(-form.voltage_decay))
        return nir.LIF(tau=tau, r=ones.copy(), v_leak=zeros, v_threshold=threshold, v_reset=zeros.copy())

    def integrator(place: str, tau: float | None, shape: tuple[int, ...], factor: float) -> tuple[Any, float]:
        if tau is None:
            return nir.I(np.ones(shape)), factor
        if len(shape) > 1:
            raise _too_many_dims(place, "LI neurons", shape)
        ones, zeros = np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        return nir.LI(ones * np.float32(-1 / math.log1p(-1 / tau)), ones.copy(), zeros), factor / tau

    return {"form_of": form_of, "neuron_node": neuron_node, "integrator": integrator}


def _too_many_dims(place: str, what: str, shape: tuple[int, ...]) -> ExportError:
    reason = f"the importer of sinabs fails on {what} of a step {list(shape)}, and takes only [N]"
    return ExportError(place, reason, "Use IFNode behind convolutions.")


@torch.no_grad()
def verify(net: nn.Module, copy: nn.Module, example: Tensor) -> None:
    """Compare the spikes of a net with those of its graph in the arithmetic of sinabs.

    Raises: ExportError naming the first layer and spike that differ.
    """
    ours, theirs = (_spikes(each, example) for each in (net, copy))
    for (name, mine), other in zip(ours.items(), theirs.values(), strict=True):
        differing = (mine != other).nonzero()
        if len(differing):
            step, sample, *where = differing[0].tolist()
            reason = (
                f"sinabs would give other spikes for {len(differing):,} of {mine.numel():,}, the first in step {step} "
                f"of sample {sample} at {where}: {other[tuple(differing[0])]:g} for {mine[tuple(differing[0])]:g}; it "
                "fires several times in a step, and keeps potentials of IF neurons above minus the threshold"
            )
            raise ExportError(name, reason, "Train with smaller weights or a larger T, or use reader 'nir'.")


def _spikes(net: nn.Module, example: Tensor) -> dict[str, Tensor]:
    spikes: dict[str, Tensor] = {}
    reset_net(net)
    with watching(spiking_layers(net), lambda name, layer, y: spikes.update({name: y})):
        net(example)
    reset_net(net)
    return spikes
