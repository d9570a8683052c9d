"""Files that are there whole or not at all."""

import json
import os

import pytest

from snntrain.files import replacing, write_json, write_text


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_file_and_its_folders_appear_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "a" / "b" / "model.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists() and temporary.parent == path.parent
        assert temporary.name.startswith(".") and str(os.getpid()) in temporary.name
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole" and everything_in(tmp_path) == ["a/b/model.bin"]


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


def test_readers_see_the_old_file_until_the_new_one_is_whole_and_those_that_opened_it_longer(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")
    with path.open() as earlier:
        with replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new" and earlier.read() == "old"


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_text_is_written_as_utf_8_whatever_the_locale_and_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "τ = 2 — Θ(h − v_th)\nzweite Zeile\n"
    write_text(type(tmp_path)("a.txt"), text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode("utf-8")


def test_json_is_indented_readable_and_exact_and_what_it_cannot_hold_leaves_the_old_file(tmp_path):
    path, floats = tmp_path / "a.json", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    value = {"status": "finished", "τ": [1, 2.5, None, True], "nested": {"b": 1, "a": 2}, "floats": floats}
    write_json(path, value)
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == value and list(json.loads(text)["nested"]) == ["b", "a"]
    assert [number.hex() for number in json.loads(text)["floats"]] == [number.hex() for number in floats]
    assert '\n  "τ": [' in text and text.endswith("}\n") and everything_in(tmp_path) == ["a.json"]
