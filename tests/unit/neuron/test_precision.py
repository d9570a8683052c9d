"""In which precision neurons compute: half precision, autocast, and models that are lowered or raised."""

import promises
import pytest
import torch
from cases import NODES, PLAIN, POINTWISE
from promises import in_chunks, in_steps, inside_a_model, random
from torch import Tensor, nn

from snntrain.neuron import BaseNode

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

over_plain_nodes = pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)


HALF = {name: make for name, make in NODES.items() if name not in ("Loihi learned", "Loihi odd")}
"""In half precision the decays that Loihi learns are other decays, and its inputs fall between its integers."""


@pytest.mark.parametrize("make", HALF.values(), ids=HALF)
def test_half_precision_is_computed_in_float32(make):
    for run in (in_steps, in_chunks):
        promises.assert_half_precision_is_computed_in_float32(make, run)


class ProjectingIF(BaseNode):
    """Its charge contains an operation that autocast would run in half precision."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + nn.functional.linear(x, torch.full((x.shape[-1], x.shape[-1]), 0.3001))


@pytest.mark.parametrize("make", [*POINTWISE.values(), ProjectingIF], ids=[*POINTWISE, "with a matrix"])
def test_autocast_does_not_reach_into_a_neuron(make):
    x = random(5, 4)
    for run in (in_steps, in_chunks):
        expected = promises.outcome(promises.seeded(make), x, run)
        with torch.autocast("cpu", torch.bfloat16):
            actual = promises.outcome(promises.seeded(make), x, run)
            assert torch.is_autocast_enabled("cpu")
        if make is ProjectingIF:  # autograd multiplies its gradient with the matrix, under the caller's autocast
            del actual["x.grad"], expected["x.grad"]
        promises.assert_same(actual, expected)


@over_plain_nodes
def test_under_autocast_a_layer_hands_half_precision_to_a_neuron_that_keeps_float32(make):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), node := make(step_mode="m", store_v_seq=True), nn.Linear(8, 2))
    seen = []
    node.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(random(5, 3, 4))
    assert seen == [(torch.bfloat16, torch.bfloat16)] and node.v.dtype == node.v_seq.dtype == torch.float32
    out.float().sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    if make is PLAIN["PLIF"]:
        assert node.w.grad.dtype == torch.float32 and node.w.grad != 0


@over_plain_nodes
def test_raising_a_model_to_float64_in_mid_sequence_goes_on_in_float64(make):
    node = make()
    in_steps(node, random(3, 5))
    before = node.v.double()
    inside_a_model(node).to(torch.float64)
    assert node.v.dtype == torch.float64 and torch.equal(node.v, before)
    other = make().double()
    other.v = before
    x = random(4, 5, dtype=torch.float64)
    assert torch.equal(in_steps(node, x), in_steps(other, x)) and torch.equal(node.v, other.v)
    assert node.half().v.dtype in (torch.float32, torch.float64)
