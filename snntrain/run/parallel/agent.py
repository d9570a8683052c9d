"""Train a run on several devices: start a process for each, watch over them, and report how the run ended.

torch's elastic agent, the core of torchrun, starts and watches the processes: if one fails or is killed, the others are
asked to stop, and killed after a while. This process does not train, so that it can report whichever of them is gone.
"""

import contextlib
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from snntrain.error import Diverged, UsageError
from snntrain.files import checksums, write_json
from snntrain.installation import IMPORT_FOLDER
from snntrain.process import this_process
from snntrain.run.folder import RunFolder
from snntrain.run.interruption import Interrupted, ProcessError, how_to_continue
from snntrain.run.parallel.devices import is_first, processes_per_node
from snntrain.run.provenance import train_command
from snntrain.run.report.report import write_report
from snntrain.run.results import even_on_a_full_disk, exact_metrics, metrics_of

_WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from snntrain.run.parallel.worker import main; main(sys.argv[2])"
)
_SECONDS_TO_STOP = 20
_LOST_ANOTHER = re.compile(r"connection (closed|reset|refused)|broken pipe|gloo|nccl|peer", re.IGNORECASE)
_ASKED_TO_STOP = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


def launch(
    config: dict[str, Any], checkpoint: Path | None, overrides: list[str], command: str | None = None
) -> dict[str, float]:
    """Train, test and report in as many processes as the config has devices.

    Args:
        config: checked, with paths.run set.
        checkpoint: to continue from.
        overrides, command: as in snntrain.run.run.run.

    Returns: the metrics of results.json.
    Raises: UsageError if a process refused the config; Diverged if the numbers are no longer finite; ProcessError if a
    process failed or was killed; Interrupted if this process or one of them was asked to stop. Results and report are
    written, and the run can be resumed.
    """
    count, began = processes_per_node(config["trainer"]), time.time()
    exchange = Path(tempfile.mkdtemp(prefix="snntrain-"))
    job = {
        "config": config,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "overrides": overrides,
        "command": command or train_command(overrides),
        "agent": this_process(),
    }
    try:
        write_json(exchange / "job.json", job)
        stopped_by, failures = _run_processes(count, exchange)
        outcomes = _outcomes(exchange, count)
        if stopped_by is None and not failures:
            return outcomes[0]["metrics"]
        folder = RunFolder(Path(config["paths"]["run"]))
        recorded = {kind: value for outcome in reversed(outcomes.values()) for kind, value in outcome.items()}
        if "refused" in recorded:
            ending: BaseException = UsageError(recorded["refused"])
        elif "diverged" in recorded:
            ending = Diverged(recorded["diverged"])
        else:
            if stopped_by is None:
                stopped_by, message = _cause(failures, outcomes, count, exchange)
            else:
                message = f"Interrupted ({stopped_by.name})"
            message += " That was" * message.endswith(".") + _where(folder, config, "; all processes were stopped")
            ending = ProcessError(message) if stopped_by is None else Interrupted(stopped_by, message)
        if not isinstance(ending, UsageError) or _is_written_since(began, folder.config):
            _conclude(folder, ending, began)
        raise ending
    finally:
        shutil.rmtree(exchange, ignore_errors=True)


def concluded_as_lost(error: Exception, config: Mapping[str, Any], began: float) -> ProcessError | None:
    """Say why this process of several failed, if it was because it lost another one; results and report say it, too.

    Args:
        error: with which the training ended.
        config: checked, with paths.run set.
        began: when the run was started, in seconds since 1970.

    Returns: None if the error has another reason.
    """
    if not _LOST_ANOTHER.search(str(error)):
        return None
    folder, detail = RunFolder(Path(config["paths"]["run"])), " ".join(str(error).split())[:200]
    message = (
        f"Another process of the run was stopped, or its host no longer answers ({type(error).__name__}: {detail})."
    )
    ending = ProcessError(f"{message} That was{_where(folder, config)}")
    if is_first():
        _conclude(folder, ending, began)
    return ending


