"""A worker of a study: it claims and runs one trial after the other until the study is done."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import optuna

from snntrain.lab.search.claim import claim, orphaned_trials
from snntrain.lab.search.database import StorageAway
from snntrain.lab.search.report import write_study
from snntrain.lab.search.settings import Search
from snntrain.lab.search.study import number_finished
from snntrain.lab.search.trial import Outcome, run_trial, settle_orphan

_LOOK_AGAIN = 0.5  # seconds between looks while others run the last trials, since one of them may die
_SHARE_OF_REPORTS = 0.1  # of the time may be spent on writing the report


class TooManyFailures(Exception):
    """Raised when trials of a worker fail one after the other; its text includes that of the last one."""


def work(search: Search, study: optuna.Study, folder: Path, say: Callable[[str], None], parent: int = 0) -> None:
    """Run trials until n_trials are complete or pruned, counting those of other workers.

    Args:
        folder: of the study.
        say: prints a line, called for each trial.
        parent: process that started this one; when it is gone, no further trial begins.
    """
    reports, failures = _Reports(search, study, folder), 0
    try:
        while number_finished(study) < search.n_trials and (not parent or os.getppid() == parent):
            for orphan in orphaned_trials(study):
                if became := settle_orphan(search, study, orphan, folder):
                    say(f"trial {orphan.number}: its worker is gone; {became}")
            trial = claim(study, search.n_trials)
            if trial is None:
                time.sleep(_LOOK_AGAIN)
                continue
            outcome = run_trial(search, study, trial, folder)
            say(_line(search, trial, outcome))
            failures = failures + 1 if outcome.status == "failed" else 0
            if failures >= search.max_failures:
                raise TooManyFailures(f"{failures} trials failed one after the other, the last one: {outcome.message}")
            reports.write()
    finally:
        with contextlib.suppress(StorageAway):  # which the loop has raised already, or an interruption while waiting
            reports.write(now=True)


def _line(search: Search, trial: optuna.Trial, outcome: Outcome) -> str:
    values = "  ".join(
        f"{objective.metric} {value:.5g}" for objective, value in zip(search.objectives, outcome.values, strict=False)
    )
    drawn = "  ".join(
        f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={value}" for path, value in trial.params.items()
    )
    why = f"  {outcome.message}" if outcome.status in ("failed", "lost") else ""
    return f"trial {trial.number:>3}  {outcome.status:<8}  {values}  {drawn}  {outcome.seconds:.1f} s{why}"


class _Reports:
    """Write the study's report as trials end, without spending more than a share of the time on it."""

    def __init__(self, search: Search, study: optuna.Study, folder: Path) -> None:
        self._search, self._study, self._folder = search, study, folder
        self._not_before = 0.0

    def write(self, now: bool = False) -> None:
        began = time.monotonic()
        if now or began >= self._not_before:
            write_study(self._search, self._study, self._folder)
            ended = time.monotonic()
            self._not_before = ended + (ended - began) * (1 / _SHARE_OF_REPORTS - 1)
