"""NirExport: refusals before training, the graph beside the net, and spikes that differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small_training import SGD, Patches, small_task

from snntrain.callback.fit_end import NirExport, Trained
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.encoding import DirectEncoder
from snntrain.error import UsageError
from snntrain.export import export_nir
from snntrain.run.build import build_callbacks, build_task, check_fit_end
from snntrain.task import Classification

nir = pytest.importorskip("nir")


def run(callback: NirExport, folder: Path) -> dict[str, float]:
    task, data = small_task(neuron={"name": "LIFNode", "v_threshold": 0.2}, T=3), Patches()
    data.setup()

    def task_for(net: torch.nn.Module, T: int, **changed: Any) -> Classification:
        return Classification(net, DirectEncoder(), T, 3, **{"optim": SGD, **changed})

    device, batches = torch.device("cpu"), len(data.test_dataloader())
    trained = Trained(task.net.eval(), data, folder, 1, 3, device, batches, task_for)
    _, metrics = callback.run(trained, folder, Console(quiet=True))
    return metrics


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
    config = check(compose(["callbacks=[default,nir]", "model.channels=4", *overrides]))
    with pytest.raises(UsageError, match=text):
        check_fit_end(build_callbacks(config), build_task(config), config)


def test_the_graph_does_what_the_net_does(tmp_path):
    metrics = run(NirExport(samples=24), tmp_path)
    written = json.loads((tmp_path / "nir.json").read_text())
    assert metrics == {"acc": written["acc_net"], "mismatches": 0, "samples": 24}
    assert written["compared"] == 24 * 3 * 12 and "CubaLIF" in written["nodes"].values()
    assert {type(node).__name__ for node in nir.read(tmp_path / "net.nir").nodes.values()} >= {"Affine", "CubaLIF"}


def test_spikes_that_differ_are_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    def wrong(net, example, path, dt):
        graph = export_nir(net, example, None, dt)
        for node in graph.nodes.values():
            if type(node).__name__ == "CubaLIF":
                node.v_threshold = node.v_threshold * 1.5
        nir.write(path, graph)
        return graph

    monkeypatch.setattr("snntrain.callback.fit_end.nir_export.export_nir", wrong)
    with pytest.raises(RuntimeError, match=r"spikes of the graph differ .*\.tolerance=0\.001"):
        run(NirExport(samples=24), tmp_path)
    assert json.loads((tmp_path / "nir.json").read_text())["mismatches"] > 0
