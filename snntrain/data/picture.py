"""Reads a picture file of any bit depth, transparency and orientation as a PIL picture with the right channels."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS

from snntrain.arguments import invalid
from snntrain.data.damage import decoding, is_systems
from snntrain.files import naming

#: Endings of files of pictures.
PICTURES = (*IMG_EXTENSIONS, ".gif")
MOST_PIXELS = 64_000_000
"""Larger pictures are refused before decoding: a few kilobytes of PNG can describe gigabytes of a single color."""


class BadPicture(ValueError):
    """Raised for a file that is not a usable picture.

    Attributes:
        reason: what is wrong, as the rest of a sentence that begins with the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"data: {path} {reason}. Replace or remove it.")
        self.path, self.reason = path, reason


_NAMED = {"black": (0, 0, 0), "white": (255, 255, 255)}


def background_color(owner: object, background: str | Sequence[int] | None) -> tuple[int, int, int] | None:
    """The color behind transparent pixels as [red, green, blue]; None: transparency is ignored.

    Args:
        owner: the object whose argument it is, for errors.
        background: black, white, [red, green, blue] from 0 to 255, or None for the color that the file has there.
    """
    if background is None:
        return None
    if isinstance(background, str) and background in _NAMED:
        return _NAMED[background]
    is_color = not isinstance(background, str) and isinstance(background, Sequence) and len(background) == 3
    if not is_color or not all(type(part) is int and 0 <= part <= 255 for part in background):
        allowed = "black, white, [red, green, blue] from 0 to 255, or None to ignore transparency"
        raise invalid(owner, "background", allowed, background)
    return tuple(background)


def decode(path: Path, channels: int, background: tuple[int, int, int] | None) -> Image.Image:
    """Decode a picture, turn it upright by its EXIF orientation and put it on a background.

    Args:
        channels: 3 for color, 1 for gray.
        background: as background_color gives it.

    Returns: mode RGB or L with values from 0 to 255; or mode F with values from 0 to 1 if the file has gray values of
        more than 8 bits, which stand for all three channels.
    Raises: BadPicture; OSError for a disk that fails.
    """
    picture = _opened(path)
    with decoding(lambda reason: BadPicture(path, f"cannot be decoded ({reason})"), BadPicture), naming(path), picture:
        turned = ImageOps.exif_transpose(picture) if _orientation(picture) > 1 else picture
        if turned.mode.startswith("I;16") or turned.mode in ("I", "F"):
            return _deep(path, turned, picture)
        if background is not None and _is_transparent(turned):
            turned = Image.alpha_composite(Image.new("RGBA", turned.size, (*background, 255)), turned.convert("RGBA"))
        return turned.convert("RGB" if channels == 3 else "L")


def describe(path: Path) -> tuple[str, ...]:
    """What a picture's header says about it, in words: its depth, transparency, orientation.

    Raises: BadPicture for a file that does not begin like a picture, or is too large; OSError.
    """
    with _opened(path) as picture:
        found = [_DEPTHS.get(picture.mode, f"mode {picture.mode}")]
        if _is_transparent(picture):
            found.append("with transparency")
        try:
            # Pillow decodes all of a PNG to look for EXIF data, unless these come first.
            if (picture.format != "PNG" or "exif" in picture.info) and _orientation(picture) > 1:
                found.append("turned by EXIF")
            if getattr(picture, "n_frames", 1) > 1:
                found.append("of several pictures, the first taken")
        except Exception as error:
            if is_systems(error):
                raise
    return tuple(found)


#: Kinds of pictures that can be used or not depending on their values.
UNCERTAIN = ("gray, 32-bit integers", "gray, floats")

_DEPTHS = {
    "1": "black and white",
    "L": "gray, 8 bits",
    "LA": "gray, 8 bits",
    "P": "palette",
    "PA": "palette",
    "RGB": "color, 8 bits",
    "RGBA": "color, 8 bits",
    "CMYK": "CMYK",
    "I;16": "gray, 16 bits",
    "I;16B": "gray, 16 bits",
    "I": "gray, 32-bit integers",
    "F": "gray, floats",
}


def _opened(path: Path) -> Image.Image:
    """Open a picture and read no more than its header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with naming(path):
                picture = Image.open(path)
    except Image.DecompressionBombError as error:
        raise BadPicture(path, f"has more than the {MOST_PIXELS:,} pixels that are decoded") from error
    except Exception as error:
        if is_systems(error):
            raise
        reason = "it is empty" if not path.stat().st_size else type(error).__name__
        raise BadPicture(path, f"is not a picture ({reason})") from error
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise BadPicture(path, f"has {width}×{height} pixels, more than the {MOST_PIXELS:,} that are decoded")
    return picture


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _deep(path: Path, picture: Image.Image, source: Image.Image) -> Image.Image:
    """Scale gray values of more than 8 bits of an upright picture to [0, 1]; the source, as opened, has the tags."""
    values = np.asarray(picture)
    if picture.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # NaN as well
            raise BadPicture(path, f"holds floats from {low:g} to {high:g}, which must lie in [0, 1]")
        return Image.fromarray(np.ascontiguousarray(values, np.float32))
    low, high = _range(path, picture.mode, source)
    if values.min() < low or values.max() > high:
        found = f"{values.min()} to {values.max()}"
        raise BadPicture(path, f"holds values from {found}, which must lie in [{low}, {high}]")
    return Image.fromarray(((values.astype(np.float64) - low) / (high - low)).astype(np.float32))


def _range(path: Path, mode: str, source: Image.Image) -> tuple[int, int]:
    """The values that stand for black and white."""
    tags: Any = getattr(source, "tag_v2", {})
    if mode != "I":
        bits = tags.get(258, (16,))[0]  # a TIFF may have 12
        return 0, (1 << min(int(bits), 16)) - 1
    if source.format in ("PPM", "PNG"):  # Pillow scales a PPM of more than 8 bits to 16
        return 0, 65_535
    for lowest, highest in ((340, 341), (280, 281)):  # SMinSampleValue, SMaxSampleValue; MinSampleValue, …
        if highest in tags:
            low, high = (np.ravel(tags.get(tag, 0))[0] for tag in (lowest, highest))
            if high > low:
                return int(low), int(high)
    values = np.asarray(source)
    raise BadPicture(
        path,
        f"holds 32-bit integers from {values.min()} to {values.max()} and does not say which of them is white: save it "
        "with 16 bits, or as floats from 0 to 1",
    )
