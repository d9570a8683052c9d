"""What compilers see of a neuron: pointwise graphs of its step, and no graph break in a call."""

from functools import partial

import promises
import pytest
import torch
from cases import HOOKED, POINTWISE, READOUTS, learnable
from promises import random
from sampled import sampled
from torch import nn

from snntrain import registry
from snntrain.neuron import LIAFNode, LIFNode, ParametricLIFNode
from snntrain.neuron.liaf import ACTIVATIONS
from snntrain.surrogate import ATan

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")


def surrogates() -> list[nn.Module]:
    arguments = {"MultiLevelSpikeCount": {"max_spike_count": 1}}
    return [registry.build("surrogate", name, **arguments.get(name, {})) for name in registry.names("surrogate")]


RESETS = {  # those that KINDS has not
    f"{name} soft": partial(HOOKED[name], v_reset=None, detach_reset=True)
    for name in ("IF", "LIF", "PLIF", "Izhikevich", "KLIF")
}
TRACED = {
    **POINTWISE,
    **READOUTS,
    **RESETS,
    **{f"LIAF {act}": partial(LIAFNode, act, True, backend="torch") for act in ACTIVATIONS},
    **{f"LIF {type(each).__name__}": partial(LIFNode, surrogate_function=each) for each in surrogates()},
    "PLIF primitive": partial(ParametricLIFNode, surrogate_function=ATan(spiking=False)),
}


@pytest.mark.parametrize("name, make", sampled(TRACED.items(), 3), ids=TRACED)
def test_a_step_and_its_gradient_are_traced_to_pointwise_graphs(name, make):
    """Kernels are generated from these two graphs."""
    node = make()
    promises.assert_traceable(node, learnable(node, name))


COMPILED = [
    *("Izhikevich", "LIF", "IF", "QIF", "EIF", "PLIF", "LIAF", "KLIF scaled soft"),
    *("CLIF", "Cuba learned", "Loihi", "Loihi odd", "Loihi learned"),
]


@pytest.mark.parametrize("name", sampled(COMPILED, len(COMPILED)))
def test_a_neuron_compiles_without_a_graph_break(name):
    x = random(2, 3)
    for step_mode in ("s", "m"):
        torch.compiler.reset()
        node, compiled = (POINTWISE[name](step_mode=step_mode) for _ in range(2))
        compiled.compile(backend="eager", fullgraph=True)
        for _ in range(2):
            assert torch.equal(compiled(x), node(x)) and torch.equal(compiled.v, node.v)
