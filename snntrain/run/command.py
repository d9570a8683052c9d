"""A command line from start to exit code: one job or a sweep, errors as one sentence."""

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
from rich.table import Table

from snntrain.config.compose import CONF, allow_new_nested_keys, check_overrides, explain, without_hydra
from snntrain.config.error import UsageError
from snntrain.config.schema import register_schema
from snntrain.run.interruption import Interrupted, ProcessError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

# Jobs that ran in this process: overrides, metrics, error, seconds.
_jobs: list[dict[str, Any]] = []
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
    try:
        parsed = get_args_parser().parse_args(arguments)
        overrides = parsed.overrides
        check_overrides(overrides)
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
    failures = [job["error"] for job in _jobs if job["error"] is not None]
    if any(job["in_sweep"] for job in _jobs):  # Hydra has forgotten by now that it was one
        console.print(_sweep_table())
        return 1 if failures else 0
    return _exit_code(failures[0]) if failures else 0


def run_job(config: DictConfig) -> float | None:
    """The body of train.py: one run, in the folder Hydra chose for it.

    An error is reported here and now. In a sweep the jobs after it still run; `command` knows of it from the list of
    jobs.

    Returns: the monitored metric, for sweepers that optimise it.
    """
    from snntrain.run.run import run

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    given = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # ${…} is text here
    overrides = [str(override).removeprefix("++") for override in given]
    config = without_hydra(config)
    job: dict[str, Any] = {"overrides": overrides, "metrics": {}, "error": None, "in_sweep": _is_sweep()}
    _jobs.append(job)
    if _is_sweep():
        console.print(f"\n[bold]job {hydra_config.job.num}[/bold]: {escape(' '.join(overrides))}", soft_wrap=True)
    began = time.perf_counter()
    try:
        if _is_sweep():
            _check_launcher(hydra_config.launcher, config.trainer)
        job["metrics"] = run(config, folder, overrides)
        return job["metrics"].get(config.monitor.metric)
    except Exception as error:
        job["error"] = error
        _report(error, f"job {hydra_config.job.num} failed" if _is_sweep() else "error", config.debug.get("traceback"))
        if os.getpid() != _command_process:
            raise  # a launcher's own process: the launcher has to learn of it
        return None
    finally:
        job["seconds"] = time.perf_counter() - began
        _remove_if_empty(folder)


def _report(error: Exception, title: str, with_traceback: bool) -> None:
    if with_traceback:
        traceback.print_exception(error)
    errors.print(f"[bold red]{title}:[/bold red] {escape(describe(error))}", soft_wrap=True)


def _exit_code(error: Exception) -> int:
    return 2 if isinstance(error, (UsageError, HydraException, OmegaConfBaseException)) else 1


def describe(error: Exception) -> str:
    """One sentence for an error."""
    if isinstance(error, (UsageError, ProcessError)):
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
    from snntrain.run.devices import check_launcher

    check_launcher(*(OmegaConf.to_container(section, resolve=True) for section in (launcher, trainer)))


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder made for a refused run, and the two above it (date, all runs) if that leaves them empty."""
    for directory in (folder, folder.parent, folder.parent.parent):
        try:
            directory.rmdir()
        except OSError:
            return


def _sweep_table() -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("job", "overrides", "status", "test/acc", "val/acc", "firing rate", "seconds"):
        table.add_column(header, overflow="fold")
    for number, job in enumerate(_jobs):
        metrics, error = job["metrics"], job["error"]
        shown = (
            f"{metrics[name]:.4f}" if name in metrics else "" for name in ("test/acc", "val/acc", "test/firing_rate")
        )
        status = "finished" if error is None else f"[red]failed[/red]: {escape(describe(error))}"
        table.add_row(str(number), escape(" ".join(job["overrides"])), status, *shown, f"{job['seconds']:.1f}")
    return table
