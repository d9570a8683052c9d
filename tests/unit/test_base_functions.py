"""Nested tensors, detached copies, the path of a running module, autocast."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from snntrain.base import autocast_off, detached_copy, map_tensors, path_in_running_model


def test_map_tensors_keeps_structure_and_other_values():
    x = torch.ones(2)
    value = {"a": [x, (x, 3)], "b": "text", "c": None, "d": {"e": x}}
    mapped = map_tensors(lambda tensor: tensor + 1, value)
    assert mapped["b"] == "text" and mapped["c"] is None and mapped["a"][1][1] == 3
    assert isinstance(mapped["a"], list) and isinstance(mapped["a"][1], tuple)
    for tensor in (mapped["a"][0], mapped["a"][1][0], mapped["d"]["e"], map_tensors(lambda t: t + 1, x)):
        assert tensor.tolist() == [2, 2]
    assert x.tolist() == [1, 1]


@pytest.mark.parametrize("value", [3, 0.5, None, "text", [1, 2]])
def test_a_detached_copy_of_plain_values_is_equal(value):
    assert detached_copy(value) == value


def test_a_detached_copy_shares_neither_storage_nor_graph():
    x = torch.ones(2, requires_grad=True) * 2
    for value in (detached_copy(x), detached_copy([x])[0], detached_copy({"a": (x,)})["a"][0]):
        assert torch.equal(value, x) and value.data_ptr() != x.data_ptr() and not value.requires_grad


class Reporting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        self.path = path_in_running_model(self)
        return x


def test_the_path_is_that_inside_the_outermost_running_module():
    leaf = Reporting()
    inner = nn.Sequential(OrderedDict(first=nn.Identity(), leaf=leaf))
    outer = nn.Sequential(OrderedDict(block=inner))
    for model, path in ((outer, "block.leaf"), (inner, "leaf"), (leaf, "")):
        model(torch.zeros(1))
        assert leaf.path == path


def test_autocast_off_switches_it_off_for_its_block_only():
    with torch.autocast("cpu", torch.bfloat16):
        with autocast_off(torch.device("cpu")):
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
    for device in ("cpu", "meta"):
        with autocast_off(torch.device(device)):
            assert not torch.is_autocast_enabled("cpu")
