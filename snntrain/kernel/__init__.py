"""Fused CPU kernels, generated from a neuron's step function.

    plan = make_plan(node.step, states=1, parameters=1, learnable=[], dtype=torch.float32)
    spikes, (v,), _ = run(plan, x_seq, [0.0], [torch.tensor(node.tau)], store=False)

The neurons do not choose them by themselves yet: their backend is 'torch'.
"""

from snntrain.kernel.cpu import run
from snntrain.kernel.graph import Unsupported
from snntrain.kernel.plan import Plan, make_plan

__all__ = ["Plan", "Unsupported", "make_plan", "run"]
