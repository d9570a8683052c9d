"""Frames in few bytes: most pixels of most frames have no event.

A byte says what follows: 0 the frames as they are, or else the bytes of a value, v. Then come n steps of one byte, from
one pixel that is not zero to the next, and n values of v bytes. Where there is none for 255 pixels, a zero is stored.
General compression such as zlib's is smaller, but takes longer to read, and a cache is there to be read fast.
"""

import math

import numpy as np

_LONGEST = 255


def packed(frames: np.ndarray) -> bytes:
    """The frames in at most one byte more than they have."""
    bits = _bits(np.ascontiguousarray(frames).reshape(-1))
    places = (bits != 0).nonzero()[0]  # several times as fast as without the comparison
    values = bits[places]
    width = next(one for one in (1, 2, 4, 8) if not len(values) or int(values.max()) >> 8 * one == 0)
    kept, distances = values.astype(f"u{width}"), np.diff(places, prepend=-1)
    if len(places) and int(distances.max()) > _LONGEST:
        zeros = (distances - 1) // _LONGEST
        ends = np.cumsum(zeros + 1) - 1
        kept, steps = np.zeros(int(ends[-1]) + 1, kept.dtype), np.full(int(ends[-1]) + 1, _LONGEST)
        kept[ends], steps[ends] = values, distances - _LONGEST * zeros
        distances = steps
    if 1 + len(kept) * (1 + width) > frames.nbytes:
        return b"\0" + bits.tobytes()
    return bytes([width]) + distances.astype(np.uint8).tobytes() + kept.tobytes()


def unpacked(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The frames, read-only.

    Raises: ValueError if the content is not that of frames of this shape and type.
    """
    width, size = content[0], math.prod(shape)
    if width == 0:
        return np.frombuffer(content, dtype, size, offset=1).reshape(shape)
    if width not in (1, 2, 4, 8) or (len(content) - 1) % (1 + width):
        raise ValueError("packed frames have another length.")
    count = (len(content) - 1) // (1 + width)
    # The sums take half the time with 32 bits.
    places = np.frombuffer(content, np.uint8, count, offset=1).astype(np.int32 if size < 2**31 else np.int64)
    np.cumsum(places, out=places)
    if count and not 0 < places[0] <= places[-1] <= size:
        raise ValueError("packed frames end outside of their shape.")
    bits = np.zeros(size + 1, f"u{dtype.itemsize}")  # places begin at 1
    bits[places] = np.frombuffer(content, f"u{width}", count, offset=1 + count).astype(bits.dtype, copy=False)
    frames = bits[1:].view(dtype).reshape(shape)
    frames.flags.writeable = False
    return frames


def _bits(values: np.ndarray) -> np.ndarray:
    """Their bits as integers, so that every value comes back, -0.0 and NaN among them."""
    return values.view(f"u{values.dtype.itemsize}")
