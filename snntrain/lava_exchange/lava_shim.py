"""Lava 0.10.0 and lava-dl 0.6.0 on Pythons and numpys that they were not written for.

Both are archived, so their import errors are fixed here, from outside. Nothing but the standard library is imported
before Lava itself. To run Lava (not only lava-dl's slayer), start a process of its own: it sets multiprocessing's start
method, and a failed run can hang forever.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "SNNTRAIN_LAVA"
_INSTALL = f"Install it: python scripts/install_lava.py FOLDER, and set {FOLDER}=FOLDER (or install_lava.py venv)."
_OF_SLAYER = ("lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron", "lava.lib.dl.slayer.neuron.rf")


def slayer() -> ModuleType:
    """lava.lib.dl.slayer: the half of lava-dl that trains with torch. It may share a process with anything."""
    for name in _OF_SLAYER:
        if name in sys.modules and sys.modules[name].__spec__ is None:  # put there by netx()
            del sys.modules[name]
    _stub("lava.lib.dl.slayer.object_detection")  # objects in videos, for which it wants OpenCV
    return _imported("lava.lib.dl.slayer")


def netx() -> ModuleType:
    """lava.lib.dl.netx, which runs netx files in Lava. To be imported in a process of its own."""
    with _hashable_dataclass("ByteEncoder"):
        _imported("lava.magma.compiler.var_model")
    _let_ports_reshape(_imported("lava.magma.core.process.ports.ports").ReshapePort)
    if "lava.lib.dl.slayer" not in sys.modules:
        # All of slayer for one function, of the resonator. The stubs stay: Lava imports the file a second time.
        for name in _OF_SLAYER:
            _stub(name)
        sys.modules[_OF_SLAYER[-1]].neuron_params = _no_resonators
    unused = "lava.lib.dl.netx.sequential_modules"  # it imports torch
    _stub(unused)
    package = _imported("lava.lib.dl.netx")
    if sys.modules[unused].__spec__ is None:
        del sys.modules[unused]  # Lava looks for the file of every module in the package
    return package


def _imported(name: str) -> ModuleType:
    folder = os.environ.get(FOLDER)
    path = str(Path(folder).expanduser()) if folder else None
    if path and path not in sys.path:
        sys.path.append(path)  # at the end: nothing in it goes before what is installed
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        where = f" ({FOLDER} is {folder})" if folder else ""
        raise ImportError(f"{name} cannot be imported{where}: {error}. {_INSTALL}") from error


def _stub(name: str) -> None:
    """Put an empty module under this name, unless there is one."""
    sys.modules.setdefault(name, ModuleType(name))


@contextlib.contextmanager
def _hashable_dataclass(name: str) -> Iterator[None]:
    """Make the dataclass of this name hashable: from Python 3.11 on, only then may an instance be a field's default."""
    original = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return functools.partial(dataclass, **options)
        return original(cls, **options | ({"unsafe_hash": True} if cls.__name__ == name else {}))

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original


def _let_ports_reshape(port: Any) -> None:
    """Without np.reshape's keyword `newshape`, which numpy 2.4 has no more."""
    port.get_transform_func_fwd = lambda self: functools.partial(_reshape, shape=self.shape)
    port.get_transform_func_bwd = lambda self: functools.partial(_reshape, shape=self.old_shape)


def _reshape(data: Any, shape: tuple[int, ...]) -> Any:
    return data.reshape(shape)


def _no_resonators(*arguments: Any) -> Callable[..., Any]:
    raise NotImplementedError("netx: resonate-and-fire neurons need lava-dl's slayer, which is not loaded here.")


def installed_lava(folder: str | os.PathLike | None = None) -> str | None:
    """Where Lava is: a folder, '' for this Python's own packages; None: nowhere.

    Args:
        folder: to look there only; None: SNNTRAIN_LAVA, then .lava in the present folder, then this Python.
    """
    places = [folder] if folder is not None else [os.environ.get(FOLDER), ".lava"]
    for place in places:
        if place and (Path(place).expanduser() / "lava").is_dir():
            return str(Path(place).expanduser())
    if folder is None and importlib.util.find_spec("lava") is not None:
        return ""
    return None
