"""A converted net: a graph of stateless layers that runs all steps of a sequence at once, and the neurons in it."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.ann2snn.activation import Rectifier
from snntrain.ann2snn.method import Setting
from snntrain.ann2snn.node import RatePooling, RepeatedStep, SpikingRectifier
from snntrain.ann2snn.scaler import scale_tensor
from snntrain.arguments import choice, integer, invalid
from snntrain.base import StepModule, state_dtype
from snntrain.functional import repeat, repeated_step, reset_net
from snntrain.graph import MAX_POOLS, call_after, carriers, free_path, library_name, module_at, modules_of
from snntrain.hooks import carries_state

RESETS = ("soft", "hard")
_STEPS_AT_ONCE = 64  # that predict runs together; more need more memory and are no faster


class ConversionWarning(UserWarning):
    """Something about a converted net that its user should know."""


def to_spiking(gm: fx.GraphModule, settings: Mapping[str, Setting] | None = None, reset: str = "soft") -> "SpikingNet":
    """Convert a prepared net: a SpikingRectifier for every Rectifier, under the same name.

    A threshold above the cap of an activation is lowered to it, the start potential in proportion. Where a threshold is
    not positive, because all inputs on the calibration data were ≤ 0, the channel is dead: it gets the mean threshold
    of the living ones (of none: the cap, or 1), starts at 0, and is named in a warning.

    Args:
        gm: what prepare returned; it stays as it is.
        settings: for every name of rectifiers(gm); None: thresholds of 1, to be replaced by load_state_dict.
        reset: 'soft', a spike subtracts the threshold; or 'hard', it takes the potential to 0, where all then start.

    Returns: the net, with `dead`: name → channels.
    """
    is_hard = choice("to_spiking", "reset", reset, RESETS) == "hard"
    converted = copy.deepcopy(gm)
    graph, carrying = converted.graph, carriers(converted.graph)
    pool_rates(converted)
    static = _static_nodes(converted, carrying)
    dead: dict[str, list[int]] = {}
    for node in list(graph.nodes):
        module = module_at(converted, node)
        if isinstance(module, Rectifier):
            if settings is not None and node.target not in settings:
                raise ValueError(f"to_spiking: there are no settings for {node.target}.")
            setting = None if settings is None else settings[node.target]
            neurons, gone = _neurons(module, setting, is_hard)
            if gone:
                dead[node.target] = gone
                channels = "all" if neurons.theta.dim() == 0 else _listing(gone)
                warnings.warn(
                    f"ann2snn: {node.target} has dead channels ({channels}): their input was never positive on the "
                    "calibration data. They got a safe threshold.",
                    ConversionWarning,
                    stacklevel=2,
                )
            converted.add_submodule(node.target, neurons)
    _insert_repetitions(converted, carrying, static)
    device = next((p.device for p in gm.parameters()), None)
    return SpikingNet(converted if device is None else converted.to(device), dead).eval()


def _listing(channels: list[int]) -> str:
    return ", ".join(map(str, channels[:20])) + (f" … {len(channels)} in all" if len(channels) > 20 else "")


def _neurons(rectifier: Rectifier, setting: Setting | None, hard_reset: bool) -> tuple[SpikingRectifier, list[int]]:
    """The neurons for an activation, and its dead channels."""
    if setting is None:
        return SpikingRectifier(1.0, hard_reset=hard_reset), []
    theta = torch.as_tensor(setting.theta).detach().clone()
    theta = theta.to(state_dtype(theta.dtype)) if theta.is_floating_point() else theta.float()
    v_init = scale_tensor(rectifier, "v_init", setting.v_init).to(theta)
    alive = torch.isfinite(theta) & (theta > 0)
    cap = rectifier.cap
    if not alive.all():
        safe = theta[alive].mean() if alive.any() else theta.new_tensor(cap or 1.0)
        # A start potential for each neuron has the channels first as well.
        mask = alive if alive.dim() == 0 else alive.view(-1, *[1] * max(v_init.dim() - 1, 0))
        theta, v_init = torch.where(alive, theta, safe), torch.where(mask, v_init, 0.0)
    if cap is not None:
        ratio = (cap / theta).clamp(max=1.0)
        theta = theta.clamp(max=cap)
        v_init = v_init * (ratio if ratio.dim() == 0 else ratio.view(-1, *[1] * max(v_init.dim() - 1, 0)))
    if hard_reset:  # chips that have no other start at 0 as well
        v_init = torch.zeros_like(v_init)
    return SpikingRectifier(theta, v_init, hard_reset=hard_reset), torch.nonzero(~alive.reshape(-1)).flatten().tolist()


def pool_rates(gm: fx.GraphModule) -> None:
    """Put a RatePooling in the place of every max pooling that comes after an activation or a neuron."""
    free = _spike_free(gm)
    for node in gm.graph.nodes:
        module = module_at(gm, node)
        if node not in free and library_name(module) in MAX_POOLS:
            gm.add_submodule(node.target, RatePooling(module))


def _spike_free(gm: fx.GraphModule) -> set[fx.Node]:
    """The nodes with no activation and no neuron before them."""
    free: set[fx.Node] = set()
    for node in gm.graph.nodes:
        module = module_at(gm, node)
        own = module is not None and (isinstance(module, Rectifier) or carries_state(module))
        if not own and all(source in free for source in node.all_input_nodes):
            free.add(node)
    return free


def _static_nodes(gm: fx.GraphModule, carrying: set[fx.Node]) -> set[fx.Node]:
    """The nodes of _spike_free, whose output for a static input is the same at every step.

    No node counts as static where something behind an activation asks for the shape of one: it would get [N, *] instead
    of [T·N, *].
    """
    static = _spike_free(gm)
    shapes = {node for node in static if node not in carrying and any(s in static for s in node.all_input_nodes)}
    mixed = any(user not in static for node in shapes for user in node.users)
    return {node for node in static if node not in carrying} if mixed else static


def _insert_repetitions(gm: fx.GraphModule, carrying: set[fx.Node], static: set[fx.Node]) -> None:
    """Put a RepeatedStep between each static node and the nodes that are not; neurons repeat their input themselves."""
    if not any(node in static for node in carrying):
        return
    for node in [node for node in gm.graph.nodes if node in static and node in carrying]:
        outside = []
        for user in node.users:
            if isinstance(module := module_at(gm, user), SpikingRectifier):
                module.follows_static = True
            elif user not in static:
                outside.append(user)
        if outside:
            step = RepeatedStep()
            step.follows_static = True
            repeated = call_after(gm, node, free_path(gm, f"{node.name}_repeated"), step)
            for user in outside:
                user.replace_input_with(node, repeated)
    gm.recompile()


class SpikingNet(StepModule, nn.Module):
    """A converted net.

    Its neurons keep their potentials from call to call: functional.reset_net(net) before each new batch, as with every
    stateful model. predict does that by itself. A sequence that repeats one step (functional.repeat) is computed once
    up to the first neurons.

    A saved state_dict is loaded into `to_spiking(prepare(ann, example))` of the same ANN; thresholds, start potentials
    and biases take the shapes they were saved with. The net can be pickled as well.

    Args:
        net: the converted graph.
        dead: name of neurons → channels whose input was never positive.

    Attributes:
        neurons: name → SpikingRectifier, in order of execution.
        readout_start: first step whose output counts in predict; T − 4, but not below 0, if that is earlier.
        report: a ConversionReport, or None.

    Shapes: x_seq [T, N, *] → [T, N, K]; step mode 'm' only.
    """

    keeps_children_in_s = True

    def __init__(self, net: fx.GraphModule, dead: Mapping[str, list[int]] | None = None) -> None:
        super().__init__()
        self.net = net
        self.dead = dict(dead or {})
        self.readout_start = 0
        self.report: Any = None
        self._step_mode = "m"

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)

    @property
    def neurons(self) -> dict[str, SpikingRectifier]:
        return modules_of(self.net, SpikingRectifier)

    def step_graph(self) -> fx.GraphModule:
        """The graph of one step, which quantization and export begin with."""
        return self.net

    def forward(self, x_seq: Tensor) -> Tensor:
        if x_seq.dim() < 2 or x_seq.shape[0] == 0:
            raise ValueError(
                f"{self._title()}: the input must be a sequence [T, N, *] of T ≥ 1 steps, got shape "
                f"{list(x_seq.shape)}."
            )
        T, step = x_seq.shape[0], repeated_step(x_seq)
        timed = [m for m in self.net.modules() if isinstance(m, (SpikingRectifier, RatePooling, RepeatedStep))]
        if step is not None and not timed:
            return repeat(self.net(step), T)
        once = step is not None and any(module.follows_static for module in timed)
        for module in timed:
            module.T, module.input_is_one_step = T, once and module.follows_static
        return self.net(step if once else x_seq.flatten(0, 1)).unflatten(0, (T, -1))

    def predict(self, x: Tensor, T: int) -> Tensor:
        """The mean output over T steps of a static input [N, *], from reset neurons: [N, K], never below float32."""
        return self.predict_at(x, [integer(self, "T", T, at_least=1)])[0]

    @torch.no_grad()
    def predict_at(self, x: Tensor, steps: Sequence[int]) -> Tensor:
        """What predict gives for each of several numbers of steps, from one run of the largest: [len(steps), N, K]."""
        steps = [integer(self, "steps", T, at_least=1) for T in steps]
        if not steps:
            raise invalid(self, "steps", "a list of at least one integer", steps)
        starts = [min(self.readout_start, max(T - 4, 0)) for T in steps]
        totals: list[Tensor | float] = [0.0] * len(steps)
        reset_net(self)
        for first in range(0, max(steps), _STEPS_AT_ONCE):
            y_seq = self(repeat(x, min(_STEPS_AT_ONCE, max(steps) - first)))
            y_seq = y_seq.to(state_dtype(y_seq.dtype))
            for place, (T, start) in enumerate(zip(steps, starts, strict=True)):
                counted = y_seq[max(start - first, 0) : max(T - first, 0)]
                if len(counted):
                    totals[place] = totals[place] + counted.sum(0)
        reset_net(self)
        return torch.stack([total / (T - start) for total, T, start in zip(totals, steps, starts, strict=True)])

    def get_extra_state(self) -> dict[str, int]:
        return {"readout_start": self.readout_start}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.readout_start = integer(self, "readout_start", state["readout_start"], at_least=0)

    def extra_repr(self) -> str:
        return f"readout_start={self.readout_start}"
