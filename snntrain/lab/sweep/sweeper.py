"""Hydra's basic sweeper with a folder for every sweep, records of its jobs, and resuming after a stop."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from snntrain.config.monitor import mode_of
from snntrain.error import UsageError
from snntrain.files import write_text
from snntrain.lab.runs_page import print_sweep, write_sweep_report
from snntrain.lab.sweep.jobs import (
    JOB_VARIABLE,
    SWEEP,
    Job,
    SweepFolder,
    newest_sweep,
    read_jobs,
    record_path,
    write_job,
    write_sweep,
)
from snntrain.lab.sweep.launch import announce_gpus, every_result
from snntrain.lab.sweep.progress import Progress
from snntrain.lab.sweep.slurm import Queue, still_queued
from snntrain.process import is_alive, named
from snntrain.run.interruption import Interrupted
from snntrain.terminal import print_line, terminal

Plugins.instance()  # Hydra loads its plugins anew when it first looks for them: only then is this class the final one
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402

console = terminal()


def register_sweeper() -> None:
    """Make the sweeper known to Hydra under the name that config/schema.py gives it.

    Hydra looks for plugins in packages inside `hydra_plugins`; this one needs no package of its own.
    """
    Plugins.instance().class_name_to_class["hydra_plugins.snntrain.JobSweeper"] = JobSweeper


class JobSweeper(BasicSweeper):
    """Run the product of all choices; a finished sweep that is resumed runs nothing.

    Args: as in Hydra's basic sweeper.
    """

    failures: ClassVar[list[Job] | None] = None  # of the sweep that ran in this process; None before it ran
    ran_in: ClassVar[Path] = Path()  # its folder

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Choose and take the sweep's folder before the launcher learns of it."""
        self.folder = JobSweeper.ran_in = _choose_folder(config)
        self.is_named = _is_chosen(config)
        self.queue: Queue | None = None  # what Slurm says of the jobs, once it has some
        self.given: dict[int, list[str]] = {}  # number → overrides as Hydra takes them
        with read_write(config.hydra):
            config.hydra.sweep.dir = str(self.folder)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the jobs that are not finished, then print and write the results of all."""
        try:
            jobs = self._plan(arguments)
        except BaseException:
            SweepFolder(self.folder).release()
            SweepFolder(self.folder).remove_if_empty()
            raise
        try:
            self._run([job for job in jobs if job.status != "finished"])
        except (KeyboardInterrupt, Interrupted) as stopped:
            if self.queue is not None and (jobs := self.queue.submitted()):
                print_line(console, f"The jobs stay in Slurm's queue. To end them: scancel {' '.join(jobs)}")
            if isinstance(stopped, KeyboardInterrupt):
                self._mark_interrupted()
            raise
        finally:
            self._conclude()
        return []

    def _plan(self, arguments: list[str]) -> list[Job]:
        """Number the jobs of this command, and find what an earlier sweep left of them."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        batches = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        known = read_jobs(self.folder) if (self.folder / SWEEP).exists() else []
        by_key = {job.key: job for job in known}
        jobs, numbers = [], iter(range(1 + max((job.number for job in known), default=-1), 10**9))
        for overrides in batches[0]:
            recorded = [override.removeprefix("++") for override in overrides]
            job = by_key.pop(Job(-1, recorded).key, None) or Job(next(numbers), recorded)
            self.given[job.number] = list(overrides)
            jobs.append(job)
        self.validate_batch_is_legal([self.given[job.number] for job in jobs])
        for job in jobs:
            _refuse_running(job, self.folder, self.is_named)
        more = [job for job in jobs if job not in known]
        recorded = [override.removeprefix("++") for override in arguments]
        monitor = OmegaConf.to_container(self.config.monitor)
        monitor["mode"] = mode_of(monitor["metric"], monitor["mode"])
        write_sweep(self.folder, recorded, [*known, *more], monitor)
        write_text(self.folder / "multirun.yaml", OmegaConf.to_yaml(self.config))
        return jobs

    def _run(self, jobs: list[Job]) -> None:
        print_line(console, f"sweep folder: {self.folder}   {len(jobs)} jobs to run")
        for job in jobs:
            record_path(self.folder, job.number).unlink(missing_ok=True)  # it waits again
        self.total, self.ended = len(jobs), 0
        if "joblib" in type(self.launcher).__module__:
            announce_gpus()
        for batch in self.split_overrides_to_chunks(jobs, self.max_batch_size) if jobs else ():
            self._launch(list(batch))

    def _launch(self, batch: list[Job]) -> None:
        """Run some jobs; if a killed process breaks the launcher, start the jobs that had not begun again."""
        while batch:
            broken = ""
            try:
                with every_result(self.launcher) as self.queue, self._progress(batch):
                    ended = self.launcher.launch(
                        [self._arguments(job) for job in batch], initial_job_idx=batch[0].number
                    )
            except Exception as error:
                broken, ended = f"{type(error).__name__}: {error}".splitlines()[0], []
            waiting = [job for job in batch if not record_path(self.folder, job.number).exists()]
            lost = {job.number: _reason(one) for job, one in zip(batch, ended, strict=False)} | self._ends(batch)
            if not broken or len(waiting) == len(batch):
                for job in waiting:
                    self._record_lost(job, lost.get(job.number) or broken)
                waiting = []
            self._settle(batch)
            batch = waiting

    @contextlib.contextmanager
    def _progress(self, batch: Sequence[Job]) -> Iterator[None]:
        """Say how far the jobs are, unless they run one after the other in this process and say so themselves."""
        if "hydra._internal" in type(self.launcher).__module__:
            yield
            return
        progress = Progress(self.folder, batch, total=self.total, done=self.ended, queue=self.queue)
        try:
            with progress:
                yield
        finally:
            self.ended = progress.done

    def _arguments(self, job: Job) -> list[str]:
        """The words from which the launcher composes a job: its overrides, folder and number."""
        subdir = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"]
        subdir = str(subdir).replace("${hydra.job.num}", str(job.number))
        return [
            *self.given[job.number],
            f"hydra.sweep.dir={_quoted(str(self.folder))}",
            f"hydra.sweep.subdir={_quoted(subdir)}",
            f"+hydra.job.env_set.{JOB_VARIABLE}={job.number}",
        ]

    def _record_lost(self, job: Job, reason: str) -> None:
        job.status, job.error = "failed", f"it was never started: {reason or 'its launcher gave no reason'}"
        write_job(self.folder, job)

    def _ends(self, batch: Sequence[Job]) -> dict[int, str]:
        """What Slurm says of the jobs that it did not let come to their end: number → sentence."""
        ids = {} if self.queue is None else {job.number: self.queue.of(i, len(batch)) for i, job in enumerate(batch)}
        states = {number: (self.queue.states[name], name) for number, name in ids.items() if name is not None}
        return {
            number: f"Slurm ended its job {name} as {state}" + " (scancel)" * (state == "CANCELLED")
            for number, (state, name) in states.items()
            if state not in ("UNKNOWN", "COMPLETED")
        }

    def _settle(self, batch: Sequence[Job]) -> None:
        """Record as killed what still counts as running after the launcher has returned, and what Slurm says of it."""
        numbers, ends = {job.number for job in batch}, self._ends(batch)
        for job in read_jobs(self.folder):
            if job.number not in numbers or job.status not in ("running", "killed", "interrupted"):
                continue
            if job.status == "running":
                job.status, job.error = "killed", "its process left no outcome: it was killed, or ran out of memory"
            job.error = ends.get(job.number, job.error)
            write_job(self.folder, job)

    def _mark_interrupted(self) -> None:
        """Record as interrupted what joblib killed on Ctrl-C; jobs on a cluster continue."""
        if "joblib" not in type(self.launcher).__module__:
            return
        for job in read_jobs(self.folder):
            if job.status in ("running", "killed"):
                job.status, job.error = "interrupted", "SIGINT"
                write_job(self.folder, job)

    def _conclude(self) -> None:
        jobs = read_jobs(self.folder)
        JobSweeper.failures = [job for job in jobs if job.status != "finished"]
        try:
            write_sweep_report(self.folder)
        finally:
            if not console.is_terminal:  # a file has no width, and 80 columns would fold the names of a table
                columns = os.environ.get("COLUMNS", "")
                console.width = int(columns) if columns.isdigit() else 160
            print_sweep(self.folder, console)
            SweepFolder(self.folder).release()


