"""Say during a sweep which of its jobs start and end, and how many have, wherever they run."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from snntrain.error import UsageError
from snntrain.lab.sweep.jobs import Job, read_jobs
from snntrain.lab.sweep.slurm import NEVER, Queue
from snntrain.terminal import bold, print_line, terminal, warn

console = terminal()

_SECONDS = 1.0
_MOST = 8  # numbers of jobs in one line


class Progress:
    """Print a line whenever a job of a sweep starts, ends, or waits for another reason, inside a with block.

    It reads the records that the jobs write, in a thread, because the launcher waits in the main one.

    Args:
        folder: of the sweep.
        batch: the jobs that are launched together.
        total: how many jobs the command runs.
        done: how many of them have ended before these.
        queue: what Slurm says of them; None: another launcher runs them.
    """

    def __init__(self, folder: Path, batch: Sequence[Job], *, total: int, done: int, queue: Queue | None) -> None:
        self.folder, self.batch, self.total, self.done = folder, list(batch), total, done
        self.queue = queue
        self._seen: dict[int, Job] = {}
        self._said: set[str] = set()  # reasons
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look(is_over=True)

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            self.look()

    def look(self, *, is_over: bool = False) -> None:
        """Print what has changed since the last look.

        Args:
            is_over: the launcher has returned, so that nothing is started again.
        """
        with suppress(OSError, UsageError):  # a record that cannot be read now is read again in a second
            jobs = {job.number: job for job in read_jobs(self.folder)}
            for index, given in enumerate(self.batch):
                job, before = jobs[given.number], self._seen.get(given.number, given)
                if (job.status, job.process) != (before.status, before.process) and job.status != "waiting":
                    self._say(job, before, "left" if is_over else self._place(index))
        if self.queue is not None and not is_over:
            self._say_reasons(self.queue)

    def _say(self, job: Job, before: Job, place: str) -> None:
        if job.status == "running" or before.status == "waiting":
            again = before.process is not None and before.status != "waiting"
            rest = " continues" if again else f": {' '.join(job.overrides)}"
            print_line(console, bold(f"job {job.number}", rest))
        self._seen[job.number] = job
        if job.status in ("interrupted", "killed") and place != "left":
            if place == "queued":
                print_line(console, f"job {job.number} was stopped, and Slurm will start it again")
            else:
                self._seen[job.number] = replace(job, status="running")  # look again until Slurm has decided
        elif job.status != "running":
            self.done += 1
            reason = f": {job.error}" if job.error else ""
            print_line(console, f"job {job.number} {job.status}{reason}   ({self.done} of {self.total} done)")

    def _place(self, index: int) -> str:
        """Where a job is: queued (again), running or ending, or left."""
        name = None if self.queue is None else self.queue.of(index, len(self.batch))
        if self.queue is None or name is None:
            return "left" if self.queue is None else "running"
        if self.queue.is_done(name, mode="cache"):
            return "left"
        return "queued" if self.queue.states[name] in ("PENDING", "REQUEUED") else "running"

    def _say_reasons(self, queue: Queue) -> None:
        """Say why jobs wait, each reason once."""
        if queue.trouble and queue.trouble != self._trouble:
            warn(console, f"Slurm does not answer, and is asked again: {queue.trouble}")
        self._trouble = queue.trouble
        waiting: dict[str, list[int]] = {}
        for index, job in enumerate(self.batch):
            name = queue.of(index, len(self.batch))
            if name is not None and queue.states.get(name) == "PENDING" and queue.reasons.get(name):
                waiting.setdefault(queue.reasons[name], []).append(job.number)
        for reason, numbers in waiting.items():
            if reason in self._said:
                continue
            self._said.add(reason)
            listed = ", ".join(map(str, numbers[:_MOST])) + f" and {len(numbers) - _MOST} more" * (len(numbers) > _MOST)
            who = f"job{'s' * (len(numbers) > 1)} {listed} wait{'s' * (len(numbers) == 1)}"
            if reason in NEVER:
                give_up = f"scancel {' '.join(queue.submitted())}"
                warn(console, f"{who} without end in Slurm's queue: {reason}, {NEVER[reason]}. To give up: {give_up}")
            else:
                print_line(console, f"{who} in Slurm's queue: {reason}")
