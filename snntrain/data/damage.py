"""Tell damaged content from a failing disk or system: only damaged content makes a file corrupt."""


def is_systems(error: BaseException) -> bool:
    """Whether an error is the operating system's: no rights, no memory, a disk that cannot be read or is full.

    Decoders raise OSError for damaged content as well (Pillow, gzip, h5py), but then without an error number.
    """
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__
