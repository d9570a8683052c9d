"""Nothing in a run folder or checkpoint of unknown origin is ever executed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.migration import FORMAT
from snntrain.config.schema import Config
from snntrain.error import UsageError
from snntrain.experiment.reproduction import reproduce_from
from snntrain.report.report import write_report
from snntrain.run.build import build_task
from snntrain.run.converted import load_converted
from snntrain.run.evaluate import evaluate

PAGE = "<script>alert(1)</script>"


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return open, (str(self.ran), "w")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every payload would make; the module `stranger` makes it when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef make(**more): ...")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "ran"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return check(compose(["model=mlp", "model.features=8", "T=2", "paths.run=theirs"]))


@pytest.fixture
def theirs(tmp_path: Path, config) -> Callable[..., Path]:
    """A run folder and its checkpoint; `change` alters the config in both."""
    weights = build_task(config).state_dict()

    def write(change: Callable[[dict], None] = lambda config: None) -> Path:
        folder, changed = tmp_path / "theirs", copy.deepcopy(config)
        change(changed)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "artifacts").mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(changed))
        results = {"status": "finished", "metrics": {"test/acc": 0.5}, "hex": {"test/acc": (0.5).hex()}}
        (folder / "results.json").write_text(json.dumps(results))
        facts = {"versions": {"torch": "1"}, "hardware": {"processor": "x"}, "data": {}, "code": {"commit": None}}
        (folder / "provenance.json").write_text(json.dumps(facts))
        (folder / "artifacts/splits.json").write_text(json.dumps({"test": {"count": 359}}))
        description = {"format": FORMAT, "version": "x", "config": changed}
        torch.save({"state_dict": weights, "snntrain": description}, folder / "checkpoints/best.ckpt")
        return folder

    return write


def refusals(folder: Path) -> list[str]:
    """What both programs say about a run folder."""
    said = []
    for attempt in (lambda: evaluate([f"run={folder}"]), lambda: reproduce_from(folder, None, [])):
        with pytest.raises(UsageError) as error:
            attempt()
        assert "\n" not in str(error.value)
        said.append(str(error.value))
    return said


TOUCH = "${oc.create:{_target_: stranger.make}}"
HOSTILE: dict[str, Callable[[dict], None]] = {
    "the task": lambda c: c.update(task={"_target_": "os.system", "command": "touch ran"}),
    "the data": lambda c: c.update(data={**c["data"], "_target_": "stranger.make"}),
    "an argument": lambda c: c["trainer"].update(profiler={"_target_": "stranger.make"}),
    "a list in an argument": lambda c: c["trainer"].update(plugins=[[{"_target_": "stranger.make"}]]),
    "the schedule": lambda c: c["optim"].update(schedule={"_target_": "stranger.make"}),
    "the model": lambda c: c["model"]["layers"].append({"name": "Linear", "x": {"_target_": "stranger.make"}}),
    "the neuron": lambda c: c["neuron"].update(surrogate_function={"_target_": "stranger.make"}),
    "a placeholder": lambda c: c["trainer"].update(profiler=TOUCH),
    "a placeholder in a list": lambda c: c["data"].update(sample_shape=[1, TOUCH, 8]),
    "positional arguments": lambda c: c["trainer"].update(_args_=[{"_target_": "stranger.make"}]),
    "plugins": lambda c: c.update(plugins=["stranger"]),
    "plugins and trust": lambda c: c.update(plugins=["stranger"], trust=True),
    "trust": lambda c: c.update(trust=True, task={"_target_": "stranger.make"}),
    "a function of torch's": lambda c: c.update(
        task={"_target_": "torch.load", "f": "theirs/payload.pt", "weights_only": False}
    ),
    "code from the web": lambda c: c["trainer"].update(
        profiler={"_target_": "torch.hub.load", "repo_or_dir": "theirs", "model": "x", "source": "local"}
    ),
    "a name that is a page": lambda c: c.update(name=PAGE),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_is_refused_and_nothing_of_it_runs(theirs, ran, change):
    folder = theirs(change)
    torch.save(Payload(ran), folder / "payload.pt")
    (folder / "hubconf.py").write_text((ran.parent / "stranger.py").read_text())
    refusals(folder)
    assert not ran.exists()


ONLY_REPEATED: dict[str, Callable[[dict], None]] = {
    "a callback": lambda c: c["callbacks"].update(x={"_target_": "stranger.make"}),
    "a fit-end callback": lambda c: c["callbacks"].update({"qat": {"_target_": "stranger.make"}}),
    "a place for checkpoints": lambda c: c["callbacks"]["best_checkpoint"].update(dirpath="/tmp/elsewhere"),
    "a folder of Lava's": lambda c: c.update(
        callbacks={"lava": {"_target_": "snntrain.callback.LavaExport", "folder": "theirs/lava"}}
    ),
}


@pytest.mark.parametrize("change", ONLY_REPEATED.values(), ids=ONLY_REPEATED)
def test_what_only_a_repetition_would_build_is_refused_there(theirs, ran, change):
    with pytest.raises(UsageError):
        reproduce_from(theirs(change), None, [])
    assert not ran.exists()


def test_pickles_of_any_file_are_not_unpickled(theirs, ran):
    folder = theirs()
    for path in (folder / "checkpoints/best.ckpt", folder / "net.pt"):
        torch.save({"state_dict": {}, "snntrain": {"format": 1, "config": Payload(ran)}}, path)
    for attempt in (
        lambda: evaluate([f"run={folder}"]),
        lambda: evaluate([f"checkpoint={folder / 'net.pt'}"]),
        lambda: load_converted(folder / "net.pt", trust=True),
    ):
        with pytest.raises(UsageError, match="cannot be read"):
            attempt()
    assert not ran.exists()


@pytest.mark.parametrize("content", [{"format": "x"}, {"format": 1}, [1], {"format": 1, "config": "x"}])
def test_a_checkpoint_of_another_make_up_is_refused(tmp_path, content):
    torch.save({"state_dict": {}, "snntrain": content}, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match=r"x\.ckpt"):
        evaluate([f"checkpoint={tmp_path / 'x.ckpt'}"])


def test_yaml_tags_make_no_objects(theirs, ran):
    folder = theirs()
    (folder / "config.yaml").write_text("seed: 1\ntask: !!python/object/apply:os.system ['touch ran']\n")
    with pytest.raises(UsageError, match=r"config\.yaml is damaged"):
        reproduce_from(folder, None, [])
    assert not ran.exists()


def test_files_of_hydra_are_never_replayed(theirs, ran, monkeypatch):
    """The overrides of a run are text; a repetition reads config.yaml alone."""
    folder = theirs(lambda config: config["trainer"].update(max_epochs=1))
    lines = ["trust=true", "plugins=[stranger]", "hydra.callbacks.x._target_=stranger.make"]
    (folder / "overrides.yaml").write_text(yaml.safe_dump(lines))
    (folder / ".hydra").mkdir()
    (folder / ".hydra/hydra.yaml").write_text("hydra: {callbacks: {x: {_target_: stranger.make}}}")
    seen: list[dict] = []

    def looked_at(settings: dict, *more: Any) -> dict[str, float]:
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("snntrain.experiment.reproduction.run_checked", looked_at)
    with pytest.raises(KeyboardInterrupt):
        reproduce_from(folder, None, [])
    assert seen[0]["plugins"] == [] and seen[0]["trust"] is False and seen[0].keys() <= Config().__dict__.keys()
    assert not ran.exists()


def test_damaged_files_are_named(theirs):
    folder = theirs()
    for name, content in (
        ("results.json", '{"status": "finished", "hex": {"test/acc": "os.system"}}'),
        ("results.json", '{"status": "finished", "hex": 3}'),
        ("results.json", "[]"),
        ("results.json", '{"status": "interrupted"}'),
        ("provenance.json", "{}"),
        ("provenance.json", '{"versions": {}, "hardware": 3, "data": {}, "code": {"commit": 1}}'),
        ("config.yaml", "seed: [1]"),
        ("config.yaml", "&a [*a]"),
        ("artifacts/splits.json", "{}"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(UsageError):
            reproduce_from(folder, None, [])
        (folder / name).write_text(before)


def test_names_in_a_run_folder_are_text_in_its_report(theirs):
    folder = theirs()
    results = json.loads((folder / "results.json").read_text())
    results["metrics"][f"test/{PAGE}"] = 1.0
    results["message"] = PAGE
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "overrides.yaml").write_text(yaml.safe_dump([f"name={PAGE}"]))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in page.lower() and "alert(1)" in page
