"""Advice: nets that cannot learn are told of in the terminal, once, with what to do; others are not."""

import pytest
from small_training import Patches, small_task, trainer

from snntrain.callback import Advice, SpikeStatistics

LOOP = {"backend": "torch"}  # no kernel is compiled


def said(tmp_path, capsys, task, epochs: int = 3) -> list[str]:
    trainer(tmp_path, SpikeStatistics(), Advice(), max_epochs=epochs).fit(task, Patches())
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
@pytest.mark.parametrize(("epochs", "epoch"), [(1, 1), pytest.param(3, 1, marks=pytest.mark.slow)])
def test_a_layer_that_never_or_always_fires_is_named_once(tmp_path, capsys, neuron, parts, epochs, epoch):
    task = small_task(neuron=neuron)
    task.net.get_parameter("layers.1.bias").data.fill_(5.0)
    (line,) = said(tmp_path, capsys, task, epochs)
    assert all(part in line for part in (*parts, f"validation of epoch {epoch}"))


def test_a_net_that_learns_is_not_warned_of(tmp_path, capsys):
    assert said(tmp_path, capsys, small_task()) == []
