"""Advice: nets that cannot learn are told of in the terminal, once, with what to do; others are not."""

import pytest
import torch
from small_training import SGD, Patches, small_task, trainer

from snntrain.callback import Advice, SpikeStatistics

LOOP = {"backend": "torch"}  # no kernel is compiled
NORMALIZED = ["Flatten", {"name": "Linear", "out_features": 12}, "BatchNorm1d", "neuron"]


def said(tmp_path, capsys, task, epochs: int = 3, **data: object) -> list[str]:
    trainer(tmp_path, SpikeStatistics(), Advice(), max_epochs=epochs).fit(task, Patches(**data))
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize(
    ("neuron", "parts"),
    [
        (
            {"name": "LIFNode", "v_threshold": 1e6, **LOOP},
            ("hardly any neuron fires in layers.2", "Lower neuron.v_threshold"),
        ),
        (
            {"name": "IFNode", "v_threshold": 1e-6, **LOOP},
            ("nearly all neurons fire", "layers.2", "Raise neuron.v_threshold"),
        ),
    ],
    ids=["silent", "saturated"],
)
@pytest.mark.parametrize(("epochs", "epoch"), [(1, 1), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_a_layer_that_never_or_always_fires_is_named_once(tmp_path, capsys, neuron, parts, epochs, epoch):
    task = small_task(neuron=neuron)
    task.net.get_parameter("layers.1.bias").data.fill_(5.0)
    (line,) = said(tmp_path, capsys, task, epochs)
    assert all(part in line for part in (*parts, f"validation of epoch {epoch}"))


def test_running_statistics_that_lag_are_named_with_the_remedies(tmp_path, capsys):
    """Pictures far from mean 0, and three updates: trained on their own statistics, validated on those of the start."""
    task = small_task(layers=[*NORMALIZED, {"name": "Linear", "out_features": 3}], optim=SGD | {"lr": 0.5})
    task.encoder.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 100, *inputs[1:]))
    torch.nn.init.normal_(task.net.get_parameter("layers.1.weight"))
    lines = [line for line in said(tmp_path, capsys, task, 4) if "running statistics" in line]
    assert len(lines) == 1 and "norm.momentum" in lines[0] and "data.batch_size" in lines[0]
    assert "after 12 updates" in lines[0]


def test_a_net_that_learns_is_not_warned_of(tmp_path, capsys):
    assert said(tmp_path, capsys, small_task()) == []
