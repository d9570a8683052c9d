"""Opens HDF5 files after another process has checked them: no bombs, no loops, no links to other files."""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py

from snntrain.error import DamagedFile
from snntrain.export.error import ExportError
from snntrain.files import damage

WORKER = Path(__file__).with_name("hdf5_worker.py")
SECONDS = 120  # for one file

# Not as a script: Python would then find the modules beside it, some of which are named like packages.
_RUN = "import runpy, sys; del sys.path[0]; runpy.run_path(sys.argv[1], run_name='__main__')"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file, open for reading, whose datasets can all be read.

    Errors that its content causes in the block count as damage as well.

    Raises: ExportError for a file that is not there; DamagedFile naming the file, and the dataset where it is one.
    """
    if not path.is_file():
        raise ExportError("", f"{path} does not exist")
    wrong = _worker.ask(path)
    if wrong is not None:
        raise DamagedFile(f"{path} is damaged, or no HDF5 file: {wrong}. Export it again, or get it anew.")
    with damage(path):
        try:
            with h5py.File(path, "r") as file:
                yield file
        except (OSError, RuntimeError) as error:  # what libhdf5 says of broken structures
            raise DamagedFile(f"{path} is damaged ({' '.join(str(error).split())[:200]}).") from error


class _Worker:
    """A process that looks through one file after the other, and is started anew after one that it did not survive."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, path: Path) -> str | None:
        """What is wrong with a file, or None."""
        with self._lock:
            if self._process is None or self._owner != os.getpid():  # a forked process must not share the pipes
                self._start()
            try:
                self._process.stdin.write(json.dumps(str(path.resolve())) + "\n")
                self._process.stdin.flush()
                ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
                line = self._process.stdout.readline() if ready else ""
            except OSError:
                line = ""
            if line:
                return json.loads(line)
            self.stop()
            return "libhdf5 crashes on it" if ready else f"libhdf5 comes to no end within {SECONDS} seconds"

    def _start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-c", _RUN, str(WORKER)]
        self._process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
        self._owner = os.getpid()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


_worker = _Worker()
atexit.register(_worker.stop)
