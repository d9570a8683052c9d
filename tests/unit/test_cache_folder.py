"""Caches without a home: a temporary folder and one warning, never an error, never a file in the working folder."""

import json
import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numba  # noqa: F401  once, not in every fork
import pytest

from snntrain import cache_folder
from snntrain.data.cache import frames_folder
from snntrain.kernel import cache

SOURCE = "import numba\n\n@numba.njit(nogil=True, cache=True)\ndef twice(x):\n    return 2 * x\n"
A_STRANGER = 54321  # without a passwd entry
VARIABLES = ("SNNTRAIN_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", *cache_folder._OF_LIBRARIES)

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can write to, with those named in the tests."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o777)
    for name in ("cwd", "tmp", "full"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "file").write_text("")
    (folder / "locked").mkdir(mode=0o555)
    yield folder
    shutil.rmtree(folder)


def in_a_process(place: Path, function: Callable[[], object], uid: int | None = None, **environment: str | None):
    """What a function returns in a fork of this process that has read nothing of the environment yet.

    Args:
        place: `{place}` in the environment's values; its cwd/ is the working folder, tmp/ that of temporary files.
        uid: of another user.
        environment: over one without any of VARIABLES; None: without HOME.

    Returns: {"value": …, "warnings": [texts]}.
    """
    answer = place / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(place / "cwd")
            for name in VARIABLES:
                os.environ.pop(name, None)
            os.environ["TMPDIR"] = str(place / "tmp")
            for name, value in environment.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value.format(place=place)
            tempfile.tempdir = None
            cache._loaded.clear()
            for cached in (cache_folder._temporary_root, cache_folder._warn_once):
                cached.cache_clear()
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                value = function()
            answer.write_text(json.dumps({"value": value, "warnings": [str(warning.message) for warning in said]}))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(answer.read_text())


def compiled() -> dict[str, object]:
    """A kernel, used."""
    module = cache.module(SOURCE)
    assert cache.module(SOURCE) is module and module.twice(21) == 42
    return {"file": module.__file__, "hits": sum(module.twice.stats.cache_hits.values())}


HOMELESS = {
    "no HOME and no passwd entry": ({"HOME": None}, A_STRANGER),
    "a home of somebody else": ({"HOME": "/root"}, A_STRANGER),
    "an empty HOME": ({"HOME": ""}, None),
    "a HOME in which nothing can be made": ({"HOME": "/proc"}, None),
    "a HOME that is a file": ({"HOME": "{place}/file"}, None),
    "a HOME for reading only": ({"HOME": "{place}/locked"}, None),
    "an empty XDG_CACHE_HOME": ({"HOME": "/proc", "XDG_CACHE_HOME": ""}, None),
    "a relative XDG_CACHE_HOME": ({"HOME": "/proc", "XDG_CACHE_HOME": "caches"}, None),
    "SNNTRAIN_CACHE in /proc": ({"SNNTRAIN_CACHE": "/proc/x"}, None),
    "SNNTRAIN_CACHE in a file": ({"SNNTRAIN_CACHE": "{place}/file/x"}, None),
    "SNNTRAIN_CACHE for reading only": ({"SNNTRAIN_CACHE": "{place}/locked"}, None),
    "SNNTRAIN_CACHE of somebody else": ({"SNNTRAIN_CACHE": "/root/x", "HOME": None}, A_STRANGER),
    "no TMPDIR": ({"HOME": "/proc", "TMPDIR": "/nowhere"}, None),
}


@pytest.mark.parametrize(
    ("environment", "uid"),
    [pytest.param(*case, id=name, marks=[needs_root] if case[1] else []) for name, case in HOMELESS.items()],
)
def test_a_kernel_is_compiled_into_a_temporary_folder_with_one_warning(place, environment, uid):
    def use() -> list[str]:
        folders = [compiled()["file"], str(frames_folder(place / "locked"))]
        cache_folder.give_libraries_a_home()
        return [*folders, *(os.environ.get(name, "") for name in cache_folder._OF_LIBRARIES)]

    found = in_a_process(place, use, uid, **environment)
    temporary = "/tmp" if environment.get("TMPDIR") else place / "tmp"
    own = f"{temporary}/snntrain-{os.getuid() if uid is None else uid}"
    assert all(folder.startswith(own) for folder in found["value"] if folder)
    is_homeless = "SNNTRAIN_CACHE" not in environment or uid
    assert all(found["value"]) or not is_homeless
    assert (
        len(found["warnings"]) == 1 and "Set SNNTRAIN_CACHE to a folder that can be written to" in found["warnings"][0]
    )
    assert not any((place / "cwd").iterdir())
    if environment.get("TMPDIR"):
        shutil.rmtree(own)


def filled(place: Path) -> Path:
    """A shared cache that holds the kernel, compiled."""
    shared = place / "shared"
    assert in_a_process(place, compiled, SNNTRAIN_CACHE=str(shared))["value"]["hits"] == 0
    for path in [shared, *shared.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return shared


@pytest.mark.parametrize("uid", [None, pytest.param(A_STRANGER, marks=needs_root)], ids=["own", "of somebody else"])
def test_a_kernel_in_a_cache_for_reading_only_is_used_as_it_was_compiled(place, uid):
    shared = filled(place)
    for _ in range(2):
        found = in_a_process(place, compiled, uid, SNNTRAIN_CACHE=str(shared), HOME=None)
        assert found["value"]["hits"] == 1 and found["warnings"] == []
    assert not any((place / "cwd").iterdir())


def test_where_no_folder_can_be_written_to_a_kernel_is_compiled_in_memory(place):
    def use() -> dict[str, object]:
        tempfile.tempdir = os.getcwd()  # what tempfile takes where there is no other
        return compiled()

    found = in_a_process(place, use, HOME="/proc")
    assert found["value"]["file"] is None and "nothing is cached" in found["warnings"][0]
    assert not any((place / "cwd").iterdir())


def test_a_temporary_folder_that_others_can_write_to_is_not_used(place):
    """Whoever made it could have put his code in the place of a kernel."""
    planted = place / "tmp" / f"snntrain-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    file = in_a_process(place, compiled, HOME="/proc")["value"]["file"]
    assert not file.startswith(str(planted)) and not any(planted.iterdir())


def test_with_a_home_nothing_changes(place):
    def use() -> list[str | None]:
        file = compiled()["file"]
        cache_folder.give_libraries_a_home()
        return [file, *map(os.environ.get, cache_folder._OF_LIBRARIES)]

    (place / "home").mkdir()
    found = in_a_process(place, use, HOME="{place}/home")
    assert found["value"][0].startswith(str(place / "home/.cache/snntrain/kernels"))
    assert found["value"][1:] == [None] * 4 and found["warnings"] == []
