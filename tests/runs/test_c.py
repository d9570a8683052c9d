"""Whole runs that end in C: pictures and recordings, each compared value for value."""

import json

import pytest
from programs import SMALL, Program, complete, last_of_each, results

from snntrain.export.c import native_compiler

pytestmark = pytest.mark.skipif(native_compiler() is None, reason="no C compiler is installed")
SHORT = ("trainer.max_epochs=1", "callbacks.qat.epochs=0", "callbacks.qat.sensitivity_batches=0")


def exported(folder, *overrides: str) -> tuple[dict, dict]:
    """Metrics of a run, and its c.json."""
    # 10,000 pictures in numpy_runner take minutes, and more beside other work.
    done = Program("train.py", *last_of_each(overrides), cwd=folder).end(timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (file.parent for file in folder.glob("runs/*/*/results.json"))
    found = json.loads((made / "artifacts" / "c" / "c.json").read_text(encoding="utf-8"))
    assert "Export to C" in (made / "report.html").read_text(encoding="utf-8")
    return results(made)["metrics"], found


def test_a_run_ends_with_a_program_that_was_compared(tmp_path):
    metrics, found = exported(tmp_path, *SMALL, "callbacks=[default,qat,c]", *SHORT)
    assert metrics["c/mismatches"] == 0 and found["samples"] >= 256
    assert metrics["c/flash_bytes"] > found["constant_bytes"] and metrics["c/ram_bytes"] >= found["buffer_bytes"]


@pytest.mark.slow
def test_the_record_fits_a_microcontroller(tmp_path):
    """A check of the experiment's settings; its accuracy is in experiments/."""
    metrics, found = exported(tmp_path, "experiment=digits_mcu", *SHORT, "neuron.backend=torch", "T=2")
    assert metrics["c/mismatches"] == 0 and found["samples"] == 359
    assert metrics["c/flash_bytes"] <= 256 * 1024 and metrics["c/ram_bytes"] <= 64 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["int8", "w4v4"])
def test_all_test_pictures_of_fashion_mnist_are_equal(quant, tmp_path, shared_data):
    metrics, found = exported(
        tmp_path,
        *("model=csnn", "data=fashion_mnist", f"paths.data={shared_data}", "T=4", "trainer.limit_train_batches=150"),
        *("callbacks=[default,qat,c]", f"callbacks.qat.quant={quant}", "callbacks.c.verify_samples=10000", *SHORT),
    )
    assert metrics["c/mismatches"] == 0 and found["samples"] == 10_000
    assert found["compared"]["potentials"] == 10_000 * 4 * (32 * 28 * 28 + 32 * 14 * 14 + 512)
    assert metrics["c/acc"] == metrics["qat/acc_int"] > 0.5


@pytest.mark.slow
def test_two_hundred_recordings_of_nmnist_are_equal(tmp_path, shared_data):
    metrics, found = exported(
        tmp_path,
        *("model=csnn", "data=nmnist", "data.partial=true", f"paths.data={shared_data}"),
        *("trainer.limit_train_batches=10", "data.batch_size=32"),
        *("callbacks=[default,qat,c]", "callbacks.c.verify_samples=200", *SHORT),
    )
    assert metrics["c/mismatches"] == 0 and 200 <= found["samples"] <= 256


@pytest.mark.slow
def test_a_compiler_that_fails_loses_nothing_but_the_program(tmp_path):
    done = complete("train.py", *SMALL, "callbacks=[default,qat,c]", *SHORT, cwd=tmp_path, CC="false")
    assert done.returncode != 0 and "false ended with code 1" in done.stdout + done.stderr
    (made,) = (file.parent for file in tmp_path.glob("runs/*/*/results.json"))
    kept = results(made)["metrics"]
    assert "test/acc" in kept and kept["qat/mismatches"] == 0 and "c/mismatches" not in kept
    assert (made / "artifacts" / "qat" / "net.safetensors").is_file() and (made / "report.html").is_file()


@pytest.mark.slow
def test_a_net_that_trained_in_integers_of_loihi_becomes_c(tmp_path):
    """Neurons with a current and a potential of 24 bits, in every layer but the last."""
    net = ("model=csnn_loihi", "model.channels=4", "model.features=16", "neuron=cuba_lif", "neuron.backend=torch")
    metrics, found = exported(
        tmp_path, *net, "encoder=poisson", "T=6", "callbacks=[default,qat,c]", *SHORT, "callbacks.qat.epochs=1"
    )
    assert metrics["qat/mismatches"] == metrics["c/mismatches"] == 0 and found["samples"] >= 256
    assert any("currents of" in holds for *_, holds in found["buffers"])
