"""Runs whose numbers end: failed, said why, the best weights kept."""

import pytest
import torch
from programs import SMALL, complete, results

FROM_EPOCH_2 = ("optim/schedule=step", "optim.schedule.step_size=1", "optim.schedule.gamma=1e35")


def epochs_of(*checkpoints) -> list[int]:
    """The epochs in which checkpoints were written, whose weights are finite."""
    read = [torch.load(path, weights_only=True) for path in checkpoints]
    assert all(tensor.isfinite().all() for content in read for tensor in content["state_dict"].values())
    return [content["epoch"] for content in read]


def test_a_run_that_diverges_has_failed_with_the_metrics_and_weights_of_its_best_epoch(program, tmp_path):
    done = program("train.py", *SMALL, *FROM_EPOCH_2, "hydra.run.dir=run")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Training diverged at step ") and len(done.stderr.splitlines()) == 1
    assert "in epoch 2" in done.stderr and "layers.1 (Linear)" in done.stderr and "(now 2e+32)" in done.stderr
    found = results(tmp_path / "run")
    assert found["status"] == "failed" and found["best_epoch"] == 1 and found["metrics"]["val/acc"] > 0
    assert found["message"] in done.stderr
    folder = tmp_path / "run/checkpoints"
    assert epochs_of(folder / "best.ckpt", folder / "last.ckpt") == [0, 0]


@pytest.mark.slow
def test_a_fine_tuning_that_diverges_keeps_what_was_tested(program, tmp_path):
    stage = ("callbacks=[default,qat]", "callbacks.qat.lr=1e35", "callbacks.qat.sensitivity_batches=0")
    done = program("train.py", *SMALL, *stage, "hydra.run.dir=run")
    assert done.returncode == 1 and "Training diverged" in done.stderr and "no best checkpoint" not in done.stderr
    found = results(tmp_path / "run")
    assert found["status"] == "failed" and "test/acc" in found["metrics"]


@pytest.mark.slow
def test_a_divergence_in_several_processes_has_the_message_of_one_process(tmp_path):
    done = complete("train.py", *SMALL, *FROM_EPOCH_2, "trainer=ddp", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: Training diverged at step ")
    found = results(tmp_path / "run")
    assert found["status"] == "failed" and found["message"].startswith("Training diverged") and found["metrics"]
    folder = tmp_path / "run/checkpoints"
    assert epochs_of(folder / "best.ckpt", folder / "last.ckpt") == [0, 0]
