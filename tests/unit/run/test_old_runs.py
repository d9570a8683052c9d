"""Run folders and checkpoints of earlier commits are read as what they were, or refused by their format."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from run_folders import OLD_RUNS, OVERRIDES, old_run

from snntrain.config import compose
from snntrain.config.migration import FORMAT
from snntrain.error import UsageError
from snntrain.lab.experiment.recorded import read_run
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.evaluate import evaluate
from snntrain.run.folder import RunFolder
from snntrain.run.run import run

COMMITS = sorted(path.name for path in OLD_RUNS.iterdir())
LATEST = "a206af6_qat_lava"  # with all that a run can hold
EARLIER = [commit for commit in COMMITS if commit != LATEST]
# Keys that present configs have in addition: a run continues only with the same settings.
SINCE = {
    "45ab859": ("~data.augment", "~task.label_smoothing", "~optim.fused"),
    "a206af6_qat_lava": (
        "callbacks=[default,qat,lava]",
        "callbacks.qat.quant=loihi",
        "callbacks.qat.epochs=1",
        "callbacks.qat.sensitivity_batches=0",
        "callbacks.lava.samples=32",
        "callbacks.lava.lava_samples=0",
    ),
    "a206af6_float_cuba": ("neuron=cuba_lif_float",),
}
EXACT = ("test/acc", "test/loss", "qat/acc_int", "qat/size_bytes", "lava/acc", "lava/sops")


def recorded(commit: str) -> dict[str, float]:
    metrics = json.loads((OLD_RUNS / commit / "results.json").read_text())["hex"]
    return {name: float.fromhex(value) for name, value in metrics.items() if name in EXACT}


@pytest.mark.parametrize("commit", COMMITS)
def test_eval_finds_the_recorded_metrics(tmp_path, commit):
    found = evaluate([f"run={old_run(commit, tmp_path)}", "mode=test"])
    expected = {name: value for name, value in recorded(commit).items() if name.startswith("test/")}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("commit", [LATEST, *(pytest.param(commit, marks=pytest.mark.slow) for commit in EARLIER)])
def test_resume_ends_with_the_recorded_metrics(tmp_path, monkeypatch, commit):
    monkeypatch.chdir(tmp_path)
    folder = old_run(commit, tmp_path)
    overrides = [*OVERRIDES, *SINCE.get(commit, ()), f"resume={folder}", "logger.save_dir=logs"]
    found = run(compose(overrides), tmp_path / "new", overrides)
    assert {name: found[name] for name in recorded(commit)} == pytest.approx(recorded(commit), rel=1e-5)
    assert json.loads((folder / "provenance.json").read_text())["format"] == FORMAT  # written anew, as of today
    assert not (tmp_path / "new").exists() and not Path("/tmp/cwd").exists()


@pytest.mark.parametrize("commit", COMMITS)
def test_reproduce_reads_what_it_needs_or_names_what_is_missing(tmp_path, commit):
    if commit == "45ab859":  # which did not record its splits yet
        with pytest.raises(UsageError, match=r"splits\.json is missing"):
            read_run(OLD_RUNS / commit)
    else:
        assert read_run(OLD_RUNS / commit).config["norm"] == {"name": "BatchNorm2d"}


@pytest.mark.parametrize("written_in", [0, -1, FORMAT + 1, 10**30, "1", None, True])
def test_another_format_is_refused_by_its_number(tmp_path, written_in):
    content = torch.load(OLD_RUNS / "f2f9f6e/checkpoints/best.ckpt", weights_only=True)
    content["snntrain"]["format"] = written_in
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match=r"x\.ckpt.*format|newer snntrain"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("key", ["T", "seed", "monitor", "norm"])
def test_a_present_config_without_a_key_is_refused_and_gets_no_default(tmp_path, key):
    config = RunFolder(OLD_RUNS / "f2f9f6e").read_config()
    del config[key]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "provenance.json").write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(UsageError, match=rf"config\.yaml: its config lacks {key},"):
        RunFolder(tmp_path).read_config()
