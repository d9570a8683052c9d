"""Reads recordings stored as arrays: .npy, .npz and .h5, after comparing the declared sizes with the file.

A kilobyte of HDF5 or ZIP can declare any number of zeros, and HDF5 can point to other files of the machine.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from snntrain.data.damage import decoding
from snntrain.data.event_fields import ALIASES

#: Arrays up to this many bytes are read at any ratio of compression.
HARMLESS = 64 * 2**20
#: Largest ratio of compression. Events compress ten to one, at best twenty to one; zeros a thousand to one.
MOST_TO_ONE = 200

_NAMES = {alias for aliases in ALIASES.values() for alias in aliases}


def read_numpy(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the fields of a .npy or .npz file.

    Args:
        columns: order of the columns of an [n, 4] array.
        camera: unused; all readers have the same signature.

    Raises: ValueError for a file that is damaged, no recording, or declares far more than it holds.
    """
    content = path.read_bytes()
    with decoding(_unreadable, _Refused):
        if content[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _check_archive(archive, len(content))
        else:
            check_array(io.BytesIO(content), len(content))
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    return by_column(next(iter(arrays.values())), columns) if len(arrays) == 1 else arrays


def by_column(array: np.ndarray, columns: str) -> Mapping[str, np.ndarray]:
    """The fields of a structured array, or the named columns of an [n, 4] one.

    Raises: ValueError for any other array.
    """
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"its array must be structured or of shape [n, 4], got {list(array.shape)} {array.dtype}.")
    return {name: array[:, column] for column, name in enumerate(columns)}


def read_h5(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read the fields of a .h5 file: one dataset each, in the file itself or in one of its groups.

    A dataset t_offset, as in DSEC, is added to the times.

    Args and raises: as read_numpy.
    """
    import h5py

    content = path.read_bytes()
    with decoding(_unreadable_h5, _Refused), h5py.File(io.BytesIO(content), "r") as file:
        if "spikes" in file and "labels" in file:
            raise _Refused("it holds many samples, in SHD's layout. Use data=shd or data=ssc.")
        found = [(group, nodes) for group, nodes in _groups(file) if _is_recording(nodes)]
        if len(found) > 1:
            places = ", ".join(group.name for group, _ in found)
            raise _Refused(f"it holds several recordings ({places}). Give each a file of its own.")
        if not found:
            others = [name for _, nodes in _groups(file) for name in nodes]
            return {name: np.zeros(0) for name in others}
        _, nodes = found[0]
        fields = {name: node for name, node in nodes.items() if name.lower() in _NAMES} or _tables(nodes) or nodes
        check_stored(fields)
        arrays = {name: node[()] for name, node in fields.items()}
        offset = nodes.get("t_offset") or dict(_datasets(file)).get("t_offset")
        shift = 0 if offset is None or offset.shape not in ((), (1,)) else int(np.ravel(offset[()])[0])
    if len(arrays) == 1:
        return by_column(next(iter(arrays.values())), columns)
    if shift:
        arrays = {
            name: _later(values, shift) if name.lower() in ALIASES["t"] else values for name, values in arrays.items()
        }
    return arrays


def _later(times: np.ndarray, shift: int) -> np.ndarray:
    """DSEC's times have 32 bits, in which the sum has no room."""
    return (times if times.dtype.kind == "f" else times.astype(np.int64)) + shift


class _Refused(ValueError):
    """Raised for a file that could be decoded and is not, for the reason in the text."""


def _unreadable(reason: str) -> ValueError:
    return ValueError(f"it cannot be read ({reason}). It may be truncated.")


def _unreadable_h5(reason: str) -> ValueError:
    if "filter" not in reason:
        return _unreadable(reason)
    return ValueError(
        f"it is compressed by a filter that is not installed ({reason}). Install hdf5plugin and list it in plugins: "
        "plugins=[hdf5plugin]; or save it again, compressed by gzip."
    )


def _groups(file: Any, depth: int = 3) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The file and the groups in it, each with its datasets."""
    import h5py

    yield file, dict(_datasets(file))
    for name in file if depth else ():
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group):
            yield from _groups(file[name], depth - 1)


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise _Refused(f"{name} is a link to another file, which is not followed. Copy its content into this one.")
        node = group.get(name)
        if isinstance(node, h5py.Dataset):
            yield name, node


def _is_recording(nodes: Mapping[str, Any]) -> bool:
    names = {name.lower() for name in nodes}
    whole = [node for node in nodes.values() if node.dtype.names or node.ndim == 2]
    is_recording = bool(names & {*ALIASES["t"]} and names & {*ALIASES["x"]})
    return is_recording or len(_tables(nodes)) == 1 or (len(nodes) == 1 and bool(whole))


def _tables(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The structured datasets of events, beside which Prophesee's files have an index."""
    return {
        name: node
        for name, node in nodes.items()
        if node.dtype.names and {field.lower() for field in node.dtype.names} >= {"x", "t"}
    }


def check_stored(nodes: Mapping[str, Any]) -> None:
    """Refuse HDF5 datasets that lie in other files, or declare far more than is stored."""
    for name, node in nodes.items():
        if node.external or node.is_virtual:
            raise _Refused(f"{name} lies in another file, which is not read. Copy its content into this one.")
    declared = sum(node.size * node.dtype.itemsize for node in nodes.values() if node.shape is not None)
    check_ratio(declared, sum(node.id.get_storage_size() for node in nodes.values()))


def check_ratio(declared: int, stored: int) -> None:
    """Refuse a file that declares far more bytes than it holds."""
    if declared > HARMLESS and declared > MOST_TO_ONE * stored:
        raise _Refused(
            f"it declares {declared:,} bytes of events, but holds {stored:,}: no recording is compressed more than "
            f"{MOST_TO_ONE} to one. Replace or remove it."
        )


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    check_ratio(sum(member.file_size for member in members), size)
    for member in members:
        with archive.open(member) as file:
            check_array(file, member.file_size)


def check_array(file: BinaryIO, size: int) -> None:
    """Refuse a .npy file whose header promises more than the file has, or Python objects."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it is a pickle of Python objects, which would run code")
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > there:
        raise ValueError(f"its header promises {needed:,} bytes, but only {max(there, 0):,} follow: it is truncated")
