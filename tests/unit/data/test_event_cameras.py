"""AEDAT files: the camera that wrote one, its addresses and its clock."""

import struct

import numpy as np
import pytest
from event_files import (
    refusal,
    stream,
    write_aedat2,
    write_aedat3,
    write_aedat4,
)

from snntrain.data.events import EVENT, read_events

EVENTS = stream(seed=3, n=60)


@pytest.mark.parametrize(
    ("chip", "address", "event"),
    [  # jAER's DVS128: x = 127 - bits 1 to 7, y = bits 8 to 14, ON where bit 0 is 0
        ("ch.unizh.ini.jaer.chip.retina.DVS128", 0b0_0000101_0000011_0, (124, 5, True)),
        ("ch.unizh.ini.jaer.chip.retina.DVS128", 0b0_1111111_0000000_1, (127, 127, False)),
        # jAER's DavisBaseCamera: x = width - 1 - bits 12 to 21, y = bits 22 to 30, ON where bit 11 is 1
        ("eu.seebetter.ini.chips.davis.DAVIS240C", 100 << 22 | 200 << 12 | 1 << 11, (39, 100, True)),
        ("eu.seebetter.ini.chips.davis.Davis346B", 259 << 22 | 345 << 12, (0, 259, False)),
        ("eu.seebetter.ini.chips.davis.Davis640", 479 << 22, (639, 479, False)),
    ],
)
def test_the_camera_of_an_aedat_file_is_the_one_that_its_header_names(tmp_path, chip, address, event):
    path = write_aedat2(tmp_path / "a.aedat", EVENTS[:0], chip)
    path.write_bytes(path.read_bytes() + struct.pack(">II", address, 7))
    assert read_events(path).tolist() == [(*event[:2], 7, event[2])]


def test_frames_measurements_and_triggers_of_a_camera_are_left_out(tmp_path):
    davis = write_aedat2(tmp_path / "a.aedat", EVENTS[:5], "DAVIS240C", width=240)
    frame, trigger = struct.pack(">II", 1 << 31 | 5 << 12 | 99, 9), struct.pack(">II", 1 << 10 | 3, 9)
    davis.write_bytes(davis.read_bytes() + frame + trigger)
    assert np.array_equal(read_events(davis), EVENTS[:5])
    dvs = write_aedat2(tmp_path / "b.aedat", EVENTS[:5])
    dvs.write_bytes(dvs.read_bytes() + struct.pack(">II", 1 << 15, 9))
    assert np.array_equal(read_events(dvs), EVENTS[:5])


def test_the_camera_is_taken_from_the_settings_only_where_the_header_is_silent(tmp_path):
    silent = write_aedat2(tmp_path / "a.aedat", EVENTS, "DAVIS240C", width=240, stated=False)
    assert "does not say which camera wrote it. Set data.camera to" in refusal(silent)
    assert np.array_equal(read_events(silent, camera="davis240"), EVENTS)
    assert "which a dvs128 does not have. Set data.camera to" in refusal(silent, camera="dvs128")
    stated = write_aedat2(tmp_path / "b.aedat", EVENTS, "eu.seebetter.ini.chips.davis.DAVIS240C", width=240)
    said = refusal(stated, camera="davis346")
    assert "its header says that eu.seebetter.ini.chips.davis.DAVIS240C wrote it, but data.camera is davis346" in said


@pytest.mark.parametrize("chip", ["ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c", "DVS128StereoPair", "DAVIS999"])
def test_a_camera_whose_addresses_are_not_known_is_refused_by_name(tmp_path, chip):
    said = refusal(write_aedat2(tmp_path / "a.aedat", EVENTS, chip, width=240))
    assert f"its header says {chip}, whose addresses are not known. Set data.camera to" in said


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (200 << 22, "y = 200, which is outside of a davis240"),
        (300 << 12, "x = 300, which is outside of a davis240"),
        (5, "which a davis240 does not have"),
    ],
)
def test_an_address_that_the_camera_does_not_have_is_refused(tmp_path, address, reason):
    path = write_aedat2(tmp_path / "a.aedat", EVENTS[:3], "DAVIS240C", width=240)
    path.write_bytes(path.read_bytes() + struct.pack(">II", address, 10**6))
    assert reason in refusal(path)


def test_an_event_whose_first_byte_is_that_of_a_comment_is_an_event(tmp_path):
    event = np.array([(1, 0x23 << 2, 10, True)], EVENT)  # its address begins with the byte of a '#'
    path = write_aedat2(tmp_path / "a.aedat", event, "DAVIS240C", width=240)
    assert path.read_bytes()[-8:-7] == b"#" and np.array_equal(read_events(path), event)


def test_places_that_the_camera_named_by_an_aedat_3_or_4_file_does_not_have_are_refused(tmp_path):
    path = write_aedat3(tmp_path / "a.aedat", np.array([(130, 1, 1, True)], EVENT))
    path.write_bytes(path.read_bytes().replace(b"#!END", b"#Source 1: DVS128\r\n#!END"))
    assert "x = 130, which is outside of a dvs128, which its header names" in refusal(path)
    pytest.importorskip("aedat")
    path = write_aedat4(tmp_path / "a.aedat4", EVENTS, size=(20, 34))
    assert "outside of the sensor of 20×34 pixels (height × width) that the file states" in refusal(path)


def test_times_of_an_aedat_file_that_ran_over_go_on(tmp_path):
    path = write_aedat3(tmp_path / "a.aedat", EVENTS, per_packet=100)
    content = bytearray(path.read_bytes())
    start = content.index(b"#!END-HEADER\r\n") + 14 + 28 + 8  # after the packet of special events
    content[start + 12] = 2  # eventTSOverflow
    path.write_bytes(content)
    assert read_events(path)["t"].tolist() == (EVENTS["t"] + 2 * 2**31).tolist()
