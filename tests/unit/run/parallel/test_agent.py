"""The message of a run whose processes failed, made from what they left."""

import json
import signal
import time
from types import SimpleNamespace

import pytest
from checked import checked

from snntrain.error import UsageError
from snntrain.run.folder import RunFolder
from snntrain.run.interruption import Interrupted, ProcessError
from snntrain.run.parallel import agent
from snntrain.run.parallel.agent import _cause, _conclude, _where, concluded_as_lost, launch
from snntrain.run.parallel.bounded import BoundedDDP

CONFIG = {"trainer": {"max_epochs": 5}, "monitor": {"metric": "val/acc", "mode": "max"}}


def failure(exitcode: int) -> SimpleNamespace:
    name = signal.Signals(-exitcode).name if exitcode < 0 else "<N/A>"
    return SimpleNamespace(exitcode=exitcode, signal_name=lambda: name)


GONE = {"failed": "RuntimeError: Connection closed by peer", "time": 2.0}
CAUSES = {
    "killed, the other lost it": ({0: 1, 1: -9}, {0: GONE, 1: {}}, None, "Process 1 of 0 to 1 was killed (SIGKILL)"),
    "crashed": (
        {0: -11, 1: 143},
        {0: {}, 1: {"interrupted": "SIGTERM", "time": 3.0}},
        None,
        "Process 0 of 0 to 1 was killed (SIGSEGV)",
    ),
    "asked to stop": (
        {0: 1, 1: 143},
        {0: GONE, 1: {"interrupted": "SIGTERM", "time": 1.0}},
        signal.SIGTERM,
        "Interrupted (SIGTERM to process 1",
    ),
    "asked before it could note it": ({1: -15}, {0: {}, 1: {}}, signal.SIGTERM, "Interrupted (SIGTERM to process 1"),
    "one failed first": (
        {0: 1, 1: 1},
        {0: GONE, 1: {"failed": "ValueError: no", "time": 1.0}},
        None,
        "Process 1 of 0 to 1 failed: ValueError: no",
    ),
    "one failed, the other was stopped": (
        {0: 1, 1: -15},
        {0: {"failed": "ValueError: no", "time": 1.0}, 1: {}},
        None,
        "Process 0 of 0 to 1 failed: ValueError: no",
    ),
    "no word, the other was stopped": (
        {1: 3, 0: -15},
        {0: {}, 1: {}},
        None,
        "Process 1 of 0 to 1 ended with exit code 3",
    ),
    "no word": ({1: 3}, {0: {}, 1: {}}, None, "Process 1 of 0 to 1 ended with exit code 3: last words"),
}


@pytest.mark.parametrize(("codes", "outcomes", "stopped_by", "message"), CAUSES.values(), ids=CAUSES)
def test_the_message_names_the_cause_and_not_its_consequences(tmp_path, codes, outcomes, stopped_by, message):
    said = tmp_path / "logs/x/attempt_0/1/stderr.log"
    said.parent.mkdir(parents=True)
    said.write_text("first words\nlast words\n")
    found, text = _cause({rank: failure(code) for rank, code in codes.items()}, outcomes, 2, tmp_path)
    assert found == stopped_by and text.startswith(message)


