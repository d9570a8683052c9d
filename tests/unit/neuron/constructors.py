"""What the constructors of neurons take: order and defaults of their arguments, values refused, values to set."""

import inspect
from typing import Any

import torch
from promises import INF, NOT_A_FLAG, NOT_AN_INTEGER, NOT_FINITE
from torch import nn

from snntrain.neuron import (
    PSN,
    AdaptBaseNode,
    AdLIFBaseNode,
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
    OTTTLIFNode,
    ParametricLIFNode,
    QIFNode,
    RAFNode,
    SEAdLIFNode,
    SimpleIFNode,
    SimpleLIFNode,
    SlidingPSN,
    SLTTLIFNode,
    TCLIFNode,
    TernaryLIFNode,
)
from snntrain.surrogate import ATan, MultiLevelSpikeCount, Sigmoid

RESET = {"v_threshold": 1.0, "v_reset": 0.0}
SETTINGS = {"step_mode": "s", "backend": "auto", "store_v_seq": False}
COMMON = {"surrogate_function": None, "detach_reset": False} | SETTINGS
LIF = {"tau": 2.0, "decay_input": True} | RESET
ADAPTATION = {"w_rest": 0.0, "tau_w": 2.0, "a": 0.0, "b": 0.0}
ADLIF = {"tau_v": (5.0, 25.0), "tau_w": (60.0, 300.0), "a": (0.0, 1.0), "b": (0.0, 2.0), "q": 120.0}
ADLIF |= {"channels": None, "learnable": True}
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    BaseNode: RESET | COMMON,
    IFNode: RESET | COMMON,
    LIFNode: LIF | COMMON,
    ParametricLIFNode: {"init_tau": 2.0, "decay_input": True} | RESET | COMMON,
    AdaptBaseNode: {"v_threshold": 1.0, "v_reset": 0.0, "v_rest": 0.0} | ADAPTATION | COMMON,
    QIFNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    EIFNode: {"tau": 2.0, "delta_T": 1.0, "theta_rh": 0.8, "v_threshold": 1.0, "v_rest": 0.0, "v_reset": -0.1} | COMMON,
    IzhikevichNode: {"tau": 2.0, "v_c": 0.8, "a0": 1.0, "v_threshold": 1.0, "v_reset": 0.0, "v_rest": -0.1}
    | ADAPTATION
    | COMMON,
    LIAFNode: {"act": REQUIRED, "threshold_related": REQUIRED} | LIF | COMMON,
    KLIFNode: {"scale_reset": False} | LIF | COMMON,
    FloatCubaLIFNode: {
        "current_decay": 0.5,
        "voltage_decay": 0.25,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "requires_grad": False,
        **COMMON,
        "store_i_seq": False,
    },
    ComplementaryLIFNode: LIF | {"decay_input": False, "v_reset": None} | COMMON,
    GatedLIFNode: {
        "T": REQUIRED,
        "inplane": None,
        "init_linear_decay": None,
        "init_v_subreset": None,
        "init_tau": 0.25,
        "init_v_threshold": 0.5,
        "init_conduct": 0.5,
        "surrogate_function": None,
        "step_mode": "m",
        "backend": "auto",
    },
    SLTTLIFNode: LIF | COMMON | {"detach_reset": True},
    OTTTLIFNode: LIF | {"decay_input": False, "v_reset": None} | COMMON | {"detach_reset": True},
    SimpleIFNode: RESET | {"surrogate_function": None, "detach_reset": False, "step_mode": "s"},
    SimpleLIFNode: {"tau": REQUIRED, "decay_input": REQUIRED}
    | RESET
    | {"surrogate_function": None, "detach_reset": False, "step_mode": "s"},
    ILIFNode: {"tau": 4 / 3, "v_threshold": 1.0} | COMMON,
    TernaryLIFNode: {"tau": 4 / 3, "decay_input": False, "v_threshold": 0.5, "learnable_amplitude": False} | COMMON,
    RAFNode: {"omega": 10.0, "b_offset": 1.0, "dt": 0.01, "balanced": True, "q_decay": 0.9, "num_neurons": None}
    | {"learnable": True, "v_threshold": 1.0, "surrogate_function": None}
    | SETTINGS,
    ALIFNode: {"tau": 20.0, "tau_a": 200.0, "beta": 0.184, "v_threshold": 1.0} | COMMON,
    **dict.fromkeys((AdLIFBaseNode, AdLIFNode, SEAdLIFNode), ADLIF | RESET | COMMON),
    CELIFNode: {"T": REQUIRED, "channels": None, "decay": 0.5, "beta": 0.02} | RESET | COMMON,
    TCLIFNode: {"init_beta_1": -0.5, "init_beta_2": 0.5, "gamma": 0.5, "v_threshold": 1.0} | COMMON,
    DHLIFNode: {"branches": 4, "channels": None, "init_tau_m": (0.0, 4.0), "init_tau_n": (0.0, 4.0)}
    | {"decay_input": True, "v_threshold": 1.0}
    | COMMON,
    NonSpikingIFNode: {"decode": None, "step_mode": "m"},
    NonSpikingLIFNode: {"tau": 2.0, "decode": None, "step_mode": "m"},
    PSN: {"T": REQUIRED, "surrogate_function": None},
    MaskedPSN: {"k": REQUIRED, "T": REQUIRED, "lambda_init": 0.0, "surrogate_function": None, "step_mode": "s"},
    SlidingPSN: {"k": REQUIRED, "exp_init": True, "surrogate_function": None, "step_mode": "s", "algorithm": "gemm"},
    ATIFNode: {"v_threshold": 1.0, "vth_init_l": 0.8, "vth_init_h": 1.0, "alpha": 1.0} | SETTINGS,
    CubaLIFNode: {
        "current_decay": REQUIRED,
        "voltage_decay": REQUIRED,
        **RESET,
        "scale": 64,
        "requires_grad": False,
        "surrogate_function": None,
        "norm": None,
        "detach_reset": False,
        **SETTINGS,
        "store_i_seq": False,
    },
}
FILL = {
    LIAFNode: {"act": "relu", "threshold_related": True},
    GatedLIFNode: {"T": 4},
    CELIFNode: {"T": 8},
    DHLIFNode: {"branches": 1},
    SimpleLIFNode: {"tau": 2.0, "decay_input": True},
    CubaLIFNode: {"current_decay": 0.5, "voltage_decay": 0.25},
    PSN: {"T": 4},
    MaskedPSN: {"k": 2, "T": 4},
    SlidingPSN: {"k": 2},
}

