"""The neurons under test, each also in forms that take its other branches, and neurons as users write them."""

import itertools
from functools import partial
from typing import Any

import torch
from promises import random
from torch import Tensor, nn

from snntrain.neuron import (
    AdLIFNode,
    ALIFNode,
    ATIFNode,
    BaseNode,
    CELIFNode,
    ComplementaryLIFNode,
    CubaLIFNode,
    DHLIFNode,
    EIFNode,
    FloatCubaLIFNode,
    GatedLIFNode,
    IFNode,
    ILIFNode,
    IzhikevichNode,
    KLIFNode,
    LIAFNode,
    LIFNode,
    MaskedPSN,
    NonSpikingIFNode,
    NonSpikingLIFNode,
    ParametricLIFNode,
    QIFNode,
    RAFNode,
    SEAdLIFNode,
    TCLIFNode,
    TernaryLIFNode,
)
from snntrain.surrogate import ATan, MultiLevelSpikeCount, Sigmoid

# --- users' neurons, which must behave like those of the library -----------------------------------------------------


class HookIF(BaseNode):
    """As SpikingJelly has it: only the charge, on self.v."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


class ChargeIF(BaseNode):
    """Only the charge, as a pure function."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x


class ForwardIF(BaseNode):
    """A whole step of its own, on self.v."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        h = self.v + x
        s = self.surrogate_function(h - self.v_threshold)
        s_d = s.detach() if self.detach_reset else s
        self.v = h - s_d * self.v_threshold if self.v_reset is None else s_d * self.v_reset + (1 - s_d) * h
        return s


class StepIF(BaseNode):
    """A pure step with a second state: the number of spikes so far."""

    state_names = ("v", "count")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.register_memory("count", 0.0)

    def step(self, x: Tensor, v: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        h = self.charge(x, v)
        s = self.fire(h)
        return s, self.reset_potential(h, s), count + s.detach()

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x


OWN = {"neuronal_charge": HookIF, "charge": ChargeIF, "single_step_forward": ForwardIF, "step": StepIF}

# --- the library's ---------------------------------------------------------------------------------------------------

LEAK = {"tau": 3.0, "v_threshold": 0.5}
OTHER = {"surrogate_function": ATan(), "detach_reset": True}
OSCILLATION = {"dt": 0.1, "v_threshold": 0.1}  # so that the inputs of these tests make spikes
ADAPTIVE = {"tau_v": (2.0, 4.0), "tau_w": (10.0, 20.0), "q": 5.0, "v_threshold": 0.2}
BRANCH = {"branches": 1, "init_tau_m": (-2.0, 0.0), "init_tau_n": (-2.0, 0.0), "v_threshold": 0.1}
LOIHI = {"requires_grad": True, **OTHER}
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "IF": (IFNode, {}),
    "LIF": (LIFNode, {}),
    "PLIF": (ParametricLIFNode, {}),
    "QIF": (QIFNode, {}),
    "QIF detach": (QIFNode, {"tau": 3.0, "v_c": 0.7, "a0": 1.5, "v_rest": 0.1, "v_reset": 0.05, **OTHER}),
    "EIF": (EIFNode, {}),
    "EIF detach": (EIFNode, {"delta_T": 0.5, "theta_rh": 0.7, "v_rest": 0.1, "v_reset": 0.05, **LEAK, **OTHER}),
    "Izhikevich": (IzhikevichNode, {"a": 0.3, "b": 0.4, "w_rest": 0.05}),
    "Izhikevich detach": (IzhikevichNode, {"a": -0.2, "b": 0.4, "v_reset": 0.2, **OTHER}),
    "LIAF": (LIAFNode, {"act": "tanh", "threshold_related": False}),
    "LIAF soft": (LIAFNode, {"act": nn.LeakyReLU(0.2), "threshold_related": True, "v_reset": None, **LEAK}),
    "KLIF": (KLIFNode, {}),
    "KLIF scaled": (KLIFNode, {"scale_reset": True, "v_reset": -0.2, **LEAK, **OTHER}),
    "KLIF scaled soft": (KLIFNode, {"scale_reset": True, "v_reset": None, "decay_input": False}),
    "Cuba": (FloatCubaLIFNode, {}),
    "Cuba learned": (FloatCubaLIFNode, {"current_decay": 0.3, "v_reset": None, "requires_grad": True}),
    "CLIF": (ComplementaryLIFNode, {"surrogate_function": Sigmoid()}),
    "CLIF hard": (ComplementaryLIFNode, {"decay_input": True, "v_reset": -0.2, **LEAK, **OTHER}),
}
OTHER_KINDS: dict[str, tuple[type, dict[str, Any]]] = {  # those whose step is not charge → fire → reset
    "Loihi": (CubaLIFNode, {"current_decay": 0.5, "voltage_decay": 0.25}),
    "Loihi learned": (CubaLIFNode, {"current_decay": 0.3, "voltage_decay": 0.1, **LOIHI}),
    "Loihi odd": (CubaLIFNode, {"current_decay": 0.1, "voltage_decay": 0.6, "v_threshold": 0.7, "scale": 37}),
    "ILIF": (ILIFNode, {}),
    "ILIF detach": (ILIFNode, {"tau": 3.0, "surrogate_function": MultiLevelSpikeCount(2), "detach_reset": True}),
    "Ternary": (TernaryLIFNode, {}),
    "Ternary detach": (TernaryLIFNode, {"tau": 2.5, "decay_input": True, "v_threshold": 0.75, **OTHER}),
    "Ternary amplitude": (TernaryLIFNode, {"learnable_amplitude": True}),
    "ATIF": (ATIFNode, {}),
    "RAF": (RAFNode, {"omega": 5.0, **OSCILLATION}),
    "RAF unbalanced": (RAFNode, {"omega": 5.0, "balanced": False, **OSCILLATION}),
    "ALIF": (ALIFNode, {"tau": 5.0, "tau_a": 10.0, "beta": 0.5}),
    "ALIF detach": (ALIFNode, {"tau": 3.0, **OTHER}),
    "adLIF": (AdLIFNode, ADAPTIVE),
    "adLIF detach": (AdLIFNode, {**ADAPTIVE, "v_reset": -0.1, "learnable": False, **OTHER}),
    "SE-adLIF": (SEAdLIFNode, ADAPTIVE),
    "SE-adLIF soft": (SEAdLIFNode, {**ADAPTIVE, "v_reset": None}),
    "TC-LIF": (TCLIFNode, {}),
    "TC-LIF detach": (TCLIFNode, {"init_beta_1": -0.3, "gamma": 0.2, **OTHER}),
    "DH-LIF": (DHLIFNode, BRANCH),
    "DH-LIF detach": (DHLIFNode, {**BRANCH, "decay_input": False, **OTHER}),
    "RAF fixed": (RAFNode, {"omega": 8.0, "q_decay": 0.5, "learnable": False, **OSCILLATION}),
}


def looped(kinds: dict[str, tuple[type, dict[str, Any]]]) -> dict[str, partial]:
    """Constructors of the neurons on backend 'torch'; kernels have tests of their own."""
    return {name: partial(kind, **more, backend="torch") for name, (kind, more) in kinds.items()}


#: Neurons that hooks can be overridden of.
HOOKED = looped(KINDS)
#: Neurons that kernels are generated for.
POINTWISE = HOOKED | looped(OTHER_KINDS)
READOUTS = {
    "readout IF": NonSpikingIFNode,
    "readout LIF": NonSpikingLIFNode,
    "readout LIF tau 3": partial(NonSpikingLIFNode, 3.0),
}
NODES = POINTWISE | READOUTS
NODES |= {"GLIF": partial(GatedLIFNode, 16), "CE-LIF": partial(CELIFNode, 16, v_threshold=0.5, backend="torch")}
NODES |= {f"own {name}": partial(kind, backend="torch") for name, kind in OWN.items()}
#: IF, LIF and PLIF with every reset.
VARIANTS = {
    "-".join([name, *map(str, more.values())]): partial(kind, **more, backend="torch")
    for name, v_reset, detach, decay in itertools.product(
        ("IF", "LIF", "PLIF"), (None, 0.0, -0.2), (False, True), (True, False)
    )
    if name != "IF" or decay
    for kind, more in [
        (
            KINDS[name][0],
            {"v_reset": v_reset, "detach_reset": detach} | ({} if name == "IF" else {"decay_input": decay}),
        )
    ]
}
ADLIFS = ("adLIF", "adLIF detach", "SE-adLIF", "SE-adLIF soft")
#: Names of the learnable parameters, in the order of the state dict.
LEARNT = {
    "PLIF": ["w"],
    **{f"KLIF{form}": ["k"] for form in ("", " scaled", " scaled soft")},
    **{f"{name} learned": ["current_decay", "voltage_decay"] for name in ("Cuba", "Loihi")},
    "Ternary amplitude": ["a"],
    "ATIF": ["v_threshold"],
    **{f"RAF{form}": ["omega", "b_offset"] for form in ("", " unbalanced", " fixed")},
    **{name: ["tau_v_place", "tau_w_place", "coupling", "jump"] for name in ADLIFS},
    **{f"TC-LIF{form}": ["c1", "c2"] for form in ("", " detach")},
    **{f"DH-LIF{form}": ["tau_m", "tau_n"] for form in ("", " detach")},
    "CE-LIF": ["embedding"],
    "GLIF": ["alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset", "conduct"],
}
#: Names of those that state a linear form.
LINEAR = ("IF", "LIF", "PLIF", "Cuba", "Cuba learned", "Loihi", "Loihi learned", "Loihi odd", "ATIF")
#: Neurons on backend 'torch' with the seven arguments of BaseNode and the reset of section 1 of the specification.
PLAIN = {name: HOOKED[name] for name in ("IF", "LIF", "PLIF")}
PLAIN |= {f"own {name}": NODES[f"own {name}"] for name in OWN}


def learnable(node: nn.Module, name: str) -> int:
    """How many of the parameters of a step get a gradient; with scale_reset, k comes twice."""
    return len(list(node.parameters())) + name.startswith("KLIF scaled")


def with_threshold(theta: float, **arguments) -> ATIFNode:
    """The parameter is made to hold theta exactly, in float64."""
    node = ATIFNode(**arguments).double()
    with torch.no_grad():
        node.v_threshold.fill_(theta)
    return node


# --- parallel neurons ------------------------------------------------------------------------------------------------


class Sum(nn.Module):
    """In place of a surrogate: the neuron returns H itself."""

    def forward(self, h: Tensor) -> Tensor:
        return h


def causal(k: int, T: int, **more: Any) -> MaskedPSN:
    return MaskedPSN(k, T, lambda_init=1.0, **more)


def filled(node: nn.Module, seed: int) -> nn.Module:
    """Parameters of float64 with random values."""
    node.double()
    for index, parameter in enumerate(node.parameters()):
        parameter.data = random(*parameter.shape, seed=100 * seed + index, dtype=torch.float64, scale=1.0)
    return node
