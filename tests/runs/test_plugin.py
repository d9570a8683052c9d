"""A plugin's parts are named in a config as our own are, work in a run, and are checked as ours are."""

import json
import sys

import pytest
from programs import SMALL

from snntrain import registry
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.run.build import build_task

MINE = '''
import lightning.pytorch as pl
import torch
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from snntrain.data import Digits
from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.section import Section
from snntrain.task import Classification


@register("loss")
def soft_focal(scores, target, gamma: float = 2.0):
    """Lin et al., ICCV 2017."""
    log_p = scores.log_softmax(1).gather(1, target[:, None])
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


@register("readout")
def late(y_seq, steps: int = 1):
    """The mean of the last steps."""
    return y_seq[-steps:].mean(0)


@register("metric")
def top_two(num_classes: int):
    """Whether the label is among the two largest scores."""
    return MulticlassAccuracy(num_classes, top_k=2, average="micro")


@register("callback")
class Count(pl.Callback):
    """Counts epochs."""

    def __init__(self, start: int = 0) -> None:
        self.epochs = start

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1

    def on_fit_end(self, trainer, pl_module):
        with open("counted.txt", "w") as file:
            file.write(str(self.epochs))


@register("task")
class Noted(Classification):
    """Classification that says what it was trained with."""

    def compute_loss(self, y_seq, target):
        loss = super().compute_loss(y_seq, target)
        assert torch.equal(loss, soft_focal(y_seq[-2:].mean(0), target, 0.5))
        return loss


@register("data")
class SomeDigits(Digits):
    """Digits under another name."""


@register("report section")
class last_loss(Section):
    """The loss of the last epoch."""

    title = "The end of it"
    place = 15

    def content(self, run):
        return {"loss": run.read(RunFolder.metrics)[-1]["train/loss"]}


@register("report section")
class broken(Section):
    """A section whose template is missing."""

    title = "Broken"

    def content(self, run):
        return {}
'''
PARTS = (
    "task.name=Noted",
    "task.loss={name: soft_focal, gamma: 0.5}",
    "task.readout={name: late, steps: 2}",
    "task.metrics=[{name: top_two}]",
    "callbacks.count={name: Count, start: 10}",
    "data.name=SomeDigits",
    "monitor.metric=val/top_two",
    "monitor.mode=max",
)


@pytest.fixture
def train(program, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "last_loss.html.j2").write_text('<p id="mine">{{ content.loss | number(3) }} &amp; no more</p>')
    return lambda *overrides: program("train.py", "plugins=[mine]", *SMALL, *overrides)


def test_a_run_of_a_plugins_parts(train, tmp_path, program):
    done = train(*PARTS, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())["metrics"]
    assert results["test/top_two"] > results["test/acc"] > 0 and "val/top_two" in results
    assert (tmp_path / "counted.txt").read_text() == "12"
    config = (tmp_path / "run/config.yaml").read_text()
    for target in ("mine.Noted", "mine.Count", "mine.SomeDigits"):
        assert f"_target_: {target}\n" in config
    page = (tmp_path / "run/report.html").read_text()
    assert f'<p id="mine">{results["train/loss"]:.3g} &amp; no more</p>' in page
    assert page.index("Learning curves</h2>") < page.index("The end of it</h2>") < page.index("Firing rates</h2>")
    assert "Broken could not be drawn from the run&#39;s files: TemplateNotFound" in page
    tested = program("eval.py", "run=run", "trust=true")
    assert tested.returncode == 0, tested.stderr
    again = json.loads((tmp_path / "run/artifacts/eval_test.json").read_text())["metrics"]
    assert again["test/top_two"] == results["test/top_two"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.loss=soft_fokal", "task.loss: 'soft_fokal' is not a registered loss. Did you mean soft_focal?"),
        (
            "task.loss={name: soft_focal, gama: 1}",
            "task.loss.gama is not an argument of soft_focal. Did you mean gamma?",
        ),
        ("task.loss={name: soft_focal, scores: 1}", "task.loss.scores is filled in by the program"),
        ("task.loss={name: soft_focal, gamma: much}", "task.loss.gamma must be a number, got 'much'"),
        ("task.loss={gamma: 1}", "task.loss must be the name of a registered loss"),
        ("task.readout=lat", "task.readout: 'lat' is not a registered readout. Did you mean late?"),
        ("task.readout={name: late, step: 1}", "task.readout.step is not an argument of late. Did you mean steps?"),
        (
            "task.metrics=[{name: top_too}]",
            "task.metrics[0]: 'top_too' is not a registered metric. Did you mean top_two",
        ),
        ("task.metrics=[{name: top_two, k: 2}]", "task.metrics[0].k is not an argument of top_two"),
        ("task.metrics=[top_two,top_two]", "task.metrics[1]: top_two is logged already"),
        ("task.name=Notd", "task.name: 'Notd' is not a registered task. Did you mean Noted?"),
        (
            "callbacks.count={name: Cont}",
            "callbacks.count.name: 'Cont' is not a registered callback. Did you mean Count?",
        ),
        (
            "callbacks.count={name: Count, strt: 1}",
            "callbacks.count.strt is not an argument of Count. Did you mean start?",
        ),
        ("data.name=SomeDigit", "data.name: 'SomeDigit' is not a registered data. Did you mean SomeDigits?"),
    ],
)
def test_what_is_mistyped_is_refused_with_what_was_probably_meant(tmp_path, monkeypatch, override, said):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    for kind in registry._HOMES:
        registry.names(kind)  # snntrain's own stay when the plugin's vanish
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    monkeypatch.setitem(sys.modules, "mine", None)
    del sys.modules["mine"]
    with pytest.raises(UsageError) as error:
        build_task(check(compose(["plugins=[mine]", "model=mlp", override])))
    assert said in str(error.value)
