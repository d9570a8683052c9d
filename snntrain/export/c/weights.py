"""Weights and tables as the C program holds them: packed, in the order in which its loops read them."""

from dataclasses import dataclass

import numpy as np

from snntrain.export.c.values import Value, smallest_type

_PER_BYTE = {2: 4, 4: 2}  # bits → weights in a byte


@dataclass(frozen=True)
class Table:
    """A constant array.

    Attributes:
        name: in C.
        ctype: of its elements.
        array: its elements, row after row.
    """

    name: str
    ctype: str
    array: np.ndarray

    @classmethod
    def of(cls, name: str, array: np.ndarray, *, signed: bool = True) -> "Table":
        """A table in the smallest type that holds all elements."""
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        return cls(name, smallest_type(low, high, signed=signed), array.ravel())

    @property
    def text(self) -> str:
        """The elements, some in each line."""
        values = list(map(str, self.array.tolist()))
        lines = (", ".join(values[start : start + 24]) for start in range(0, len(values), 24))
        return ",\n    ".join(lines)


@dataclass(frozen=True)
class Weights:
    """The weights of a layer: rows of one weight for each output, which belong to one input.

    In 4 or 2 bits, a row is cut into 2 or 4 parts of equal length (the last is filled up with 0), and byte i holds
    weight i of each part, the first in its lowest bits: so loops over a part read consecutive bytes.

    Attributes:
        table: the rows.
        bits: of a weight: 2, 4, 8, 16 or 32.
        outputs: weights in a row.
        stride: elements of the table in a row.
    """

    table: Table
    bits: int
    outputs: int
    stride: int

    @classmethod
    def of(cls, name: str, rows: np.ndarray) -> "Weights":
        """Pack rows, [*, outputs]."""
        rows = rows.reshape(-1, rows.shape[-1]).astype(np.int64)
        low, high = int(rows.min(initial=0)), int(rows.max(initial=0))
        bits = next(bits for bits in (2, 4, 8, 16, 32) if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1))
        outputs = rows.shape[1]
        if bits not in _PER_BYTE:
            return cls(Table(name, f"int{bits}_t", rows.ravel()), bits, outputs, outputs)
        parts, mask = _PER_BYTE[bits], (1 << bits) - 1
        stride = -(-outputs // parts)
        rows = np.pad(rows, [(0, 0), (0, stride * parts - outputs)]) & mask
        packed = sum(rows[:, k * stride : (k + 1) * stride] << (k * bits) for k in range(parts))
        return cls(Table(name, "uint8_t", packed.ravel()), bits, outputs, stride)

    @property
    def parts(self) -> list[tuple[int, int, int]]:
        """Of a row: first output, one behind the last, and by how many bits to shift a byte, for each part."""
        if self.bits not in _PER_BYTE:
            return [(0, self.outputs, 0)]
        starts = range(0, self.outputs, self.stride)
        return [(at, min(at + self.stride, self.outputs), at // self.stride * self.bits) for at in starts]

    @property
    def sign(self) -> int:
        """The bit that makes a weight of 2 or 4 bits negative."""
        return 1 << (self.bits - 1)


def linear_rows(weight: np.ndarray, source: Value) -> np.ndarray:
    """[outputs, inputs] → [inputs as they lie in the buffer, outputs]."""
    return weight[:, source.positions()].T


def conv_rows(weight: np.ndarray, groups: int) -> np.ndarray:
    """[outputs, inputs/groups, *kernel] → [height, width, groups, inputs/groups, outputs/groups].

    Of a depthwise convolution: [height, width, channels].
    """
    kernel = weight.shape[2:] if weight.ndim == 4 else (1, *weight.shape[2:])
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], *kernel)
    rows = grouped.transpose(3, 4, 0, 2, 1)
    return rows.reshape(*kernel, groups) if is_depthwise(weight, groups) else rows


def is_depthwise(weight: np.ndarray, groups: int) -> bool:
    """Whether each output channel reads one input channel of its own."""
    return weight.shape[1] == 1 and len(weight) == groups > 1
