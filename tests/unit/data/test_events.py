"""Every reader against files written by hand in its format, and against damaged ones."""

import importlib.util
import io
import re
import resource
import sys
import zipfile

import h5py
import numpy as np
import pytest
from event_files import (
    refusal,
    stream,
    write_aedat2,
    write_aedat3,
    write_aedat4,
    write_bin,
    write_csv,
    write_dat,
    write_es,
    write_evt2,
    write_evt3,
    write_h5,
    write_heidelberg,
    write_mat,
    write_npy,
    write_npz,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data.events import EVENT, READERS, as_events, read_events

EVENTS = stream(seed=3, n=60)
WRITERS = {
    "bin": (".bin", write_bin),
    "aedat 2": (".aedat", write_aedat2),
    "aedat 3": (".aedat", write_aedat3),
    "aedat 4": (".aedat4", write_aedat4),
    "npz": (".npz", write_npz),
    "npy structured": (".npy", write_npy),
    "h5": (".h5", write_h5),
    "mat": (".mat", write_mat),
    "csv": (".csv", write_csv),
    "dat": (".dat", write_dat),
    "evt 2": (".raw", write_evt2),
    "evt 3": (".raw", write_evt3),
    "es": (".es", write_es),
}
#: Formats that say neither how long they are nor where they end: a cut between two events cannot be noticed.
ENDLESS = ("csv", "evt 2", "evt 3", "es")
PACKAGES = {"aedat 4": "aedat", "es": "faery", "bin": "tonic"}


def matrix(events: np.ndarray, order: str = "xytp", dtype: type = np.int64) -> np.ndarray:
    return np.stack([events[name].astype(dtype) for name in order], 1)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_events_that_were_written(tmp_path, kind):
    pytest.importorskip(PACKAGES.get(kind, "numpy"))
    suffix, write = WRITERS[kind]
    events = read_events(write(tmp_path / f"one{suffix}", EVENTS), sensor_size=[34, 34])
    assert events.dtype == EVENT and np.array_equal(events, EVENTS)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_forty_bits_hold_every_place_polarity_and_time(tmp_path_factory, seed, n):
    events = stream(seed, n, size=(240, 256), duration=2**23)  # y = 240 is no place: it says that the clock ran over
    path = write_bin(tmp_path_factory.mktemp("bin") / "a.bin", events)
    assert np.array_equal(read_events(path), events)


def test_a_clock_that_ran_over_goes_on_in_a_bin_file(tmp_path):
    """y = 240 is no event: the times after it are 2^13 µs later."""
    written = np.array([(1, 2, 100, True), (0, 240, 100, False), (3, 4, 50, False)], EVENT)
    events = read_events(write_bin(tmp_path / "a.bin", written))
    assert events.tolist() == [(1, 2, 100, True), (3, 4, 50 + 2**13, False)]


@pytest.mark.parametrize("order", ["xytp", "txyp", "ptyx"])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_the_columns_of_an_array_are_those_that_are_named_and_off_may_be_minus_one(tmp_path, order, dtype):
    array = matrix(EVENTS, order, dtype)
    assert np.array_equal(read_events(write_npy(tmp_path / "a.npy", array), columns=order), EVENTS)
    array[:, order.index("p")] = 2 * array[:, order.index("p")] - 1
    assert np.array_equal(read_events(write_npy(tmp_path / "a.npy", array), columns=order), EVENTS)


@pytest.mark.parametrize(
    "names", [["x", "y", "ts", "pol"], ["X", "Y", "Timestamp", "Polarity"], ["xs", "ys", "t", "on"]]
)
def test_fields_are_known_by_their_usual_names(tmp_path, names):
    assert np.array_equal(read_events(write_npz(tmp_path / "a.npz", EVENTS, names)), EVENTS)
    assert np.array_equal(read_events(write_h5(tmp_path / "a.h5", EVENTS, "dvs", names)), EVENTS)
    other = np.zeros(len(EVENTS), [(names[2], "u8"), (names[0], "u2"), (names[3], "i1"), (names[1], "u2")])
    for name, field in zip(names, "xytp", strict=True):
        other[name] = EVENTS[field]
    assert np.array_equal(read_events(write_npy(tmp_path / "a.npy", other)), EVENTS)


def test_a_single_array_in_an_archive_is_read_as_one_in_a_file_of_its_own(tmp_path):
    np.savez(tmp_path / "a.npz", matrix(EVENTS))
    np.savez(tmp_path / "b.npz", EVENTS)
    for name in "ab":
        assert np.array_equal(read_events(tmp_path / f"{name}.npz"), EVENTS)


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1e-3), ("s", 1e-6), ("ns", 1e3)])
def test_time_in_other_units_becomes_microseconds(tmp_path, unit, factor):
    array = matrix(EVENTS, dtype=np.float64)
    array[:, 2] *= factor
    assert np.array_equal(read_events(write_npy(tmp_path / "a.npy", array), time_unit=unit), EVENTS)


