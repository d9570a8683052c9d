"""Files of Prophesee's cameras against the events that were written, and against expelliarmus."""

import numpy as np
import pytest
from event_files import EVENT, refusal, stream, write_dat, write_evt2, write_evt3
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snntrain.data.events import read_events

WRITERS = {"dat": (".dat", write_dat), "evt2": (".raw", write_evt2), "evt3": (".raw", write_evt3)}
LAST = {
    "dat": 2**31,
    "evt2": 2**33,
    "evt3": 2**23,
}  # a turn is twice as long; a recording may last less than half of it


def crowded(seed: int, n: int, duration: int) -> np.ndarray:
    """Events of which many have the same time, row and polarity, so that EVT 3.0 makes vectors of them."""
    events = stream(seed, n, size=(4, 34), duration=max(duration // 7, 1))
    events["t"] *= 7
    return np.unique(events)[np.argsort(np.unique(events), order=("t", "y", "p", "x"))]


@pytest.mark.parametrize("encoding", WRITERS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), share=st.sampled_from([1e-6, 1e-3, 1]))
def test_every_event_comes_back_and_expelliarmus_reads_as_many(tmp_path_factory, encoding, seed, n, share):
    suffix, write = WRITERS[encoding]
    events = crowded(seed, n, int(LAST[encoding] * share))
    path = write(tmp_path_factory.mktemp("camera") / f"a{suffix}", events)
    found = read_events(path, sensor_size=[34, 34])
    assert np.array_equal(found, events)
    assume(
        encoding == "dat" or path.read_bytes().rpartition(b"34\n")[2][:1] != b"%"
    )  # it would take that for a comment
    wizard = pytest.importorskip("expelliarmus").Wizard(encoding=encoding)
    theirs = wizard.read(path)
    assert len(theirs) == len(found)
    for name in "xyp" if encoding == "evt3" else "xytp":  # it counts the turns of EVT 3.0's lower clock twice
        assert np.array_equal(theirs[name], found[name])


@pytest.mark.parametrize(("encoding", "turn"), [("dat", 2**32), ("evt2", 2**34), ("evt3", 2**24)])
def test_a_clock_that_begins_again_goes_on(tmp_path, encoding, turn):
    suffix, write = WRITERS[encoding]
    events = stream(seed=1, n=40, duration=1000)
    events["t"] += turn - 500
    path = write(tmp_path / f"a{suffix}", events)
    assert np.array_equal(read_events(path), events)


def words(path, *values: int, header: str = "% evt 3.0\n", kind: str = "<u2"):
    path.write_bytes(header.encode() + np.array(values, kind).tobytes())
    return path


def test_the_lower_time_is_zero_until_it_is_stated_and_a_repeated_upper_time_changes_nothing(tmp_path):
    path = words(tmp_path / "a.raw", 0x8001, 0x6005, 0x0003, 0x2001, 0x8001, 0x2002, 0x8002, 0x2003, 0x6001, 0x2804)
    expected = [(1, 3, 4101, False), (2, 3, 4101, False), (3, 3, 8192, False), (4, 3, 8193, True)]
    assert read_events(path).tolist() == expected


def test_triggers_and_words_of_the_vendor_are_passed_over(tmp_path):
    path = words(tmp_path / "a.raw", 0xE005, 0x8001, 0xA001, 0x7123, 0x0003, 0xF456, 0x2801)
    assert read_events(path).tolist() == [(1, 3, 4096, True)]


def test_vectors_follow_each_other_from_the_base_on(tmp_path):
    path = words(tmp_path / "a.raw", 0x8000, 0x0007, 0x3810, 0x4801, 0x5081, 0x4001)
    assert read_events(path)["x"].tolist() == [16, 27, 28, 35, 36]
    assert read_events(path)["p"].all()


def test_what_comes_before_the_first_time_or_row_is_left_out(tmp_path):
    assert len(read_events(words(tmp_path / "a.raw", 0x0001, 0x2001, 0x8001, 0x2002, 0x6001, 0x2003))) == 2
    assert len(read_events(words(tmp_path / "b.raw", 0x8001, 0x2001, 0x4FFF, 0x0001, 0x4FFF, 0x2003))) == 1
    evt2 = {"header": "% evt 2.0\n", "kind": "<u4"}
    assert len(read_events(words(tmp_path / "c.raw", 0x10000801, 0x80000001, 0x10000801, **evt2))) == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.raw", b"\x00\x80\x01\x20", "it has no header of Prophesee's"),
        ("a.raw", b"% evt 2.1\n\x00\x80", "says that it is encoded as EVT 2.1"),
        ("a.raw", b"% format EVT4;height=4;width=4\n\x00\x80", "says that it is encoded as EVT 4"),
        ("a.raw", b"% serial_number 1\n% end\n\x00\x80", "does not say how it is encoded"),
        ("a.raw", b"% evt 3.0\n\x00\x80\x01", "it is truncated: 3 bytes are not a multiple of 2"),
        ("a.raw", b"% evt 2.0\n\x00\x80", "it is truncated: 2 bytes are not a multiple of 4"),
        ("a.raw", b"% evt 3.0\n\x00\x80\x00\x90", "word 1 has the type 0x9, which EVT 3.0 does not have"),
        ("a.raw", b"% evt 2.0\n\x00\x00\x00\x40", "word 0 has the type 0x4, which EVT 2.0 does not have"),
        ("a.raw", b"% evt 3.0\n\x00\x80\x01\x60", "it holds no events"),
        (
            "a.raw",
            b"% evt 3.0\n% width 4\n% height 4\n\x00\x80\x00\x00\x04\x20",
            "x = 4, which is outside of the sensor",
        ),
        ("a.dat", b"% Version 1\n\x0c\x08", "states version 1 of DAT"),
        ("a.dat", b"% Date 2020\n\x0c\x08", "states no version of DAT"),
        ("a.dat", b"% Version 2\n\x0e\x08", "records of type 0x0e and 8 bytes"),
        ("a.dat", b"% Version 2\n\x0c", "it is truncated"),
        ("a.dat", b"% Version 2\n\x0c\x08" + bytes(11), "it is truncated: 11 bytes"),
        ("a.dat", b"% Version 2\n\x0c\x08" + bytes(7) + b"\x70", "polarity must be 0 or 1, or -1 or 1, got 7"),
    ],
)
def test_a_file_that_is_not_to_be_read_is_refused_for_what_it_says_of_itself(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert reason in refusal(tmp_path / name)


def test_a_first_word_that_looks_like_the_mark_of_a_comment_is_none(tmp_path):
    path = words(tmp_path / "a.raw", 0x8025, 0x0A0A, 0x2001)
    assert read_events(path).tolist() == [(1, 0x0A0A & 0x7FF, 0x25 << 12, False)]


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200), name=st.sampled_from(["evt 2.0", "evt 3.0", "Version 2"]))
def test_no_content_does_more_harm_than_a_refusal(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("camera") / ("a.dat" if name == "Version 2" else "a.raw")
    path.write_bytes(f"% {name}\n% end\n".encode() + content)
    try:
        assert read_events(path, unsorted="sort").dtype == EVENT
    except ValueError as error:
        assert str(path) in str(error)
