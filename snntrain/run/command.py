"""A command line from start to exit code: one job or a sweep, errors as one sentence."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from snntrain.config.compose import CONF, allow_new_nested_keys, check_overrides, explain, without_hydra
from snntrain.config.error import UsageError
from snntrain.config.schema import register_schema
from snntrain.error import Diverged
from snntrain.run.interruption import Interrupted, ProcessError
from snntrain.run.owner import release
from snntrain.sweep.jobs import JOB_VARIABLE, Job, begin, latest_folder, record_path, write_job
from snntrain.sweep.launch import check_launchers, output_in, take_gpu
from snntrain.sweep.sweeper import JobSweeper, register_sweeper

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

# Of the jobs that ran in this process outside of a sweep.
_failures: list[Exception] = []
_command_process: int | None = None


def command(main: Callable[[], Any]) -> int:
    """Run a function decorated with hydra.main.

    Args:
        main: what hydra.main returned.

    Returns: the exit code: 0; 1 if a job failed; 2 for a wrong command line or config; 130 after Ctrl-C.
    """
    global _command_process
    _command_process = os.getpid()
    arguments = sys.argv[1:]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here instead of having Hydra print them
    register_schema()
    register_sweeper()
    try:
        parsed = get_args_parser().parse_args(arguments)
        overrides = parsed.overrides
        if not parsed.shell_completion:  # whose words are no overrides
            check_overrides(overrides)
            check_launchers(overrides)
            if parsed.multirun:
                _check_launcher(*_launcher_and_trainer(overrides))  # before any job is submitted anywhere
            rewritten = dict(zip(overrides, allow_new_nested_keys(overrides), strict=True))
            sys.argv[1:] = [rewritten.get(argument, argument) for argument in arguments]
        main()
    except (KeyboardInterrupt, Interrupted) as interruption:
        if isinstance(interruption, KeyboardInterrupt):
            errors.print("Interrupted.")
        return getattr(interruption, "exit_code", 130)
    except Exception as error:
        _report(error, "error", any(argument.lstrip("+") == "debug.traceback=true" for argument in arguments))
        return _exit_code(error)
    if JobSweeper.failures is not None:
        return 1 if JobSweeper.failures else 0
    return _exit_code(_failures[0]) if _failures else 0


def run_job(config: DictConfig) -> float | None:
    """The body of train.py: one run, in the folder Hydra chose for it.

    An error is reported here and now. In a sweep the jobs after it still run; the sweep knows of it from the job's
    record, in whatever process the job ran.

    Returns: the monitored metric, for sweepers that optimise it.
    """
    from lightning.pytorch.utilities import rank_zero_only

    register_schema()  # what OmegaConf resolves is not known yet in a launcher's own process
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
        terminal = console
        if (
            os.getpid() != _command_process and "SUBMITIT_EXECUTOR" not in os.environ
        ):  # submitit keeps the output itself
            stream = stack.enter_context(output_in(record_path(sweep, number).with_suffix(".txt")))
            terminal = Console(file=stream, highlight=False)
        terminal.print(f"\n[bold]job {number}[/bold]: {escape(' '.join(overrides))}", soft_wrap=True)
        take_gpu(config, sweep)
        return _run_in_sweep(config, folder, overrides, sweep, number, terminal)


def _run_alone(config: DictConfig, folder: Path, overrides: list[str], is_chosen: bool) -> float | None:
    from snntrain.run.run import run

    try:
        if config.sweep.resume and not _is_sweep():
            raise UsageError("sweep.resume=true goes on with a sweep: add -m. To go on with one run: resume=auto.")
        if _is_sweep():
            _check_launcher(HydraConfig.get().launcher, config.trainer)
        return run(config, folder, overrides, is_chosen=is_chosen).get(config.monitor.metric)
    except Exception as error:
        _failures.append(error)
        _report(error, "error", config.debug.get("traceback"))
        if os.getpid() != _command_process:
            raise  # a launcher's own process: the launcher has to learn of it
        return None
    finally:
        _leave(config, folder)


def _run_in_sweep(
    config: DictConfig, folder: Path, overrides: list[str], sweep: Path, number: int, terminal: Console
) -> float | None:
    from snntrain.run.run import run

    earlier = latest_folder(folder.parent, folder.name)
    job, began = begin(sweep, number, overrides)
    try:
        _check_launcher(HydraConfig.get().launcher, config.trainer)
        job.metrics = run(config, folder, overrides, is_chosen=False, earlier=earlier)
        job.status = "finished"
        return job.metrics.get(config.monitor.metric)
    except Exception as error:
        job.status, job.error = "failed", describe(error)
        _report(error, f"job {number} failed", config.debug.get("traceback"))
        return None
    except (KeyboardInterrupt, Interrupted) as interruption:
        job.status, job.error = "interrupted", str(interruption) or "SIGINT"
        if os.getpid() != _command_process:
            raise KeyboardInterrupt from None  # which a launcher's process can hand over to the one that waits for it
        raise
    finally:
        _leave(config, folder)
        if job.status != "running":  # else it is about to be queued again, and goes on there
            _record(job, sweep, config, time.perf_counter() - began)
            if terminal is not console:
                terminal.print(
                    f"job {number} {job.status}" + escape(f": {job.error}" if job.error else ""), soft_wrap=True
                )


def _record(job: Job, sweep: Path, config: DictConfig, seconds: float) -> None:
    where = Path(config.paths.run or "")
    job.folder = os.path.relpath(where, sweep) if (where / "config.yaml").is_file() else None
    job.seconds = round(seconds, 3)
    write_job(sweep, job)


def _leave(config: DictConfig, folder: Path) -> None:
    for used in {Path(config.paths.run or folder), folder}:
        release(used)
        _remove_if_empty(used)


def _report(error: Exception, title: str, with_traceback: bool) -> None:
    if with_traceback:
        traceback.print_exception(error)
    errors.print(f"[bold red]{title}:[/bold red] {escape(describe(error))}", soft_wrap=True)


def _exit_code(error: Exception) -> int:
    return 2 if isinstance(error, (UsageError, HydraException, OmegaConfBaseException)) else 1


def describe(error: Exception) -> str:
    """One sentence for an error."""
    if isinstance(error, (UsageError, ProcessError, Diverged)):
        return str(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return explain(error)
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename}: {error.strerror}. If this is the run folder, choose another with hydra.run.dir=… or "
            "paths.runs=…."
        )
    return f"{type(error).__name__}: {error} (debug.traceback=true shows where)"


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _launcher_and_trainer(overrides: list[str]) -> tuple[DictConfig, DictConfig]:
    """Those sections of a sweep's config, of what is the same in all its jobs."""
    parsed = zip(OverridesParser.create().parse_overrides(overrides), allow_new_nested_keys(overrides), strict=True)
    fixed = [text for override, text in parsed if not override.is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", fixed, return_hydra_config=True)
    return config.hydra.launcher, config.trainer


def _check_launcher(launcher: DictConfig, trainer: DictConfig) -> None:
    """Refuse a launcher of a sweep's jobs that does not go with their devices."""
    from snntrain.parallel.devices import check_launcher

    check_launcher(*(OmegaConf.to_container(section, resolve=True) for section in (launcher, trainer)))


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder made for a refused run, and the two above it (date, all runs) if that leaves them empty."""
    for directory in (folder, folder.parent, folder.parent.parent):
        try:
            directory.rmdir()
        except OSError:
            return