EPOCH = 1_700_000_000_000_000  # µs


@pytest.mark.parametrize(
    ("times", "unit", "reason"),
    [
        ([EPOCH, EPOCH + 99_000], "ms", r"with data.time_unit=ms is 53,\d+ years. Set data.time_unit .*\(us or ns\)"),
        ([EPOCH, EPOCH + 99_000], "s", r"with data.time_unit=s is 53,\d+,\d+ years"),
        ([EPOCH * 1000, EPOCH * 1000 + 99], "us", r"with data.time_unit=us is 53,\d+ years"),
        (np.array([1.7e9, 1.7e9, 1.7e9 + 0.1], np.float32), "s", "no values closer than 128 s.*times have collapsed"),
        (np.array([1e5, 1e5 + 0.1], np.float32), "s", "times have collapsed"),
        (np.array([1e4, 1e4 + 8], np.float16), "ms", "times have collapsed"),
        ([-5, 3], "us", "t holds -5, which is before time 0"),
        ([0.0, np.inf], "s", "t holds values that are not finite"),
    ],
)
def test_times_that_a_unit_or_a_type_destroys_are_refused(tmp_path, times, unit, reason):
    n = len(times)
    np.savez(tmp_path / "a.npz", x=np.ones(n, int), y=np.ones(n, int), t=times, p=np.ones(n, int))
    assert re.search(reason, refusal(tmp_path / "a.npz", time_unit=unit))


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ([EPOCH, EPOCH + 7], "us", [EPOCH, EPOCH + 7]),
        (np.array([1.7e9, 1.7e9 + 0.5]), "s", [EPOCH, EPOCH + 500_000]),
        (np.array([0, 0, 0.5], np.float32), "s", [0, 0, 500_000]),
        (np.array([2.0, 2.0], np.float32), "s", [2_000_000] * 2),  # two events at once, told apart to 0.2 µs
    ],
)
def test_times_that_a_type_can_tell_apart_are_read(tmp_path, times, unit, expected):
    n = len(times)
    np.savez(tmp_path / "a.npz", x=np.ones(n, int), y=np.ones(n, int), t=times, p=np.ones(n, int))
    assert read_events(tmp_path / "a.npz", time_unit=unit)["t"].tolist() == expected


@pytest.mark.parametrize("kind", ["u4", "i8", "f8"])
def test_dsecs_times_begin_at_their_offset(tmp_path, kind):
    """Those of DSEC have 32 bits, the offset has more."""
    path = write_h5(tmp_path / "a.h5", EVENTS)
    with h5py.File(path, "a") as file:
        del file["events/t"]
        file["events/t"] = EVENTS["t"].astype(kind)
        file["t_offset"], file["ms_to_idx"] = 49_599_300_523, np.arange(100)
    found = read_events(path)
    assert np.array_equal(found["t"], EVENTS["t"] + 49_599_300_523) and np.array_equal(found["x"], EVENTS["x"])


def test_a_file_of_several_recordings_is_refused_with_the_data_set_that_reads_it(tmp_path):
    path = write_h5(tmp_path / "a.h5", EVENTS, "left")
    with h5py.File(path, "a") as file:
        file.copy("left", "right")
    assert "it holds several recordings (/left, /right)" in refusal(path)
    path = write_heidelberg(tmp_path / "shd_train.h5", [(np.array([0.1]), np.array([5]), 0)], ["zero"])
    assert "data=shd" in refusal(path)


