"""The largest and smallest integers that operations of an integer net can give, from their weights and their input."""

from typing import Any

import numpy as np

from snntrain.export.error import CExportError
from snntrain.quantize.integer_file import Operation

_LARGEST = {32: 2**31 - 1, 64: 2**63 - 1}


def of_sums(title: str, weight: np.ndarray, bias: np.ndarray | None, low: int, high: int) -> tuple[int, int]:
    """Σ W·x + b of all rows of [rows, *], for x in [low, high] or 0 (padding); also every sum and product on the way.

    Raises: CExportError if they need more than 32 bits.
    """
    # float64 is exact up to 2^53, and far above 2^31 all that counts is that a sum is too large.
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    low, high = min(low, 0), max(high, 0)
    most = np.maximum(rows * high, rows * low).sum(1)
    least = np.minimum(rows * high, rows * low).sum(1)
    start = np.zeros(1) if bias is None else bias.astype(np.float64)
    lowest = (least + np.minimum(start, 0)).min(initial=0)
    return within(title, float(lowest), float((most + np.maximum(start, 0)).max(initial=0)))


def within(title: str, low: float, high: float, bits: int = 32) -> tuple[int, int]:
    """The two as integers, which must fit 32 or 64 bits."""
    largest = max(-low, high)
    if largest > _LARGEST[bits]:
        told = f"up to {largest:,.0f}" if largest < 2**100 else "more than 2^100"
        raise CExportError(
            title,
            f"values of {told} may occur, and must fit {bits} bits",
            "Give weights or the input fewer bits (callbacks.qat.quant.w.bits, callbacks.qat.quant.input.bits).",
        )
    return int(low), int(high)


def of_rounded(low: int, high: int, bits: int) -> tuple[int, int]:
    """R(a/2^bits) for a in [low, high], of every rounding; bits below 0 multiply."""
    if bits <= 0:
        return low << -bits, high << -bits
    return low >> bits, -(-high >> bits)


def widest_in_neuron(operation: Operation, low: int, high: int) -> int:
    """The largest absolute value on the way from potential and current to the sum of the two.

    Args:
        operation: a neuron.
        low, high: of the current.
    """
    half, shift = 1 << (operation["bits"] - 1), operation["shift"]
    left, on_the_way = half, [half, 1]
    for leak in (operation["leak"], operation.get("current_leak")):
        if leak is not None:
            factor = leak["factor"] if leak["form"] == "multiply" else 1
            on_the_way.append(half * factor + (1 << leak["bits"]))
            left = 2 * half + 1  # u − R(u/2^bits) of both signs, or R(u·factor/2^bits) with a factor up to 1
    largest = max(-low, high)
    on_the_way += [largest << max(-shift, 0), 1 << abs(shift), largest + (1 << max(shift, 0))]
    current = max(map(abs, of_rounded(low, high, shift)))
    if operation["op"] == "cuba":  # it reaches the potential in the bits of a state
        on_the_way.append(left + half)
    return max(*on_the_way, left + current)


def of_join(title: str, operation: Operation, sources: list[Any]) -> tuple[int, int]:
    """add, mul, invert and concat of values with the attributes low and high."""
    kind, first = operation["op"], sources[0]
    if kind == "invert":
        return within(title, 1 - first.high, 1 - first.low)
    if kind == "concat":
        return min(source.low for source in sources), max(source.high for source in sources)
    second = sources[1]
    if kind == "add":
        return within(title, first.low + second.low, first.high + second.high)
    products = [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
    return within(title, min(products), max(products))
