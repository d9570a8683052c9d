"""A folder belongs to one process at a time, and its owner is known to be alive, dead, or neither."""

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import dead_process, living_process

from snntrain.process import is_alive, is_this_process, this_process
from snntrain.run.folder import RunFolder


def test_of_many_simultaneous_claims_of_a_folder_one_succeeds(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: RunFolder(tmp_path / "run").claim(), range(40)))
    assert got.count(True) == 1
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder(tmp_path / "run").claim_fresh(), range(20)))
    assert sorted(folder.path.name for folder in folders) == sorted(f"run_{number}" for number in range(2, 22))


def test_a_used_folder_is_not_claimed_and_keeps_no_trace(tmp_path):
    (tmp_path / RunFolder.config.name).touch()
    assert not RunFolder(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == [RunFolder.config.name]


def test_a_folder_of_a_killed_process_can_be_claimed(tmp_path):
    RunFolder(tmp_path).owner_note.write_text(json.dumps(dead_process()))
    assert RunFolder(tmp_path).claim() and is_this_process(RunFolder(tmp_path).owner)
    RunFolder(tmp_path).release()
    assert RunFolder(tmp_path).owner is None


def test_a_claim_of_another_machine_holds_unless_the_user_names_the_folder(tmp_path):
    elsewhere = this_process() | {"host": "no-such-host.invalid"}
    RunFolder(tmp_path).owner_note.write_text(json.dumps(elsewhere))
    assert not RunFolder(tmp_path).claim()
    RunFolder(tmp_path).release()
    assert RunFolder(tmp_path).owner == elsewhere
    assert RunFolder(tmp_path).take_over(is_named=False) == elsewhere and RunFolder(tmp_path).owner == elsewhere
    assert RunFolder(tmp_path).take_over(is_named=True) is None and is_this_process(RunFolder(tmp_path).owner)


def test_a_folder_of_a_living_process_is_not_taken_over(tmp_path):
    with living_process() as holder:
        RunFolder(tmp_path).owner_note.write_text(json.dumps(holder))
        assert not RunFolder(tmp_path).claim()
        assert RunFolder(tmp_path).take_over(is_named=True) == holder
    assert RunFolder(tmp_path).claim()


@pytest.mark.parametrize("text", ["", "[1]", '{"pid": "x"}', json.dumps({"pid": -1, "host": os.uname().nodename})])
def test_an_unreadable_note_blocks_a_folder_only_for_seconds(tmp_path, text):
    """A full disk or a kill left it, or damage; it may also be another program's that is about to write."""
    RunFolder(tmp_path).owner_note.write_text(text)
    assert is_alive(RunFolder(tmp_path).owner) is None and not RunFolder(tmp_path).claim()
    os.utime(RunFolder(tmp_path).owner_note, (time.time() - 60,) * 2)
    assert RunFolder(tmp_path).claim() and is_this_process(RunFolder(tmp_path).owner)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_note_that_would_block_the_folder(tmp_path, monkeypatch, number):
    def refuse(self, *content, **settings):
        self.touch()
        raise OSError(number, "no room")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError) as error:
        RunFolder(tmp_path).claim()
    assert error.value.filename == str(RunFolder(tmp_path).owner_note) and list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_serves_as_well(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert RunFolder(tmp_path).claim() and is_this_process(RunFolder(tmp_path).owner)
    assert not RunFolder(tmp_path).claim() and [path.name for path in tmp_path.iterdir()] == [
        RunFolder(tmp_path).owner_note.name
    ]