def bomb(path, kind: str):
    """A small file that declares 3 GB, or points out of itself."""
    if kind == "npz":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (3 * 10**6, 4)})
        fast = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
        with zipfile.ZipFile(path, "w", **fast) as archive, archive.open("a.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(3):
                member.write(bytes(32 * 10**6))
    elif kind == "npy":
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**8, 4)})
            file.write(bytes(64))
    else:
        (path.parent / "secret").write_bytes(b"secret" * 10)
        with h5py.File(path.parent / "other", "w") as other:
            other["x"] = np.arange(16)
        with h5py.File(path, "w") as file:
            for name in "ytp":
                file[name] = np.zeros(16, int)
            if kind == "h5 unallocated":
                for name in "xytp":
                    file.pop(name, None)
                    file.create_dataset(name, (10**8,), "i8", chunks=(10**6,))
            elif kind == "h5 external storage":
                file.create_dataset("x", (16,), "u1", external=[(str(path.parent / "secret"), 0, 16)])
            elif kind == "h5 external link":
                file["x"] = h5py.ExternalLink(str(path.parent / "other"), "x")
            elif kind == "h5 virtual":
                layout = h5py.VirtualLayout((16,), "i8")
                layout[:] = h5py.VirtualSource(str(path.parent / "other"), "x", (16,))
                file.create_virtual_dataset("x", layout)
    return path