def a_run(folder, epochs: int) -> None:
    (folder / "config.yaml").write_text("name: x\n")
    rows = [f"{epoch},{0.1 * epoch},{'nan' if epoch == 2 else 0.3}" for epoch in range(1, epochs + 1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,train/loss,val/acc", *rows]))


def test_an_end_without_results_gets_the_metrics_of_the_best_epoch(tmp_path):
    a_run(tmp_path, 3)
    _conclude(RunFolder(tmp_path), ProcessError("Process 1 was killed"), time.time())
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["status"] == "failed" and found["message"] == "Process 1 was killed"
    assert found["metrics"] == {"train/loss": 0.1, "val/acc": 0.3}  # the first of equals
    assert "was killed" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_the_first_process_wrote_is_kept_and_an_earlier_end_is_not(tmp_path):
    a_run(tmp_path, 1)
    began = time.time() - 5
    RunFolder(tmp_path).write_results(
        "failed", {"test/acc": 0.9}, seconds={"fit": 2.0}, message="Connection closed by peer"
    )
    _conclude(RunFolder(tmp_path), Interrupted(signal.SIGTERM, "Interrupted"), began)
    found = RunFolder(tmp_path).outcome()
    assert (found["status"], found["message"]) == ("interrupted", "Interrupted")
    assert found["metrics"] == {"test/acc": 0.9} and found["seconds"] == {"fit": 2.0}
    _conclude(RunFolder(tmp_path), ProcessError("killed"), time.time() + 5)
    assert RunFolder(tmp_path).outcome()["metrics"] == {"train/loss": 0.1, "val/acc": 0.3}


def test_nothing_is_written_where_no_run_began(tmp_path):
    _conclude(RunFolder(tmp_path), ProcessError("killed"), time.time())
    assert list(tmp_path.iterdir()) == []
    assert _where(RunFolder(tmp_path), CONFIG).startswith(" before training began")


def test_the_message_says_where_the_run_stopped_and_how_to_continue(tmp_path):
    a_run(tmp_path, 3)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    text = _where(RunFolder(tmp_path), CONFIG, "; all were stopped")
    assert text.startswith(" in epoch 4 of 5; all were stopped.") and text.endswith(f"resume={tmp_path}")
    a_run(tmp_path, 5)
    assert _where(RunFolder(tmp_path), CONFIG).startswith(" after the last epoch.")


@pytest.mark.parametrize("begins", [True, False])
def test_a_refusal_is_recorded_if_the_run_had_begun(tmp_path, monkeypatch, begins):
    def end(count, exchange):
        if begins:
            a_run(tmp_path, 2)
        (exchange / "outcome.1.json").write_text(json.dumps({"refused": "callbacks.qat: no.", "time": 1.0}))
        return None, {1: failure(2)}

    monkeypatch.setattr(agent, "_run_processes", end)
    config = {
        **CONFIG,
        "trainer": {"devices": 2, "accelerator": "cpu", "max_epochs": 5},
        "paths": {"run": str(tmp_path)},
    }
    with pytest.raises(UsageError, match="no"):
        launch(config, None, [])
    found = RunFolder(tmp_path).outcome()
    assert (found["status"], found["message"]) == ("failed", "callbacks.qat: no.") if begins else found == {}


def test_an_end_that_cannot_be_recorded_is_printed_and_replaces_no_other_error(tmp_path, capsys):
    a_run(tmp_path, 1)
    (tmp_path / "results.json").mkdir()  # as a full disk: it cannot be written
    _conclude(RunFolder(tmp_path), ProcessError("killed"), time.time())
    assert "this run failed, but that could not be recorded:" in capsys.readouterr().out


def test_a_process_that_lost_another_says_so_in_its_results(tmp_path):
    a_run(tmp_path, 3)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    config = {**CONFIG, "paths": {"run": str(tmp_path)}}
    lost = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 18000ms for recv operation")
    ending = concluded_as_lost(lost, config, time.time())
    for text in ("its host no longer answers", "Timed out waiting 18000ms", "in epoch 4 of 5", f"resume={tmp_path}"):
        assert text in str(ending)
    assert RunFolder(tmp_path).outcome()["message"] == str(ending)
    assert concluded_as_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), config, time.time()) is None


def test_how_long_a_process_of_several_nodes_waits_for_another():
    assert checked("trainer=ddp_nodes")["trainer"]["strategy"]["timeout_min"] == 10
    assert BoundedDDP(timeout_min=0.5)._timeout.total_seconds() == 30  # what Lightning passes to init_process_group
    with pytest.raises(ValueError, match=r"timeout_min must be > 0, got 0"):
        BoundedDDP(timeout_min=0)
