"""A whole run where there is no home to write to."""

import os
from pathlib import Path

import pytest
from programs import SMALL_ANN, complete_anew, results


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"HOME": "/proc"}, {"SNNTRAIN_CACHE": "/proc/x"}], ids=["home", "cache"])
def test_a_run_without_a_home_or_a_cache_ends_well_with_one_warning(tmp_path: Path, monkeypatch, environment):
    for name in ("SNNTRAIN_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    for name, value in (environment | {"TMPDIR": str(tmp_path / "tmp")}).items():
        monkeypatch.setenv(name, value)
    done = complete_anew("train.py", *SMALL_ANN, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("UserWarning") == 1 and "Set SNNTRAIN_CACHE" in done.stderr
    assert results(tmp_path / "run")["status"] == "finished"
    assert set(os.listdir(tmp_path)) == {"run", "tmp"}
