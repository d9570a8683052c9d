"""Files that are there whole or not at all."""

import json
import os

import pytest

from snntrain.files import replacing, write_json, write_text


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_file_appears_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "model.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole" and everything_in(tmp_path) == ["model.bin"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_interrupted_write_leaves_what_was_there_and_no_rubbish(tmp_path, error, old):
    path = tmp_path / "metrics.csv"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert (path.read_text() if old else path.exists()) == (old or False)
    assert everything_in(tmp_path) == (["metrics.csv"] if old else [])


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_file_that_is_open_keeps_its_old_content(tmp_path):
    path = tmp_path / "log.txt"
    write_text(path, "old content")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old content"


def test_the_temporary_file_is_in_the_same_folder_hidden_and_owned_by_this_process(tmp_path):
    path = tmp_path / "a" / "results.json"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.name.startswith(".")
        assert str(os.getpid()) in temporary.name and temporary != path
        temporary.touch()


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert everything_in(tmp_path) == ["a/b/c.txt"]


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(type(tmp_path)("here.txt"), "text")
    assert everything_in(tmp_path) == ["here.txt"]


def test_text_is_written_as_utf_8_whatever_the_locale(tmp_path):
    text = "τ = 2 — Θ(h − v_th)\nzweite Zeile\n"
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode("utf-8")


def test_json_is_indented_readable_and_ends_with_a_newline(tmp_path):
    value = {"status": "finished", "τ": [1, 2.5, None, True], "nested": {"b": 1, "a": 2}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value and list(json.loads(text)["nested"]) == ["b", "a"]
    assert '\n  "τ": [' in text and text.endswith("}\n")


def test_floats_survive_json_bit_for_bit(tmp_path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    write_json(tmp_path / "a.json", values)
    back = json.loads((tmp_path / "a.json").read_text())
    assert [value.hex() for value in back] == [value.hex() for value in values]


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1} and everything_in(tmp_path) == ["a.json"]
