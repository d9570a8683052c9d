"""Reads Event Stream, the format .es, with the package faery."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from snntrain.data.damage import check_readable, decoding

#: Kinds of streams, numbered by byte 15 of the file.
KINDS = {0: "generic events", 1: "DVS", 2: "ATIS", 3: "asynchronous ATIS", 4: "color"}


def read_es(path: Path, columns: str, camera: str | None) -> Mapping[str, np.ndarray]:
    """Read a .es file of DVS events. y counts from the top; the file counts it from the bottom.

    Args:
        columns, camera: unused; all readers have the same signature.

    Raises: ValueError for a file that is damaged or holds other events; ImportError.
    """
    try:
        import faery
    except ImportError as error:
        raise ImportError(
            f"data: {path}: reading .es needs the package faery. Install it: pip install 'snntrain[es]'."
        ) from error
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16 or not head.startswith(b"Event Stream"):
        raise ValueError("it does not begin like an Event Stream, or is truncated.")
    if head[15] != 1:
        kind = KINDS.get(head[15], f"kind {head[15]}")
        raise ValueError(f"it says that it holds {kind}; a recording needs the pixels' events of a DVS. Convert it.")
    with decoding(lambda reason: ValueError(f"it cannot be read ({reason}). It may be truncated.")):
        events = faery.events_stream_from_file(path).to_array()
    return {name: events[column] for name, column in (("x", "x"), ("y", "y"), ("t", "t"), ("p", "on"))}
