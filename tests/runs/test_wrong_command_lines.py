"""Wrong command lines: a non-zero exit, one message that names the culprit and the remedy, nothing left behind.

tests/unit/config has more of each kind, without the program.
"""

import gzip
from pathlib import Path

import pytest
from sampled import sampled

NOT_A_CHECKPOINT = "broken.ckpt"


def a_corrupt_fashion_mnist(folder: Path) -> None:
    raw = folder / "corrupt" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"not what it says"))


# arguments → what the message must name
WRONG = {
    "mistyped choice": (["neuron=lfi"], ["lfi", "Did you mean lif?", "plif"]),
    "mistyped choice in a sweep": (["-m", "neuron=lif,plfi"], ["plfi", "Did you mean plif?"]),
    "group written as a key": (["optim.schedule=step"], ["optim/schedule=", "cosine"]),
    "mistyped nested key": (["neuron.tua=3"], ["neuron.tua", "Did you mean tau?"]),
    "mistyped trainer key": (["trainer.max_epoch=2"], ["trainer.max_epoch", "Did you mean max_epochs?"]),
    "mistyped data key": (["data.batchsize=2"], ["data.batchsize", "Did you mean batch_size?"]),
    "mistyped layer": (
        ["model.layers=[Flaten,neuron]"],
        ["model.layers[0]", "'Flaten'", "Did you mean Flatten?"],
    ),
    "mistyped layer argument": (
        ["model.layers=[Flatten,{name: Linear, out_featurs: 10}]"],
        ["model.layers[1].out_featurs", "Did you mean out_features?"],
    ),
    "missing layer argument": (
        ["model.layers=[Flatten,Linear]"],
        ["model.layers[1]", "needs the argument out_features"],
    ),
    "layer that does not fit": (
        ["model.layers=[Flatten,{name: Conv2d, out_channels: 8, kernel_size: 3}]"],
        ["model.layers[1]", "Conv2d", "[T, N, 64]"],
    ),
    "wrong type in a neuron": (["neuron.tau=slow"], ["neuron.tau must be a number", "'slow'"]),
    "wrong type in a layer": (
        ["model.layers=[Flatten,{name: Linear, out_features: ten}]"],
        ["model.layers[1].out_features must be an integer", "'ten'"],
    ),
    "tau out of range": (["neuron.tau=0.5"], ["neuron", "tau must be a finite number > 1", "0.5"]),
    "surrogate out of range": (["surrogate.alpha=-1"], ["surrogate", "alpha", "-1"]),
    "T = 0": (["T=0"], ["T must be an integer ≥ 1", "0"]),
    "model without the data's classes": (
        ["model.layers=[Flatten,{name: Linear, out_features: 5}]"],
        ["last layer gives [5]", "10 outputs"],
    ),
    "seed too large": (["seed=4294967296"], ["seed", "4294967296"]),
    "synchronized statistics on a CPU": (["trainer.sync_batchnorm=true"], ["trainer.sync_batchnorm", "on GPUs only"]),
    "no device": (["trainer.devices=0"], ["trainer.devices=0"]),
    "negative seed": (["seed=-1"], ["seed must be an integer ≥ 0"]),
    "negative learning rate": (["optim.lr=-1"], ["optim.lr must be a finite number ≥ 0", "-1"]),
    "batch size 0": (["data.batch_size=0"], ["batch_size must be an integer ≥ 1"]),
    "unknown readout": (["task.readout=mean"], ["task.readout", "'mean'", "membrane", "rate"]),
    "spikes into an ANN": (["neuron=relu", "encoder=poisson"], ["PoissonEncoder", "encoder=direct"]),
    "not an override": (["neuron"], ["'neuron'", "key=value"]),
    "missing data": (
        ["data=mnist", "paths.data=nowhere"],
        ["train-images-idx3-ubyte.gz", "nowhere/MNIST/raw", "https://", "data.download=true"],
    ),
    "corrupt data": (["data=fashion_mnist", "paths.data=corrupt"], ["train-images-idx3-ubyte.gz", "MD5", "Delete it"]),
    "unknown plugin": (["plugins=[no_such_module]"], ["plugins", "no_such_module"]),
    "code of an unlisted package": (["task._target_=subprocess.run"], ["task._target_", "subprocess", "trust=true"]),
    "mistyped target": (["optim._target_=torch.optim.AdmW"], ["torch.optim", "AdmW", "Did you mean"]),
    "unwritable run folder": (["hydra.run.dir=/dev/null/run"], ["/dev/null/run", "hydra.run.dir"]),
    "resume from nowhere": (["resume=no/such/run"], ["resume", "no/such/run", "auto"]),
    "bad checkpoint": ([f"resume={NOT_A_CHECKPOINT}"], [NOT_A_CHECKPOINT, "cannot be read"]),
    "a sweep resumed without a sweep": (["sweep.resume=true"], ["sweep.resume", "add -m", "resume=auto"]),
    "a sweep resumed that is not there": (
        ["-m", "seed=1,2", "sweep.resume=true", "hydra.sweep.dir=nowhere"],
        ["sweep.resume=true", "nowhere holds no sweep"],
    ),
    "mistyped launcher": (["-m", "seed=1,2", "launch=jobli"], ["jobli", "Did you mean joblib?"]),
    "unknown interpolation": (["optim.lr=${no.such.key}"], ["no.such.key"]),
    "no hydra": (["hydra=null"], ["hydra=null", "hydra.run.dir"]),
    "a setting that Hydra has not": (["hydra.x=1"], ["hydra.x=1", "hydra.run.dir"]),
    "no logger in the wrong way": (["logger=null"], ["logger=null", "Write ~logger"]),
    "no debugging in the wrong way": (["debug=null"], ["debug=null", "Write debug=none"]),
    "no callbacks in the wrong way": (["~callbacks"], ["~callbacks", "callbacks=[]"]),
    "a key left out": (["~T"], ["~T", "a run needs T", "T=…"]),
    "a group left out": (["~neuron"], ["~neuron", "a run needs neuron"]),
    "a folder left out": (["~paths.data"], ["~paths.data", "a run needs paths.data"]),
    "null for a number": (["T=null"], ["T=null", "T cannot be null"]),
    "a folder of configs that is not there": (["--config-dir", "/nope"], ["--config-dir", "/nope is not a folder"]),
    "the same by its short name": (["-cd", "/nope"], ["--config-dir", "/nope is not a folder"]),
    "another place of the config": (["--config-path", "nope"], ["--config-path", "nope is not a folder"]),
    "another name of the config": (["--config-name", "confg"], ["--config-name", "Did you mean config?"]),
    "an option without its value": (["--config-dir"], ["--config-dir needs a value"]),
    "mistyped option": (["--multrun", "T=2"], ["--multrun is not an option", "Did you mean --multirun?"]),
    "overrides on both sides of -m": (["T=2,3", "-m", "neuron=lfi"], ["lfi", "Did you mean lif?"]),
    "several values without -m": (["T=2,3"], ["T=2,3", "add -m"]),
    "a normalization for a net without": (["model=mlp", "norm=tdbn"], ["norm=tdbn does nothing"]),
    "settings of no logger": (["~logger", "logger.save_dir=x"], ["logger has settings", "logger=csv"]),
    "settings of a callback that was not chosen": (
        ["callbacks.early_stopping.patience=3"],
        ["callbacks.early_stopping", "callbacks=[default,early_stopping]"],
    ),
    "accelerator that is not there": (["trainer.accelerator=tpu"], ["trainer", "tpu", "trainer=cpu"]),
}


