"""Signals become one exception, also where Python would drop it."""

import signal
import time

import pytest

from snntrain.run.interruption import Interrupted, interruptible


class SignalsWhenDestroyed:
    """Gets a signal in its destructor, out of which no exception comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_inside_a_destructor_is_not_lost():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM") as caught, interruptible():
        thing = SignalsWhenDestroyed()
        del thing
        for _ in range(200):
            time.sleep(0.01)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_inner_block_gives_the_handlers_back_to_the_outer_one():
    with pytest.raises(Interrupted), interruptible():
        with pytest.raises(Interrupted), interruptible():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
