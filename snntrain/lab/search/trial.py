"""Run one trial, an ordinary run in a folder with the trial's number, and report its outcome to the study."""

import contextlib
import gc
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from snntrain.callback import Pruned, Pruning
from snntrain.config.compose import compose
from snntrain.error import Diverged
from snntrain.files import naming
from snntrain.files.checksums import appending
from snntrain.lab.search.claim import beating
from snntrain.lab.search.database import StorageAway
from snntrain.lab.search.settings import Search
from snntrain.lab.search.space import as_overrides, suggest
from snntrain.run.folder import RunFolder
from snntrain.run.front import describe
from snntrain.run.interruption import Interrupted
from snntrain.run.report.report import write_report
from snntrain.run.run import run

_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


@dataclass
class Outcome:
    """How a trial ended.

    Attributes:
        status: finished, pruned, failed, interrupted, or lost (another worker took this one for dead and replaced the
            trial).
        values: of the objectives; of a pruned trial the last one reported.
        message: why it did not finish.
        seconds: that it took.
    """

    status: str
    values: list[float]
    message: str
    seconds: float


def run_folder(folder: Path, number: int) -> RunFolder:
    """The run folder of a trial."""
    return RunFolder(folder / f"trial_{number:04d}")


def run_trial(search: Search, study: optuna.Study, trial: optuna.Trial, folder: Path) -> Outcome:
    """Run a claimed trial in the study's folder and report its outcome, also that of an interruption, to the study."""
    place = run_folder(folder, trial.number)
    began, values, interruption = time.perf_counter(), [], None
    try:
        overrides = [*search.overrides, *as_overrides(suggest(trial, search.parameters))]
        trial.set_user_attr("overrides", overrides)
        trial.set_user_attr("folder", place.path.name)
        sys.argv = ["train.py", *overrides]  # recorded as the command that repeats the run
        with beating(trial), _output_into(place.path / "output.txt"):
            metrics = run(compose(overrides), place.path, overrides, more_callbacks=_callbacks(search, trial))
        values = [_finite(metrics, objective.metric) for objective in search.objectives]
        status, message = "finished", ""
    except (Pruned, Diverged) as pruned:
        status, message = "pruned", str(pruned)
    except (Interrupted, KeyboardInterrupt) as signal:
        status, message, interruption = "interrupted", "interrupted", signal
    except Exception as error:
        status, message = "failed", describe(error)
    gc.collect()  # a net and its optimizer refer to each other; the next trial needs the memory
    seconds = round(time.perf_counter() - began, 3)
    if not place.usable_outcome():  # refused before anything was written
        place.write_results(status, {}, message=message)
        write_report(place.path)
    metrics_left = place.usable_outcome().get("metrics", {})
    try:
        status_in_study = _report(study, trial, status, values, message, seconds, metrics_left)
    except StorageAway:
        if interruption is None:
            raise  # the next worker finds the outcome in the run folder
    if interruption is not None:
        raise interruption
    if status == "pruned":
        values = list(study.get_trials(deepcopy=False)[trial.number].intermediate_values.values())[-1:]
    if status_in_study == "lost":
        message = f"another worker took this one for dead and replaced the trial. {message}".rstrip()
    return Outcome(status_in_study, values, message, seconds)


def _callbacks(search: Search, trial: optuna.Trial) -> list[Pruning]:
    if search.pruner is None:
        return []

    def is_hopeless(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return trial.should_prune()

    return [Pruning(search.objectives[0].metric, is_hopeless)]


@contextlib.contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """Redirect what a run prints into its folder, because several workers share a terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        appending(path),
        naming(path),
        path.open("a", encoding="utf-8", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def _finite(metrics: Mapping[str, float], name: str) -> float:
    if name not in metrics:
        raise ValueError(f"{name} is not a metric of this run")
    if not math.isfinite(metrics[name]):
        raise ValueError(f"{name} is {metrics[name]}")
    return metrics[name]


def _report(
    study: optuna.Study,
    trial: optuna.Trial,
    status: str,
    values: list[float],
    message: str,
    seconds: float,
    metrics: Mapping[str, Any],
) -> str:
    state = _STATES.get(status, TrialState.FAIL)
    facts = {"status": status, "message": message, "seconds": seconds, "metrics": dict(metrics)}
    try:
        for key, value in facts.items():
            trial.set_user_attr(key, value)
        study.tell(trial, values if state is TrialState.COMPLETE else None, state=state)
    except (ValueError, RuntimeError):  # the trial is marked as failed already
        return "lost"  # another trial has its place by now
    return status


def settle_orphan(search: Search, study: optuna.Study, orphan: FrozenTrial, folder: Path) -> str:
    """Report the outcome of a trial whose worker died; returns it in words, '' if another worker was faster.

    A worker can die after its run has ended and before it reports so. Such a trial counts, with the results in its run
    folder, if the worker ran on this machine. Any other one failed, and its place becomes free.
    """
    place = run_folder(folder, orphan.number)
    left = place.usable_outcome() if orphan.user_attrs.get("folder") == place.path.name else {}
    metrics, values, status = left.get("metrics", {}), [], left.get("status")
    if status == "finished":
        values = [metrics.get(objective.metric) for objective in search.objectives]
    if status not in _STATES or None in values:  # what is not finite is null in JSON
        status = "killed"
    message = "Its worker was killed; another trial took its place." if status == "killed" else ""
    trial = optuna.Trial(study, orphan._trial_id)
    seconds = round(sum(left.get("seconds", {}).values()), 3)
    status_in_study = _report(study, trial, status, values, message, seconds, metrics)
    if status_in_study == "lost":
        return ""
    if status in _STATES:
        return f"it had {status}, and counts"
    if place.path.is_dir() and not place.results.exists():
        place.write_results("failed", {}, message=message)
        write_report(place.path)
    return "another trial takes its place"
