"""eval.py's inside: whose word counts, the saved config's or the command line's, and where results go."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from snntrain.config import UsageError, compose
from snntrain.config.check import check
from snntrain.run.build import CHECKPOINT_FORMAT, build_task
from snntrain.run.evaluate import evaluate


def saved(folder: Path, *overrides: str, **changed: Any) -> Path:
    """A checkpoint of an untrained network; `changed` replaces keys of its config unchecked."""
    config = check(compose(["model=mlp", "model.features=8", "T=2", *overrides]))
    weights = build_task(config).state_dict()
    description = {"format": CHECKPOINT_FORMAT, "version": "x", "config": {**config, **changed}}
    torch.save({"state_dict": weights, "snntrain": description}, folder / "saved.ckpt")
    return folder / "saved.ckpt"


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as error:
        evaluate(arguments)
    said = str(error.value)
    assert "\n" not in said
    return said


def test_results_lie_beside_the_checkpoint_unless_another_folder_is_named(tmp_path):
    checkpoint = saved(tmp_path)
    metrics = evaluate([f"checkpoint={checkpoint}"])
    assert (tmp_path / "eval_test.json").is_file() and {"test/acc", "test/loss"} <= set(metrics)
    assert evaluate([f"checkpoint={checkpoint}", "mode=predict", f"output={tmp_path / 'a' / 'b'}"]) == {}
    assert len((tmp_path / "a" / "b" / "predictions.csv").read_text().splitlines()) == 360


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_computed(tmp_path):
    checkpoint = saved(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert "output" in refusal(f"checkpoint={checkpoint}", f"output={tmp_path / 'file' / 'inside'}")
    assert "output" in refusal(f"checkpoint={checkpoint}", f"output={tmp_path / 'file'}")


def test_a_checkpoint_cannot_declare_itself_trusted(tmp_path, monkeypatch):
    """It may come from somebody else: only the command line may say so."""
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef make(**more): ...")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = saved(tmp_path, trust=True, task={"_target_": "stranger.make"})
    assert "'stranger.make' would run code of 'stranger'" in refusal(f"checkpoint={checkpoint}")
    assert "stranger" not in sys.modules and not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match="does not fit the config"):  # it was run, and made nothing
        evaluate([f"checkpoint={checkpoint}", "trust=true"])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("neuron.tua=3.0", "Did you mean tau?"),
        ("neuron.tau=0.5", "tau must be a finite number > 1"),
        ("T=many", "T must be an integer ≥ 1, got 'many'"),
        ("model=csnn", "model must be a mapping, got 'csnn'"),
        ("sed=3", "Did you mean seed?"),
        ("T", "'T' is not key=value"),
        ("mode=tset", "mode must be one of 'test', 'predict'"),
        ("run=x", "either run=FOLDER or checkpoint=FILE"),
        ("data.batch_size=${no.such}", "no.such"),
        ("model.layers=[Flatten,{name: Linear, out_features: 10}]", "does not fit the config"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path, override, said):
    assert said in refusal(f"checkpoint={saved(tmp_path)}", override)


def test_a_folder_of_data_given_here_replaces_the_saved_one(tmp_path):
    checkpoint = saved(tmp_path, "data=mnist", "paths.data=/no/such/place")
    assert "/no/such/place/MNIST/raw" in refusal(f"checkpoint={checkpoint}")
    assert str(tmp_path / "here" / "MNIST" / "raw") in refusal(
        f"checkpoint={checkpoint}", f"paths.data={tmp_path / 'here'}"
    )


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    assert "does not exist" in refusal(f"checkpoint={path}")
    path.write_bytes(b"nonsense")
    assert "cannot be read" in refusal(f"checkpoint={path}")
    torch.save({"state_dict": {}}, path)
    assert "was not written by snntrain" in refusal(f"checkpoint={path}")
    torch.save({"state_dict": {}, "snntrain": {"format": CHECKPOINT_FORMAT + 1, "version": "9.0"}}, path)
    assert "written by a newer snntrain (9.0)" in refusal(f"checkpoint={path}")
