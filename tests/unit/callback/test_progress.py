"""What is shown during training: a live bar in a terminal, one line per epoch everywhere."""

import io
import re
import time

import lightning.pytorch as pl
import pytest
from rich.console import Console
from small_training import Patches, small_task, trainer

from snntrain.callback import Progress, SpikeStatistics, Throughput, progress

EPOCH_LINE = re.compile(
    r"epoch +(?P<epoch>\d+)/(?P<epochs>\d+)   loss (?P<loss>\d\.\d{4})   acc (?P<acc>\d\.\d{4})"
    r"(   val loss (?P<val_loss>\d\.\d{4})   val acc (?P<val_acc>\d\.\d{4})   firing (?P<firing>\d\.\d{4}))?"
    r"   (?P<speed>[\d,]+) img/s"
)


def shown(tmp_path, *, terminal: bool, width: int = 120, more: tuple[pl.Callback, ...] = (), **settings) -> tuple:
    """What a fit prints, and the trainer."""
    text = io.StringIO()
    bar = Progress()
    bar.console = Console(file=text, force_terminal=terminal, width=width, highlight=False, color_system=None)
    run = trainer(tmp_path, Throughput(), SpikeStatistics(1), *more, bar, **{"enable_progress_bar": True, **settings})
    run.fit(small_task(), datamodule=Patches(batch_size=9))
    return text.getvalue(), run, bar


