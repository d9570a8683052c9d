"""The command lines of record.py and reproduce.py, and which checkouts a record may come from."""

import subprocess
from pathlib import Path

import pytest
from sampled import sampled

from snntrain.error import UsageError
from snntrain.lab.experiment.recording import clean_commit, split_overrides, what_it_is

WRONG = {
    "mistyped experiment": ("record.py", ["digits_liff"], "Did you mean digits_lif?"),
    "mistyped record": ("reproduce.py", ["digits_liff"], "Did you mean digits_lif?"),
    "no experiment": ("record.py", ["T=8"], "name of one experiment"),
    "two experiments": ("record.py", ["digits_lif", "mnist_csnn"], "name of one experiment"),
    "too few seeds": ("record.py", ["digits_lif", "--seeds", "1,2"], "at least 3 different seeds"),
    "one seed thrice": ("record.py", ["digits_lif", "--seeds", "1,1,1"], "at least 3 different seeds"),
    "seeds that are words": ("record.py", ["digits_lif", "--seeds", "a,b,c"], "--seeds must be whole numbers"),
    "the seed in the wrong way": ("record.py", ["digits_lif", "seed=3"], "give --seeds"),
    "a name and a folder": ("reproduce.py", ["digits_lif", "--from", "runs/x"], "--from FOLDER"),
    "a folder that is none": ("reproduce.py", ["--from", "no/such"], "no/such is not a folder"),
    "a folder of something else": ("reproduce.py", ["--from", "."], "results.json is missing"),
    "a seed that was not recorded": ("reproduce.py", ["digits_lif", "--seed", "77"], "recorded: 1, 2, 3"),
    "an unknown option": (
        "reproduce.py",
        ["digits_lif", "--sed", "1"],
        "--sed is not an option of python scripts/reproduce.py. Did you mean --seed?",
    ),
    "several devices": (
        "record.py",
        ["digits_lif", "trainer.devices=2"],
        "trainer.devices=2: a record runs on one device",
    ),
    "a trainer of several devices": ("record.py", ["digits_lif", "trainer=ddp"], "a record runs on one device"),
    "an override given twice": ("record.py", ["digits_lif", "T=2", "T=3"], "T is given twice"),
    "an override that does nothing": ("record.py", ["digits_lif", "sweep.resume=true"], "cannot be overridden here"),
    "a run folder": ("reproduce.py", ["digits_lif", "paths.run=x"], "paths.run=x"),
    "a seed that is a word": ("reproduce.py", ["digits_lif", "--seed", "x"], "--seed must be a whole number"),
    "no folder": ("reproduce.py", ["--from"], "--from needs a value"),
}


@pytest.mark.parametrize(("script", "arguments", "said"), sampled(WRONG.values(), 3), ids=WRONG)
def test_a_wrong_command_line_is_refused_in_a_sentence(program, tmp_path, script, arguments, said):
    process = program(f"scripts/{script}", *arguments)
    assert process.returncode == 2 and said in process.stderr, process.stderr
    assert process.stderr.count("\n") == 1 and process.stdout == "" and list(tmp_path.iterdir()) == []


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_only_a_checkout_without_changes_can_be_named_by_a_record(tmp_path):
    with pytest.raises(UsageError, match="not a git checkout"):
        clean_commit("mine", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert clean_commit("mine", tmp_path) == commit
    (tmp_path / "experiments/mine").mkdir(parents=True)
    (tmp_path / "experiments/mine/README.md").write_text("its own folder does not count, nor the table")
    (tmp_path / "experiments/README.md").write_text("table")
    assert clean_commit("mine", tmp_path) == commit
    with pytest.raises(UsageError, match=r"experiments/mine/README\.md\. Commit them"):
        clean_commit("another", tmp_path)
    (tmp_path / "new file.py").write_text("")
    (tmp_path / "train.py").write_text("2")
    with pytest.raises(UsageError, match=r"train\.py, new file\.py"):
        clean_commit("mine", tmp_path)


def test_folders_are_no_part_of_an_experiment():
    assert split_overrides(["T=8", "paths.data=/x", "~callbacks.qat", "+paths.runs=y"]) == (
        ["T=8", "~callbacks.qat"],
        ["paths.data=/x", "+paths.runs=y"],
    )
    for wrong in ("experiment=x", "resume=auto", "show=model", "hydra.run.dir=x", "T"):
        with pytest.raises(UsageError, match="cannot be overridden here"):
            split_overrides([wrong])


def test_an_experiment_is_what_its_file_says_first():
    assert what_it_is("digits_lif").startswith("Digits, the convolutional net with LIF neurons")
