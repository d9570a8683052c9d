"""Files of torch.save: written whole or not at all, their contents compared with the checksums that they hold.

torch does not verify checksums when it loads a file. Here the CRC-32 of every tensor in its zip archive is tested.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from snntrain.error import DamagedFile
from snntrain.files.read_write import write_bytes


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint with torch.save."""
    buffer = io.BytesIO()  # torch writes in C, where a full disk raises a misleading RuntimeError
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def check_archive(path: Path) -> None:
    """Test the CRC-32 of everything in a file that torch.save wrote.

    Raises: DamagedFile naming the file and the part; FileNotFoundError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = next((part for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:  # torch never compresses, and a small compressed file may expand beyond all memory
                raise DamagedFile(f"checkpoint: {path} cannot be read: {packed.filename} in it is compressed.")
            broken = archive.testzip()
    except (FileNotFoundError, DamagedFile):
        raise
    except OSError as error:
        raise DamagedFile(f"checkpoint: {path} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, LookupError) as error:
        raise DamagedFile(
            f"checkpoint: {path} cannot be read: it is damaged, or no file of torch.save ({error}). Use another "
            "checkpoint of the run."
        ) from error
    if broken is not None:
        raise DamagedFile(
            f"checkpoint: {path} is damaged: the checksum of {broken} in it does not agree. Use another checkpoint of "
            "the run."
        )
