"""A process of a run on several devices ends when the process that watches over it is gone."""

import ctypes
import os
import sys
from types import SimpleNamespace

import pytest
from processes import dead_process, living_process

from snntrain.run.parallel import worker

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, ...]]:
    """What prctl was asked for, instead of doing it to the process of the tests."""
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *given: calls.append(given)))
    return calls


def test_an_agent_that_died_before_it_could_be_watched_ends_the_process(asked):
    with pytest.raises(SystemExit):
        worker._end_with(dead_process())
    assert asked


def test_an_agent_that_is_the_first_process_of_a_container_is_not_taken_for_a_dead_one(asked, monkeypatch):
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with living_process() as agent:
        worker._end_with(agent)
    assert asked
