"""Turn Ctrl-C and SIGTERM into one exception."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """Raised when a signal asks the run to stop.

    It is not a KeyboardInterrupt, at which Lightning would end the process before a report could be written.

    Attributes:
        exit_code: with which the program should end.
        message: for the user; "" until the run has said where it stopped.
    """

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number
        self.message = message


class ProcessError(RuntimeError):
    """Raised when one of a run's processes failed and the others were stopped; says which, why, and what to do."""


def how_to_continue(folder: os.PathLike, epoch: int, epochs: int, remark: str = "") -> str:
    """The end of a sentence that says why a run stopped: where it did, and how the user continues it.

    Args:
        epoch: how many epochs were completed.
        epochs: how many there were to be.
        remark: what else happened.
    """
    where = " after the last epoch" if epoch == epochs else f" in epoch {epoch + 1} of {epochs}"
    return f"{where}{remark}. Continue with the same command and resume={folder}"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted at the first SIGINT or SIGTERM inside the block; a second signal ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    owner = os.getpid()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:  # forked loader workers inherit the handler; their owner ends them
            restore()
            raise Interrupted(number)

    def arm() -> None:
        for number in signals:
            signal.signal(number, stop)

    # Python discards what is raised in a destructor or in the callback of a weak reference, and during a backward pass
    # it often handles a signal there. Such a signal is sent once more.
    hook_before = sys.unraisablehook

    def send_again(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Interrupted) and os.getpid() == owner:
            arm()
            threading.Timer(0.05, os.kill, (owner, lost.exc_value.exit_code - 128)).start()
        else:
            hook_before(lost)

    arm()
    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        restore()
