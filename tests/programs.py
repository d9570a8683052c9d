"""The programs in forks of this process, small runs, and what they leave."""

import codecs
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
# A run that takes a second of training; its neurons need no kernel to be compiled.
SMALL_ANN = ("model=mlp", "model.features=32", "T=2", "trainer.max_epochs=2", "data.batch_size=128")
SMALL = (*SMALL_ANN, "neuron.backend=torch")
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(ROOT)}


class Program:
    """A program at work. It is a fork of this process, which has imported torch and Lightning already.

    Args:
        name: of the file, such as train.py or scripts/tune.py.
        arguments: as in a terminal.
        cwd: its working folder.
        merged: whether stderr goes where stdout goes.
    """

    def __init__(self, name: str, *arguments: str, cwd: Path, merged: bool = False, **environment: str) -> None:
        import snntrain.run.evaluate
        import snntrain.run.run  # noqa: F401  before the fork, once for all programs

        self.arguments, self.returncode = arguments, None
        self._streams = [tempfile.TemporaryFile() for _ in range(1 if merged else 2)]  # noqa: SIM115  open while it runs
        self.pid = os.fork()
        if self.pid == 0:
            _become(ROOT / name, arguments, cwd, [stream.fileno() for stream in self._streams], environment)

    def poll(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it runs."""
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def lines(self) -> Iterator[str]:
        """The lines of stdout as they come, to its end."""
        decoder, unfinished, place = codecs.getincrementaldecoder("utf-8")(), "", 0
        while True:
            has_ended = self.poll() is not None
            text = os.pread(self._streams[0].fileno(), 1 << 20, place)
            place += len(text)
            *lines, unfinished = (unfinished + decoder.decode(text)).split("\n")
            yield from lines
            if has_ended and not text:
                return
            time.sleep(0.005)

    def wait_for(self, beginning: str) -> None:
        """Wait for a line of stdout that begins with these words, however far apart they stand."""
        if not any(" ".join(line.split()).startswith(beginning) for line in self.lines()):
            raise AssertionError("\n".join([f"no line {beginning}", *self._texts()]))

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def end(self, timeout: float = 240) -> subprocess.CompletedProcess:
        """Wait for its end; it is killed, and TimeoutError raised, if that takes too long."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, 9)
                raise TimeoutError(self._texts())
            time.sleep(0.005)
        return subprocess.CompletedProcess(self.arguments, self.returncode, *self._texts())

    def _texts(self) -> list[str]:
        return [os.pread(stream.fileno(), 1 << 24, 0).decode() for stream in self._streams]


def _become(
    program: Path, arguments: tuple[str, ...], cwd: Path, streams: list[int], environment: dict[str, str]
) -> NoReturn:
    """Turn a forked process into a run of the program; never returns."""
    code = 70
    try:
        os.chdir(cwd)
        os.environ.update(_ENVIRONMENT | environment)
        for number, stream in ((1, streams[0]), (2, streams[-1])):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", buffering=1) for number in (1, 2))
        sys.argv = [str(program), *arguments]
        runpy.run_path(str(program), run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


#: A plugin's text: a neuron of the user's.
GAIN_NODE = """
from snntrain.neuron import BaseNode
from snntrain.registry import register

@register("neuron")
class GainNode(BaseNode):
    '''Integrate-and-fire with a gain.'''
    def __init__(self, gain: float, v_threshold: float = 1.0, v_reset: float | None = 0.0, **common):
        super().__init__(v_threshold, v_reset, **common)
        self.gain = gain
    def charge(self, x, v):
        return v + self.gain * x
"""


def complete(program: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a program to its end. A key may be given twice: the last one counts."""
    return Program(program, *last_of_each(arguments), cwd=cwd, **environment).end()


def succeed(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """As `complete`; the program must end well."""
    process = complete(program, *arguments, cwd=cwd)
    said = process.stdout + process.stderr
    assert process.returncode == 0 and "Traceback" not in said, said
    return process


def complete_anew(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """As `complete`, in a new process of Python: what a user starts."""
    command = [sys.executable, str(ROOT / program), *last_of_each(arguments)]
    environment = os.environ | _ENVIRONMENT
    return subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=240, check=False)


def run_script(script: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run the text of a Python script in a new process, without warnings and with lines that are not wrapped."""
    environment = os.environ | _ENVIRONMENT | {"COLUMNS": "300"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, check=False)


def last_of_each(arguments: tuple[str, ...]) -> list[str]:
    """Of overrides of one key the last, so that a test can change a line that it shares with others."""
    kept = {word.partition("=")[0] if "=" in word else (number, word): word for number, word in enumerate(arguments)}
    return list(kept.values())


def results(folder: Path) -> dict:
    """results.json of a run folder."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))
