"""What tests of the C export share: a small integer net, and the compiled program beside numpy_runner."""

from pathlib import Path

import numpy as np
import pytest
import torch

from snntrain.export.c import export_c, native_compiler
from snntrain.quantize import IntegerNet

compiled = pytest.mark.skipif(native_compiler() is None, reason="no C compiler is installed")


def dense_net(seed: int = 0, bits: int = 8, classes: int = 4) -> IntegerNet:
    """Input, two linear layers with neurons between, scales that differ."""
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    weights = {
        f"{name}.weight": rng.integers(-half, half, shape).astype(np.int8)
        for name, shape in (("a", (9, 6)), ("b", (classes, 9)))
    }
    neuron = {"shift": 0, "bits": 8, "overflow": "saturate", "rounding": "nearest", "leak": None, "reset": "soft"}
    operations = [
        {"op": "input", "name": "in", "sources": [], "lowest": 0, "highest": 3, "rounding": "nearest"},
        {"op": "linear", "name": "a", "sources": [0]},
        {"op": "neuron", "name": "n", "sources": [1], **neuron},
        {"op": "linear", "name": "b", "sources": [2]},
        {"op": "output", "name": "out", "sources": [3]},
    ]
    arrays = {
        "in.per_step": np.ones(1, np.float32),
        "n.threshold": np.full(1, 20, np.int32),
        "out.scale": rng.uniform(0.5, 2.0, classes).astype(np.float32),
    }
    return IntegerNet(operations, {**weights, **arrays})


def differences(net: IntegerNet, x: torch.Tensor, folder: Path, *flags: str, event_driven: bool = True) -> dict:
    """What differs between the compiled program and numpy_runner."""
    exported = export_c(net, folder, x.shape[2:], event_driven=event_driven)
    found = exported.compare([exported.build(folder / "net", *flags)], x)
    assert found.compared["outputs"] and found.compared["spikes"] == found.compared["potentials"] > 0
    assert torch.equal(found.logits, net.run(x, runner="numpy").logits) or found.mismatches
    return {name: count for name, count in found.differing.items() if count}


def changed(net: IntegerNet, place: int, **settings: object) -> IntegerNet:
    """The net with other settings of an operation, as a damaged file might have them."""
    operations = [dict(operation) for operation in net.operations]
    operations[place].update(settings)
    before, after = f"{net.operations[place]['name']}.", f"{operations[place]['name']}."
    renamed = {
        after + key.removeprefix(before) if key.startswith(before) else key: value for key, value in net.arrays.items()
    }
    return IntegerNet(operations, renamed)
