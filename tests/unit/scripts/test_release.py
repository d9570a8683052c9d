"""A release is built from a commit, and its wheel holds the files that it should, however it was built."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import release
from programs import ROOT
from refused import message_of

from snntrain.error import UsageError


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("/dist/\n")
    for name in ("snntrain/net.py", "conf/model/net.yaml", "tests/test_net.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "One")
    return tmp_path


def test_a_checkout_that_differs_from_its_commit_is_refused_by_name(checkout, tmp_path_factory):
    (checkout / "dist").mkdir()
    (checkout / "dist/old.whl").touch()  # what git ignores is no difference
    release.check_clean(checkout)
    (checkout / "snntrain/new.py").touch()
    (checkout / "conf/model/net.yaml").write_text("2\n")
    said = message_of(UsageError, release.check_clean, checkout)
    assert "conf/model/net.yaml, snntrain/new.py" in said and "test_net" not in said
    elsewhere = tmp_path_factory.mktemp("plain")
    assert str(elsewhere) in message_of(UsageError, release.check_clean, elsewhere)


def wheel(path: Path, **files: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_wheel_holds_the_package_and_the_configs_and_nothing_else(checkout):
    expected = release.tracked_files(checkout)
    assert expected == {"snntrain/net.py", "snntrain/conf/model/net.yaml"}
    whole = dict.fromkeys([*expected, "snntrain-1.dist-info/METADATA"], "1\n")
    release.check_contents(wheel(checkout / "dist/a.whl", **whole), expected)
    wrong = {"snntrain/net.py": "1\n", "tests/test_net.py": "1\n"}
    said = message_of(UsageError, release.check_contents, wheel(checkout / "dist/b.whl", **wrong), expected)
    assert "lacks snntrain/conf/model/net.yaml" in said and "holds tests/test_net.py" in said


def test_wheels_that_differ_in_a_file_or_in_its_content_are_refused_by_name(tmp_path):
    one = wheel(tmp_path / "one.whl", a="1", b="1", c="1")
    release.check_same(one, wheel(tmp_path / "same.whl", c="1", b="1", a="1"))
    said = message_of(UsageError, release.check_same, one, wheel(tmp_path / "two.whl", a="1", b="2", d="1"))
    assert "differ in b, c, d" in said


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path, capfd):
    said = message_of(UsageError, release.call, sys.executable, "-c", "raise SystemExit('no disk')", cwd=tmp_path)
    assert "exit code 1" in said and "no disk" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="needs the extra release")
def test_the_sdist_and_both_wheels_are_built_agree_and_are_sound(tmp_path):
    reached = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path / "index", "hatchling>=1.26"]
    )
    if reached.returncode:
        pytest.skip("pip reaches no package index")
    made = release.build(tmp_path)
    release.call(sys.executable, "-m", "twine", "check", "--strict", *made, cwd=tmp_path)
    names = release.checksums(made[0])
    assert "snntrain/conf/config.yaml" in names and "snntrain/experiments/digits_lif/expected.json" in names
    assert release.tracked_files(ROOT) < set(names)