FINITE = ("a finite number", NOT_FINITE)
ABOVE_ONE = ("a finite number > 1", [*NOT_FINITE, 1, 1.0, 0.5, 0, -2.0])
ABOVE_ZERO = ("a finite number > 0", [*NOT_FINITE, 0, 0.0, -1.0, -INF])
UNIT = ("a finite number ≥ 0 and ≤ 1", [*NOT_FINITE, -0.01, 1.01, 2])
OPEN_UNIT = ("a finite number > 0 and < 1", [*NOT_FINITE, 0, 1, 0.0, 1.0, -0.5, 2])
COUNT = ("an integer ≥ 1", [*NOT_AN_INTEGER, 0, -1])
RANGES = [1.0, None, "12", (1.0,), (1.0, 2.0, 3.0), (2.0, 1.0), (1.0, INF), (True, 2.0), ("1", "2")]
RANGE = ("two finite numbers [low, high] with low ≤ high", RANGES)
RANGE_ABOVE_ZERO = ("two finite numbers [low, high] with low ≤ high, both > 0", [*RANGES, (0.0, 1.0), (-1, 2)])
COUNT_OR_NONE = (COUNT[0], [value for value in COUNT[1] if value is not None])
FLAGS = (
    "decay_input",
    "detach_reset",
    "threshold_related",
    "scale_reset",
    "requires_grad",
    "store_v_seq",
    "store_i_seq",
)
FLAGS += ("balanced", "learnable", "learnable_amplitude", "exp_init")
BAD_VALUES = {
    **dict.fromkeys(["v_threshold", "v_rest", "w_rest", "a", "b", "v_c", "theta_rh", "omega", "b_offset"], FINITE),
    **dict.fromkeys(["tau_v", "init_tau_m", "init_tau_n"], RANGE),
    **dict.fromkeys(["beta", "gamma"], ("a finite number ≥ 0", [*NOT_FINITE, -0.01, -1])),
    "q": FINITE,
    "init_beta_1": ("a finite number > -1 and < 0", [*NOT_FINITE, -1, 0, 0.5]),
    "init_beta_2": OPEN_UNIT,
    **dict.fromkeys(["tau_a", "tau_w", "a0", "delta_T", "dt", "vth_init_l", "alpha"], ABOVE_ZERO),
    **dict.fromkeys(["current_decay", "voltage_decay", "q_decay", "lambda_init", "decay"], UNIT),
    **dict.fromkeys(["init_v_threshold", "init_conduct"], OPEN_UNIT),
    **dict.fromkeys(
        ["init_linear_decay", "init_v_subreset"],
        (OPEN_UNIT[0] + " or None", [value for value in OPEN_UNIT[1] if value is not None]),
    ),
    **dict.fromkeys(FLAGS, ("True or False", NOT_A_FLAG)),
    **dict.fromkeys(["tau", "init_tau"], ABOVE_ONE),
    **dict.fromkeys(["scale", "T", "k", "branches"], COUNT),
    **dict.fromkeys(["inplane", "num_neurons", "channels"], COUNT_OR_NONE),
    "v_reset": ("a finite number or None", [value for value in NOT_FINITE if value is not None]),
    "vth_init_h": ("a finite number ≥ 0.8", [*NOT_FINITE, 0.79, -1]),
    "surrogate_function": ("a surrogate module", ["Sigmoid", 4.0, Sigmoid, True]),
    "step_mode": ("'s'", ["S", "", None, 1, "sm"]),
    "backend": ("one of 'auto', 'torch', 'fused'", ["numba", "", None, 1, "Torch"]),
    "algorithm": ("one of 'gemm', 'conv'", ["fft", "", None, 1]),
    "norm": ("a module such as lava_exchange.BatchNorm2d", ["BatchNorm2d", nn.BatchNorm2d, abs]),
    "decode": (
        "None or one of 'last-mem', 'max-mem', 'mean-mem', 'max-abs-mem'",
        ["last", "", "LAST-MEM", 1, True, ["last-mem"], torch.mean],
    ),
}
ADLIFS = (AdLIFBaseNode, AdLIFNode, SEAdLIFNode)
NOT_SPIKE_COUNTS = [Sigmoid(), MultiLevelSpikeCount(4, spiking=False), MultiLevelSpikeCount, torch.round, 4]
#: What a class refuses otherwise than the others, or besides.
OWN_BAD_VALUES = {
    (GatedLIFNode, "init_tau"): [OPEN_UNIT],
    **{(node_class, "v_threshold"): [ABOVE_ZERO] for node_class in (ATIFNode, ILIFNode, TernaryLIFNode)},
    (ILIFNode, "surrogate_function"): [("a MultiLevelSpikeCount in spiking mode, or None", NOT_SPIKE_COUNTS)],
    (CubaLIFNode, "v_threshold"): [("a finite number ≥ 0 and ≤ 2047.98", [-0.1, 2048.0])],
    (CubaLIFNode, "v_reset"): [("0 (the chip has no other reset)", [None, 0.5, -1])],
    (ALIFNode, "tau"): [ABOVE_ZERO],
    (CELIFNode, "beta"): [UNIT],
    **{(kind, name): [RANGE_ABOVE_ZERO] for kind in ADLIFS for name in ("tau_v", "tau_w")},
    **{(kind, name): [RANGE] for kind in ADLIFS for name in ("a", "b")},
    (RAFNode, "omega"): [FINITE, ("a number with dt·abs(omega) ≤ 1", [101.0, -101.0])],
    (LIAFNode, "act"): [
        ("one of 'relu', 'leaky_relu', 'selu', 'tanh', 'sigmoid', 'identity'", ["ReLU", "", "relu6"]),
        (
            "a function such as torch.relu, or the name of one such as 'relu'",
            [None, 1.0, True, nn.ReLU, [torch.relu]],
        ),
    ],
}

