"""Whole runs that end in integers: ANN → SNN → integers in one command, and a fine-tuning that is interrupted."""

import shutil
import signal
from pathlib import Path

import pytest
from programs import Program, complete, results

CHAIN = ("neuron=relu", "callbacks=[default,ann2snn,qat]", "model.channels=8", "model.features=64", "T=8")
LIF = (
    "model=mlp",
    "model.features=32",
    "T=2",
    "trainer.max_epochs=3",
    "callbacks=[default,qat]",
    "callbacks.qat.epochs=6",
)


@pytest.fixture(scope="module")
def chained(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("chain")
    process = complete("train.py", *CHAIN, "trainer.max_epochs=4", "hydra.run.dir=run", cwd=where)
    assert process.returncode == 0, process.stdout + process.stderr
    return where / "run"


def test_ann_to_snn_to_integers_in_one_command(chained):
    metrics = results(chained)["metrics"]
    assert metrics["qat/acc_float"] == pytest.approx(metrics["ann2snn/acc_T8"])
    assert metrics["qat/mismatches"] == 0
    assert metrics["qat/acc_int"] == metrics["qat/acc_qat"] > metrics["test/acc"] - 0.05 > 0.8
    page = (chained / "report.html").read_text(encoding="utf-8")
    assert "ANN → SNN conversion" in page and "Quantisation" in page and "integers only" in page


def test_stages_run_on_a_finished_run(chained, tmp_path):
    shutil.copytree(chained, tmp_path / "run")
    more = ("trainer.max_epochs=4", "resume=run", "callbacks.qat.quant=w4v8", "callbacks.qat.epochs=0")
    process = complete("train.py", *CHAIN, *more, cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    before, after = results(chained)["hex"], results(tmp_path / "run")["hex"]
    assert before["test/acc"] == after["test/acc"] and before["ann2snn/acc_T8"] == after["ann2snn/acc_T8"]
    assert "qat/acc_qat" not in after and after["qat/acc_ptq"] == after["qat/acc_int"]


@pytest.mark.slow
def test_an_interrupted_fine_tuning_resumes_to_the_same_numbers(tmp_path):
    process = complete("train.py", *LIF, "hydra.run.dir=whole", cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    process = Program("train.py", *LIF, "hydra.run.dir=run", cwd=tmp_path)
    process.wait_for("epoch 2/6")
    process.send(signal.SIGINT)
    done = process.end(timeout=120)
    assert done.returncode == 130, done.stdout + done.stderr
    interrupted = results(tmp_path / "run")
    assert interrupted["status"] == "interrupted" and "test/acc" in interrupted["metrics"]
    process = complete("train.py", *LIF, "resume=run", cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "resumed from" in process.stdout and "1/6" not in process.stdout
    assert results(tmp_path / "run")["hex"] == results(tmp_path / "whole")["hex"]
