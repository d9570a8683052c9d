"""Layers start from the same random weights in every test, and no kernel is compiled for the neurons in them."""

import pytest
import torch

from snntrain.neuron import base_node


@pytest.fixture(autouse=True)
def _seeded_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(base_node, "plan_for", lambda node, x: "not in this test")
