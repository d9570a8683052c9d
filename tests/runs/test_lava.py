"""Whole runs that end in a file for Loihi; with Lava installed its simulator takes part."""

import pytest
from programs import results, succeed

from snntrain.lava_exchange.lava_shim import installed_lava

SMALL = ("model.channels=4", "model.features=16", "trainer.max_epochs=3", "callbacks.lava.lava_samples=3")
QAT = ("callbacks.qat.epochs=1", "callbacks.qat.sensitivity_batches=0", "callbacks.qat.verify_samples=16")
WITHOUT = "Lava is not installed: make lava, or SNNTRAIN_LAVA=FOLDER"


def exported(where, *arguments: str) -> dict[str, float]:
    succeed("train.py", *SMALL, *arguments, "hydra.run.dir=run", cwd=where)
    assert "Export to Loihi" in (where / "run/report.html").read_text(encoding="utf-8")
    return results(where / "run")["metrics"]


@pytest.mark.slow
@pytest.mark.skipif(installed_lava() is None, reason=WITHOUT)
def test_the_digits_reach_lava_without_a_mismatch(tmp_path):
    metrics = exported(tmp_path, "experiment=digits_lava", *QAT, "callbacks.lava.samples=32")
    assert metrics["lava/mismatches"] == metrics["lava/lava_mismatches"] == 0 and metrics["lava/lava_samples"] == 3
    assert metrics["lava/acc"] == metrics["qat/acc_int"] and metrics["lava/spikes"] > 0


@pytest.mark.slow
@pytest.mark.skipif(installed_lava() is None, reason=WITHOUT)
def test_an_ann_reaches_lava_in_one_command(tmp_path):
    metrics = exported(tmp_path, "experiment=fmnist_ann2lava", "data=digits", "T=8", *QAT)
    assert metrics["lava/mismatches"] == metrics["lava/lava_mismatches"] == 0
    assert metrics["lava/acc"] == metrics["qat/acc_int"] > 0.2


@pytest.mark.slow
def test_loihis_arithmetic_from_the_first_step(tmp_path):
    chosen = ("model=csnn_loihi", "neuron=cuba_lif", "encoder=poisson", "callbacks=[default,lava]")
    metrics = exported(tmp_path, *chosen, "T=4", "trainer.max_epochs=1", "callbacks.lava.lava_samples=0")
    assert metrics["lava/mismatches"] == 0 and metrics["lava/acc"] == pytest.approx(metrics["test/acc"], abs=0.01)
