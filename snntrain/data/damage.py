"""Damaged content versus a failing disk or system: only damaged content makes a file corrupt."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from snntrain.error import one_line
from snntrain.files import naming

_NAMED = 5  # files that an error or a warning names at most


def is_systems(error: BaseException) -> bool:
    """Whether an error is the operating system's: no rights, no memory, a disk that is full or cannot be read.

    Decoders raise OSError for damaged content as well (Pillow, gzip, h5py), but then without an error number.
    """
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


@contextlib.contextmanager
def decoding(describe: Callable[[str], Exception], *understood: type[Exception]) -> Iterator[None]:
    """Turn whatever a decoder raises for damaged content into one error. Errors of the system pass unchanged.

    Args:
        describe: the decoder's reason in one line → the error to raise.
        understood: errors that say enough by themselves and pass too.
    """
    try:
        yield
    except Exception as error:  # damaged files provoke nearly anything in the libraries that decode them
        if is_systems(error) or isinstance(error, understood):
            raise
        raise describe(one_line(error)) from error


def some_of(items: Sequence[object]) -> str:
    """The first of some files, for an error or a warning, and how many more there are."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(map(str, items[:_NAMED])) + more


def check_readable(path: Path) -> None:
    """Raise the system's own error if the disk fails; a library that decodes the file would call it corrupt."""
    with naming(path), path.open("rb") as file:
        file.read(1)
