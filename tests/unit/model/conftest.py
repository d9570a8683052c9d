"""Models run their neurons in the loop of torch: which calls are fused is tested with the kernels."""

import pytest

from snntrain.neuron import base_node


@pytest.fixture(autouse=True)
def _no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling a kernel takes seconds."""
    monkeypatch.setattr(base_node, "plan_for", lambda node, x: "not in this test")
