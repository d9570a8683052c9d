"""What all programs share: options, errors in one sentence, exit codes, signals.

Exit codes: 0; 1 it failed; 2 a wrong command line, config or file; 128 + number after a signal; 3 of reproduce.py.
"""

import argparse
import contextlib
import errno
import io
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from snntrain.error import Diverged, UsageError
from snntrain.registry import did_you_mean
from snntrain.run.interruption import Interrupted, ProcessError
from snntrain.terminal import print_error, terminal

FAILED, WRONG = 1, 2

# Errors of the operating system that mean that the user named a wrong file or folder.
_WRONG_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LONGEST = 1000  # characters of an unexpected error
_TRACEBACK = "debug.traceback"


def run_program(main: Callable[[list[str]], int], arguments: Sequence[str], *, keeps_traceback: bool = False) -> int:
    """Run a program's main function.

    Args:
        main: takes the arguments and returns an exit code; it may raise anything.
        arguments: of the command line; debug.traceback=true shows where an error was raised.
        keeps_traceback: whether main gets debug.traceback as well, because it is a key of its config.

    Returns: the exit code; every error has been printed on stderr in one sentence.
    """
    with_traceback = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may not be able to show a file's name
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_raises():
            with_traceback, others = take_traceback(arguments)
            code = main(list(arguments) if keeps_traceback else others)
            sys.stdout.flush()
            return code
    except BaseException as error:
        return _end(error, with_traceback)


def take_traceback(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether debug.traceback=true is among the arguments, and the others.

    Raises: UsageError for a value that is neither true nor false.
    """
    given = {word: word.lstrip("+").partition("=")[2] for word in arguments if _names_traceback(word)}
    for word, value in given.items():
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{word}: {_TRACEBACK} must be true or false.")
    return "true" in map(str.lower, given.values()), [word for word in arguments if word not in given]


def _names_traceback(word: str) -> bool:
    return word.lstrip("+").partition("=")[0] == _TRACEBACK


def _end(error: BaseException, with_traceback: bool) -> int:
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return 128 + signal.SIGPIPE  # rich has handled the closed pipe already
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            print_error(error.code)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError) and _leave_closed_pipes():
        return 128 + signal.SIGPIPE
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        if not getattr(error, "message", ""):  # Otherwise the run has already said where it stopped.
            terminal(stderr=True).print("Interrupted.")
        return getattr(error, "exit_code", 128 + signal.SIGINT)
    report(error, with_traceback=with_traceback)
    return exit_code(error)


def report(
    error: BaseException,
    *,
    title: str = "error",
    with_traceback: bool = False,
    folder: Path | None = None,
    is_sweep: bool = False,
) -> None:
    """Print an error on stderr, as one sentence.

    Args:
        title: what stands before it.
        with_traceback: print where it was raised, too.
        folder, is_sweep: as in describe.
    """
    if with_traceback:
        traceback.print_exception(error)
    print_error(describe(error, folder, is_sweep=is_sweep), title)


def exit_code(error: BaseException) -> int:
    """The exit code of a program that ends with an error."""
    is_wrong = isinstance(error, UsageError) or _is_of_hydra(error)
    return WRONG if is_wrong or (isinstance(error, OSError) and error.errno in _WRONG_FILE) else FAILED


def describe(error: BaseException, folder: Path | None = None, *, is_sweep: bool = False) -> str:
    """One sentence for an error.

    Args:
        error: any.
        folder: of the run, if there is one; an error of its files also says how to choose another folder.
        is_sweep: the run is a job of a sweep, whose folder is chosen by another key.
    """
    if isinstance(error, (UsageError, ProcessError, Diverged)):
        return str(error)
    if _is_of_hydra(error):
        from snntrain.config.compose import explain

        return explain(error)
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes)):
        return _of_file(error, os.fsdecode(error.filename), folder, is_sweep)
    if isinstance(error, OSError) and error.errno is None:  # one of our readers raised it, with a sentence
        return str(error) or type(error).__name__
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    place = getattr(error, "place_in_run", "")  # such as callbacks.mine
    parts = [part for part in (place, type(error).__name__, text) if part]
    return f"{': '.join(parts)} ({_TRACEBACK}=true shows where)"


def _of_file(error: OSError, name: str, folder: Path | None, is_sweep: bool) -> str:
    path = Path(name)
    remedy = ""
    if folder is not None and (path == folder or path in folder.parents or folder in path.parents):
        key = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
        remedy = f" Choose another run folder with {key}=… or paths.runs=…."
    elif error.errno in _FULL:
        remedy = " Make room there, or choose another folder."
    return f"{name}: {error.strerror or type(error).__name__}.{remedy}"


def _is_of_hydra(error: BaseException) -> bool:
    """Whether an error comes from Hydra or OmegaConf, which are not imported just to find out."""
    return isinstance(error, Exception) and type(error).__module__.split(".")[0] in ("hydra", "omegaconf")


# --- signals and pipes -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise Interrupted at SIGTERM inside the block, so that the running code can clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Interrupted(number)
        signal.signal(number, signal.SIG_DFL)  # a forked process inherits the handler, and just ends
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_closed_pipes() -> bool:
    """Whether stdout or stderr is a pipe without a reader (| head); what is still buffered is discarded."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed_pipe(stream)]
    for stream in closed:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(closed)


def _is_closed_pipe(stream: TextIO) -> bool:
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError, AttributeError):  # it is not a file
        return False
    return any(happened & select.POLLERR for _, happened in poll.poll(0))


