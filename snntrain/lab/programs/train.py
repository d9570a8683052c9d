"""Train: compose → check → build → fit → test → report, for one run or for the jobs of a sweep."""

import contextlib
import gc
import os
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from snntrain.config.compose import allow_new_nested_keys, check_overrides, compose_with_hydra, without_hydra
from snntrain.config.folders import add_config_folder, add_folder_beside_script, search_path, take_search_path
from snntrain.config.help import print_choices
from snntrain.config.overrides import check_command, is_sweep, refuse_unused
from snntrain.config.schema import register_schema
from snntrain.error import UsageError
from snntrain.installation import CONF
from snntrain.lab.sweep.jobs import JOB_VARIABLE, Job, begin, latest_folder, record_path, write_job
from snntrain.lab.sweep.launch import check_launchers, output_in, take_gpu
from snntrain.lab.sweep.slurm import check_slurm, is_slurm
from snntrain.lab.sweep.sweeper import JobSweeper, register_sweeper
from snntrain.run.folder import RunFolder
from snntrain.run.front import WRONG, describe, exit_code, report
from snntrain.run.hydra_options import read_options
from snntrain.run.interruption import Interrupted
from snntrain.run.saved_overrides import with_saved_overrides
from snntrain.terminal import bold, terminal

console = terminal()

# Errors of the jobs that ran in this process outside a sweep.
_failures: list[Exception] = []
_command_process: int | None = None


def main(arguments: list[str]) -> int:
    """Train; the exit code, 1 if a job of a sweep failed."""
    global _command_process
    _command_process = os.getpid()
    _failures.clear()  # of an earlier command in this process
    JobSweeper.failures = None
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here instead of having Hydra print them
    register_schema()
    register_sweeper()
    options = read_options(arguments)
    if options.config_folder is not None:
        add_config_folder(options.config_folder)
    add_folder_beside_script()
    overrides = take_search_path(options.overrides)
    sweeps = options.is_sweep
    if not options.completes:
        check_overrides(overrides)
        sweeps = sweeps or is_sweep(overrides)
        if not sweeps:
            overrides = with_saved_overrides(overrides)
        check_command(overrides, is_sweep=sweeps)
        check_launchers(overrides)
        if sweeps:
            launcher, trainer = _launcher_and_trainer(overrides)
            _check_launcher(launcher, trainer)  # before any job is submitted anywhere
            if is_slurm(launcher):
                check_slurm(OmegaConf.to_container(launcher, resolve=True))
        overrides = allow_new_nested_keys(overrides)
    sys.argv[1:] = [*overrides, *search_path(), *options.flags]  # where Hydra reads them
    try:
        with contextlib.ExitStack() as afterwards:
            if {"-h", "--help"} & set(options.flags):  # Hydra prints its part and exits
                afterwards.callback(print_choices, console, options.overrides)
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run_job)()
    except OSError as error:  # Hydra itself makes nothing but the folder of the run
        if exit_code(error) != WRONG:
            raise
        raise UsageError(describe(error, Path(os.fsdecode(error.filename or "")), is_sweep=sweeps)) from error
    if JobSweeper.failures is not None:
        return 1 if JobSweeper.failures else 0
    return exit_code(_failures[0]) if _failures else 0


def run_job(config: DictConfig) -> float | None:
    """One run, in the folder Hydra chose for it.

    An error is reported at once. The later jobs of a sweep still run; the sweep learns of the error from the job's
    record, because the job may have run in another process.

    Returns: the monitored metric, for sweepers that optimize it.
    """
    _import_libraries()
    from lightning.pytorch.utilities import rank_zero_only

    register_schema()  # a launcher's own process does not know our resolvers yet
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    given = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # ${…} is text here
    overrides = [str(override).removeprefix("++") for override in given]
    config = without_hydra(config)
    if not _is_sweep() or JOB_VARIABLE not in os.environ or rank_zero_only.rank != 0:
        is_chosen = any(str(override).startswith("hydra.run.dir=") for override in hydra_config.overrides.hydra)
        return _run_alone(config, folder, overrides, is_chosen or _is_sweep())
    sweep, number = Path(hydra_config.sweep.dir), int(os.environ[JOB_VARIABLE])
    with contextlib.ExitStack() as stack:
        if (
            os.getpid() != _command_process and "SUBMITIT_EXECUTOR" not in os.environ
        ):  # submitit keeps the output itself
            stack.enter_context(output_in(record_path(sweep, number).with_suffix(".txt")))
        console.print(bold(f"\njob {number}", f": {' '.join(overrides)}"), soft_wrap=True)
        take_gpu(config, sweep)
        return _run_in_sweep(config, folder, overrides, sweep, number)


