"""Run the jobs of a sweep in other processes: their launcher, a GPU for each, a file for their output."""

import contextlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from snntrain.error import UsageError
from snntrain.files import naming
from snntrain.lab.sweep.slurm import Queue
from snntrain.process import lock

# launch=… → (the plugin's module, what pip calls it, the extra of pyproject.toml)
PACKAGES = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher", "joblib"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "hydra-submitit-launcher", "slurm"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "hydra-submitit-launcher", "slurm"),
}
_GPUS_VARIABLE = "SNNTRAIN_GPUS"

_held: list[filelock.BaseFileLock] = []  # the lock of this process's GPU, held until it ends


def check_launchers(overrides: Sequence[str]) -> None:
    """Refuse a launcher whose package is not installed, with the pip command, or a sweep over launchers."""
    for override in overrides:
        key, _, choice = override.lstrip("+").partition("=")
        if key != "launch":
            continue
        if "," in choice or "(" in choice:
            raise UsageError(f"{override}: one launcher starts all jobs of a sweep. Choose one.")
        module, package, extra = PACKAGES.get(choice, ("hydra", "", ""))
        if not _is_installed(module):
            raise UsageError(
                f"launch={choice} needs the package {package}, which is not installed: pip install {package}, or "
                f"pip install 'snntrain[{extra}]'."
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package it would be in
        return False


def announce_gpus() -> None:
    """Tell the processes that are started from now on which GPUs there are, since they must not ask CUDA for it."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = range(torch.cuda.device_count()) if visible is None else filter(None, visible.split(","))
    os.environ[_GPUS_VARIABLE] = ",".join(map(str, gpus))


def take_gpu(config: DictConfig, folder: Path) -> str | None:
    """Let this process see only one GPU, whose name is returned: the first that no other process of the sweep uses.

    With more processes than GPUs, some share one. On the CPU, outside joblib's processes, and for a run on several
    devices there is nothing to choose, and nothing happens. The locks lie in the sweep's folder.
    """
    gpus = [gpu for gpu in os.environ.get(_GPUS_VARIABLE, "").split(",") if gpu]
    may_use_gpu = config.trainer.get("accelerator", "auto") in ("gpu", "cuda", "auto")
    if not gpus or not may_use_gpu or config.trainer.get("devices", 1) not in (1, "1", "auto"):
        return None
    if not _held:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[_slot(folder / ".slots") % len(gpus)]
    return os.environ["CUDA_VISIBLE_DEVICES"]


def _slot(folder: Path) -> int:
    """The lowest number that no living process holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        held = lock(folder / str(number), seconds=0)
        with contextlib.suppress(TimeoutError):
            held.acquire()
            _held.append(held)
            return number


@contextlib.contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Redirect what this process prints inside the block into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(number) for number in (1, 2)]
    with naming(path), path.open("a", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), before, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextlib.contextmanager
def every_result(launcher: object) -> Iterator[Queue | None]:
    """Let submitit's launchers wait for all jobs inside the block, where they would stop at the first killed one.

    Yields: what Slurm says of the jobs; None for another launcher.
    """
    if "submitit" not in type(launcher).__module__:
        yield None
        return
    from submitit.core.core import Job
    from submitit.slurm.slurm import SlurmJob

    queue = Queue() if type(launcher).__name__ == "SlurmLauncher" else None
    results, watcher = Job.results, SlurmJob.watcher

    def tolerant(job: Any) -> list[Any]:
        try:
            return results(job)
        except Exception as error:  # the job ended without a result, for any reason
            lost = JobReturn()
            lost.return_value, lost.status = error, JobStatus.FAILED
            return [lost]

    Job.results = tolerant
    if queue is not None:
        SlurmJob.watcher = queue
    try:
        yield queue
    finally:
        Job.results, SlurmJob.watcher = results, watcher
