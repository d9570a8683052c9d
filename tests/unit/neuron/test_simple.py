"""The plain forms of IFNode and LIFNode, and the helpers with which older neurons write their step."""

import pytest
import torch

from snntrain.neuron import BaseNode, IFNode, LIFNode, SimpleIFNode, SimpleLIFNode


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.5])
@pytest.mark.parametrize(
    "simple, full",
    [
        (lambda **kw: SimpleIFNode(1.0, **kw), IFNode),
        (lambda **kw: SimpleLIFNode(2.0, True, **kw), lambda **kw: LIFNode(2.0, True, **kw)),
        (lambda **kw: SimpleLIFNode(2.0, False, **kw), lambda **kw: LIFNode(2.0, False, **kw)),
    ],
)
def test_the_potential_starts_at_zero_and_goes_on_as_in_the_full_neuron(simple, full, v_reset):
    x = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    mine, other = simple(v_reset=v_reset, step_mode="m"), full(v_reset=v_reset, step_mode="m", backend="torch")
    mine.backend = "torch"
    for _ in range(2):
        other.v = torch.zeros(20)
        assert torch.equal(mine(x), other(x)) and torch.equal(mine.v, other.v)
        mine.reset()
        other.reset()
        assert mine.v == 0.0


def test_resets_as_functions_select_and_subtract():
    v, s = torch.tensor([0.5, float("inf"), 1.5]), torch.tensor([0.0, 1.0, 1.0])
    assert BaseNode.jit_hard_reset(v, s, -0.25).tolist() == [0.5, -0.25, -0.25]
    assert BaseNode.jit_soft_reset(v[[0, 2]], s[[0, 2]], 1.0).tolist() == [0.5, 0.5]
    assert BaseNode.apply_hard_reset is BaseNode.jit_hard_reset
