"""A netx file in Lava's simulator, in a process of its own that cannot hang for ever."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import real
from snntrain.export.emulator import Emulation, check_input, integers
from snntrain.export.netx_file import read
from snntrain.files import naming
from snntrain.lava_exchange.lava_shim import FOLDER, installed_lava

WORKER = Path(__file__).with_name("lava_worker.py")
_LAST_LINES = 12


class LavaError(RuntimeError):
    """Lava could not run a file; the text holds the end of what it said."""


@dataclass(frozen=True)
class LavaRun:
    """What Lava gave.

    Attributes:
        spikes: bool [T, N, *] of every layer with neurons, step t belonging to step t of the input.
        seconds: the whole process, its start included.
    """

    spikes: list[np.ndarray]
    seconds: float

    @property
    def output(self) -> np.ndarray:
        """Spikes of the last layer."""
        return self.spikes[-1]

    def mismatches(self, emulation: Emulation) -> list[int]:
        """For every layer, how many spikes differ from the emulator's."""
        pairs = zip(self.spikes, emulation.spikes, strict=True)
        return [int((ours != np.asarray(torch.as_tensor(theirs).cpu())).sum()) for ours, theirs in pairs]


def check_system() -> None:
    """Refuse to start Lava where it could outlive a run: only a group of processes can be killed with certainty.

    Raises: LavaError.
    """
    if not hasattr(os, "killpg"):
        raise LavaError(
            "Lava's simulator runs in a group of processes, which this system does not have. Set "
            "callbacks.lava.lava_samples=0 to compare the file with the net in the emulator only."
        )


def run_in_lava(
    path: str | os.PathLike,
    x_seq: Tensor | np.ndarray,
    timeout: float = 600.0,
    python: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
) -> LavaRun:
    """Run a file on a sequence in Lava's CPU simulator, which computes as Loihi does.

    It takes some milliseconds for each step of each sample: a few samples are enough to see that it does what the
    emulator does.

    Args:
        path: of the netx file.
        x_seq: integers [T, N, *], as Exported.input.encode gives them.
        timeout: seconds after which the process and all that it started is killed.
        python: interpreter with Lava; None: this one.
        folder: where scripts/install_lava.py put Lava; None: see lava_shim.installed_lava.

    Raises: LavaError if Lava is not there, fails, or does not come to an end; ExportError for other inputs than
    integers.
    """
    real("run_in_lava", "timeout", timeout, above=0)
    check_system()
    check_input(read(path), x_seq.shape)
    x = integers(x_seq)
    largest = int(np.abs(x).max(initial=0))
    message_bits = 0 if largest <= 1 and x.min(initial=0) >= 0 else largest.bit_length() + 1
    folder = installed_lava() if folder is None and python is None else folder
    environment = os.environ | ({FOLDER: str(folder)} if folder else {})
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lava-") as place:
        request, result = Path(place, "request.npz"), Path(place, "result.npz")
        with naming(request):
            np.savez(request, x=x.astype(np.int32), path=str(Path(path).resolve()), message_bits=message_bits)
        _call([python or sys.executable, WORKER, request, result], environment, timeout, Path(place, "said"))
        if not result.exists():
            raise LavaError(f"run_in_lava: {python} ended without a result; is it a Python?")
        with np.load(result) as found:
            spikes = [found[f"spikes_{index}"] for index in range(len(found.files))]
    return LavaRun(spikes, time.monotonic() - start)


def _call(command: Sequence[Any], environment: dict[str, str], timeout: float, said: Path) -> None:
    """Run a program to its end. Raises: LavaError if that is a bad one, or does not come."""
    # A file, not a pipe: what the program leaves behind would hold the pipe open.
    with said.open("wb") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        try:
            process = subprocess.Popen(list(map(str, command)), env=environment, start_new_session=True, **streams)
        except OSError as error:
            raise LavaError(f"run_in_lava: {command[0]} cannot be started: {error}.") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_group(process)
    if code == 0:
        return
    what = f"did not end within {timeout:g} seconds and was killed" if code is None else f"ended with code {code}"
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    if code is None:
        what += "; give it more time (callbacks.lava.timeout), or fewer samples (callbacks.lava.lava_samples)"
    raise LavaError("\n".join([f"run_in_lava: Lava's simulator {what}.{' It said last:' if lines else ''}", *lines]))


def _kill_group(process: subprocess.Popen) -> None:
    """Kill a process and what it started: Lava's own processes outlive a failed run."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
