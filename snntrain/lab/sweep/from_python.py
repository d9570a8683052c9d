"""Run a sweep from Python: snntrain.sweep(…)."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntrain.config.monitor import mode_of
from snntrain.error import UsageError
from snntrain.lab.sweep.jobs import Job, read_jobs
from snntrain.lab.sweep.sweeper import JobSweeper
from snntrain.run.trained import Trained, as_text, load, overrides_of


@dataclass
class Sweep:
    """A sweep that has ended.

    Attributes:
        folder: its folder, with sweep.html and a run folder for each job.
        jobs: in their order, with overrides, status, metrics and error.
    """

    folder: Path
    jobs: list[Job]

    def best(self, metric: str = "val/acc", mode: str | None = None, *, trust: bool = False) -> Trained:
        """Load the run that is best by a metric.

        Args:
            metric: one that the runs report.
            mode: 'max' or 'min'; None: known from its name.
            trust: as in snntrain.load, for runs with plugins.

        Raises: UsageError if no finished job has it.
        """
        ended = [job for job in self.jobs if job.status == "finished" and metric in job.metrics and job.folder]
        if not ended:
            raise UsageError(f"sweep: no finished job of {self.folder} reports {metric}.")
        choose = max if mode_of(metric, mode) == "max" else min
        return load(self.folder / str(choose(ended, key=lambda job: job.metrics[metric]).folder), trust=trust)


def sweep(*overrides: str | Mapping[str, Any], **settings: Any) -> Sweep:
    """Run every combination, as `python train.py -m` does.

        snntrain.sweep("model=mlp", neuron=["if", "lif"], seed=[1, 2, 3]).best().folder

    Args:
        overrides: texts with overrides as on the command line, several values with commas; or mappings.
        settings: more of them; a list holds the values to try.

    Returns: the sweep; a job that failed says why in its error.
    Raises: UsageError naming what is wrong with the command.
    """
    from snntrain.lab.programs.train import main

    words = list(_words(*overrides, settings))
    arguments = list(sys.argv)
    try:
        main(["-m", *words])
    finally:
        sys.argv[:] = arguments
    return Sweep(JobSweeper.ran_in, read_jobs(JobSweeper.ran_in))


def _words(*given: str | Mapping[str, Any]) -> Iterator[str]:
    for one in given:
        if isinstance(one, Mapping):
            several = {key: value for key, value in one.items() if isinstance(value, (list, tuple))}
            yield from (f"{key}={','.join(map(as_text, values))}" for key, values in several.items())
            yield from overrides_of({key: value for key, value in one.items() if key not in several})
        else:
            yield from overrides_of(one)
