"""docs/reference/errors.md shows what the programs say; run_folder.md names every file and metric."""

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from programs import complete

import snntrain.task
from snntrain.callback import neurobench
from snntrain.config import folders
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.error import UsageError
from snntrain.headline import HEADLINES
from snntrain.run.folder import RunFile, RunFolder

ROOT = Path(__file__).resolve().parents[2]
ERRORS = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs/reference/run_folder.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ python train\.py (.*)\nerror: (.*)$", ERRORS, re.MULTILINE)
OF_A_RUN = ("data=mnist paths.data=nowhere", "model=mlp callbacks=[default,lava]")
"""Commands whose mistake is found once there are data or a net."""


@pytest.mark.parametrize(("command", "shown"), [pair for pair in SHOWN if pair[0] not in OF_A_RUN])
def test_a_message_of_the_config_is_the_one_shown(command, shown):
    with pytest.raises(UsageError) as error:
        check(compose(command.split()))
    agrees(" ".join(str(error.value).split()), shown)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), [pair for pair in SHOWN if pair[0] in OF_A_RUN])
def test_a_message_of_a_run_is_the_one_shown(command, shown, tmp_path):
    done = complete("train.py", *command.split(), cwd=tmp_path)
    assert done.returncode == 2
    agrees(done.stderr.strip().removeprefix("error: "), shown)


def agrees(said: str, shown: str) -> None:
    parts = [re.escape(part) for part in shown.split("…")]
    assert re.fullmatch(".*".join(parts), said), said


def test_there_are_messages_of_each_kind():
    assert len(SHOWN) >= 10 and {command for command, _ in SHOWN} > set(OF_A_RUN)


def test_every_file_of_a_run_folder_is_named():
    files = [value.name for value in vars(RunFolder).values() if isinstance(value, RunFile)]
    assert len(files) > 8 and [name for name in files if f"`{name}`" not in FILES] == []


def test_every_metric_of_the_records_is_named():
    names = set(re.findall(r"`([\w/<>…]+)`", FILES))
    places = {
        "<layer>": r"[\w.]+",
        "<n>": r"\d+",
        "neurobench/<name>": "|".join(f"neurobench/{name}" for name in neurobench.METRICS),
        "<metric>": "|".join((*HEADLINES, *snntrain.registry.names("metric"))),
    }
    patterns = [re.escape(name) for name in names if "/" in name]
    for place, pattern in places.items():
        patterns = [one.replace(place, f"({pattern})") for one in patterns]
    metrics = {
        metric
        for record in ROOT.glob("experiments/*/expected.json")
        for metric in json.loads(record.read_text(encoding="utf-8"))["metrics"]
    }
    assert len(metrics) > 30
    assert [metric for metric in sorted(metrics) if not any(re.fullmatch(one, metric) for one in patterns)] == []


def test_the_annotated_config_is_what_its_page_says(tmp_path, monkeypatch):
    text = (ROOT / "docs/reference/annotated.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs/reference/annotated.md").read_text(encoding="utf-8")
    assert '--8<-- "reference/annotated.yaml"' in page
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/low_power.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(folders, "_users_folders", [tmp_path])
    config = compose(["experiment=low_power", "seed=4"])
    settings = check(config)
    chosen = {"data": "FashionMNIST", "neuron": "ParametricLIFNode", "task": "Classification"}
    for group, name in chosen.items():
        assert name in (settings[group].get("_target_") or settings[group]["name"])
    assert {"best_checkpoint", "early_stopping", "qat"} <= set(settings["callbacks"])
    assert (settings["T"], settings["seed"], settings["name"]) == (4, 4, "fmnist_low_power")
    assert settings["model"]["layers"][0]["out_channels"] == 24 and settings["task"]["outputs"] == 40
    assert settings["callbacks"]["qat"]["layers"] == {"layers.0": {"w": {"bits": 8}}}
    assert OmegaConf.to_container(config.data.augment)["transforms"][0]["name"] == "RandomCrop"
    with pytest.raises(UsageError, match=r"populaton.*Did you mean population\?"):
        check(compose(["task.populaton=4"]))
