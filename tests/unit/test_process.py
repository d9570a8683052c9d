"""Whether another process is alive: yes, no, or not to be known from here."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe

import pytest
from processes import ticks_of

from snntrain.process import is_alive, is_this_process, lock, named, this_process


@pytest.fixture
def other():
    """A living process."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_this_process_is_alive_and_is_this_one():
    assert is_alive(this_process()) and is_this_process(this_process())
    assert this_process()["started"] == ticks_of(os.getpid()), "notes of earlier versions hold this number"


def test_another_process_is_alive_until_it_ends_and_a_zombie_is_dead(other):
    process = this_process() | {"pid": other.pid, "started": ticks_of(other.pid)}
    assert is_alive(process) and not is_this_process(process)
    other.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{other.pid}"), "it should still be a zombie: nobody has waited for it"
    assert is_alive(process) is False
    other.wait()
    assert is_alive(process) is False


def test_a_pid_that_was_given_to_another_process_is_not_that_process(other):
    assert is_alive(this_process() | {"pid": other.pid, "started": ticks_of(other.pid) - 1}) is False


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1, 2**70])
def test_a_pid_that_no_process_has_is_dead(pid):
    assert is_alive(this_process() | {"pid": pid}) is False


UNKNOWN = {
    "another host": {"host": "no-such-host.invalid"},
    "before the machine booted": {"boot": "x"},
    "another container": {"namespace": 1},
    "an earlier version": {"boot": None, "namespace": None, "started": None},
    "no start time": {"started": None},
    "no pid": {"pid": None},
    "a negative pid": {"pid": -1},
    "a pid of another type": {"pid": True},
}


@pytest.mark.parametrize("changed", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_known_from_here_is_none_and_not_dead(changed):
    assert is_alive(this_process() | changed) is None
    assert not is_this_process(this_process() | changed)


@pytest.mark.parametrize("damaged", [None, [], "x", {}])
def test_what_identifies_no_process_is_unknown(damaged):
    assert is_alive(damaged) is None and not is_this_process(damaged)


def test_a_slurm_job_that_was_restarted_has_left_its_earlier_process_wherever_that_was(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    elsewhere = this_process() | {"host": "another-node"}
    assert is_alive(elsewhere) is None
    assert is_alive(elsewhere | {"restarts": "0"}) is False
    assert is_alive(elsewhere | {"restarts": "0", "job": "8"}) is None


def test_a_process_is_named_by_what_is_known_of_it():
    assert named({"pid": 7, "host": "a", "since": "noon"}) == "process 7 on a since noon"
    assert named({}) == named(None) == "a process that left no name"


def test_a_lock_keeps_others_out_and_ends_with_its_killed_holder(tmp_path):
    told, to_tell = Pipe(duplex=False)
    holder = os.fork()
    if holder == 0:
        try:
            with lock(tmp_path / "lock"):
                to_tell.send(True)
                signal.pause()
        finally:
            os._exit(1)
    assert told.poll(60) and told.recv()
    with pytest.raises(TimeoutError):
        lock(tmp_path / "lock", seconds=0).acquire()
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    with lock(tmp_path / "lock", seconds=5):
        pass
