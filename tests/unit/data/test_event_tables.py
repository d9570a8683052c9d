"""Recordings in tables of text and in MATLAB's files."""

import io
import resource
import struct
import zlib

import h5py
import numpy as np
import pytest
from event_files import refusal, stream, write_csv, write_es, write_mat
from scipy.io import savemat
from scipy.sparse import coo_array

from snntrain.data.events import read_events

EVENTS = stream(seed=5, n=40)


@pytest.mark.parametrize("divider", [",", ";", "\t", " ", ", "])
@pytest.mark.parametrize("order", ["xytp", "tyxp"])
def test_a_table_without_names_has_the_columns_that_the_setting_says(tmp_path, divider, order):
    path = write_csv(tmp_path / "a.csv", EVENTS, order=order, divider=divider)
    assert np.array_equal(read_events(path, columns=order), EVENTS)


def test_a_table_with_names_may_have_others_and_comments(tmp_path):
    rows = "".join(f"{t},7,{y},{x},{int(p)}\n" for x, y, t, p in EVENTS.tolist())
    (tmp_path / "a.csv").write_text(f'\ufeff% geometry 34x34\n\n# a camera\n"Timestamp",id,y,x,polarity\n{rows}')
    assert np.array_equal(read_events(tmp_path / "a.csv"), EVENTS)


def test_a_table_keeps_times_that_a_float_would_round_and_reads_seconds(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,9007199254740993,1\n1,2,9007199254740995,1\n")
    assert "which with data.time_unit=us is" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("1,2,1700000000000000001,1\n1,2,1700000000000001001,1\n")
    assert np.diff(read_events(tmp_path / "b.csv", time_unit="ns")["t"]).tolist() == [1]
    (tmp_path / "c.csv").write_text("1,2,0.5,1\n1,2,1e0,0\n")
    assert read_events(tmp_path / "c.csv", time_unit="s")["t"].tolist() == [500_000, 1_000_000]
    assert "t holds fractions such as 0.5. Set data.time_unit" in refusal(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1,2,3\n", "got [1, 3]"),
        ("1,2,3,1\n1,2,3\n", "it is no table of numbers"),
        ("1,2,3,1\n1,2,three,1\n", "it is no table of numbers"),
        ("a,b,c,d\n1,2,3,1\n", "its first line names no field of an event. It has: a, b, c, d"),
        ("x,y,t\n1,2,3\n", "it has no field p"),
        ("x,y,t,p\n", "it holds no events"),
        ("x,y,t,ts,p\n1,2,3,4,1\n", "t and ts are both names of the field t"),
        ("x,y,t,p\n1,2,nan,1\n", "t holds values that are not finite"),
        ("1,2,3,1\0\n", "it is no text"),
    ],
)
def test_text_that_is_no_recording_is_refused(tmp_path, content, reason):
    (tmp_path / "a.csv").write_text(content)
    assert reason in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize("structure", ["", "TD"])
def test_matlabs_variables_or_a_structure_of_them_are_read(tmp_path, structure):
    assert np.array_equal(read_events(write_mat(tmp_path / "a.mat", EVENTS, structure)), EVENTS)


def test_a_single_matrix_of_matlab_has_the_columns_that_the_setting_says(tmp_path):
    savemat(tmp_path / "a.mat", {"events": np.stack([EVENTS[name].astype(float) for name in "txyp"], 1)})
    assert np.array_equal(read_events(tmp_path / "a.mat", columns="txyp"), EVENTS)


def test_a_file_of_matlab_7_3_is_read_as_the_hdf5_that_it_is(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        for name in "xytp":
            file[name] = EVENTS[name].astype(np.float64)[None]
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    assert np.array_equal(read_events(tmp_path / "a.mat"), EVENTS)


def test_a_file_of_matlab_that_is_no_recording_is_refused(tmp_path):
    savemat(tmp_path / "a.mat", {"x": [1], "y": [1], "t": [1]})
    assert "it has no field p" in refusal(tmp_path / "a.mat")
    savemat(tmp_path / "b.mat", {one: {"x": [1], "y": [1], "t": [1], "p": [1]} for one in ("left", "right")})
    assert "it holds several recordings (left, right)" in refusal(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", {"x": ["a"], "y": [1], "t": [1], "p": [1]})
    assert "x holds <U1, not numbers" in refusal(tmp_path / "c.mat")
    savemat(
        tmp_path / "sparse.mat", {"TD": {"x": coo_array(([1], ([0], [0])), (10**9, 1)), "t": [1], "y": [1], "p": [1]}}
    )
    assert "x holds object, not numbers" in refusal(tmp_path / "sparse.mat")
    savemat(tmp_path / "d.mat", {"names": ["left", "right"]})
    refusal(tmp_path / "d.mat")


def test_a_file_of_matlab_that_inflates_to_gigabytes_is_refused_before_it_does(tmp_path):
    """A structure does not declare the size of its fields."""
    plain = io.BytesIO()
    savemat(plain, {"TD": {"x": np.zeros(8), "t": np.zeros(8)}})
    inflating = zlib.compressobj(9)
    parts = [inflating.compress(plain.getvalue()[128:])]
    parts += [inflating.compress(bytes(2**24)) for _ in range(6)]
    body = b"".join([*parts, inflating.flush()])
    (tmp_path / "a.mat").write_bytes(plain.getvalue()[:128] + struct.pack("<II", 15, len(body)) + body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "it declares" in refusal(tmp_path / "a.mat")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_an_event_stream_of_other_events_is_refused(tmp_path):
    pytest.importorskip("faery")
    path = write_es(tmp_path / "a.es", EVENTS)
    content = bytearray(path.read_bytes())
    content[15] = 2
    path.write_bytes(content)
    assert "it says that it holds ATIS" in refusal(path)
    path.write_bytes(content[:10])
    assert "is truncated" in refusal(path)
