"""Packed frames come back as they were, and never take more than one byte more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.data.sparse_frames import packed, unpacked

VALUES = {
    "bool": [True],
    "uint8": [1, 255],
    "uint16": [1, 255, 256, 65_535],
    "float16": [1.0, -0.0, np.nan, np.inf],
    "float32": [1e-30, -0.0, np.nan, 0.5],
    "float64": [1e-300, -0.0, np.nan],
}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(VALUES)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1e-3, 0.01, 0.1, 0.5, 1]),
    st.integers(1, 4000),
)
def test_every_bit_comes_back(dtype, seed, density, size):
    source = np.random.default_rng(seed)
    frames = np.zeros((size, 2), dtype)
    chosen = source.random(frames.shape) < density
    frames[chosen] = source.choice(np.array(VALUES[dtype], dtype), int(chosen.sum()))
    content = packed(frames)
    assert len(content) <= frames.nbytes + 1
    found = unpacked(content, frames.shape, frames.dtype)
    assert found.tobytes() == frames.tobytes() and found.shape == frames.shape and found.dtype == frames.dtype
    assert not found.flags.writeable


@pytest.mark.parametrize("gap", [1, 2, 254, 255, 256, 257, 510, 511, 512, 5000])
def test_a_distance_takes_a_byte_for_each_255_pixels(gap):
    frames = np.zeros(6000, np.uint16)
    frames[[0, gap]] = 3
    content = packed(frames)
    assert len(content) == 1 + 2 * (1 + -(-gap // 255))
    assert np.array_equal(unpacked(content, (6000,), np.dtype(np.uint16)), frames)


@pytest.mark.parametrize("content", [b"\0", b"\5abc", b"\1abc", b"\1\0\1", b"\1\7\1", b"\1\xff\xff\1\1"])
def test_bytes_that_are_no_packed_frames_are_refused(content):
    with pytest.raises(ValueError):
        unpacked(content, (6,), np.dtype(np.uint8))