def _import_libraries() -> None:
    """Import torch, Lightning and what a run needs, with the garbage collector off.

    It would look through a million new objects again and again, none of which is garbage, for a seventh of the time.
    """
    is_first = "snntrain.run.run" not in sys.modules
    gc.disable()
    try:
        import snntrain.run.run  # noqa: F401
    finally:
        gc.enable()
    if is_first:
        gc.freeze()  # they stay as long as the process, so that later collections need not look at them either


def _run_alone(config: DictConfig, folder: Path, overrides: list[str], is_chosen: bool) -> float | None:
    from snntrain.run.run import run

    try:
        if config.sweep.resume and not _is_sweep():
            raise UsageError("sweep.resume=true continues a sweep: add -m. To continue one run: resume=auto.")
        if _is_sweep():
            _check_launcher(HydraConfig.get().launcher, config.trainer)
        else:
            refuse_unused(config, overrides)
        return run(config, folder, overrides, is_chosen=is_chosen).get(config.monitor.metric)
    except Exception as error:
        _failures.append(error)
        report(error, with_traceback=config.debug.get("traceback"), folder=folder)
        if os.getpid() != _command_process:
            raise  # in a launcher's own process: the launcher has to learn of it
        return None
    finally:
        _leave(config, folder)


def _run_in_sweep(config: DictConfig, folder: Path, overrides: list[str], sweep: Path, number: int) -> float | None:
    from snntrain.run.parallel.devices import in_group
    from snntrain.run.run import run

    earlier = latest_folder(folder.parent, folder.name)
    job, began = begin(sweep, number, overrides)
    try:
        _check_launcher(HydraConfig.get().launcher, config.trainer)
        job.metrics = run(config, folder, overrides, is_chosen=False, earlier=earlier)
        job.status = "finished"
        return job.metrics.get(config.monitor.metric)
    except Exception as error:
        job.status, job.error = "failed", describe(error, folder, is_sweep=True)
        report(
            error,
            title=f"job {number} failed",
            with_traceback=config.debug.get("traceback"),
            folder=folder,
            is_sweep=True,
        )
        if in_group():
            raise  # so that Slurm ends the other tasks of the job
        return None
    except (KeyboardInterrupt, Interrupted) as interruption:
        job.status, job.error = "interrupted", str(interruption) or "SIGINT"
        if os.getpid() != _command_process:
            raise KeyboardInterrupt from None  # a launcher can pickle this one and hand it to the waiting process
        raise
    finally:
        _leave(config, folder)
        if job.status != "running":  # Still "running": Slurm is about to requeue it.
            _record(job, sweep, config, time.perf_counter() - began)


def _record(job: Job, sweep: Path, config: DictConfig, seconds: float) -> None:
    where = RunFolder(Path(config.paths.run or ""))
    job.folder = os.path.relpath(where, sweep) if where.config.is_file() else None
    job.seconds = round(seconds, 3)
    write_job(sweep, job)


def _leave(config: DictConfig, folder: Path) -> None:
    for used in {RunFolder(Path(config.paths.run or folder)), RunFolder(folder)}:
        used.release()
        used.remove_if_empty()


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _launcher_and_trainer(overrides: list[str]) -> tuple[DictConfig, DictConfig]:
    """These two sections of a sweep's config, composed from the overrides that all its jobs share."""
    parsed = zip(OverridesParser.create().parse_overrides(overrides), overrides, strict=True)
    config = compose_with_hydra([text for override, text in parsed if not override.is_sweep_override()])
    return config.hydra.launcher, config.trainer


def _check_launcher(launcher: DictConfig, trainer: DictConfig) -> None:
    """Refuse a launcher that does not suit the devices of the jobs."""
    from snntrain.run.parallel.devices import check_launcher

    check_launcher(*(OmegaConf.to_container(section, resolve=True) for section in (launcher, trainer)))
