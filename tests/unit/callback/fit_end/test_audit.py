"""The callback Audit writes its findings, counts them as metrics, fails a run on request, and has a report section."""

import json
from pathlib import Path

import pytest
from small_fit_end import check_before_training, handed_over, run
from small_training import Patches, small_task

from snntrain.callback.auditing import audit_task
from snntrain.callback.fit_end import Audit, Trained
from snntrain.error import UsageError
from snntrain.run.report.report import write_report


def spiking_net(folder: Path) -> Trained:
    return handed_over(folder, small_task(neuron={"name": "LIFNode", "v_threshold": 0.2, "backend": "torch"}, T=3).net)


def with_training_samples_tested(trained: Trained) -> Trained:
    trained.data.splits["test"] = trained.data.splits["train"].subset(trained.data.splits["train"].index[:20] * 0 + 1)
    return trained


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("callbacks.audit.samples=1", "samples must be an integer ≥ 2"),
        ("callbacks.audit.fail=always", "fail must be one of 'never', 'error', 'warning'"),
        ("callbacks.audit.target=int7", "target must be one of"),
        ("callbacks.audit.most=0", "most must be an integer ≥ 1"),
        ("callbacks.audit.T=3", "T is for a plain Lightning Trainer"),
    ],
)
def test_wrong_settings_are_refused_before_training(override, text):
    with pytest.raises(UsageError, match=text):
        check_before_training("callbacks=[default,audit]", "model=mlp", override)


def test_findings_are_written_and_counted_and_the_net_goes_on(tmp_path):
    trained = with_training_samples_tested(spiking_net(tmp_path / "artifacts" / "audit"))
    net, metrics = run(Audit(), trained)
    written = json.loads((tmp_path / "artifacts" / "audit" / "audit.json").read_text())
    found = [(one["check"], one["severity"]) for one in written["findings"]]
    assert net is trained.net and ("shared samples", "error") in found
    assert metrics == {"errors": written["counts"]["error"], "warnings": written["counts"]["warning"]}
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "shared samples" in page


def test_a_run_fails_on_errors_if_it_is_told_to(tmp_path):
    trained = with_training_samples_tested(spiking_net(tmp_path))
    with pytest.raises(RuntimeError, match=r"audit: \d+ errors and \d+ warnings, and callbacks.audit.fail=error"):
        run(Audit(fail="error"), trained)
    assert (tmp_path / "audit.json").is_file()


def test_a_damaged_file_costs_the_report_its_section_only(tmp_path):
    folder = tmp_path / "artifacts" / "audit"
    folder.mkdir(parents=True)
    (folder / "audit.json").write_text('{"findings": [{"check": "<script>alert(1)</script>"}]}')
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Audit could not be drawn" in page and "<script>alert(1)" not in page


def test_random_encoders_and_the_monitor_of_a_task_are_looked_at():
    data, task = Patches(), small_task(poisson=True, T=8)
    data.setup()
    found = audit_task(task, task.net, data.splits, monitors={"monitor.metric": "test/acc"}, classes=3)
    assert ("test set chooses", "monitor.metric") in [(one.check, one.layer) for one in found]
    assert not [one for one in found if one.check == "one seed for all samples"]
    task.encoding_seeds = lambda stage, batch: [5] * len(batch[0])
    found = audit_task(task, task.net, data.splits)
    assert [one.layer for one in found if one.check == "one seed for all samples"] == ["encoder"]
