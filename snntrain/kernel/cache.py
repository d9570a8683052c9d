"""Generated sources on disk, by content hash, so that a second process finds its kernels compiled."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

from snntrain.files import write_text

_LARGEST = 256  # kernels kept; the least recently used go first

_loaded: dict[str, ModuleType] = {}


def folder() -> Path:
    """Where generated kernels lie: $SNNTRAIN_CACHE, or snntrain/kernels in the user's cache folder."""
    if os.environ.get("SNNTRAIN_CACHE"):
        return Path(os.environ["SNNTRAIN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "snntrain" / "kernels"


def module(source: str) -> ModuleType:
    """The module of a generated source, imported from its file in the cache.

    Safe with several processes at once: the file's name is the hash of its content, and it appears whole.
    """
    name = "kernel_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    if name not in _loaded:
        place = folder() / name  # a folder each, with numba's compiled code in it
        file = place / f"{name}.py"
        if not file.is_file() or file.read_text(encoding="utf-8") != source:
            shutil.rmtree(place, ignore_errors=True)
            write_text(file, source)
            _drop_oldest()
        with contextlib.suppress(OSError):
            os.utime(place)
        _loaded[name] = _import(name, file)
    return _loaded[name]


def rebuild(broken: ModuleType) -> ModuleType:
    """Throw away a module's compiled code (it could not be loaded) and import it afresh."""
    file = Path(broken.__file__)
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
    _loaded[broken.__name__] = _import(broken.__name__, file)
    return _loaded[broken.__name__]


def _import(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # numba looks the module up by name when it loads compiled code
    spec.loader.exec_module(loaded)
    return loaded


def _drop_oldest() -> None:
    with contextlib.suppress(OSError):
        kernels = sorted(folder().glob("kernel_*"), key=lambda place: place.stat().st_mtime)
        for place in kernels[:-_LARGEST]:
            shutil.rmtree(place, ignore_errors=True)
