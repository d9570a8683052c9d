"""The report of a conversion: every node once, numbers of thresholds, warnings by name."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snntrain.ann2snn.converted import ConversionWarning, to_spiking
from snntrain.ann2snn.graph import prepare, rectifiers
from snntrain.ann2snn.report import ConversionReport

X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()
        self.mix, self.drop, self.last = nn.Conv2d(3, 4, 1), nn.Dropout(), nn.Linear(36, 5)

    def forward(self, x):
        x = F.relu6(self.mix(self.act(self.norm(self.conv(x)))))
        return self.last(self.drop(F.max_pool2d(x, 2)).flatten(1))


@pytest.fixture
def report() -> ConversionReport:
    gm = prepare(Net(), X)
    first, second = rectifiers(gm)
    settings = {
        first: SimpleNamespace(theta=torch.tensor([1.0, 3.0, 0.0]), v_init=torch.tensor([0.5, 1.5, 0.0])),
        second: SimpleNamespace(theta=4.0, v_init=1.0),
    }
    with pytest.warns(ConversionWarning):
        snn = to_spiking(gm, settings)
    return ConversionReport.of(
        gm, snn, {"method": "channel_mse", "T": 8}, notes={second: "few batches"}, warnings=["accuracy may suffer"]
    )


def test_every_node_is_told(report):
    assert report.net == "Net"
    assert [(row.node, row.type, row.became) for row in report.rows] == [
        ("conv", "Conv2d", "kept"),
        ("norm", "BatchNorm2d", "joined with conv"),
        ("act", "ReLU", "spiking neurons"),
        ("mix", "Conv2d", "kept"),
        ("relu6", "relu6", "spiking neurons"),
        ("max_pool2d", "max_pool2d", "RatePooling"),
        ("drop", "Dropout", "removed"),
        ("flatten", "flatten", "kept"),
        ("last", "Linear", "kept"),
    ]


def test_numbers_of_neurons(report):
    act, capped = (row for row in report.rows if row.became == "spiking neurons")
    assert (act.theta_min, act.theta_mean, act.theta_max) == (1.0, 2.0, 3.0)  # the dead one has the mean of the others
    assert act.v_init == pytest.approx(1 / 3) and act.dead_channels == [2]
    assert (capped.theta_min, capped.theta_mean, capped.theta_max, capped.v_init) == (4.0, 4.0, 4.0, 0.25)
    assert all(row.theta_min is None for row in report.rows if row.became != "spiking neurons")


def test_warnings_have_the_names_of_their_nodes(report):
    assert report.all_warnings == [
        "accuracy may suffer",
        "act: 1 of 3 thresholds were not positive and got a safe value",
        "relu6: few batches",
    ]


def test_as_text_and_as_json(report):
    lines = str(report).splitlines()
    assert lines[0] == "Net, method channel_mse, T 8" and lines[1].split()[:3] == ["node", "type", "became"]
    assert lines[5].split() == ["act", "ReLU", "spiking", "neurons", "1", "2", "3", "0.3333", "1"]
    assert lines[-1] == "! relu6: few batches" and len(lines) == 3 + 9 + 3
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["rows"][2]["dead_channels"] == [2] and plain["settings"] == {"method": "channel_mse", "T": 8}


def test_start_potentials_of_each_neuron_are_told_in_parts_of_the_threshold():
    gm = prepare(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), X)
    theta = torch.tensor([1.0, 2.0, 4.0])
    setting = SimpleNamespace(theta=theta, v_init=theta.view(3, 1, 1).expand(3, 6, 6) / 2)
    report = ConversionReport.of(gm, to_spiking(gm, {"1": setting}))
    assert report.rows[1].v_init == 0.5
