"""Random nets, quantized at random: the integer engines give the numbers of the net that is trained."""

import pytest
import torch
from random_nets import in_integers, random_net, random_quant

from snntrain.functional import reset_net
from snntrain.quantize import observe, prepare

FEW, MANY = range(60), range(60, 300)


@pytest.mark.parametrize("seeds", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["60", "to 300"])
def test_spikes_potentials_and_logits_of_random_nets_are_equal_bit_for_bit(seeds):
    firing = 0
    for seed in seeds:
        net, x = random_net(seed)
        quant = random_quant(seed)
        quantized = prepare(net, quant, x)
        observe(quantized, [x])
        different, integers = in_integers(quantized, x)
        assert not different, (seed, quant, net)
        spikes = integers.run(x, record=True).spikes.values()
        firing += any(0 < s.float().mean() < 1 for s in spikes)
    assert firing > len(seeds) / 2  # or nothing was compared


@pytest.mark.parametrize(
    "seed", [*range(300, 310), *(pytest.param(s, marks=pytest.mark.slow) for s in range(310, 330))]
)
def test_training_changes_nothing_about_it(seed):
    """Also with learned steps, and while weights move: after every step both are equal, and so are both modes."""
    net, x = random_net(seed)
    quantized = prepare(net, {**random_quant(seed), "LSQ": seed % 2 == 0}, x)
    observe(quantized, [x])
    optimizer = torch.optim.Adam(quantized.parameters(), lr=0.03)
    for _ in range(3):
        outputs = []
        for training in (False, True):
            reset_net(quantized)
            outputs.append(quantized.train(training)(x))
        assert torch.equal(*outputs)
        optimizer.zero_grad()
        (outputs[1] * torch.linspace(-1, 1, 3)).sum().backward()
        optimizer.step()
        different, _ = in_integers(quantized, x)
        assert not different, seed


def test_settings_and_nets_of_this_file_cover_what_they_should():
    """The generator itself: every kind of neuron, reset, rounding, overflow and leak occurs."""
    seen = set()
    for seed in FEW:
        net, _ = random_net(seed)
        for module in net.modules():
            name = type(module).__name__
            if hasattr(module, "v_reset"):
                seen.add((name, module.v_reset is None))
            seen.add(name)
        quant = random_quant(seed)
        seen |= {(key, quant[key]) for key in ("roundtype", "overflow", "leak", "granularity", "quantype", "LSQ")}
    for name in ("IFNode", "LIFNode", "ParametricLIFNode", "FloatCubaLIFNode"):
        assert {(name, True), (name, False)} <= seen
    assert {"ATIFNode", "AvgPool2d", "MaxPool1d", "AdaptiveAvgPool2d", "Residual", "VotingLayer", "Conv1d"} <= seen
    assert {("overflow", "wrap"), ("leak", "shift"), ("roundtype", "ceil"), ("LSQ", True)} <= seen
