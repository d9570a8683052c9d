"""Events as packets in a pipe: a small binary format for programs that hand events on while they come.

All numbers are little-endian.

    header   8 bytes "SNNEVENT", version u2 = 1, height u2, width u2, 0 u2
    packet   number of events n u4, checksum u4 (CRC-32 of the events' bytes), then n events of 16 bytes:
             t i8 in µs, x u2, y u2, p u1 (1: ON), three bytes 0
    end      a packet of 0 events, with checksum 0

Nothing of what comes in is trusted: sizes are bounded before they are read, and damage is named.
"""

import struct
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from snntrain.data.event_fields import EVENT, LATEST
from snntrain.data.events import SensorSize, extent

MAGIC, VERSION = b"SNNEVENT", 1
#: Events that one packet may hold, 16 MiB of them.
MOST_IN_A_PACKET = 2**20
PACKED = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"), ("unused", "u1", 3)])
_HEADER, _PACKET = struct.Struct("<8s4H"), struct.Struct("<2I")
_LARGEST = np.iinfo(EVENT["x"]).max


class BadPacket(ValueError):
    """Raised for packets that cannot be read on; the text says why."""


class PacketWriter:
    """Writes events as packets, for another program to read while they come.

        with PacketWriter(sys.stdout.buffer, [260, 346]) as writer:
            for events in camera:
                writer.write(events)

    Args:
        file: to which bytes are written; each packet is flushed.
        sensor_size: [height, width], or the number of channels of a sensor with one row.

    Leaving the block without an error says that the stream ends here and was not cut off.
    """

    def __init__(self, file: BinaryIO, sensor_size: SensorSize) -> None:
        self.file = file
        self._send(_HEADER.pack(MAGIC, VERSION, *extent(sensor_size), 0))

    def write(self, events: np.ndarray) -> None:
        """Write events with the fields x, y, t in µs and p, as read_events returns them; none are no packet."""
        for first in range(0, len(events), MOST_IN_A_PACKET):
            part = events[first : first + MOST_IN_A_PACKET]
            packed = np.zeros(len(part), PACKED)
            for name in EVENT.names:
                packed[name] = part[name]
            content = packed.tobytes()
            self._send(_PACKET.pack(len(part), zlib.crc32(content)) + content)

    def end(self) -> None:
        """Say that no more packets come."""
        self._send(_PACKET.pack(0, 0))

    def _send(self, content: bytes) -> None:
        self.file.write(content)
        self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()


def read_header(file: BinaryIO) -> tuple[int, int]:
    """(height, width) of the sensor.

    Raises: BadPacket for anything else than a header.
    """
    content = _exactly(file, _HEADER.size)
    if len(content) < _HEADER.size:
        what = "nothing came" if not content else f"it ends after {len(content)} bytes"
        raise BadPacket(f"{what}, where the header of a stream of packets should be.")
    magic, version, height, width, zero = _HEADER.unpack(content)
    if magic != MAGIC:
        raise BadPacket(f"it begins with {magic!r}, not with {MAGIC!r}, so it is no stream of packets.")
    if version != VERSION or zero:
        raise BadPacket(f"it has version {version} of the packets; {VERSION} is read here.")
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise BadPacket(f"its header tells a sensor of {height}×{width} pixels (height × width).")
    return height, width


def read_packets(file: BinaryIO, height: int, width: int) -> Iterator[np.ndarray]:
    """The events of each packet, after the header, until the end.

    Raises: BadPacket for packets that are cut off or damaged, and for events that cannot be.
    """
    number = 0
    while True:
        head = _exactly(file, _PACKET.size)
        if len(head) < _PACKET.size:
            raise BadPacket(f"it was cut off after {number:,} packets, without an end.")
        count, checksum = _PACKET.unpack(head)
        if count == 0:
            if checksum:
                raise BadPacket(f"packet {number:,} has no event but the checksum {checksum:#010x}: it is damaged.")
            return
        if count > MOST_IN_A_PACKET:
            raise BadPacket(f"packet {number:,} says that it holds {count:,} events, more than {MOST_IN_A_PACKET:,}.")
        content = _exactly(file, count * PACKED.itemsize)
        if len(content) < count * PACKED.itemsize:
            raise BadPacket(f"it was cut off inside packet {number:,}.")
        if zlib.crc32(content) != checksum:
            raise BadPacket(f"packet {number:,} does not have its checksum: it is damaged.")
        yield _events(np.frombuffer(content, PACKED), number, height, width)
        number += 1


def _events(packed: np.ndarray, number: int, height: int, width: int) -> np.ndarray:
    for name, allowed in (("x", width - 1), ("y", height - 1), ("p", 1), ("t", LATEST)):
        low, high = int(packed[name].min()), int(packed[name].max())
        if low < 0 or high > allowed:
            wrong = low if low < 0 else high
            raise BadPacket(f"packet {number:,} has an event with {name} = {wrong}, not 0 to {allowed}.")
    events = np.empty(len(packed), EVENT)
    for name in EVENT.names:
        events[name] = packed[name]
    return events


def _exactly(file: BinaryIO, size: int) -> bytes:
    """So many bytes; fewer where the file ends. A pipe gives what it has, so it is asked until all is there."""
    content = bytearray()
    while len(content) < size and (more := file.read(min(size - len(content), 2**20))):
        content += more
    return bytes(content)
