"""The files of a record: all of them or those of before."""

import json
import os
import subprocess
import sys

import pytest
from run_folders import whole_config

from snntrain.error import UsageError
from snntrain.experiment.recorded import GENERATED, NOTES, read_record, recorded_names, write_record

FILES = {"expected.json": "{}", "README.md": f"{GENERATED}\n# new", "curves.png": b"\x89PNG"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_record_replaces_the_one_before_and_leaves_what_is_not_its_own(tmp_path):
    folder = tmp_path / "x"
    write_record(folder, {"lock.txt": "old", **FILES})
    (folder / "literature.yaml").write_text("[]")
    write_record(folder, FILES)
    assert contents(folder) == {
        "literature.yaml": b"[]",
        **{name: text.encode() if isinstance(text, str) else text for name, text in FILES.items()},
    }
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_person_wrote_is_kept(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "README.md").write_text("# by hand")
    write_record(folder, FILES)
    write_record(folder, FILES)  # the second time the README is a generated one
    assert contents(folder)[NOTES] == b"# by hand" and GENERATED.encode() in contents(folder)["README.md"]


def test_a_record_that_cannot_be_written_whole_changes_nothing(tmp_path):
    folder = tmp_path / "x"
    write_record(folder, FILES)
    before = contents(folder)
    with pytest.raises(TypeError):
        write_record(folder, {"expected.json": "new", "curves.png": None})
    with pytest.raises(FileNotFoundError):
        write_record(folder, {"expected.json": "new", "no/such/folder.png": b""})
    assert contents(folder) == before and os.listdir(tmp_path) == ["x"]
    with pytest.raises(TypeError):
        write_record(tmp_path / "y", {"expected.json": "new", "curves.png": None})
    assert os.listdir(tmp_path) == ["x"]


def test_a_record_that_a_kill_left_aside_is_put_back(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_record(tmp_path / "x", FILES)
    before = contents(tmp_path / "x")
    os.replace(tmp_path / "x", tmp_path / f".x.{ended.pid}.old")
    assert recorded_names(tmp_path) == ["x"] and contents(tmp_path / "x") == before


def test_damaged_records_are_refused_by_name(tmp_path):
    entry = {"format": 1, "seeds": {"1": {"hex": {"test/acc": (0.5).hex()}}}, "metrics": {"test/acc": {"tolerance": 1}}}
    facts = {"hardware": {}, "data": {}, "overrides": [], "commit": None}
    good = {"expected.json": json.dumps(entry), "provenance.json": json.dumps(facts), "lock.txt": "torch==1 # x\n\n"}
    good["config.yaml"] = json.dumps(whole_config(seed=1))
    write_record(tmp_path / "x", good)
    reference = read_record(tmp_path / "x")
    assert reference.metrics == {1: {"test/acc": 0.5}} and reference.tolerances == {1: {"test/acc": 1.0}}
    assert reference.versions == {"torch": "1"} and recorded_names(tmp_path) == ["x"]
    for name, content in (
        ("expected.json", "{}"),
        ("expected.json", json.dumps({**entry, "format": 99})),
        ("expected.json", json.dumps({**entry, "seeds": {}})),
        ("expected.json", json.dumps({**entry, "seeds": {"x": {}}})),
        ("provenance.json", json.dumps({**facts, "hardware": 3})),
        ("config.yaml", "a: ["),
        ("config.yaml", "seed: 1"),
        ("provenance.json", json.dumps({**facts, "format": "x"})),
    ):
        write_record(tmp_path / "x", {**good, name: content})
        with pytest.raises(UsageError, match=name):
            read_record(tmp_path / "x")
    write_record(tmp_path / "x", {name: good[name] for name in good if name != "lock.txt"})
    with pytest.raises(UsageError, match=r"lock\.txt is missing"):
        read_record(tmp_path / "x")
