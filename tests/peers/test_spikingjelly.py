"""Our neurons beside those of SpikingJelly 2.0.0: the same spikes, potentials and gradients; and where not, why not.

The product of settings runs on backend 'torch', a smaller one on 'fused'. Half of the inputs are continuous, half are
quarters, with which potentials meet the threshold and the kinks of the surrogates exactly. Potentials are compared bit
for bit in float32 as well: equal spikes are then no accident of the inputs drawn.
"""

import itertools
from collections.abc import Iterator

import pytest
import torch
from spikingjelly_cases import (
    FLAGS,
    NEURONS,
    OURS,
    PRIMITIVES,
    SURROGATES,
    TOLERANCE,
    Case,
    cases,
    complaints,
    make,
    problem,
    run,
    to_the_threshold,
)
from torch import nn

pytestmark = [
    pytest.mark.optional,
    pytest.mark.filterwarnings("ignore:.*with v_reset=None a strong input can drive the potential to infinity"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NEURONS)
def test_neuron_agrees(peer, name, dtype):
    """All settings and surrogates, backend 'torch'."""
    failures, data = [], problem(dtype)
    for case in cases(name):
        node = case.build(OURS, dtype)
        theirs = run(case.build(peer, dtype), data)
        assert 0.02 < theirs.spikes.mean() < 0.9, f"{case} says little: it fires too rarely or too often"
        failures += [f"{case}: {complaint}" for complaint in complaints(case, run(node, data), theirs)]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", NEURONS)
def test_neuron_agrees_with_primitives_for_spikes(peer, name):
    """spiking=False: outputs between 0 and 1, which a hard reset has to mix."""
    data = problem(torch.float64)
    for case in cases(name, PRIMITIVES):
        case.spiking = False
        ours, theirs = (run(case.build(library, torch.float64), data) for library in (OURS, peer))
        assert torch.allclose(ours.spikes, theirs.spikes, rtol=1e-12, atol=1e-12), case
        ours.spikes = theirs.spikes
        assert not complaints(case, ours, theirs, exact=False), case


def few_cases(name: str) -> Iterator[Case]:
    """Every reset, with and without detach_reset, and the other settings in turn; over all neurons every surrogate."""
    shapes = itertools.cycle(SURROGATES)
    resets = [(None, False), (None, True), (-0.2, False), (0.0, True)]
    for of_neuron, (turn, reset) in itertools.product(NEURONS, enumerate(resets)):
        shape = next(shapes)
        if of_neuron == name:
            alike = [c for c in cases(name, [shape]) if (c.arguments["v_reset"], c.arguments["detach_reset"]) == reset]
            yield alike[(turn ^ turn // 2) % len(alike)]  # 0, 1, 3, 2: not in step with the resets


@pytest.mark.parametrize("name", NEURONS)
def test_fused_neuron_agrees(peer, name):
    """Few cases: each takes seconds to compile, and tests/unit/kernel compares the kernels with backend 'torch'."""
    served = [case for case in few_cases(name) if "fused" in case.build(OURS).supported_backends]
    if not served:
        pytest.skip(f"no fused kernels for {name}")
    failures, data = [], problem(torch.float32)
    for case in served:
        node = case.build(OURS)
        node.backend = "fused"
        # The kernel's exp is not torch's: they differ by an ulp.
        found = complaints(case, run(node, data), run(case.build(peer), data), exact=name != "EIFNode")
        failures += [f"{case}: {complaint}" for complaint in found]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", NEURONS)
def test_neuron_agrees_where_potentials_land_on_the_threshold(peer, name):
    """One step that charges, then inputs within 8 ulps of the one that reaches the threshold, for many tau."""
    failures = []
    for case, tau in itertools.product(cases(name, ["ATan"]), [1.1, 3.0, 7.0, 49.0, 100.0]):
        if "tau" in case.arguments or "init_tau" in case.arguments:
            case.arguments["tau" if "tau" in case.arguments else "init_tau"] = tau
        data = to_the_threshold(case)
        ours, theirs = (run(case.build(library), data) for library in (OURS, peer))
        assert 0.2 < theirs.spikes[1].mean() < 0.8, f"{case} does not meet the threshold"
        failures += [f"{case}: {complaint}" for complaint in complaints(case, ours, theirs, data=data)]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", NEURONS)
def test_neuron_agrees_step_by_step_and_from_given_states(peer, name):
    """Our sequence in two chunks, their steps one by one; gradients also reach the initial states."""
    for case in cases(name, ["Sigmoid"]):
        x, weight_s, weight_v = problem(torch.float32)
        results = []
        for library in (OURS, peer):
            node = case.build(library)
            states = [0.3 * weight_v[n] for n in range(1 + hasattr(node, "w_rest"))]
            leaves = [leaf.clone().requires_grad_() for leaf in (x, *states)]
            for state, leaf in zip("vw", leaves[1:], strict=False):
                setattr(node, state, leaf)
            if library is OURS:
                spikes = torch.cat([node(chunk) for chunk in leaves[0].split([4, 6])])
            else:
                node.step_mode = "s"
                spikes = torch.stack([node(step) for step in leaves[0]])
            loss = (weight_s * spikes).sum() + (weight_v[0] * node.v).sum()
            results.append((spikes, torch.autograd.grad(loss, leaves)))
        (ours, our_gradients), (theirs, their_gradients) = results
        assert torch.equal(ours, theirs), case
        for a, b in zip(our_gradients, their_gradients, strict=True):
            assert (a - b).abs().max() <= TOLERANCE[torch.float32] * b.abs().max(), case


@pytest.mark.parametrize("name", NEURONS)
def test_neuron_agrees_in_eval_mode(peer, name):
    """Older releases of the peer lost the gradient there; 2.0.0 keeps it, as we do."""
    data = problem(torch.float32)
    for case in cases(name, ["Sigmoid"]):
        ours, theirs = (run(case.build(library).eval(), data) for library in (OURS, peer))
        assert not complaints(case, ours, theirs), case


def test_the_peer_divides_by_tau_in_the_order_we_do(peer):
    """The forms with a precomputed 1/tau, which older releases had in places, would be told apart by these inputs."""
    x = problem(torch.float32)[0][:2].abs() / 4
    data = (x, torch.zeros_like(x), torch.ones_like(x))
    x0, x1 = x
    for tau, decay in itertools.product((3.0, 7.0, 49.0), FLAGS):
        v = x0 / torch.tensor(tau) if decay else x0
        divided = v + (x1 - v) / torch.tensor(tau) if decay else v - v / torch.tensor(tau) + x1
        multiplied = v + (x1 - v) * torch.tensor(1 / tau) if decay else v * torch.tensor(1 - 1 / tau) + x1
        case = Case("LIFNode", {"tau": tau, "decay_input": decay, "v_threshold": 9.0})
        for library in (peer, OURS):
            potentials = run(case.build(library), data).potentials
            assert torch.equal(potentials[1], divided) and not torch.equal(potentials[1], multiplied)


@pytest.mark.parametrize("name", ["ParametricLIFNode", "KLIFNode"])
def test_learned_parameters_of_the_peer_load_here(peer, name):
    theirs, ours = (make(library, name) for library in (peer, OURS))
    nn.init.constant_(next(theirs.parameters()), 0.7)
    ours.load_state_dict(theirs.state_dict())
    x = problem(torch.float32)[0]
    assert torch.equal(ours(x), theirs(x)) and next(ours.parameters()).item() == pytest.approx(0.7)
