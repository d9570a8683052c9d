"""checksums.json: a damaged file is named, and no kill makes a sound one look damaged."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from snntrain import files
from snntrain.error import DamagedFile
from snntrain.files import checksums, write_text
from snntrain.files.checksums import NAME, appending, begin, register, verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that has ended: files of ours, one of them written twice, and a library's log."""
    folder = tmp_path / "run"
    begin(folder)
    for text in ("first", "second"):
        write_text(folder / "metrics.csv", text)
    write_text(folder / "artifacts/qat/result.json", "{}")
    (folder / "logs").mkdir()
    (folder / "logs/events").write_bytes(bytes(range(100)))
    register(folder)
    return folder


def flip(path: Path, place: int = 0, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def entries(folder: Path) -> dict:
    return json.loads((folder / NAME).read_text())


@pytest.mark.parametrize("name", ["metrics.csv", "artifacts/qat/result.json", "logs/events"])
def test_a_flipped_bit_is_named(run, name):
    assert verify(run)
    flip(run / name)
    with pytest.raises(DamagedFile) as error:
        verify(run)
    assert str(run / name) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DamagedFile, match=name):
        verify(run, [name])
    assert verify(run, ["another.json"])


def test_no_byte_of_checksums_json_itself_can_change_unseen(run):
    whole = (run / NAME).read_bytes()
    for place in range(len(whole)):
        flip(run / NAME, place, bit=place % 8)
        with pytest.raises(DamagedFile, match=NAME):
            verify(run)
        (run / NAME).write_bytes(whole)
    assert verify(run)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff", b'{"format": 1, "written": 3, "found": {}}']
)
def test_what_is_no_list_of_checksums_is_named(run, content):
    (run / NAME).write_bytes(content)
    with pytest.raises(DamagedFile, match=NAME):
        verify(run)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside"])
def test_files_outside_of_the_folder_are_not_looked_at(run, name):
    listed = checksums._Entries({name: ["0" * 64]})
    (run / NAME).write_text(listed.text())
    with pytest.raises(DamagedFile, match=NAME):
        verify(run)


def test_a_device_in_the_place_of_a_file_is_damage_and_is_not_read(run):
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to("/dev/zero")
    with pytest.raises(DamagedFile, match=r"metrics\.csv"):
        verify(run)


def test_a_folder_from_before_is_unverified_and_stays_as_it_is(tmp_path):
    write_text(tmp_path / "config.yaml", "seed: 1")
    register(tmp_path)
    assert not verify(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_from_before_counts_as_damaged_neither_before_nor_after_it_is_written_again(tmp_path):
    (tmp_path / "metrics.csv").write_text("old")
    begin(tmp_path)
    with pytest.raises(OSError), files.replacing(tmp_path / "metrics.csv") as temporary:
        temporary.write_text("new")
        checksums.expect(tmp_path / "metrics.csv", temporary)  # a kill here
        raise OSError
    assert verify(tmp_path)
    write_text(tmp_path / "metrics.csv", "new")
    assert verify(tmp_path)


def test_damage_is_not_made_good_by_a_run_that_ends_and_a_file_that_somebody_removed_is_none(run):
    flip(run / "metrics.csv")
    register(run)
    with pytest.raises(DamagedFile, match=r"metrics\.csv"):
        verify(run)
    (run / "metrics.csv").unlink()
    assert verify(run)


def test_a_run_that_goes_on_may_append_to_logs(run):
    begin(run)
    with (run / "logs/events").open("ab") as file:
        file.write(b"more")
    assert verify(run) and entries(run)["found"] == {}
    register(run)
    assert set(entries(run)["found"]) == {"logs/events"}


def test_a_file_that_grows_is_entered_when_it_is_closed(run):
    with appending(run / "output.txt"), (run / "output.txt").open("a") as file:
        file.write("one")
        file.flush()
        register(run)
        file.write("two")
        file.flush()
        assert verify(run)
    flip(run / "output.txt")
    with pytest.raises(DamagedFile, match=r"output\.txt"):
        verify(run)


def test_what_is_there_while_a_process_works_is_not_entered(run):
    write_text(run / ".owner.json", "{}")
    (run / "artifacts/.result.json.7.tmp").write_text("half")
    write_text(run / "inner/config.yaml", "a run inside a run has its own")
    begin(run / "inner")
    (run / "inner/log").write_text("x")
    register(run)
    assert set(entries(run)["written"]) == {"metrics.csv", "artifacts/qat/result.json", "inner/config.yaml"}
    assert set(entries(run)["found"]) == {"logs/events"}


def test_a_file_of_that_name_by_another_program_is_left_alone(tmp_path):
    (tmp_path / NAME).write_text('{"theirs": 1}')
    write_text(tmp_path / "runs/a.txt", "text")
    assert (tmp_path / NAME).read_text() == '{"theirs": 1}' and not (tmp_path / checksums.LOCK).exists()


def test_writers_at_the_same_time_lose_no_entry(run):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: write_text(run / f"{number}.txt", f"text {number}"), range(40)))
    assert {f"{number}.txt" for number in range(40)} <= set(entries(run)["written"]) and verify(run)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_file_that_looks_damaged(tmp_path):
    """A child process for every file that the writing opens, moves or removes, killed just before it does."""
    survived, number = False, 0
    folder = tmp_path / "run"
    begin(folder)
    while not survived:
        number += 1
        child = os.fork()
        if child == 0:
            _write_until(folder, number)
        survived = os.waitpid(child, 0)[1] == 0
        assert verify(folder), number
    assert number > 30 and entries(folder)["found"].keys() == {"log"}


def _write_until(folder: Path, last: int) -> None:
    """Go on, write and end in a folder; never returns."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        count += event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(folder))
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        os.fsync = lambda file: None  # a kill, unlike a power cut, loses nothing that was written
        sys.addaudithook(watch)
        begin(folder)
        with (folder / "log").open("a") as log:
            log.write(f"{last}\n")
        for number in range(2):
            write_text(folder / "metrics.csv", f"{last} {number}")
        register(folder)
        count = -1000
        os._exit(0)
    finally:
        os._exit(1)