def _run_processes(count: int, exchange: Path) -> tuple[signal.Signals | None, dict[int, ProcessFailure]]:
    """Start the processes and wait; returns the signal that asked this one to stop, and the processes that failed."""
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=_SECONDS_TO_STOP,
        signals_to_handle=",".join(number.name for number in _ASKED_TO_STOP),
        # The first process prints the same warnings as the others.
        logs_specs=DefaultLogsSpecs(str(exchange / "logs"), redirects=dict.fromkeys(range(1, count), Std.ALL)),
    )
    with _handlers_and_logs_as_before():
        try:
            elastic_launch(settings, sys.executable)("-P", "-c", _WORKER, str(IMPORT_FOLDER), str(exchange))
        except ChildFailedError as error:
            return None, error.failures
        except SignalException as error:
            return signal.Signals(error.sigval), {}
        except KeyboardInterrupt:  # before the agent had its handlers in place
            return signal.SIGINT, {}
    return None, {}


@contextlib.contextmanager
def _handlers_and_logs_as_before() -> Iterator[None]:
    """Silence torch's agent, since we report in one sentence, and restore the signal handlers that it replaces."""
    log = logging.getLogger("torch.distributed.elastic")
    level, handlers = log.level, {number: signal.getsignal(number) for number in _ASKED_TO_STOP}
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # only the main thread may set handlers, and only there the agent did
                signal.signal(number, handler)


def _outcomes(exchange: Path, count: int) -> dict[int, dict[str, Any]]:
    """The outcome that each rank recorded; {} for a rank that could not."""
    files = {rank: exchange / f"outcome.{rank}.json" for rank in range(count)}
    return {
        rank: json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {} for rank, file in files.items()
    }


def _cause(
    failures: Mapping[int, ProcessFailure], outcomes: Mapping[int, Mapping[str, Any]], count: int, exchange: Path
) -> tuple[signal.Signals | None, str]:
    """Why the run ended: the signal if it was asked to stop, and the beginning of the message.

    The failures are in the order in which the agent found them, the first before it stopped the others. When a process
    is gone, the agent may first find others that failed because they lost their connection to it.
    """
    first = next(iter(failures))
    recorded = {rank: outcomes[rank] for rank in failures if "failed" in outcomes[rank]}
    if first in recorded and _LOST_ANOTHER.search(recorded[first]["failed"]):
        gone = [rank for rank in failures if rank not in recorded]
        first = gone[0] if gone else min(recorded, key=lambda rank: recorded[rank]["time"])
    elif first in recorded:
        first = min(recorded, key=lambda rank: recorded[rank]["time"])
    name, failure = f"Process {first} of 0 to {count - 1}", failures[first]
    if first in recorded:
        return None, f"{name} failed: {recorded[first]['failed']}"
    number = outcomes[first].get("interrupted") or (failure.signal_name() if failure.exitcode < 0 else None)
    if number in [asking.name for asking in _ASKED_TO_STOP]:
        return signal.Signals[number], f"Interrupted ({number} to {name.lower()})"
    if number is not None:
        return None, f"{name} was killed ({number})"
    said = [file.read_text(encoding="utf-8").strip() for file in exchange.glob(f"logs/**/{first}/stderr.log")]
    last = f": {said[0].splitlines()[-1]}" if said and said[0] else ""
    return None, f"{name} ended with exit code {failure.exitcode}{last}"


def _where(folder: RunFolder, config: Mapping[str, Any], remark: str = "") -> str:
    if not folder.last_checkpoint.is_file():
        return f" before training began{remark}."
    return how_to_continue(folder, len(folder.epochs()), config["trainer"].get("max_epochs"), remark)


def _conclude(folder: RunFolder, ending: BaseException, began: float) -> None:
    """Write results and report; what the first process recorded of its end stays, except for why it ended."""
    if not folder.config.is_file():
        return
    is_interrupted = isinstance(ending, Interrupted)
    status, message = ("interrupted", ending.message) if is_interrupted else ("failed", str(ending))
    with even_on_a_full_disk(status):
        found = folder.usable_outcome() if _is_written_since(began, folder.results) else {}
        metrics = (exact_metrics(found) if found else {}) or metrics_of(folder.best_epoch())
        more = {name: value for name, value in found.items() if name not in ("status", "metrics", "hex", "message")}
        folder.write_results(status, metrics, **{"seconds": {}, **more}, message=message)
        write_report(folder.path)
        checksums.register(folder.path)


def _is_written_since(began: float, file: Path) -> bool:
    return file.is_file() and file.stat().st_mtime >= began
