"""Models run their neurons in the loop of torch: which calls are fused is tested with the kernels."""

import pytest

from snntrain.layer import recurrent_fusion, sequential
from snntrain.neuron import base_node


@pytest.fixture(autouse=True)
def _no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling a kernel takes seconds."""
    for module in (base_node, recurrent_fusion, sequential):
        monkeypatch.setattr(module, "plan_for", lambda node, x: "not in this test")
