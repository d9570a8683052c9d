"""resume=RUN alone takes the run's own overrides: to add to a finished run, or to train it for more epochs."""

import json

import pytest
from programs import SMALL, complete, results, succeed


@pytest.fixture
def finished(tmp_path):
    succeed("train.py", *SMALL, "neuron=plif", "hydra.run.dir=run", cwd=tmp_path)
    return tmp_path / "run"


def test_a_callback_is_added_to_a_finished_run_by_its_folder_alone(finished):
    before, origin = results(finished), json.loads((finished / "provenance.json").read_text())
    succeed("train.py", "resume=run", "callbacks=[default,nir]", cwd=finished.parent)
    now, origin_now = results(finished), json.loads((finished / "provenance.json").read_text())
    assert now["hex"].items() >= before["hex"].items() and any(name.startswith("nir/") for name in now["hex"])
    assert now["seconds"].items() >= before["seconds"].items() and now["throughput"] == before["throughput"]
    assert [origin_now[key] for key in ("time", "command")] == [origin[key] for key in ("time", "command")]
    assert "callbacks=" in origin_now["continued"][0]["command"]
    words = (finished / "overrides.yaml").read_text()
    assert "neuron=plif" in words and "nir" in words


@pytest.mark.slow  # tests/unit/run/test_longer.py has it too
def test_a_finished_run_is_trained_longer_as_if_it_had_been_planned_so(tmp_path):
    """With a constant learning rate, nothing but the number of epochs depends on the length."""
    constant = (*SMALL, "optim/schedule=none")
    succeed("train.py", *constant, "trainer.max_epochs=3", "hydra.run.dir=whole", cwd=tmp_path)
    succeed("train.py", *constant, "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    first = json.loads((tmp_path / "run/provenance.json").read_text())
    said = succeed("train.py", "resume=run", "trainer.max_epochs=3", cwd=tmp_path).stdout
    assert "trainer.max_epochs was 1, is 3" in said
    assert results(tmp_path / "run")["hex"] == results(tmp_path / "whole")["hex"]
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    origin = json.loads((tmp_path / "run/provenance.json").read_text())
    assert origin["command"] == first["command"] and "resume=run" in origin["continued"][0]["command"]
    refused = complete("train.py", "resume=run", "trainer.max_epochs=2", cwd=tmp_path)
    assert refused.returncode == 2 and "trainer.max_epochs is 2, was 3 (it may become larger only)" in refused.stderr


def test_saved_overrides_that_run_code_need_trust(finished):
    with (finished / "overrides.yaml").open("a") as file:
        file.write("- plugins=[stranger]\n")
    done = complete("train.py", "resume=run", cwd=finished.parent)
    assert done.returncode == 2 and "plugins=[stranger], which runs code" in " ".join(done.stderr.split())
