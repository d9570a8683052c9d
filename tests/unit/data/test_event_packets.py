"""Packets of events: what is written is read, and damage is named."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data.event_fields import EVENT
from snntrain.data.event_packets import (
    MOST_IN_A_PACKET,
    BadPacket,
    PacketWriter,
    read_header,
    read_packets,
)


def made(seed: int, count: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["t"] = random.integers(0, 2**40, count)
    events["x"], events["y"], events["p"] = (random.integers(0, high, count) for high in (32, 20, 2))
    return events


def stream_of(*packets: np.ndarray, ends: bool = True) -> bytes:
    file = io.BytesIO()
    writer = PacketWriter(file, [20, 32])
    for packet in packets:
        writer.write(packet)
    if ends:
        writer.end()
    return file.getvalue()


def read(content: bytes) -> list[np.ndarray]:
    file = io.BytesIO(content)
    height, width = read_header(file)
    return list(read_packets(file, height, width))


@given(counts=st.lists(st.integers(0, 50), max_size=5), seed=st.integers(0, 9))
def test_packets_come_back_as_they_were_written(counts, seed):
    packets = [made(seed, count) for count in counts]
    found = read(stream_of(*packets))
    assert [packet.tolist() for packet in found] == [packet.tolist() for packet in packets if len(packet)]


def test_the_bytes_are_those_of_the_documentation():
    event = np.array([(3, 2, 1000, True)], EVENT)
    packet = struct.pack("<qHHB3x", 1000, 3, 2, 1)
    assert len(packet) == 16
    head = b"SNNEVENT" + struct.pack("<4H", 1, 20, 32, 0)
    assert stream_of(event) == head + struct.pack("<II", 1, zlib.crc32(packet)) + packet + bytes(8)


@settings(deadline=None)
@given(length=st.integers(0, 200))
def test_a_stream_that_is_cut_off_says_so(length):
    whole = stream_of(made(1, 4), made(2, 5))
    with pytest.raises(BadPacket, match=r"nothing came|it ends after|cut off"):
        read(whole[: min(length, len(whole) - 1)])


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 167), bit=st.integers(0, 7))
def test_a_flipped_bit_is_damage_and_nothing_else_is_raised(place, bit):
    content = bytearray(stream_of(made(1, 4), made(2, 4)))
    content[place] ^= 1 << bit
    try:
        read(bytes(content))
    except BadPacket:
        return
    assert 10 <= place < 14  # a sensor of another size, which whoever reads the header compares with that of the net


class Endless(io.BytesIO):
    """Counts what is asked of it."""

    asked = 0

    def read(self, size: int = -1) -> bytes:
        self.asked += max(size, 0)
        return super().read(size)


@pytest.mark.parametrize("count", [MOST_IN_A_PACKET + 1, 2**32 - 1])
def test_a_packet_that_promises_too_much_is_not_waited_for(count):
    file = Endless(stream_of(ends=False) + struct.pack("<II", count, 0))
    height, width = read_header(file)
    with pytest.raises(BadPacket, match=f"packet 0 says that it holds {count:,} events, more than 1,048,576"):
        list(read_packets(file, height, width))
    assert file.asked < 100


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("x", 32, "x = 32, not 0 to 31"), ("y", 20, "y = 20, not 0 to 19"), ("t", -1, "t = -1, not 0 to")],
)
def test_events_that_cannot_be_are_named(field, value, named):
    events = made(1, 3)
    events[field][1] = value
    with pytest.raises(BadPacket, match=f"packet 0 has an event with {named}"):
        read(stream_of(events))