@pytest.mark.parametrize(("arguments", "named"), sampled(WRONG.values(), 4), ids=WRONG)
def test_a_wrong_command_line_is_refused_in_one_sentence(program, tmp_path, arguments, named):
    a_corrupt_fashion_mnist(tmp_path)
    (tmp_path / NOT_A_CHECKPOINT).write_bytes(b"not a checkpoint")
    before = sorted(tmp_path.rglob("*"))
    done = program("train.py", *arguments)
    assert done.returncode in (1, 2), done.stderr
    for text in named:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    left = [path for path in tmp_path.rglob("*") if path not in before]
    assert [path for path in left if path.is_file() and path.name != "multirun.yaml"] == []


def test_a_traceback_is_shown_when_asked_for(program):
    done = program("train.py", "neuron.tau=0.5", "debug.traceback=true")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "tau must be a finite number > 1" in done.stderr


WRONG_EVALUATIONS = {
    "nothing to evaluate": (["mode=test"], ["run=FOLDER", "checkpoint=FILE"]),
    "mistyped key": (["runs=x"], ["runs", "Did you mean run?"]),
    "folder without checkpoint": (["run=."], ["checkpoints/best.ckpt"]),
    "bad checkpoint": ([f"checkpoint={NOT_A_CHECKPOINT}"], [NOT_A_CHECKPOINT, "cannot be read"]),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG_EVALUATIONS.values(), ids=WRONG_EVALUATIONS)
def test_a_wrong_evaluation_is_refused_in_one_sentence(program, tmp_path, arguments, named):
    (tmp_path / NOT_A_CHECKPOINT).write_bytes(b"not a checkpoint")
    done = program("eval.py", *arguments)
    assert done.returncode == 2
    for text in named:
        assert text in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
