"""Ctrl-C and SIGTERM as one clean exception."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to stop by a signal.

    Not a KeyboardInterrupt: Lightning answers that one by ending the process before a report could be written.

    Attributes:
        exit_code: what the program should end with.
        message: for the user, "" as long as nobody knows where the run was.
    """

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number
        self.message = message


class ProcessError(RuntimeError):
    """One of a run's processes ended badly; the others were stopped. The text says which one, why, and what to do."""


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

    # What is raised in a destructor or a weak reference's callback goes no further, and a signal that comes during a
    # backward pass is often handled right there: it is sent once more.
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