def frames(text: str) -> list[str]:
    """Lines of a terminal session without cursor movements."""
    return [line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", text)) if line.strip()]


def test_without_a_terminal_every_epoch_is_one_line_with_all_metrics(tmp_path):
    text, run, _ = shown(tmp_path, terminal=False, max_epochs=3)
    lines = text.splitlines()
    assert len(lines) == 3 and "\x1b" not in text
    matches = [EPOCH_LINE.fullmatch(line) for line in lines]
    assert all(matches), text
    assert [match["epoch"] for match in matches] == ["1", "2", "3"] and matches[0]["epochs"] == "3"
    last = matches[-1]
    metrics = {name: f"{float(value):.4f}" for name, value in run.callback_metrics.items()}
    assert last["loss"] == metrics["train/loss"] and last["acc"] == metrics["train/acc"]
    assert last["val_loss"] == metrics["val/loss"] and last["val_acc"] == metrics["val/acc"]
    assert last["firing"] == metrics["val/firing_rate"] and float(last["firing"]) > 0


def test_a_line_is_not_broken_by_a_narrow_window(tmp_path):
    text, *_ = shown(tmp_path, terminal=False, width=40, max_epochs=2)
    assert len(text.splitlines()) == 2


def test_a_narrow_terminal_gets_what_matters_most(tmp_path):
    for width, kept in ((80, ["loss", "acc", "val loss", "val acc"]), (40, ["val acc"])):
        text, *_ = shown(tmp_path, terminal=True, width=width, max_epochs=1)
        (line,) = [line for line in frames(text) if line.startswith("epoch   1/1   ")]
        assert len(line) <= width and re.findall(r"   ((?:val )?\w+) [\d.]+", line) == kept


def test_an_epoch_without_validation_shows_no_validation(tmp_path):
    text, *_ = shown(tmp_path, terminal=False, max_epochs=4, check_val_every_n_epoch=2)
    matches = [EPOCH_LINE.fullmatch(line) for line in text.splitlines()]
    assert [match["val_acc"] is not None for match in matches] == [False, True, False, True]


class Slowly(pl.Callback):
    """Leaves the bar the time to be drawn."""

    def on_train_batch_end(self, *args) -> None:
        time.sleep(0.03)


def test_in_a_terminal_the_bar_shows_loss_accuracy_firing_and_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", 0.0)
    text, *_ = shown(tmp_path, terminal=True, max_epochs=2, more=(Slowly(),))
    seen = frames(text)
    bars = [line for line in seen if re.match(r"epoch [12]/2 .*\d+/10", line)]
    full = r"loss \d\.\d{3}  acc \d\.\d{3}  firing \d\.\d{3}  [\d,]+ img/s$"
    assert any(re.search(full, line) for line in bars), seen
    assert any(line.startswith("validate") for line in seen)
    assert any(EPOCH_LINE.fullmatch(line) for line in seen), seen
    assert "\x1b[?25l" in text and text.rstrip().endswith("img/s")  # the cursor was hidden, the bar is gone at the end
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l")


def test_the_bar_shows_the_state_of_the_epoch(tmp_path, monkeypatch):
    """The accuracy is that of the epoch so far, the last of it that of the epoch's line."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", -1.0)
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args) -> None:
            seen.append(bar._live_metrics(trainer, pl_module, args[0]))

    bar = Progress()
    bar.console = Console(file=io.StringIO(), force_terminal=True)
    run = trainer(tmp_path, Throughput(), SpikeStatistics(1), bar, Look(), max_epochs=1, enable_progress_bar=True)
    run.fit(small_task(), datamodule=Patches(batch_size=9))
    assert [len(parts) for parts in seen] == [3] + [4] * 9  # no speed before the second batch
    assert seen[-1][1] == f"acc {float(run.callback_metrics['train/acc']):.3f}"


@pytest.mark.parametrize("terminal", [True, False])
def test_testing_and_predicting_show_a_bar_in_a_terminal_only(tmp_path, terminal):
    text = io.StringIO()
    bar = Progress()
    bar.console = Console(file=text, force_terminal=terminal, width=80, color_system=None)
    run, task, data = trainer(tmp_path, bar, enable_progress_bar=True), small_task(), Patches(batch_size=3)
    run.validate(task, datamodule=data, verbose=False)
    run.test(task, datamodule=data, verbose=False)
    run.predict(task, datamodule=data)
    seen = frames(text.getvalue())
    if not terminal:
        assert seen == []
        return
    for name, batches in (("validate", 4), ("test", 8), ("predict", 8)):
        assert any(re.match(rf"{name} .*{batches}/{batches}", line) for line in seen), seen


def test_the_bar_is_taken_down_when_training_breaks_off(tmp_path):
    class Break(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, idx) -> None:
            if idx == 3:
                raise RuntimeError("broken off")

    text = io.StringIO()
    bar = Progress()
    bar.console = Console(file=text, force_terminal=True)
    with pytest.raises(RuntimeError, match="broken off"):
        trainer(tmp_path, bar, Break(), enable_progress_bar=True).fit(small_task(), datamodule=Patches(batch_size=9))
    assert bar._bar is None
    assert text.getvalue().count("\x1b[?25h") == text.getvalue().count("\x1b[?25l") > 0


def test_a_disabled_bar_shows_nothing(tmp_path):
    """As in all processes but the first."""

    class Disable(pl.Callback):
        def on_fit_start(self, trainer, pl_module) -> None:
            trainer.progress_bar_callback.disable()

    text, *_ = shown(tmp_path, terminal=True, more=(Disable(),))
    assert text == ""


def test_a_long_epoch_without_a_terminal_prints_a_line_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    text, *_ = shown(tmp_path, terminal=False, max_epochs=1)
    lines = [line.strip() for line in text.splitlines()]
    assert [line.split("   ")[0] for line in lines[:-1]] == [f"batch {number}/10" for number in range(1, 11)]
    assert EPOCH_LINE.fullmatch(lines[-1])


def test_without_the_other_callbacks_their_figures_are_left_out(tmp_path):
    text = io.StringIO()
    bar = Progress()
    bar.console = Console(file=text, force_terminal=False, width=200)
    trainer(tmp_path, bar, max_epochs=1, enable_progress_bar=True).fit(small_task(), datamodule=Patches())
    assert re.fullmatch(r"epoch +1/1   loss \S+   acc \S+   val loss \S+   val acc \S+\n", text.getvalue())


def test_a_long_prediction_without_a_terminal_prints_a_line_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    text, bar = io.StringIO(), Progress()
    bar.console = Console(file=text, force_terminal=False, width=200)
    trainer(tmp_path, bar, enable_progress_bar=True).predict(small_task(), datamodule=Patches(batch_size=9))
    assert text.getvalue() == "".join(f"  predict   batch {number}/3\n" for number in (1, 2, 3))
