"""Moving over from SpikingJelly 2.0.0: its checkpoints, its modules inside our nets, and the names its users write."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seeded_inputs import normal
from spikingjelly_cases import imported
from torch import nn
from torch.testing import assert_close

from snntrain import encoding, functional, layer, neuron, surrogate
from snntrain.neuron import IFNode

pytestmark = pytest.mark.optional

MODULES = ("base", "encoding", "functional", "layer", "neuron", "surrogate")


@pytest.fixture(scope="module")
def peer() -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(MODULES, imported(*MODULES), strict=True)))


# --- checkpoints -----------------------------------------------------------------------------------------------------

T, C = 4, 8
WITH_WEIGHTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "TemporalWiseAttention": ({"T": T, "reduction": 2}, (T, 2, C, 5, 5)),
    "MultiDimensionalAttention": ({"T": T, "C": C, "reduction_t": 2, "reduction_c": 4}, (T, 2, C, 5, 5)),
    "SpikingSelfAttention": ({"dim": C, "num_heads": 2}, (T, 2, C, 6)),
    "QKAttention": ({"dim": C, "num_heads": 2, "qka_type": "channel"}, (T, 2, C, 6)),
    "BatchNormThroughTime1d": ({"T": T, "num_features": C, "step_mode": "m"}, (T, 3, C)),
    "BatchNormThroughTime2d": ({"T": T, "num_features": C, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "TemporalEffectiveBatchNorm2d": ({"T": T, "num_features": C}, (T, 3, C, 2, 2)),
    "ThresholdDependentBatchNorm2d": ({"alpha": 1.0, "v_th": 0.5, "num_features": C}, (T, 3, C, 2, 2)),
    "NeuNorm": ({"in_channels": C, "height": 2, "width": 2, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "Conv2d": ({"in_channels": C, "out_channels": 3, "kernel_size": 2, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "ConvTranspose2d": ({"in_channels": C, "out_channels": 3, "kernel_size": 2, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "Linear": ({"in_features": C, "out_features": 3, "step_mode": "m"}, (T, 3, C)),
    "GroupNorm": ({"num_groups": 2, "num_channels": C, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "BatchNorm2d": ({"num_features": C, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "SynapseFilter": ({"tau": 3.0, "learnable": True, "step_mode": "m"}, (T, 3, C)),
    "WSConv2d": ({"in_channels": C, "out_channels": 3, "kernel_size": 2, "step_mode": "m"}, (T, 3, C, 2, 2)),
    "ParametricLIFNode": ({"init_tau": 3.0, "step_mode": "m"}, (T, 3, C)),
    "KLIFNode": ({"step_mode": "m"}, (T, 3, C)),
    "PSN": ({"T": T}, (T, 3, C)),
    "MaskedPSN": ({"T": T, "k": 2, "lambda_init": 1.0, "step_mode": "m"}, (T, 3, C)),
    "SlidingPSN": ({"k": 2, "step_mode": "m"}, (T, 3, C)),
}


@pytest.mark.parametrize("name", WITH_WEIGHTS)
@pytest.mark.parametrize("prefix", ["", "block.0."])
def test_its_checkpoints_load_and_give_its_outputs(peer, name, prefix):
    arguments, shape = WITH_WEIGHTS[name]
    home, ours = (peer.layer, layer) if hasattr(layer, name) else (peer.neuron, neuron)
    torch.manual_seed(1)
    theirs, mine = (getattr(library, name)(**arguments) for library in (home, ours))
    for parameter in theirs.parameters():
        nn.init.uniform_(parameter, 0.2, 1.5)
    saved = {prefix + key: value for key, value in theirs.state_dict().items()}
    functional.set_step_mode(mine, "m")
    root = nn.ModuleDict({"block": nn.Sequential(mine)}) if prefix else mine
    root.load_state_dict(saved)
    x = normal(*shape)
    for training in (True, False):
        theirs.train(training), mine.train(training)
        functional.reset_net(theirs), functional.reset_net(mine)
        assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_a_learnable_neuron_inside_its_attention_moves_too(peer):
    """One neuron serves queries, keys and values there; each has its own here."""
    theirs = peer.layer.SpikingSelfAttention(C, 2, spiking_neuron=_plif(peer))
    mine = layer.SpikingSelfAttention(C, 2, neuron=neuron.ParametricLIFNode)
    theirs.qkv_lif.w.data.fill_(0.7)
    mine.load_state_dict(theirs.state_dict())
    assert [getattr(mine, name).neuron.w.item() for name in "qkv"] == pytest.approx([0.7] * 3)


def _plif(peer: SimpleNamespace) -> Any:
    return lambda tau=2.0, **named: peer.neuron.ParametricLIFNode(init_tau=tau, **named)


# --- its modules in our nets -----------------------------------------------------------------------------------------


def test_its_neurons_are_reset_detached_and_switched_like_ours(peer):
    net = nn.Sequential(layer.Linear(3, 4), peer.neuron.LIFNode(), nn.Sequential(IFNode()))
    functional.set_step_mode(net, "m")
    assert [net[1].step_mode, net[2][0].step_mode] == ["m", "m"]
    net(normal(T, 2, 3))
    assert net[1].v.requires_grad
    functional.detach_net(net)
    assert not net[1].v.requires_grad
    functional.reset_net(net)
    assert net[1].v == net[2][0].v == 0.0
    functional.set_backend(net, "torch")
    with pytest.raises(ValueError, match=r"at 1: TemporalEffectiveBatchNorm2d: step_mode 's' is not supported"):
        functional.set_step_mode(nn.Sequential(IFNode(), peer.layer.TemporalEffectiveBatchNorm2d(T, 3)), "s")


def test_its_containers_keep_their_children_in_single_steps(peer):
    modules = nn.Linear(3, 4), peer.neuron.IFNode()
    for library in (peer.layer, layer):
        net = nn.Sequential(library.StepModeContainer(True, "s", *modules), IFNode())
        functional.set_step_mode(net, "m")
        assert [net[0].step_mode, net[0][1].step_mode, net[1].step_mode] == ["m", "s", "m"]


# --- what its users write --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [0.0, -0.3])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_simple_neurons_are_its_simple_neurons(peer, v_reset, mode):
    x = normal(8, 50)
    for name, arguments in (
        ("SimpleIFNode", {}),
        ("SimpleLIFNode", {"tau": 3.0, "decay_input": True}),
        ("SimpleLIFNode", {"tau": 3.0, "decay_input": False}),
    ):
        nodes = [getattr(home, name)(**arguments, v_reset=v_reset, step_mode=mode) for home in (neuron, peer.neuron)]
        mine, theirs = (node(x) if mode == "m" else torch.stack([node(step) for step in x]) for node in nodes)
        assert torch.equal(mine, theirs) and torch.equal(nodes[0].v, nodes[1].v), name


FUNCTIONS = {
    "piecewise_quadratic": (1.5,),
    "piecewise_exp": (1.5,),
    "sigmoid": (4.0,),
    "soft_sign": (2.0,),
    "super_spike": (1.5,),
    "atan": (2.0,),
    "nonzero_sign_log_abs": (1.5,),
    "erf": (2.0,),
    "piecewise_leaky_relu": (0.75, 0.05),
    "squarewave_fourier_series": (3, 8.0),
    "s2nn": (4.0, 1.5),
    "q_pseudo_spike": (3.0,),
    "leaky_k_relu": (0.25, 0.75),
    "fake_numerical_gradient": (1.5,),
    "log_tailed_relu": (0.25,),
    "rect": (1.0,),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_surrogate_functions_give_its_spikes_and_gradients(peer, name):
    results = []
    for library in (surrogate, peer.surrogate):
        x = normal(300).requires_grad_()
        spikes = getattr(library, name).apply(x, *FUNCTIONS[name])
        spikes.sum().backward()
        results.append((spikes.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", ["seq_to_ann_forward", "multi_step_forward"])
@pytest.mark.parametrize("kind", [list, tuple, lambda modules: nn.Sequential(*modules)])
def test_modules_in_a_list_run_one_after_the_other(peer, function, kind):
    modules = kind([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval()])
    x = normal(T, 2, 1, 5, 5)
    assert torch.equal(getattr(functional, function)(x, modules), getattr(peer.functional, function)(x, modules))


@pytest.mark.parametrize(
    "mine, theirs",
    [
        (
            lambda: encoding.LatencyEncoder(6, enc_function="linear"),
            lambda peer: peer.encoding.LatencyEncoder(6, "linear"),
        ),
        (lambda: encoding.LatencyEncoder(6, "log"), lambda peer: peer.encoding.LatencyEncoder(6, "log")),
        (lambda: encoding.WeightedPhaseEncoder(6), lambda peer: peer.encoding.WeightedPhaseEncoder(6)),
    ],
)
def test_encoders_called_per_step_hand_out_its_steps(peer, mine, theirs):
    x = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)) * (1 - 2**-6)
    encoders = mine(), theirs(peer)
    for _ in range(2):
        for _ in range(6):
            assert torch.equal(encoders[0](x), encoders[1](x))
        for encoder in encoders:
            functional.reset_net(encoder)


def test_states_with_a_shape_of_their_own_are_its_in_both_step_modes(peer):
    for base in (peer.base.MemoryModule, functional.MemoryModule):

        class Total(base):
            """A state of one number."""

            def __init__(self) -> None:
                super().__init__()
                self.register_memory("total", 0.0)

            def single_step_forward(self, x: torch.Tensor) -> torch.Tensor:
                self.total = self.total + x.sum()
                return x + self.total

        node, x = Total(), normal(3, 2, 4)
        assert_close(torch.stack([node(step) for step in x]), x + x.sum((1, 2)).cumsum(0)[:, None, None])
