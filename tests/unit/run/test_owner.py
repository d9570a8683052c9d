"""A folder belongs to one process at a time, and a dead owner is told from a living one."""

import errno
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from snntrain.run.owner import (
    OWNER,
    claim,
    claim_fresh,
    is_alive,
    is_this_process,
    owner,
    release,
    take_over,
    this_process,
)

USED = "config.yaml"


def a_dead_process() -> dict:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return this_process() | {"pid": ended.pid}


def test_of_many_that_claim_one_folder_at_once_one_gets_it(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: claim(tmp_path / "run", USED), range(40)))
    assert got.count(True) == 1
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_fresh(tmp_path / "run", USED), range(20)))
    assert sorted(folder.name for folder in folders) == sorted(f"run_{number}" for number in range(2, 22))


def test_a_used_folder_is_not_claimed_and_keeps_no_trace(tmp_path):
    (tmp_path / USED).touch()
    assert not claim(tmp_path, USED)
    assert [path.name for path in tmp_path.iterdir()] == [USED]


def test_what_a_killed_process_held_is_claimed_again(tmp_path):
    (tmp_path / OWNER).write_text(json.dumps(a_dead_process()))
    assert claim(tmp_path, USED) and is_this_process(owner(tmp_path))
    release(tmp_path)
    assert owner(tmp_path) is None


def test_another_machines_claim_holds_but_for_who_names_the_folder(tmp_path):
    elsewhere = this_process() | {"host": "no-such-host.invalid"}
    (tmp_path / OWNER).write_text(json.dumps(elsewhere))
    assert is_alive(elsewhere) is None
    assert not claim(tmp_path, USED)
    release(tmp_path)
    assert owner(tmp_path) == elsewhere
    assert take_over(tmp_path, is_named=False) == elsewhere and owner(tmp_path) == elsewhere
    assert take_over(tmp_path, is_named=True) is None and is_this_process(owner(tmp_path))


def test_a_living_owner_is_not_driven_out(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with open(f"/proc/{other.pid}/stat", encoding="utf-8") as file:
            started = int(file.read().rpartition(")")[2].split()[19])
        holder = this_process() | {"pid": other.pid, "started": started}
        (tmp_path / OWNER).write_text(json.dumps(holder))
        assert is_alive(holder) and take_over(tmp_path, is_named=True) == holder
        assert is_alive(holder | {"started": started - 1}) is False  # the number went to another process
    finally:
        other.communicate()
    assert is_alive(holder) is False


@pytest.mark.parametrize("text", ["", "[1]", '{"pid": "x"}', json.dumps({"pid": -1, "host": os.uname().nodename})])
def test_a_note_that_says_nothing_holds_a_folder_for_seconds_only(tmp_path, text):
    """A full disk or a kill left it, or damage; it may also be another program's that is about to write."""
    (tmp_path / OWNER).write_text(text)
    assert is_alive(owner(tmp_path)) is None and not claim(tmp_path, USED)
    os.utime(tmp_path / OWNER, (time.time() - 60,) * 2)
    assert claim(tmp_path, USED) and owner(tmp_path) == this_process()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_note_that_would_block_the_folder(tmp_path, monkeypatch, number):
    def refuse(self, *content, **settings):
        self.touch()
        raise OSError(number, "no room")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError) as error:
        claim(tmp_path, USED)
    assert error.value.filename == str(tmp_path / OWNER) and list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_serves_as_well(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert claim(tmp_path, USED) and owner(tmp_path) == this_process()
    assert not claim(tmp_path, USED) and [path.name for path in tmp_path.iterdir()] == [OWNER]
