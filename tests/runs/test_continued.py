"""resume=RUN alone takes the run's own overrides; what is added to a finished run leaves its results as they were."""

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


def test_saved_overrides_that_run_code_need_trust(finished):
    with (finished / "overrides.yaml").open("a") as file:
        file.write("- plugins=[stranger]\n")
    done = complete("train.py", "resume=run", cwd=finished.parent)
    assert done.returncode == 2 and "plugins=[stranger], which runs code" in " ".join(done.stderr.split())
