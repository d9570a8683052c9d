"""A trial whose worker died: counted if its run had ended, replaced if not."""

from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from snntrain.search.settings import Objective
from snntrain.search.trial import run_folder, settle_orphan

SEARCH = SimpleNamespace(objectives=[Objective(metric="val/acc", direction="maximize")])


def left_by_a_killed_worker(study: optuna.Study, folder: Path, status: str, metrics: dict[str, float]) -> FrozenTrial:
    trial = study.ask()
    place = run_folder(folder, trial.number)
    trial.set_user_attr("folder", place.path.name)
    trial.report(0.25, step=0)
    place.path.mkdir()
    if status:
        place.write_results(status, metrics, seconds={"fit": 2.0, "test": 0.5})
    return study.trials[trial.number]


@pytest.mark.parametrize(
    ("status", "metrics", "state", "value"),
    [
        ("finished", {"val/acc": 0.75}, TrialState.COMPLETE, 0.75),
        ("pruned", {"val/acc": 0.75}, TrialState.PRUNED, 0.25),
        ("finished", {"val/acc": float("nan")}, TrialState.FAIL, None),
        ("finished", {}, TrialState.FAIL, None),
        ("failed", {}, TrialState.FAIL, None),
        ("", {}, TrialState.FAIL, None),
    ],
)
def test_an_orphan_counts_if_its_run_folder_says_that_it_ended(tmp_path, status, metrics, state, value):
    study = optuna.create_study(direction="maximize")
    orphan = left_by_a_killed_worker(study, tmp_path, status, metrics)
    became = settle_orphan(SEARCH, study, orphan, tmp_path)
    settled = study.trials[0]
    assert (settled.state, settled.value) == (state, value)
    assert ("counts" in became) == (state is not TrialState.FAIL)
    if state is TrialState.COMPLETE:
        assert settled.user_attrs["seconds"] == 2.5 and settled.user_attrs["metrics"] == metrics
    assert run_folder(tmp_path, 0).status() == (status or "failed")
    assert settle_orphan(SEARCH, study, orphan, tmp_path) == ""  # another worker was faster


def test_a_run_folder_of_another_study_is_not_used(tmp_path):
    study = optuna.create_study(direction="maximize")
    orphan = study.ask()  # it died before it named its folder
    place = run_folder(tmp_path, 0)
    place.path.mkdir()
    place.write_results("finished", {"val/acc": 0.75})
    settle_orphan(SEARCH, study, study.trials[orphan.number], tmp_path)
    assert study.trials[0].state is TrialState.FAIL
