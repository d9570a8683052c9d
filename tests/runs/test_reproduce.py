"""A small experiment is recorded, repeated, changed, and repeated from its run folders."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from snntrain.error import UsageError
from snntrain.lab.experiment import recording, reproduction
from snntrain.lab.experiment.recorded import OWN_FILES, read_record
from snntrain.lab.experiment.recording import record, record_from
from snntrain.lab.experiment.reproduction import reproduce, reproduce_from
from snntrain.run.folder import RunFolder
from snntrain.run.results import exact_metrics

NAME, COMMIT = "digits_lif", "0" * 40
SMALL = ("model=mlp", "model.features=32", "T=2", "trainer.max_epochs=2", "data.batch_size=128")
SMALL += ("neuron=relu", "callbacks=[default,ann2snn]", "callbacks.ann2snn.eval_T=[2]", "trainer.limit_test_batches=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with experiments/ and runs/."""
    base = tmp_path_factory.mktemp("record")
    record(NAME, [1, 2, 3], [*SMALL, f"paths.runs={base / 'runs'}"], COMMIT, base / "experiments")
    return base


@pytest.fixture
def copied(made, tmp_path, monkeypatch) -> Path:
    """The same, to be changed; and the present folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_before(copied, monkeypatch) -> None:
    """A repetition in this test is a copy of the recorded run: the test is about their comparison."""

    def copy(settings: dict, *more: object) -> dict[str, float]:
        folder = RunFolder(Path(settings["paths"]["run"]))
        shutil.copytree(run_folder(copied, settings["seed"]), folder, dirs_exist_ok=True)
        return exact_metrics(folder.outcome())

    monkeypatch.setattr(reproduction, "run_checked", copy)


def run_folder(base: Path, seed: int) -> Path:
    (folder,) = (base / "runs/recordings").glob(f"*/seed_{seed}")
    return folder


def edit(path: Path, change) -> None:
    """Change a JSON or YAML file."""
    is_json = path.suffix == ".json"
    content = (json.loads if is_json else yaml.safe_load)(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text((json.dumps if is_json else yaml.safe_dump)(content), encoding="utf-8")
    (path.parent / "checksums.json").unlink(missing_ok=True)  # as the error tells those who change a run on purpose


def again(base: Path, **more) -> int:
    return reproduce(NAME, more.get("seed", 1), [f"paths.runs={base / 'again'}"], base / "experiments")


def test_a_record_holds_every_seed_and_no_place_of_this_machine(made):
    folder = made / "experiments" / NAME
    assert sorted(path.name for path in folder.iterdir()) == sorted(OWN_FILES)
    for name in OWN_FILES:
        text = (folder / name).read_bytes().decode(errors="ignore")
        assert str(made) not in text, name
        assert name == "curves.png" or not re.search(rf"\b{re.escape(os.uname().nodename)}\b", text), name
    expected = json.loads((folder / "expected.json").read_text())
    results = {seed: json.loads((run_folder(made, seed) / "results.json").read_text()) for seed in (1, 2, 3)}
    assert {int(seed): entry["hex"] for seed, entry in expected["seeds"].items()} == {
        seed: result["hex"] for seed, result in results.items()
    }
    assert {"test/acc", "ann2snn/acc_T2", "ann2snn/acc_ann", "train/loss"} <= expected["metrics"].keys()
    assert expected["samples"] == {"train": 1294, "val": 144, "test": 256} and "standard deviation" in expected["rule"]
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["command"].startswith(f"python scripts/record.py {NAME} --seeds 1,2,3 model=mlp")
    assert facts["commit"] == COMMIT and "train.images" in facts["data"] and "paths" not in facts["command"]
    assert facts["hardware"].keys() <= {"processor", "model", "instructions", "torch_threads"}
    page = (folder / "README.md").read_text()
    assert "| seed 1 | seed 2 | seed 3 | mean ± std |" in page and "ann2snn/acc_T2" in page


def test_a_repetition_is_equal_to_the_last_bit(copied, capsys):
    assert again(copied, seed=2) == 0
    said = capsys.readouterr().out
    assert "reproduced to the last bit" in said and "exact" in said and "differs" not in said
    with pytest.raises(UsageError, match=r"--seed 4 is not recorded .* 1, 2, 3"):
        again(copied, seed=4)
    with pytest.raises(UsageError, match="Did you mean digits_lif"):
        reproduce("digits_lfi", 1, [], copied / "experiments")


def test_another_config_is_shown_and_not_trained(copied, capsys):
    folder = copied / "experiments" / NAME
    edit(folder / "config.yaml", lambda config: config["optim"].update(lr=0.25))
    assert again(copied) == 3
    said = capsys.readouterr().out
    assert "optim.lr" in said and "0.25" in said and "0.002" in said and "Nothing was trained" in said
    given = ["optim.lr=0.25", "T=3", f"paths.runs={copied / 'again'}"]
    assert reproduce(NAME, 1, given, copied / "experiments") == 3
    assert "optim.lr" not in capsys.readouterr().out.replace("optim.lr=", "")
    assert not (copied / "again").exists()


def test_other_metrics_are_not_reproduced(copied, run_before, capsys):
    def change(expected: dict) -> None:
        expected["seeds"]["1"]["hex"]["test/acc"] = (0.123).hex()

    edit(copied / "experiments" / NAME / "expected.json", change)
    assert again(copied) == 1
    said = capsys.readouterr().out
    assert "0.123" in said and "not reproduced" in said


def test_elsewhere_tolerances_count(copied, run_before, capsys):
    folder = copied / "experiments" / NAME
    reference = read_record(folder)
    (folder / "lock.txt").write_text("torch==1.0\ntqdm==0\n")

    def shift(by: float) -> None:
        value = reference.metrics[1]["test/loss"] + by * reference.tolerances[1]["test/loss"]
        edit(
            folder / "expected.json", lambda expected: expected["seeds"]["1"]["hex"].update({"test/loss": value.hex()})
        )

    shift(0.9)
    assert again(copied) == 0
    said = capsys.readouterr().out
    assert "reproduced within tolerance" in said and "±" in said and "1.0" in said  # the other version is shown
    shift(1.1)
    assert again(copied) == 1


def test_a_run_folder_is_repeated_wherever_it_lies(copied, capsys):
    folder = copied / "mine"
    shutil.move(run_folder(copied, 3), folder)
    assert reproduce_from(folder, None, []) == 0
    assert "reproduced to the last bit: mine, seed 3" in capsys.readouterr().out
    assert next((copied / "runs/reproductions").iterdir()).name.endswith("_mine")
    there, other = (sorted(path.name for path in where.iterdir()) for where in (folder, run_folder(copied, 1)))
    assert there == other  # the folder was only read
    with pytest.raises(UsageError, match="has seed 3"):
        reproduce_from(folder, 1, [])
    with pytest.raises(UsageError, match="would make it another run"):
        reproduce_from(folder, None, ["optim.lr=1"])


def test_a_record_from_another_place_is_repeated_from_its_files(copied, capsys):
    assert reproduce_from(copied / "experiments" / NAME, None, []) == 0
    assert "reproduced to the last bit: digits_lif, seed 1" in capsys.readouterr().out


@pytest.mark.slow
def test_finished_runs_can_be_recorded_without_running_them_again(copied):
    experiments, folders = copied / "experiments", [run_folder(copied, seed) for seed in (3, 1, 2)]
    before = json.loads((experiments / NAME / "expected.json").read_text())
    for folder in folders:
        edit(folder / "provenance.json", lambda facts: facts.update(code={"commit": COMMIT, "untracked": []}))
    shutil.rmtree(experiments)
    record_from(NAME, folders, SMALL, COMMIT, experiments)
    assert json.loads((experiments / NAME / "expected.json").read_text()) == before


def test_runs_that_do_not_belong_together_are_refused(copied):
    experiments, folders = copied / "experiments", [run_folder(copied, seed) for seed in (1, 2, 3)]
    before = {path.name: path.read_bytes() for path in (experiments / NAME).iterdir()}
    facts = {"commit": COMMIT, "untracked": []}
    for folder in folders:
        edit(folder / "provenance.json", lambda content: content.update(code=facts))
    first, patch = folders[0] / "provenance.json", "diff --git a/snntrain/base.py b/snntrain/base.py\n"

    def refusal(given=folders, overrides=SMALL) -> str:
        with pytest.raises(UsageError) as error:
            record_from(NAME, given, overrides, COMMIT, experiments)
        return str(error.value)

    assert "has seed 1, as" in refusal([folders[0], folders[0], folders[1]])
    assert "at least 3" in refusal(folders[:2])
    assert "optim.lr is 0.002" in refusal(overrides=[*SMALL, "optim.lr=0.5"])
    edit(first, lambda content: content.update(code={"commit": "1" * 40}))
    assert "was run at commit 1111" in refusal()
    edit(first, lambda content: content.update(code={**facts, "diff": patch}))
    assert "snntrain/base.py" in refusal()
    edit(first, lambda content: content.update(code={**facts, "untracked": [f"experiments/{NAME}/x"]}, data={"x": "y"}))
    assert "other data" in refusal()
    edit(first, lambda content: content["versions"].update(torch="1.0"))
    assert "torch 1.0" in refusal()
    edit(folders[1] / "results.json", lambda content: content.update(status="interrupted"))
    assert "'interrupted', not finished" in refusal([folders[1]])
    assert {path.name: path.read_bytes() for path in (experiments / NAME).iterdir()} == before


@pytest.mark.slow
def test_a_seed_that_fails_leaves_the_record_before_as_it_was(copied, monkeypatch):
    experiments = copied / "experiments"
    before = {path.name: path.read_bytes() for path in (experiments / NAME).iterdir()}
    true_run = recording.run

    def fails_at_the_second(config, folder, overrides, command):
        if config.seed == 2:
            raise RuntimeError("the machine is out of memory")
        return true_run(config, folder, overrides, command)

    monkeypatch.setattr(recording, "run", fails_at_the_second)
    with pytest.raises(RuntimeError, match="out of memory"):
        record(NAME, [1, 2, 3], [*SMALL, f"paths.runs={copied / 'more'}"], COMMIT, experiments)
    assert {path.name: path.read_bytes() for path in (experiments / NAME).iterdir()} == before
    assert sorted(path.name for path in experiments.iterdir()) == [NAME]


def test_a_mistake_is_found_before_the_first_seed_is_trained(copied):
    for overrides, said in (
        (["neuron.tua=3"], "tua"),
        (["data.root=/x", "data=mnist"], "a place on this machine only"),
    ):
        with pytest.raises(UsageError, match=said):
            record(NAME, [1, 2, 3], [*overrides, f"paths.runs={copied / 'more'}"], COMMIT, copied / "experiments")
    assert not (copied / "more").exists()


def test_a_repetition_runs_on_one_device(copied):
    folder = run_folder(copied, 1)
    edit(folder / "config.yaml", lambda config: config["trainer"].update(devices=2))
    with pytest.raises(UsageError, match="one device"):
        reproduce_from(folder, None, [])
    assert reproduction.OTHER_CONFIG == 3


@pytest.mark.slow
def test_made_up_data_that_depend_on_the_seed_are_recorded_for_each_seed(copied):
    experiments = copied / "experiments"
    words = ["data=mackey_glass", "data.predicted=5", "data.stride=200", "data.offset=${seed}", "task=forecast", "T=20"]
    words += ["model=forecast", "model.features=4", "neuron.backend=torch", "trainer.max_epochs=1"]
    record(NAME, [1, 2, 3], [*words, f"paths.runs={copied / 'more'}"], COMMIT, experiments)
    kept = read_record(experiments / NAME).data
    assert len({hashes["train"] for hashes in kept.values()}) == 3
    overrides = [f"paths.runs={copied / 'again'}"]
    assert reproduce(NAME, 2, overrides, experiments) == 0