@pytest.mark.parametrize(
    ("kind", "suffix", "reason"),
    [
        ("npz", ".npz", "it declares 96,000,"),
        ("npy", ".npy", "its header promises 3,200,000,000 bytes, but only 64 follow"),
        ("h5 unallocated", ".h5", "it declares 3,200,000,000 bytes of events, but holds 0"),
        ("h5 external storage", ".h5", "x lies in another file"),
        ("h5 external link", ".h5", "x is a link to another file"),
        ("h5 virtual", ".h5", "x lies in another file"),
    ],
)
def test_a_file_that_declares_more_than_it_holds_or_points_out_of_itself_is_refused_unread(
    tmp_path, kind, suffix, reason
):
    path = bomb(tmp_path / f"a{suffix}", kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_failing_disk_is_not_taken_for_a_damaged_file(tmp_path):
    for suffix in (one for one in READERS if one != ".es" or importlib.util.find_spec("faery")):
        (tmp_path / f"a{suffix}").symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
        with pytest.raises(OSError, match=rf"Input/output error.*a\{suffix}") as raised:
            read_events(tmp_path / f"a{suffix}")
        assert not isinstance(raised.value, ValueError)


def test_a_sensor_without_rows_needs_neither_y_nor_polarity(tmp_path):
    np.savez(tmp_path / "a.npz", times=[10, 20], units=[3, 699])
    events = read_events(tmp_path / "a.npz", sensor_size=700)
    assert events.tolist() == [(3, 0, 10, True), (699, 0, 20, True)]
    assert "it has no field y" in refusal(tmp_path / "a.npz")
    assert "x = 699" in refusal(tmp_path / "a.npz", sensor_size=699)


def test_time_that_goes_back_is_refused_or_sorted(tmp_path):
    events = np.array([(1, 1, 30, True), (2, 1, 10, True), (3, 1, 30, False), (4, 1, 10, False)], EVENT)
    for suffix, write in (WRITERS[kind] for kind in ("bin", "npy structured", "npz", "h5", "aedat 2", "aedat 3")):
        path = write(tmp_path / f"one{suffix}", events)
        said = refusal(path)
        assert "time goes back from 30 to 10 µs at event 1" in said and "data.unsorted=sort" in said
        assert read_events(path, unsorted="sort")["x"].tolist() == [2, 4, 1, 3]


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ENDLESS])
def test_a_file_that_was_cut_off_is_refused(tmp_path, kind):
    suffix, write = WRITERS[kind]
    pytest.importorskip(PACKAGES.get(kind, "numpy"))
    path = write(tmp_path / f"one{suffix}", EVENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert re.search(r"truncated|lengths", refusal(path))
    path.write_bytes(whole[: len(whole) // 2 - 1])
    refusal(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_recording_without_events_is_refused(tmp_path, kind):
    suffix, write = WRITERS[kind]
    pytest.importorskip(PACKAGES.get(kind, "numpy"))
    assert "it holds no events" in refusal(write(tmp_path / f"one{suffix}", EVENTS[:0]))


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("content", [b"", b"<html>404 not found</html>!!!"])
def test_a_file_of_something_else_is_refused(tmp_path, suffix, content):
    pytest.importorskip({".aedat4": "aedat", ".es": "faery"}.get(suffix, "numpy"))
    path = tmp_path / f"one{suffix}"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("kind", ["bin", "npz", "aedat 2", "aedat 3"])
def test_an_event_outside_the_sensor_is_refused(tmp_path, kind):
    suffix, write = WRITERS[kind]
    path = write(tmp_path / f"one{suffix}", np.array([(1, 1, 1, True), (12, 33, 2, False)], EVENT))
    assert "y = 33 lies outside the sensor, whose size is 33×34" in refusal(path, sensor_size=[33, 34])
    assert "x = 12 lies outside" in refusal(path, sensor_size=[34, 12])
    assert len(read_events(path, sensor_size=[34, 13])) == 2


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (0, -1, "x = -1 lies outside"),
        (0, 70_000, "x holds 70000, which is no place"),
        (1, -40_000, "y holds -40000, which is no place"),
        (1, 0.5, "y holds fractions such as 0.5"),
        (2, 0.25, "t holds fractions such as 0.25. Set data.time_unit"),
        (3, 7, "polarity must be 0 or 1, or -1 or 1, got 7"),
        (2, np.nan, "t holds values that are not finite"),
    ],
)
def test_numbers_that_are_no_events_are_refused(tmp_path, column, value, reason):
    array = matrix(EVENTS, dtype=np.float64)
    array[0, column] = value
    assert reason in refusal(write_npy(tmp_path / "a.npy", array), sensor_size=[34, 34])


def test_arrays_that_are_no_recordings_are_refused(tmp_path):
    assert "got [60, 3]" in refusal(write_npy(tmp_path / "a.npy", matrix(EVENTS)[:, :3]))
    assert "holds <U5, not numbers" in refusal(write_npy(tmp_path / "b.npy", np.full((3, 4), "seven")))
    np.savez(tmp_path / "c.npz", x=[1, 2], y=[1, 2], t=[1, 2], p=[1])
    assert "different lengths (x 2, y 2, t 2, p 1)" in refusal(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", x=[1], y=[1], t=[1], time=[1], p=[1])
    assert "t and time are both names of the field t" in refusal(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", x=[1], y=[1], t=[1])
    assert "it has no field p (also called ps, pol" in refusal(tmp_path / "e.npz")
    np.save(tmp_path / "f.npy", np.array([{"x": 1}], dtype=object))
    refusal(tmp_path / "f.npy")  # a pickle, which would run code


def test_an_unknown_ending_is_refused_with_the_known_ones_and_that_of_others_without_a_wrong_guess(tmp_path):
    said = refusal(tmp_path / "a.bag")
    assert ".bag is a recording of ROS" in said and "Convert it to .npz" in said and "Did you mean" not in said
    said = refusal(tmp_path / "a.aedat5")
    assert "Did you mean .aedat?" in said and ".bin, .npy, .npz, .h5, .hdf5, .aedat, .aedat4, .dat, .raw" in said
    assert "no ending" in refusal(tmp_path / "README")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    assert "pip install aedat" in refusal(write_aedat4(tmp_path / "a.aedat4", EVENTS), ImportError)


@pytest.mark.parametrize(
    ("option", "value"), [("columns", "xyt"), ("time_unit", "h"), ("camera", "dvs"), ("unsorted", True)]
)
def test_options_are_checked(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"read_events: {option} must be .*got {value!r}"):
        read_events(tmp_path / "a.bin", **{option: value})


def test_events_of_tonics_data_sets_become_ours():
    theirs = np.zeros((len(EVENTS), 1), [("t", "u8"), ("x", int), ("y", "u2"), ("p", int)])  # a column, as ASL-DVS has
    for name in "txyp":
        theirs[name] = EVENTS[name][:, None]
    assert np.array_equal(as_events(theirs), EVENTS)


def test_real_recordings_are_read_bit_by_bit(shared_data):
    paths = sorted((shared_data / "NMNIST" / "Test").rglob("*.bin"))[::40]
    assert paths
    for path in paths:
        words = [int.from_bytes(word, "big") for word in re.findall(b".{5}", path.read_bytes(), re.DOTALL)]
        expected = [(w >> 32, w >> 24 & 255, w & 0x7FFFFF, bool(w >> 23 & 1)) for w in words]
        assert read_events(path, sensor_size=[34, 34]).tolist() == expected
