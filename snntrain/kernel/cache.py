"""Generated sources on disk, by content hash, so that a second process finds its kernels compiled."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType

from snntrain import cache_folder
from snntrain.files import write_text

_LARGEST = 256  # kernels kept of each kind; the least recently used go first

_loaded: dict[str, ModuleType] = {}
_loading = threading.Lock()


def module(source: str) -> ModuleType:
    """The module of a generated source, imported from its file in the cache.

    Safe with several processes at once: the file's name is the hash of its content, and it appears whole. A kernel in a
    cache that is for reading only is used from a copy, for numba reads compiled code only where it can write it.
    """
    name = "kernel_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    with _loading:  # threads that share a batch ask for their first kernel at the same time
        if name not in _loaded:
            file = _stored(name, source)
            _loaded[name] = _in_memory(name, source) if file is None else _import(name, file)
        return _loaded[name]


def rebuild(broken: ModuleType) -> ModuleType:
    """Throw away a module's compiled code (it could not be loaded) and import it afresh."""
    if broken.__file__ is None:
        return broken
    file = Path(broken.__file__)
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
    _loaded[broken.__name__] = _import(broken.__name__, file)
    return _loaded[broken.__name__]


def _stored(name: str, source: str) -> Path | None:
    """The file of a source in the cache, in a folder that numba can write to; None if there is no such folder."""
    shared = cache_folder.configured("kernels")
    if shared is not None and _holds(shared / name, source):
        if all(map(cache_folder.is_writable, (shared / name, shared / name / "__pycache__"))):
            return _used(shared / name)
        own = cache_folder.temporary("kernels")
        if own is None:
            return None
        with contextlib.suppress(OSError):
            if not _holds(own / name, source):
                _copy(shared / name, own / name)
            return _used(own / name)
    for root in (cache_folder.writable("kernels"), cache_folder.temporary("kernels")):
        if root is None:
            continue
        with contextlib.suppress(OSError):  # a disk that is full
            if not _holds(root / name, source):
                shutil.rmtree(root / name, ignore_errors=True)
                write_text(root / name / f"{name}.py", source)
                drop_oldest(root, "kernel_*")
            return _used(root / name)
    return None


def _holds(place: Path, source: str) -> bool:
    """Whether the folder of a kernel, which numba's compiled code lies in as well, is there."""
    try:
        return (place / f"{place.name}.py").read_text(encoding="utf-8") == source
    except (OSError, UnicodeDecodeError):
        return False


def _copy(kernel: Path, place: Path) -> None:
    """Copy the folder of a kernel with the times of its files, by which numba knows what compiled code belongs to."""
    for file in kernel.rglob("*"):
        if file.is_file():
            copy, times = place / file.relative_to(kernel), file.stat()
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))


def _used(place: Path) -> Path:
    with contextlib.suppress(OSError):
        os.utime(place)
    return place / f"{place.name}.py"


def _in_memory(name: str, source: str) -> ModuleType:
    """The module of a source that no folder can hold, compiled for this process alone."""
    made = ModuleType(name)
    made.__file__ = None
    exec(compile(source.replace("cache=True", "cache=False"), f"<{name}>", "exec"), made.__dict__)
    return made


def _import(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # numba looks the module up by name when it loads compiled code
    spec.loader.exec_module(loaded)
    return loaded


def drop_oldest(root: Path, names: str = "*") -> None:
    """Remove what was used least recently of the kernels in a folder, if there are too many."""
    with contextlib.suppress(OSError):
        for kernel in sorted(root.glob(names), key=lambda path: path.stat().st_mtime)[:-_LARGEST]:
            shutil.rmtree(kernel, ignore_errors=True) if kernel.is_dir() else kernel.unlink(missing_ok=True)
