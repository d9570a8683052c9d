"""Checkpoints by SpikingJelly's names load into our layers; so do those by ours."""

import pytest
import torch
from torch import Tensor, nn

from snntrain.layer import (
    BatchNormThroughTime2d,
    MultiDimensionalAttention,
    QKAttention,
    SpikingSelfAttention,
    TemporalWiseAttention,
)
from snntrain.neuron import ParametricLIFNode

DIM = 4


def randomized(layer: nn.Module) -> nn.Module:
    for value in (*layer.parameters(), *layer.buffers()):
        if value.is_floating_point():
            nn.init.uniform_(value, 0.2, 1.0)
    return layer


def by_their_names(layer: nn.Module, names: dict[str, str], columns: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The state_dict with other beginnings of keys; weights under columns as kernels of size 1."""
    renamed = {}
    for key, value in layer.state_dict().items():
        start = next(name for name in names if key.startswith(name))
        is_kernel = key.startswith(columns) if columns else False
        renamed[names[start] + key.removeprefix(start)] = value[..., None, None, None] if is_kernel else value
    return renamed


CASES = {
    "TemporalWiseAttention": (lambda: TemporalWiseAttention(4, 2), {"gate.": "sharedMLP."}, ()),
    "MultiDimensionalAttention": (
        lambda: MultiDimensionalAttention(4, 6, 2, 3),
        {"time_gate.": "ta.sharedMLP.", "channel_gate.": "ca.sharedMLP.", "space_conv.": "sa.conv."},
        ("time_gate", "channel_gate"),
    ),
    "BatchNormThroughTime2d": (lambda: BatchNormThroughTime2d(3, 2), {"bn.": "bn_list."}, ()),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_keys_with_other_names_load(name, inside):
    make, names, columns = CASES[name]
    source, target = randomized(make()), make()
    theirs = by_their_names(source, names, columns)
    for saved in (theirs, source.state_dict()):
        module = nn.Sequential(target) if inside else target
        module.load_state_dict({f"0.{key}" if inside else key: value for key, value in saved.items()})
        for key, value in target.state_dict().items():
            assert torch.equal(value, source.state_dict()[key]), key
        randomized(target)
    key = next(iter(theirs))
    theirs.pop(key)
    with pytest.raises(RuntimeError, match="Missing key"):
        target.load_state_dict(theirs)


@pytest.mark.parametrize("kind, branches", [(SpikingSelfAttention, "qkv"), (QKAttention, "qk")])
def test_branches_that_share_one_convolution_are_taken_apart(kind, branches):
    source, target = (kind(DIM, 2, neuron=ParametricLIFNode) for _ in range(2))
    randomized(source)
    kept, theirs = source.state_dict(), {}
    for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        name = f"conv_bn.{0 if part.startswith('conv') else 1}.{part.partition('.')[2]}"
        theirs[f"{branches}_{name}"] = torch.cat([kept[f"{branch}.{part}"] for branch in branches])
        theirs[f"proj_{name}"] = kept[f"projection.{part}"]
    for place in (branches, "proj"):
        theirs[f"{place}_conv_bn.1.num_batches_tracked"] = torch.tensor(7)
        theirs[f"{place}_lif.w"] = torch.tensor(0.3)
    theirs["attn_lif.w"] = torch.tensor(0.4)
    target.load_state_dict(theirs)
    loaded = target.state_dict()
    assert not loaded["projection.conv.bias"].any() and loaded["attention_neuron.w"] == torch.tensor(0.4)
    for branch in branches:
        assert loaded[f"{branch}.neuron.w"] == torch.tensor(0.3) and loaded[f"{branch}.bn.num_batches_tracked"] == 7
    for key, value in loaded.items():
        if not key.endswith(("neuron.w", "num_batches_tracked", "conv.bias", "attention_neuron.w")):
            assert torch.equal(value, kept[key]), key
    target.load_state_dict(kept)
    assert torch.equal(target.projection.conv.bias, kept["projection.conv.bias"])
