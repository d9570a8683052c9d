"""Every test of a neuron runs on both backends: 'auto' is the loop in the one pass, kernels in the other."""

import pytest

from snntrain.neuron import base_node


@pytest.fixture(params=["torch", pytest.param("fused", marks=pytest.mark.slow)], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What 'auto' means in this test. Compiling a kernel for each of some hundred variants is slow."""
    if request.param == "torch":
        original = base_node.plan_for
        monkeypatch.setattr(
            base_node, "plan_for", lambda node, x: original(node, x) if node.backend == "fused" else "not in this test"
        )
    return request.param