def _is_chosen(config: DictConfig) -> bool:
    """Whether the user named the sweep's folder."""
    return any(str(override).startswith("hydra.sweep.dir=") for override in config.hydra.overrides.hydra)


def _choose_folder(config: DictConfig) -> Path:
    folder, is_chosen = Path(config.hydra.sweep.dir), _is_chosen(config)
    if config.sweep.resume:
        earlier = folder
        if is_chosen and not (folder / SWEEP).is_file():
            raise UsageError(
                f"sweep.resume=true: {folder} holds no sweep. hydra.sweep.dir=… names that of the earlier one."
            )
        if not is_chosen:
            earlier = newest_sweep(Path(config.paths.runs), list(config.hydra.overrides.task))
        if earlier is not None:
            _take_earlier(earlier, is_chosen)
            return earlier
        print_line(console, f"no earlier sweep of these overrides in {config.paths.runs}: a new one")
    if not is_chosen:
        return SweepFolder(folder).claim_fresh().path
    if not SweepFolder(folder).claim():
        raise UsageError(
            f"{folder} holds a sweep already. Continue it: sweep.resume=true, or choose another hydra.sweep.dir=…."
        )
    return folder


def _take_earlier(folder: Path, is_named: bool) -> None:
    """Take the folder of an earlier sweep in order to continue it, unless a process owns it that may be alive."""
    sweep = SweepFolder(folder)
    earlier = sweep.owner
    if queued := still_queued(folder):
        raise UsageError(
            f"sweep.resume=true: Slurm still has jobs of {folder} in its queue: {', '.join(queued)}. Wait for them, or "
            f"scancel {' '.join(queued)}."
        )
    holder = sweep.take_over(is_named=is_named)
    if holder is not None:
        raise _still_running(holder, f"{folder} is run by {named(holder)}", folder)
    if earlier is not None and is_alive(earlier) is None:
        print_line(console, f"{folder} is taken over from {named(earlier)}.")


def _refuse_running(job: Job, folder: Path, is_named: bool) -> None:
    """Refuse to start a job again that is still running, though its sweep was killed."""
    if job.status != "running":
        return
    where = f"job {job.number} is run by {named(job.process)}"
    if is_alive(job.process) or not is_named:
        raise _still_running(job.process, where, folder)
    print_line(
        console,
        f"{where} as far as is known from here; it is started again. Cancel it there if it does.",
    )


def _still_running(process: Mapping[str, Any] | None, where: str, folder: Path) -> UsageError:
    """The error for a process that is alive, or of which that cannot be known and whose sweep the user did not name."""
    if is_alive(process):
        return UsageError(f"sweep.resume=true: {where}. Wait for it, or stop it first.")
    return UsageError(
        f"sweep.resume=true: {where}, and it cannot be seen from here whether that still runs. If it does not, name "
        f"the sweep: hydra.sweep.dir={folder}."
    )


def _reason(ended: Any) -> str:
    error = getattr(ended, "_return_value", None)
    return f"{type(error).__name__}: {error}".splitlines()[0] if isinstance(error, BaseException) else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
