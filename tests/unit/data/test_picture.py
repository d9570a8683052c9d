"""Pictures of every kind as their author saw them, against values written by hand; the rest refused by name."""

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from refused import message_of

from snntrain.data.picture import BadPicture, background_color, decode, describe

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
RAMP = np.arange(12).reshape(3, 4)


def values(path, channels: int = 1, background=BLACK) -> np.ndarray:
    return np.asarray(decode(path, channels, background))


def saved(path, array: np.ndarray, mode: str | None = None, **options):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def refusal(path, **more) -> str:
    said = message_of(BadPicture, values, path, **more)
    assert str(path) in said
    return said


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("a.png", (RAMP * 5000).astype(np.uint16), RAMP * 5000 / 65535),
        ("a.tif", (RAMP * 5000).astype(np.uint16), RAMP * 5000 / 65535),
        ("a.pgm", (RAMP * 5000).astype(np.uint16), RAMP * 5000 / 65535),
        ("a.tif", (RAMP / 11).astype(np.float32), RAMP / 11),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_8_bits_are_scaled_by_their_depth(tmp_path, name, array, expected, channels):
    found = decode(saved(tmp_path / name, array), channels, BLACK)
    assert found.mode == "F" and np.allclose(found, expected, atol=1e-6)


def test_32_bit_integers_are_scaled_by_the_range_that_the_file_states(tmp_path):
    tags = {340: -100, 341: 1000}  # SMinSampleValue, SMaxSampleValue
    saved(tmp_path / "a.tif", (RAMP * 100 - 100).astype(np.int32), tiffinfo=tags)
    assert np.allclose(values(tmp_path / "a.tif"), RAMP / 11, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (
            (RAMP * 9000).astype(np.int32),
            "32-bit integers from 0 to 99000 and does not say which of them is white",
        ),
        ((RAMP * 1.0).astype(np.float32), r"holds floats from 0 to 11, which must lie in \[0, 1\]"),
        ((RAMP / 11 - 0.5).astype(np.float32), "holds floats from -0.5 to 0.5"),
        (np.where(RAMP == 5, np.nan, 0).astype(np.float32), "holds floats from nan to nan"),
    ],
)
def test_values_without_a_scale_are_refused_with_their_range(tmp_path, array, reason):
    assert re.search(reason, refusal(saved(tmp_path / "a.tif", array)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_pictures_of_8_bits_are_what_pillow_makes_of_them(tmp_path, mode, channels):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.tif", pixels, mode)
    with Image.open(path) as theirs:
        assert theirs.mode == mode
        expected = np.asarray(theirs.convert("RGB" if channels == 3 else "L"))
    assert np.array_equal(values(path, channels), expected)


@pytest.mark.parametrize(("background", "seen"), [(BLACK, 100), (WHITE, 227), ((40, 40, 40), 120), (None, 200)])
def test_transparency_shows_the_background(tmp_path, background, seen):
    """200 at half opacity: half of it and half of what is behind; None takes the 200 as if it were opaque."""
    saved(tmp_path / "a.png", np.full((2, 2, 4), (200, 200, 200, 128), np.uint8))
    saved(tmp_path / "b.png", np.full((2, 2, 2), (200, 128), np.uint8))
    for name in "ab":
        found = values(tmp_path / f"{name}.png", 3, background)
        assert found.shape == (2, 2, 3) and np.abs(found.astype(int) - seen).max() <= 1


def test_a_transparent_color_of_a_palette_shows_the_background(tmp_path):
    saved(tmp_path / "a.png", np.array([[7, 9]], np.uint8), "P", transparency=7)
    assert values(tmp_path / "a.png", 1, WHITE)[0, 0] == 255 and values(tmp_path / "a.png", 1, BLACK)[0, 0] == 0


#: EXIF's orientations: what undoes them on rows and columns.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a.T[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("deep", [False, True])
def test_pictures_are_turned_upright(tmp_path, orientation, deep):
    array = (RAMP * 5000).astype(np.uint16) if deep else (RAMP * 20).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path / "a.png", array, exif=exif)
    upright = UPRIGHT[orientation](array / 65535 if deep else array)
    assert np.allclose(values(path), upright, atol=1e-6)
    assert ("turned by EXIF" in describe(path)) == (orientation > 1)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (13_300, 30_000):  # Pillow itself refuses from 13,378 on
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        assert "more than the 64,000,000 that are decoded" in refusal(tmp_path / "a.png").replace(" pixels", "")


def test_a_failing_disk_is_not_taken_for_a_damaged_picture(tmp_path):
    (tmp_path / "a.png").symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
    with pytest.raises(OSError, match=r"Input/output error.*a\.png") as raised:
        values(tmp_path / "a.png")
    assert not isinstance(raised.value, ValueError)


@pytest.mark.parametrize("background", ["blue", [0, 0], [0, 0, 256], [0.5, 0, 0], 7, True])
def test_a_background_is_a_color(background):
    with pytest.raises(ValueError, match=r"ImageFolder: background must be black, white, \[red, green, blue\]"):
        background_color("ImageFolder", background)
    assert background_color("ImageFolder", [1, 2, 3]) == (1, 2, 3) and background_color("ImageFolder", None) is None
