"""One of the processes of a run on several devices: it trains and records how it ended."""

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from snntrain.process import is_alive

_SECONDS_TO_END = 15
_SET_SIGNAL_AT_PARENTS_DEATH = 1  # of prctl(2)


def main(exchange: str) -> NoReturn:
    """Run the job that snntrain.run.parallel.agent described, and end the process.

    Args:
        exchange: a folder with job.json, into which outcome.<rank>.json is written.
    """
    folder, rank = Path(exchange), os.environ["RANK"]
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    _end_with(job["agent"])
    _end_soon_after_a_signal()
    outcome, code = _outcome(job)
    from snntrain.files import write_json

    write_json(folder / f"outcome.{rank}.json", {**outcome, "time": time.time()})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a normal exit would wait for connections to processes that are gone


def _outcome(job: dict[str, Any]) -> tuple[dict[str, Any], int]:
    from snntrain.error import Diverged, UsageError
    from snntrain.run.front import describe
    from snntrain.run.interruption import Interrupted

    try:
        return {"metrics": _train(job)}, 0
    except Interrupted as interruption:
        return {"interrupted": str(interruption)}, interruption.exit_code
    except UsageError as error:
        return {"refused": str(error)}, 2
    except Diverged as error:
        return {"diverged": str(error)}, 1
    except Exception as error:
        if job["config"]["debug"].get("traceback"):
            traceback.print_exc()
        return {"failed": describe(error)}, 1


def _train(job: dict[str, Any]) -> dict[str, float]:
    from snntrain.config.check import check_resolved
    from snntrain.config.schema import register_schema
    from snntrain.run.memory import keep_freed_memory
    from snntrain.run.run import quieten_lightning, train

    quieten_lightning()
    keep_freed_memory()
    register_schema()
    check_resolved(job["config"])  # imports the plugins
    checkpoint = job["checkpoint"]
    return train(job["config"], None if checkpoint is None else Path(checkpoint), job["overrides"], job["command"])


def _end_with(agent: dict[str, Any]) -> None:
    """Let the system end this process when the one that watches over it is gone."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)
        if is_alive(agent) is False:  # it was killed before the line above
            sys.exit(1)


def _end_soon_after_a_signal() -> None:
    """End the process a while after a signal, even if it is waiting for another process in native code.

    Python runs handlers in the main thread between two of its instructions, but writes the number of the signal to this
    pipe at once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # signals should end loader workers

    def watch() -> None:
        while (number := os.read(reading, 1)[0]) not in (signal.SIGTERM, signal.SIGINT):
            pass
        time.sleep(_SECONDS_TO_END)
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()
