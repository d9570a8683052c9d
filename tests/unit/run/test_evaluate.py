"""eval.py's inside: whose word counts, the saved config's or the command line's, and where results go."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from refused import message_of
from sampled import sampled

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.migration import FORMAT
from snntrain.data import Digits
from snntrain.error import UsageError
from snntrain.run.build import build_task
from snntrain.run.evaluate import evaluate


def saved(folder: Path, *overrides: str, **changed: Any) -> Path:
    """A checkpoint of an untrained network; `changed` replaces keys of its config unchecked."""
    config = check(compose(["model=mlp", "model.features=8", "T=2", *overrides]))
    weights = build_task(config).state_dict()
    description = {"format": FORMAT, "version": "x", "config": {**config, **changed}}
    torch.save({"state_dict": weights, "snntrain": description}, folder / "saved.ckpt")
    return folder / "saved.ckpt"


def refusal(*arguments: str) -> str:
    return message_of(UsageError, evaluate, arguments)


def test_results_lie_beside_the_checkpoint_unless_another_folder_is_named(tmp_path):
    checkpoint = saved(tmp_path)
    metrics = evaluate([f"checkpoint={checkpoint}"])
    assert (tmp_path / "eval_test.json").is_file() and {"test/acc", "test/loss"} <= set(metrics)
    assert evaluate([f"checkpoint={checkpoint}", "mode=predict", f"output={tmp_path / 'a' / 'b'}"]) == {}
    assert len((tmp_path / "a" / "b" / "predictions.csv").read_text().splitlines()) == 360


def test_paths_are_printed_as_they_are(tmp_path, capsys):
    (tmp_path / "a[/b]").mkdir(parents=True)
    evaluate([f"checkpoint={saved(tmp_path / 'a[/b]')}"])
    out = " ".join(capsys.readouterr().out.split())
    assert f"{tmp_path}/a[/b]/saved.ckpt: digits_mlp_lif" in out and f"{tmp_path}/a[/b]/eval_test.json" in out


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_computed(tmp_path):
    checkpoint = saved(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert "output" in refusal(f"checkpoint={checkpoint}", f"output={tmp_path / 'file' / 'inside'}")
    assert "output" in refusal(f"checkpoint={checkpoint}", f"output={tmp_path / 'file'}")


def test_a_checkpoint_cannot_declare_itself_trusted(tmp_path, monkeypatch):
    """Only the command line may say so, because the checkpoint may come from anywhere."""
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef make(**more): ...")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = saved(tmp_path, trust=True, task={"_target_": "stranger.make", "outputs": 10})
    assert "'stranger.make' would run code of 'stranger'" in refusal(f"checkpoint={checkpoint}")
    assert "stranger" not in sys.modules and not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match="NoneType keeps no net"):  # it was run, and made nothing
        evaluate([f"checkpoint={checkpoint}", "trust=true"])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    sampled(
        [
            ("neuron.tua=3.0", "Did you mean tau?"),
            ("neuron.tau=0.5", "tau must be a finite number > 1"),
            ("T=many", "T=many cannot be set: Value 'many'"),
            ("T=0", "T must be an integer ≥ 1, got 0"),
            ("model=csnn", "model=csnn: eval.py changes single keys"),
            ("sed=3", "Did you mean seed?"),
            ("T", "'T' is not key=value"),
            ("mode=tset", "mode must be one of 'test', 'predict', 'stream', 'audit'"),
            ("mode=stream", "mode=stream needs source=RECORDING, a folder, - for stdin, or a camera"),
            ("window_ms=10", "window_ms=10 belongs to mode=stream"),
            ("run=x", "either run=FOLDER or checkpoint=FILE"),
            ("data.batch_size=${no.such}", "no.such"),
            ("model.layers=[Flatten,{name: Linear, out_features: 10}]", "does not fit the config"),
            ("model.features=64", "model.features is not used by this model"),
            ("model.layers[0]=Flatten", "a list is given as a whole, model.layers=[…]"),
            ("model.init=1", "model.init=1 does nothing in an evaluation"),
            ("trust=maybe", "trust=maybe cannot be set"),
            ("plugins=", "plugins= cannot be set"),
            ("resume=x", "resume=x does nothing in an evaluation: it belongs to train.py"),
            ("show=x", "show=x does nothing in an evaluation"),
            ("sweep.resume=true", "sweep.resume=true does nothing in an evaluation"),
            ("name=x", "name=x does nothing in an evaluation"),
            ("surrogate.alpha=3", "only gradients use it"),
            ("neuron.surrogate_function.alpha=3", "only gradients use it"),
            ("neuron.detach_reset=false", "only gradients use it"),
            ("norm.eps=1", "norm.eps=1 does nothing"),
            ("data.augment.x=1", "only training looks at it"),
            ("task.mixup=0.5", "only training looks at it"),
            ("optim.lr=1", "only training looks at it"),
            ("callbacks.x=1", "only training looks at it"),
            ("logger.x=1", "only training looks at it"),
            ("monitor.mode=min", "monitor.mode=min does nothing in an evaluation"),
            ("callbacks.qat.quant=int8", "callbacks.qat.quant=int8 does nothing in an evaluation"),
            ("paths.runs=x", "paths.runs=x does nothing in an evaluation"),
            ("paths.data=x", "paths.data=x does nothing: this data set reads nothing in"),
            ("debug.x=1", "only debug.traceback=true is known here"),
            ("trainer.max_epochs=3", "trainer.max_epochs=3 does nothing in an evaluation"),
            ("trainer.acelerator=cpu", "Did you mean accelerator?"),
            ("trainer.limit_predict_batches=1", "Did you mean limit_test_batches?"),
            ("trainer.devices=2", "an evaluation runs on one device"),
            ("optim/schedule=step", "optim/schedule=step"),
            ("~T", "'~T' is not key=value"),
            ("output=", "output= names no folder"),
            ("data.folder=x", "data.folder=x: to predict the files of a folder, add mode=predict"),
        ],
        4,
    ),
)
def test_a_wrong_override_is_refused(tmp_path, override, said):
    assert said in refusal(f"checkpoint={saved(tmp_path)}", override)


def test_a_key_that_is_given_twice_is_refused(tmp_path):
    assert refusal(f"checkpoint={saved(tmp_path)}", "T=2", "T=8") == "T is given twice, T=2 and T=8. Keep one of them."


def test_no_class_name_is_a_formula_in_the_predictions(tmp_path, monkeypatch):
    monkeypatch.setattr(Digits, "CLASSES", ("=1+1", *"123456789"))
    evaluate([f"checkpoint={saved(tmp_path)}", "mode=predict"])
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[0].startswith("index,label,predicted,score =1+1,") and any(",'=1+1," in line for line in lines)
    assert not any(",=1+1" in line for line in lines[1:])


def test_a_net_of_relus_has_one_step(tmp_path):
    assert "T=8 does nothing" in refusal(f"checkpoint={saved(tmp_path, 'neuron=relu')}", "T=8")


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
    said = refusal(f"checkpoint={path}")
    assert "was not written by snntrain" in said and "load_state_dict" in said
    torch.save({"state_dict": {}, "snntrain": {"format": FORMAT + 1, "version": "9.0"}}, path)
    assert "written by a newer snntrain (9.0)" in refusal(f"checkpoint={path}")


def test_a_fact_about_the_data_that_is_wrong_is_named_by_its_key(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    words = ("data=image_folder", "data.num_classes=3", "data.size=8", f"data.folder={tmp_path / 'pictures'}")
    said = refusal(f"checkpoint={saved(tmp_path, *words)}")
    assert said == "data.num_classes must be 2, which is what the data has, got 3."
