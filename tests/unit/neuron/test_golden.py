"""Every neuron of one potential against published numbers, or numbers worked out from its paper's equations."""

from functools import partial

import pytest
import torch
from cases import with_threshold
from equations import Golden, check_golden

from snntrain import neuron

KLIF = partial(neuron.KLIFNode, backend="torch")
AS_LIF = {
    "out": [0, 0, 0, 1, 0, 0],
    "v": [0.25, 0.725, 0.2125, 0, 0.45, 0.275],
    "g": [0.537199, 0.935975, 0.816838, 1.20107, 1.34485, 1.06601],
}
IZHIKEVICH = {"a": 0.3, "b": 0.4, "v_reset": 0.2, "w_rest": 0.05}
OSCILLATION = [50.0, 50.0, 20.0, 0.0, 0.0, 60.0]
GOLDEN = {
    "IF r=0": Golden(
        neuron.IFNode,
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [1.0783, 0.833316, -1.09131, -1.14926, 5.48052, 5],
    ),
    "IF r=0 detach": Golden(
        partial(neuron.IFNode, detach_reset=True),
        [0, 1, 0, 1, 0, 1],
        [0.5, 0, -0.3, 0, 0.9, 0],
        [0.852279, 0.432305, 0.930084, 0.86461, 10.8052, 6],
    ),
    "IF soft": Golden(
        partial(neuron.IFNode, v_reset=None),
        [0, 1, 0, 1, 1, 1],
        [0.5, 0.7, 0.4, 1.4, 1.3, 0.4],
        [2.2951, 3.23283, 3.57279, 3.82419, 3.82157, 3.79528],
    ),
    "LIF tau 2 r=0": Golden(
        partial(neuron.LIFNode, tau=2.0),
        [0, 0, 0, 1, 0, 0],
        [0.25, 0.725, 0.2125, 0, 0.45, 0.275],
        [0.537199, 0.935975, 0.816838, 1.20107, 1.34485, 1.06601],
    ),
    "LIF soft, no decay_input": Golden(
        partial(neuron.LIFNode, v_reset=None, decay_input=False),
        [0, 1, 0, 1, 1, 0],
        [0.5, 0.45, -0.075, 0.9625, 0.38125, 0.290625],
        [0.780022, 1.24149, 1.04332, 1.86837, 3.3579, 2.04539],
    ),
    "LIF r=-.2, no decay_input": Golden(
        partial(neuron.LIFNode, v_reset=-0.2, decay_input=False),
        [0, 1, 0, 1, 0, 0],
        [0.3, -0.2, -0.5, -0.2, 0.7, 0.35],
        [0.899924, 1.53325, 0.0695304, 0.0796288, 3.98993, 2.40301],
    ),
    "PLIF init_tau 1.5 r=0": Golden(
        partial(neuron.ParametricLIFNode, init_tau=1.5),
        [0, 0, 0, 1, 0, 0],
        [0.333333, 0.911111, 0.103704, 0, 0.6, 0.266667],
        [0.564322, 1.31336, 0.54557, 1.01767, 2.17369, 1.40018],
        extra={"w": 1.31523},
    ),
    "Izhikevich a .3 b .4 v_reset .2 w_rest .05": Golden(
        partial(neuron.IzhikevichNode, backend="torch", **IZHIKEVICH),
        [0, 0, 0, 1, 0, 0],
        [0.335, 0.788737, 0.544515, 0.2, 0.203334, -0.0382441],
        [1.00799, 1.18042, 0.96632, 0.427705, 0.896748, 0.690078],
        states={"w": 0.210347},
    ),
    "Izhikevich same, detach": Golden(
        partial(neuron.IzhikevichNode, backend="torch", **IZHIKEVICH, detach_reset=True),
        [0, 0, 0, 1, 0, 0],
        [0.335, 0.788737, 0.544515, 0.2, 0.203334, -0.0382441],
        [2.18455, 2.56746, 1.60545, 0.968921, 0.891619, 0.682819],
        states={"w": 0.210347},
    ),
    "KLIF r=0": Golden(KLIF, **AS_LIF, extra={"k": 6.42696}),
    "KLIF r=0 scale_reset": Golden(partial(KLIF, scale_reset=True), **AS_LIF, extra={"k": 4.59083}),
    "KLIF scale_reset soft": Golden(
        partial(KLIF, scale_reset=True, v_reset=None),
        [0, 0, 0, 1, 0, 0],
        [0.25, 0.725, 0.2125, 0.10625, 0.503125, 0.301563],
        [0.451481, 0.881559, 1.05444, 1.94215, 1.36046, 1.04338],
        extra={"k": 5.87878},
    ),
    "LIAF relu, threshold_related": Golden(
        partial(neuron.LIAFNode, torch.relu, True, tau=2.0, backend="torch"),
        [0, 0, 0, 0.10625, 0, 0],
        [0.25, 0.725, 0.2125, 0, 0.45, 0.275],
        [0.0998276, 0.209102, 0.915853, 1.89518, 0.198193, 0.472812],
    ),
    "CLIF default": Golden(
        partial(neuron.ComplementaryLIFNode, backend="torch"),
        [0, 1, 0, 1, 0, 0],
        [0.5, -0.281059, -0.440529, -0.00870572, 0.895647, 0.547824],
        [0.783358, 1.56672, 0.755988, 1.55782, 3.1397, 5.38795],
    ),
    "QIF default": Golden(
        partial(neuron.QIFNode, backend="torch"),
        [0, 0, 0, 1, 0, 0],
        [0.195, 0.736012, 0.562465, -0.1, 0.395, 0.365013],
        [0.999718, 1.21765, 0.940044, 0.236885, 1.80908, 1.2501],
    ),
    "EIF default": Golden(
        partial(neuron.EIFNode, backend="torch"),
        [0, 1, 0, 1, 0, 0],
        [0.403285, -0.1, 0.00328483, -0.1, 0.603285, 0.762355],
        [0.960894, 1.14188, -0.265295, -0.5175, 2.81986, 2.56591],
    ),
    "ILIF default": Golden(
        neuron.ILIFNode,
        [0, 1, 0, 2, 1, 0],
        [0.5, 0.325, -0.21875, -0.0546875, -0.113672, 0.071582],
        [1, 2, 1, 4, 5, 6],
    ),
    "TernaryLIF default": Golden(
        neuron.TernaryLIFNode,
        [1, -1, 0, 0, 1, 0],
        [0, 0, 0.3, -0.325, 0, -0.1],
        [1, 0, 3.80595, 4.60542, 3.58766, 6.9],
        x=[0.5, -1.2, 0.3, -0.4, 0.9, -0.1],
    ),
    "ATIF theta .9": Golden(
        partial(with_threshold, 0.9),
        [0, 0.9, 0, 0.9, 0.9, 0.9],
        [0.5, 0.8, 0.5, 1.6, 1.6, 0.8],
        [2.19486, 2.52451, 2.64956, 2.55288, 2.34466, 1.96259],
        extra={"v_threshold": 7.84832},
    ),
    "RAF balanced": Golden(
        neuron.RAFNode,
        [0, 0, 1, 0, 0, 0],
        [0.5, 0.992494, 1.17259, 1.12841, 1.07511, 1.61341],
        [0.0275681, 0.0333279, 0.043264, 0.0569628, 0.059868, 0.0616027],
        states={"w": 0.467585, "q": 0.729},
        x=OSCILLATION,
    ),
    "RAF unbalanced": Golden(
        partial(neuron.RAFNode, balanced=False),
        [0, 0, 1, 1, 1, 1],
        [0.5, 0.995, 1.18005, 1.15335, 1.11526, 1.66629],
        [0.147725, 0.14833, 0.131673, 0.107284, 0.0717868, 0.0245986],
        states={"w": 0.485939},
        x=OSCILLATION,
    ),
}


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("case", GOLDEN.values(), ids=GOLDEN)
def test_neuron_gives_the_golden_numbers(case, step_mode):
    check_golden(case, step_mode)
