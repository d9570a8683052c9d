"""The folder for caches: the user's cache folder, or a temporary one if that is not writable.

A machine may have no home directory (a container without a passwd entry), one that cannot be written to, or a shared
cache that belongs to somebody else. None of these may keep a run from training.
"""

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

_OF_LIBRARIES = {
    "MPLCONFIGDIR": "matplotlib",
    "CUPY_CACHE_DIR": "cupy",
    "TORCH_HOME": "torch",
    "TRITON_CACHE_DIR": "triton",
}


def configured(kind: str) -> Path | None:
    """The folder for a kind of cache that the environment names; it may not exist, or be for reading only.

    $SNNTRAIN_CACHE (kernels in it, the rest in a folder of the kind), else snntrain/<kind> in the user's cache folder.

    Returns: None where the user has no home.
    """
    if os.environ.get("SNNTRAIN_CACHE"):
        given = Path(os.environ["SNNTRAIN_CACHE"]).absolute()
        return given if kind == "kernels" else given / kind
    caches = _user_folder("XDG_CACHE_HOME", ".cache")
    return None if caches is None else caches / "snntrain" / kind


def writable(kind: str) -> Path | None:
    """The configured folder for a kind of cache if it can be written to, else a temporary one, with one warning.

    Returns: None if no folder at all can be written to.
    """
    preferred = configured(kind)
    if preferred is not None and is_writable(preferred):
        return preferred
    _warn_once()
    return temporary(kind)


def temporary(kind: str) -> Path | None:
    """A folder for a kind of cache among the temporary files of this user, which other users cannot change.

    Returns: None if no folder at all can be written to.
    """
    root = _temporary_root()
    return None if root is None else root / kind


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder or, if it does not exist, in the nearest one above it that does."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.stat().st_mode & 0o222:
            return False  # read-only on purpose, although root could write to it
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def give_libraries_a_home() -> None:
    """If the user's home is not writable, let libraries that keep files there use a temporary folder.

    Otherwise they fail, warn without naming the cause, or write into a folder named '~'.
    """
    places = _user_folder("XDG_CONFIG_HOME", ".config"), _user_folder("XDG_CACHE_HOME", ".cache")
    if all(place is not None and is_writable(place) for place in places):
        return
    for variable, kind in _OF_LIBRARIES.items():
        if not os.environ.get(variable) and (folder := temporary(kind)) is not None:
            os.environ[variable] = str(folder)


def _user_folder(variable: str, name: str) -> Path | None:
    given = os.environ.get(variable, "")
    if os.path.isabs(given):  # the XDG Base Directory Specification says to ignore relative paths
        return Path(given)
    if os.environ.get("HOME") == "":
        return None
    try:
        home = Path.home()
    except RuntimeError:  # no HOME and no passwd entry
        return None
    return home / name if home.is_absolute() else None


@functools.cache
def _temporary_root() -> Path | None:
    try:
        base = Path(tempfile.gettempdir())
        if base == Path.cwd():  # tempfile's last resort; the working folder is for results, not for caches
            return None
    except OSError:
        return None
    user = os.getuid() if hasattr(os, "getuid") else ""  # Windows has a temporary folder for each user
    own = base / f"snntrain-{user}".rstrip("-")
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
        is_private = user == "" or (found.st_uid == user and not found.st_mode & 0o077)
        is_ours = stat.S_ISDIR(found.st_mode) and is_private
        if is_ours and is_writable(own):
            return own
    # Somebody else owns that folder and could replace a compiled kernel with their own code.
    own, maker = Path(tempfile.mkdtemp(prefix="snntrain-")), os.getpid()
    atexit.register(lambda: shutil.rmtree(own, ignore_errors=True) if os.getpid() == maker else None)
    return own


@functools.cache
def _warn_once() -> None:
    preferred, used = configured("kernels"), _temporary_root()
    why = "there is no home directory" if preferred is None else f"{preferred} cannot be written to"
    where = "nothing is cached" if used is None else f"caches lie in {used}"
    warnings.warn(
        f"{why}, so {where}, and what is compiled now may have to be compiled again. Set SNNTRAIN_CACHE to a folder "
        "that can be written to.",
        stacklevel=4,
    )
