"""OnnxExport: refusals before training, the file beside the net, and spikes that differ."""

import dataclasses
import json
from pathlib import Path

import pytest
from small_fit_end import check_before_training, handed_over, run
from small_training import small_task

from snntrain.callback.fit_end import OnnxExport, Trained
from snntrain.error import UsageError
from snntrain.export.onnx import file
from snntrain.export.onnx.comparison import compare_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def spiking_net(folder: Path) -> Trained:
    return handed_over(folder, small_task(neuron={"name": "LIFNode", "v_threshold": 0.2, "backend": "torch"}, T=3).net)


def test_integers_are_refused_before_training():
    with pytest.raises(UsageError, match=r"onnx.*QuantizedNet.*Use callbacks=\[default,onnx\] without qat"):
        check_before_training("callbacks=[default,qat,onnx]", "model=mlp")


def test_missing_packages_are_named_before_training(monkeypatch):
    monkeypatch.setattr(file, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UsageError, match=r"ONNX needs no_such_package, not found .*snntrain\[onnx\]"):
        check_before_training("callbacks=[default,onnx]", "model=mlp")


def test_the_file_does_what_the_net_does(tmp_path):
    _, metrics = run(OnnxExport(samples=24), spiking_net(tmp_path))
    written = json.loads((tmp_path / "onnx.json").read_text())
    assert metrics["acc"] == written["acc_net"] and metrics["mismatches"] == 0 and metrics["samples"] == 24
    assert metrics["max_error"] < 1e-6 and written["changed_classes"] == 0 and written["compared"] == 24 * 3 * 12
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [node.op_type for node in graph.node].count("Scan") == len(written["layers"]) == 1


def test_spikes_that_differ_are_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    def of_another_net(exported, net, x_seq, tolerance):
        found = compare_onnx(exported, net, x_seq * 1.1, tolerance)
        return dataclasses.replace(compare_onnx(exported, net, x_seq, tolerance), mismatches=found.compared)

    monkeypatch.setattr("snntrain.callback.fit_end.onnx_export.compare_onnx", of_another_net)
    with pytest.raises(RuntimeError, match=r"spikes of the file differ .*\.tolerance=1e-05"):
        run(OnnxExport(samples=24), spiking_net(tmp_path))
    assert json.loads((tmp_path / "onnx.json").read_text())["mismatches"] > 0
    assert (tmp_path / "net.onnx").is_file()
