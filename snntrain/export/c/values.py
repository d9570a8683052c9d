"""Where the C program holds the integers of an integer net: buffers, the smallest type for each, and their order."""

import math
from dataclasses import dataclass

import numpy as np

from snntrain.quantize.integer_file import Operation

#: Types of C by what they hold, the smallest first.
TYPES = {
    "uint8_t": (0, 2**8 - 1),
    "int8_t": (-(2**7), 2**7 - 1),
    "uint16_t": (0, 2**16 - 1),
    "int16_t": (-(2**15), 2**15 - 1),
    "int32_t": (-(2**31), 2**31 - 1),
    "int64_t": (-(2**63), 2**63 - 1),
}


def smallest_type(low: int, high: int, *, signed: bool = False) -> str:
    """The smallest type of C that holds all integers from low to high.

    Args:
        signed: leave out the types without a sign.
    """
    fitting = (name for name, (least, most) in TYPES.items() if least <= low and high <= most)
    return next(name for name in fitting if not (signed and name.startswith("u")))


def bytes_of(ctype: str) -> int:
    """The size of a value of that type."""
    return int(ctype.strip("uint_")) // 8


@dataclass(frozen=True)
class Value:
    """What an operation gives at one step, and the buffer in which it lies.

    Buffers hold the channels of a place side by side, so that the loops over output channels read and write
    consecutive addresses. Only the net's input lies in planes, channel after channel, as torch has it.

    Attributes:
        name: of the buffer in C.
        sizes: channels, height and width; 1 for dims that are not there.
        rank: dims of a sample in the integer net: 1 … 3.
        low, high: the smallest and the largest integer that may occur.
        planes: channel after channel.
        order: of a flattened value, the place in the integer net of each element of the buffer; None: as it is.
    """

    name: str
    sizes: tuple[int, int, int]
    rank: int
    low: int
    high: int
    planes: bool = False
    order: np.ndarray | None = None

    @property
    def ctype(self) -> str:
        return smallest_type(self.low, self.high)

    @property
    def type_limits(self) -> tuple[int, int]:
        return TYPES[self.ctype]

    @property
    def count(self) -> int:
        return math.prod(self.sizes)

    @property
    def channels(self) -> int:
        return self.sizes[0]

    @property
    def places(self) -> int:
        """Height times width."""
        return self.sizes[1] * self.sizes[2]

    @property
    def channel_stride(self) -> int:
        return self.places if self.planes else 1

    @property
    def place_stride(self) -> int:
        return 1 if self.planes else self.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample in the integer net."""
        return {1: self.sizes[:1], 2: (self.sizes[0], self.sizes[2]), 3: self.sizes}[self.rank]

    @property
    def shape_text(self) -> str:
        return " x ".join(map(str, self.shape))

    def positions(self) -> np.ndarray:
        """The place in the flattened sample of the integer net of each element of the buffer."""
        if self.order is not None:
            return self.order
        every = np.arange(self.count)
        return every if self.planes else every.reshape(self.channels, self.places).T.ravel()

    def as_in_the_net(self, buffers: np.ndarray) -> np.ndarray:
        """Contents of this buffer, [*, count], in the order of the integer net: [*, *shape]."""
        found = np.empty_like(buffers)
        found[..., self.positions()] = buffers
        return found.reshape(*buffers.shape[:-1], *self.shape)


def sizes_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a sample's shape of 1 to 3 dims."""
    return {1: (*shape, 1, 1), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]


def title_of(operation: Operation) -> str:
    """An operation as it stands in comments and messages: a name may come from a file and hold anything."""
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in operation["name"]
    )
    return f"{name[:80]} ({operation['op']})"