# --- options and keys ------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one sentence, with a suggestion for an option that does not exist."""

    def __init__(self, program: str, description: str, examples: str = "", **more: Any) -> None:
        super().__init__(
            program,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; options may stand before, after and between the others.

        Raises: UsageError.
        """
        found, unknown = self.parse_known_intermixed_args(list(arguments))
        for word in unknown:
            raise UsageError(self._refusal(word))
        return found

    def _refusal(self, word: str) -> str:
        if not word.startswith("-"):
            return f"{word!r} is one argument too many. {self.prog} --help shows what to write."
        name = word.partition("=")[0]
        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = did_you_mean(name, known)
        return f"{name} is not an option of {self.prog}.{near} Options: {', '.join(known)}."

    def error(self, message: str) -> NoReturn:
        """Called by argparse. Raises: UsageError."""
        if missing := re.fullmatch(r"the following arguments are required: (.*)", message):
            raise UsageError(f"{missing[1]} is missing. {self.prog} --help shows what to write.")
        place, colon, what = message.removeprefix("argument ").partition(": ")
        place = place.split("/")[-1] if place.startswith("-") else place
        for pattern, words in _IN_OUR_WORDS:
            what = re.sub(pattern, words, what)
        raise UsageError(f"{place} {what}. {self.prog} --help shows what to write." if colon else f"{message}.")


_IN_OUR_WORDS = (
    (r"^expected one argument$", "needs a value"),
    (r"^expected at least one argument$", "needs at least one value"),
    (r"^ignored explicit argument (.*)$", r"takes no value, got \1"),
)


def whole_number(text: str) -> int:
    """Read an option whose value is a whole number ≥ 0."""
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 0, got {text!r}")
    return int(text)


def key_values(words: Sequence[str], known: Collection[str], program: str) -> dict[str, str]:
    """Read the settings of a program that takes key=value.

    Raises: UsageError for a word that is none, a key that does not exist or is given twice.
    """
    from snntrain.config.overrides import refuse_repeated

    refuse_repeated(words)
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            near = did_you_mean(key, known)
            raise UsageError(
                f"{word!r} is not a setting of {program}.{near} Write {' or '.join(f'{key}=…' for key in known)}."
            )
        found[key] = value
    return found
