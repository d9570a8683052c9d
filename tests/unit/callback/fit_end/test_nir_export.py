"""NirExport: refusals before training, the graph beside the net, and spikes that differ."""

import json
from pathlib import Path

import pytest
import torch
from small_fit_end import check_before_training, handed_over, run, task_for
from small_training import small_task
from torch import nn

from snntrain import functional, layer
from snntrain.callback.fit_end import NirExport, Trained
from snntrain.error import UsageError
from snntrain.export import export_nir, import_nir
from snntrain.task.readout import membrane

nir = pytest.importorskip("nir")


def spiking_net(folder: Path) -> Trained:
    return handed_over(folder, small_task(neuron={"name": "LIFNode", "v_threshold": 0.2, "backend": "torch"}, T=3).net)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([], "MaxPool2d.*there is no maximum"),
        (["model.pool=AvgPool2d", "neuron=qif"], "QIFNode.*not those of a CubaLIF node"),
        (["model.pool=AvgPool2d", "callbacks.nir.dt=0"], "dt must be"),
        (["model.pool=AvgPool2d", "callbacks=[default,qat,nir]"], "not the integers that qat makes"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_training(overrides, text):
    with pytest.raises(UsageError, match=text):
        check_before_training("callbacks=[default,nir]", "model.channels=4", *overrides)


def test_the_graph_does_what_the_net_does(tmp_path):
    _, metrics = run(NirExport(samples=24), spiking_net(tmp_path))
    written = json.loads((tmp_path / "nir.json").read_text())
    assert metrics == {"acc": written["acc_net"], "mismatches": 0, "samples": 24}
    assert written["compared"] == 24 * 3 * 12 and "CubaLIF" in written["nodes"].values()
    assert {type(node).__name__ for node in nir.read(tmp_path / "net.nir").nodes.values()} >= {"Affine", "CubaLIF"}


@pytest.mark.parametrize(("reader", "last"), [("nir", "LI"), ("norse", "Affine")])
def test_the_membrane_readout_is_the_end_of_the_graph(tmp_path, reader, last):
    trained = spiking_net(tmp_path)
    trained.net = nn.Sequential(*trained.net.layers, layer.Linear(3, 3, step_mode="m")).eval()
    trained.task_for = lambda net, T: task_for(net, T, readout="membrane", readout_tau=3.0)
    _, metrics = run(NirExport(samples=24, reader=reader), trained)
    written = json.loads((tmp_path / "nir.json").read_text())
    assert metrics == {"acc": written["acc_net"], "mismatches": 0, "samples": 24}
    assert list(written["nodes"].values())[-2] == last
    if reader == "nir":
        x = torch.rand(6, 2, 1, 4, 4)
        net, copy = trained.net, import_nir(tmp_path / "net.nir")
        functional.reset_net(net)
        torch.testing.assert_close(copy(x)[-1], membrane(net(x), readout_tau=3.0), rtol=1e-5, atol=1e-6)


def test_spikes_that_differ_are_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    def wrong(net, example, path, dt, reader, readout_tau):
        graph = export_nir(net, example, None, dt, reader=reader)
        for node in graph.nodes.values():
            if type(node).__name__ == "CubaLIF":
                node.v_threshold = node.v_threshold * 1.5
        nir.write(path, graph)
        return graph

    monkeypatch.setattr("snntrain.callback.fit_end.nir_export.export_nir", wrong)
    with pytest.raises(RuntimeError, match=r"spikes of the graph differ .*\.tolerance=0\.001"):
        run(NirExport(samples=24), spiking_net(tmp_path))
    assert json.loads((tmp_path / "nir.json").read_text())["mismatches"] > 0
