"""Files that are written whole or not at all, carry a checksum in a run folder, and are named where they are damaged.

On the ground floor: it may import the errors and process locks, and of torch only what reads and writes archives.
"""

from snntrain.files.read_write import (
    MOST_BYTES,
    MOST_VALUES,
    damage,
    naming,
    newest_first,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
    replacing,
    replacing_folder,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "MOST_BYTES",
    "MOST_VALUES",
    "damage",
    "naming",
    "newest_first",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "replacing",
    "replacing_folder",
    "write_bytes",
    "write_json",
    "write_text",
]
