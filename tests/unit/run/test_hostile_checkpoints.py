"""A checkpoint alone takes no more of the machine than its weights: refused before anything is built."""

import copy
import re
from typing import Any

import pytest
import torch
from run_folders import OLD_RUNS

from snntrain.error import UsageError
from snntrain.run.build import build_net
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.evaluate import evaluate
from snntrain.run.weights import memory_for

BEST = OLD_RUNS / "f2f9f6e/checkpoints/best.ckpt"
LINEAR = {"name": "Linear", "out_features": 10}
CONV = {"name": "Conv2d", "out_channels": 1, "kernel_size": 1, "padding": 10**5}
BLOCKS = {f"b{n}": [f"b{n - 1}"] * 9 for n in range(1, 20)} | {"b0": ["neuron"] * 9}
ASKS: dict[str, tuple[str, Any, str]] = {
    "repeats": ("model|layers", ["Flatten", {"repeat": ["neuron"], "times": 10**8}, LINEAR], "more than 10,000 layers"),
    "repeats of repeats": (
        "model|layers",
        ["Flatten", {"repeat": [{"repeat": ["neuron"], "times": 10**4}], "times": 10**4}, LINEAR],
        "more than 10,000 layers",
    ),
    "blocks of blocks": ("model", {"blocks": BLOCKS, "layers": ["Flatten", "b19", LINEAR]}, "10,000 layers"),
    "a huge layer": ("model|layers|1|out_features", 10**12, "out_features must be at most"),
    "a large layer": ("model|layers|1|out_features", 50_000_000, r"model\.layers\[1\].*tensor of"),
    "a padding": (
        "model|layers|0",
        CONV,
        "tensor of",
    ),
    "many large layers": (
        "model|layers",
        ["Flatten", {"repeat": [{"name": "Linear", "out_features": 11_000}], "times": 1000}, LINEAR],
        "more than",
    ),
    "time steps": ("T", 10**9, "T must be at most"),
    "a batch": ("data|batch_size", 10**20, r"data\.batch_size must be at most"),
    "workers": ("data|num_workers", 1000, r"data\.num_workers must be at most"),
    "classes": ("data|num_classes", 10**9, r"data\.num_classes must be at most"),
    "a picture": ("data|sample_shape", [1, 10**6, 10**6], r"data\.sample_shape .* values"),
    "a number beyond floats": ("data|batch_size", 10**400, r"data\.batch_size must be at most"),
    "an encoder": ("encoder", {"name": "PopulationEncoder", "m": 10**7}, r"encoder\.m must be at most"),
    "a surrogate": ("neuron|surrogate_function", {"name": "SquarewaveFourierSeries", "n": 10**8}, "must be at most"),
}


def evaluated(tmp_path, path: str, value: Any, where: str = "config") -> str:
    content = torch.load(BEST, weights_only=True)
    node = content["snntrain"]["config"] if where == "config" else content
    *parents, last = path.split("|")
    for key in parents:
        node = node[int(key) if isinstance(node, list) else key]
    node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UsageError) as error:
        evaluate([f"checkpoint={tmp_path / 'x.ckpt'}"])
    assert "x.ckpt" in str(error.value) or "model" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("path", "value", "said"), ASKS.values(), ids=ASKS)
def test_a_config_that_asks_for_a_whole_machine_is_refused(tmp_path, path, value, said):
    error = evaluated(tmp_path, path, value)
    assert re.search(said, error), error


WEIGHT = "net.layers.1.weight"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(9, 64), rf"{WEIGHT}.*shape.*\[9, 64\].*\[8, 64\]"),
        (torch.zeros(8, 64, dtype=torch.int32), "holds torch.int32"),
        (torch.zeros(8, 64, dtype=torch.complex64), "holds torch.complex64"),
        (torch.zeros(1).expand(10**6, 10**6), "but not the values"),
        (torch.zeros(8, 64).to_sparse(), "no ordinary tensor"),
        (torch.zeros(8, 64, device="meta"), "no ordinary tensor"),
        ([1.0], "not a tensor"),
    ],
)
def test_weights_of_another_shape_or_kind_are_refused(tmp_path, value, said):
    error = evaluated(tmp_path, f"state_dict|{WEIGHT}", value, where="content")
    assert re.search(said, error), error


def test_the_limit_changes_no_weight():
    config = read_checkpoint(BEST)["snntrain"]["config"]
    plain = build_net(config).state_dict()
    with memory_for(plain):
        limited = build_net(config).state_dict()
    assert all(torch.equal(plain[name], limited[name]) for name in plain)
