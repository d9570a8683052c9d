"""A whole run that ends in a conversion and in integers, its nets back from their files, and a fine-tuning cut off."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from programs import Program, complete, results, succeed

from snntrain.error import UsageError
from snntrain.run.build import build_data
from snntrain.run.converted import load_converted

SMALL = ("model=mlp", "model.features=64", "optim.lr=0.01", "trainer.max_epochs=4")
INTEGERS = ("callbacks.qat.epochs=1", "callbacks.qat.sensitivity_batches=1", "callbacks.qat.verify_samples=64")
CHAIN = (*SMALL, *INTEGERS, "T=8", "neuron=relu", "callbacks=[default,ann2snn,qat]", "callbacks.ann2snn.eval_T=[4,8]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("conversion")
    process = succeed("train.py", *CHAIN, "hydra.run.dir=run", cwd=where)
    assert "ann2snn   ANN" in process.stdout and "T=8" in process.stdout
    return where / "run"


def test_metrics_stand_beside_those_of_the_test(folder):
    found = results(folder)
    metrics = found["metrics"]
    assert metrics["ann2snn/acc_ann"] == pytest.approx(metrics["test/acc"])
    assert metrics["ann2snn/acc_T8"] > metrics["test/acc"] - 0.05 > 0.8
    assert {"ann2snn/acc_T4", "ann2snn/firing_rate"} <= metrics.keys() == found["hex"].keys()
    assert found["status"] == "finished" and found["seconds"]["ann2snn"] > 0
    assert metrics["qat/acc_float"] == pytest.approx(metrics["ann2snn/acc_T8"])
    assert metrics["qat/mismatches"] == 0
    assert metrics["qat/acc_int"] == metrics["qat/acc_qat"] > metrics["test/acc"] - 0.05


def test_the_report_shows_it(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "ANN → SNN conversion" in page and "What became of every node" in page
    assert "Quantization" in page and "integers only" in page
    (folder / "artifacts/ann2snn/conversion.json").rename(folder / "artifacts/ann2snn/away")
    try:
        from snntrain.run.report.report import write_report

        write_report(folder)
        assert "ann2snn writes it after the test" in (folder / "report.html").read_text(encoding="utf-8")
    finally:
        (folder / "artifacts/ann2snn/away").rename(folder / "artifacts/ann2snn/conversion.json")


def test_the_net_is_rebuilt_from_its_file_alone_with_the_same_accuracy(folder):
    snn = load_converted(folder / "artifacts/ann2snn/net.pt")
    config = torch.load(folder / "artifacts/ann2snn/net.pt", weights_only=True)["snntrain"]["config"]
    x, label, _ = build_data(config).splits["test"].__getitems__(range(359))
    accuracy = (snn.predict(x, 8).argmax(1) == label).double().mean().item()
    assert accuracy.hex() == results(folder)["hex"]["ann2snn/acc_T8"]
    report = json.loads((folder / "artifacts/ann2snn/conversion.json").read_text())["report"]
    thetas = [row["theta_mean"] for row in report["rows"] if row["theta_mean"]]
    assert thetas == pytest.approx([neurons.theta.mean().item() for neurons in snn.neurons.values()])


def test_a_file_that_holds_no_converted_net_is_refused(folder, tmp_path):
    (tmp_path / "net.pt").write_text("no net")
    for path in (tmp_path / "net.pt", tmp_path / "nothing.pt"):
        with pytest.raises(UsageError, match="checkpoint"):
            load_converted(path)


@pytest.mark.slow
def test_stages_run_on_a_finished_run(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    more = ("resume=run", "callbacks.qat.quant=w4v8", "callbacks.qat.epochs=0")
    succeed("train.py", *CHAIN, *more, cwd=tmp_path)
    before, after = results(folder)["hex"], results(tmp_path / "run")["hex"]
    assert before["test/acc"] == after["test/acc"] and before["ann2snn/acc_T8"] == after["ann2snn/acc_T8"]
    assert "qat/acc_qat" not in after and after["qat/acc_ptq"] == after["qat/acc_int"]


@pytest.mark.slow
def test_an_error_in_a_stage_keeps_the_results_of_the_training(tmp_path):
    broken = "callbacks.ann2snn.arguments={loss: 3}"
    options = ("callbacks.ann2snn.method=qcfs", broken, "trainer.max_epochs=1", "hydra.run.dir=run")
    process = complete("train.py", *CHAIN, *options, cwd=tmp_path)
    assert process.returncode == 1 and "not callable" in process.stderr
    found = results(tmp_path / "run")
    assert found["status"] == "failed" and "test/acc" in found["metrics"]
    assert not any(name.startswith("ann2snn/") for name in found["metrics"])


LIF = (*SMALL, "T=2", "callbacks=[default,qat]", "callbacks.qat.epochs=6")


@pytest.mark.slow
def test_an_interrupted_fine_tuning_resumes_to_the_same_numbers(tmp_path):
    succeed("train.py", *LIF, "hydra.run.dir=whole", cwd=tmp_path)
    process = Program("train.py", *LIF, "hydra.run.dir=run", cwd=tmp_path)
    process.wait_for("epoch 2/6")
    process.send(signal.SIGINT)
    done = process.end(timeout=120)
    assert done.returncode == 130, done.stdout + done.stderr
    interrupted = results(tmp_path / "run")
    assert interrupted["status"] == "interrupted" and "test/acc" in interrupted["metrics"]
    process = succeed("train.py", *LIF, "resume=run", cwd=tmp_path)
    assert "resumed from" in process.stdout and "1/6" not in process.stdout
    assert results(tmp_path / "run")["hex"] == results(tmp_path / "whole")["hex"]