DISTINCT = {
    "tau": 3.0,
    "scale": 32,
    "vth_init_l": 0.25,
    "vth_init_h": 0.75,
    "alpha": 3.0,
    "tau_w": 4.0,
    "delta_T": 0.75,
    "theta_rh": 0.625,
    "v_c": 0.875,
    "a0": 1.25,
    "a": 0.25,
    "b": -0.5,
    "v_threshold": 1.75,
    "v_reset": -0.375,
    "v_rest": 0.125,
    "w_rest": 0.0625,
    "act": torch.tanh,
    "threshold_related": False,
    "scale_reset": True,
    "decay_input": None,  # the opposite of the default
    "current_decay": 0.375,
    "voltage_decay": 0.6875,
    "requires_grad": True,
    "T": 3,
    "k": 2,
    "lambda_init": 0.5,
    "exp_init": False,
    "algorithm": "conv",
    "inplane": 5,
    "tau_v": (3.0, 4.0),
    "tau_a": 50.0,
    "beta": 0.75,
    "gamma": 0.25,
    "q": 60.0,
    "decay": 0.75,
    "channels": 5,
    "branches": 3,
    "init_beta_1": -0.25,
    "init_beta_2": 0.75,
    "init_tau_m": (1.0, 2.0),
    "init_tau_n": (1.5, 2.5),
    "omega": 8.0,
    "b_offset": 2.0,
    "dt": 0.02,
    "balanced": False,
    "q_decay": 0.5,
    "num_neurons": 1,
    "learnable": False,
    "learnable_amplitude": True,
    "decode": "max-mem",
    "surrogate_function": ATan(3.5),
    "detach_reset": True,
    "step_mode": None,  # the opposite of the default
    "backend": "torch",
    "store_v_seq": True,
    "store_i_seq": True,
    "init_linear_decay": 0.1875,
    "init_v_subreset": 0.4375,
    "init_tau": 0.3125,
    "init_v_threshold": 0.5625,
    "init_conduct": 0.8125,
}


def distinct(node_class: type) -> dict[str, Any]:
    """A value for each argument that is not its default."""
    signature = SIGNATURES[node_class]
    values = {name: DISTINCT[name] for name in signature if name != "norm"}
    values |= {name: not signature[name] for name in ("decay_input",) if name in signature}
    if "step_mode" in values:
        values["step_mode"] = "m" if signature["step_mode"] == "s" else "s"
    special = {
        ParametricLIFNode: {"init_tau": 3.0},
        SLTTLIFNode: {"detach_reset": False, "step_mode": "s"},
        OTTTLIFNode: {"detach_reset": False, "step_mode": "s"},
        ILIFNode: {"surrogate_function": MultiLevelSpikeCount(3)},
        **{key: {"tau_w": (20.0, 30.0), "a": (0.25, 0.5), "b": (0.5, 1.5)} for key in ADLIFS},
        CubaLIFNode: {"v_reset": 0.0, "norm": nn.Identity()},
    }
    values |= special.get(node_class, {})
    return {name: values[name] for name in signature}
