"""Bounds on what a config from elsewhere may ask for, so that it cannot take all memory, processes or time.

The bound on the number of layers is snntrain.model.layer_list.MOST_LAYERS.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from snntrain.config.size import in_words, machine_memory
from snntrain.error import UsageError
from snntrain.tree import walk

# Pattern of a key → largest value allowed. The first pattern that matches counts.
MOST: dict[str, int] = {
    r"T|data\.framing\.T": 100_000,
    r"data\.batch_size": 1_000_000,
    r"data\.num_workers": max(64, 4 * (os.cpu_count() or 1)),
    r"data\.(prefetch|prefetch_factor)": 1_000,
    r"data\.num_(classes|targets)|task\.outputs": 1_000_000,
    r"data\.size": 10_000,
    r"(.*\.)?seed": 2**32 - 1,
    r"encoder\..*": 100_000,
    r"(.*\.)?surrogate(_function)?\..*": 10_000,
    r"(data|model|neuron|norm)\..*": 100_000_000,
}
MOST_OF_A_SAMPLE = 2**28
"""Numbers in a sample of one time step: 16,384 × 16,384 pixels."""


def check_bounds(config: Mapping[str, Any], source: str) -> None:
    """Refuse a config that asks for more than any run needs, or for a batch beyond this machine's memory.

    Args:
        config: resolved.
        source: where it comes from, for the error.
    """
    for path, _, value in walk(config):
        if not (type(value) is int or (type(value) is float and math.isfinite(value))):
            continue
        key = re.sub(r"\[\d+\]", "", path)  # the items of a list share its bound
        most = next((most for pattern, most in MOST.items() if re.fullmatch(pattern, key)), None)
        if most is not None and abs(value) > most:
            raise UsageError(f"{source}: {key} must be at most {most:,}, got {_short(value)}. Override it: {key}=….")
    data = config["data"]
    for key, sizes in _lists(data, "data"):
        if math.prod(sizes) > MOST_OF_A_SAMPLE:
            raise UsageError(
                f"{source}: {key} {sizes} has {_short(math.prod(sizes))} values; a sample of one time step may have "
                f"{MOST_OF_A_SAMPLE:,}."
            )
    _check_memory_of_a_batch(config, source)


def _check_memory_of_a_batch(config: Mapping[str, Any], source: str) -> None:
    data, memory = config["data"], machine_memory()
    shape, size = data.get("sample_shape"), data.get("batch_size", 1)
    numbers = [config["T"], size, *shape] if isinstance(shape, list) else []
    if not numbers or not all(type(number) is int for number in numbers):
        return  # the check of the config refuses what is not a number
    needed = 4 * math.prod(numbers)
    if needed > memory:
        raise UsageError(
            f"{source}: a batch takes {in_words(needed)}: T {config['T']:,} × data.batch_size {size:,} × a sample of "
            f"{shape}; this machine has {in_words(memory)} of memory. Override one of them: data.batch_size=…."
        )


def _lists(node: Any, path: str) -> Iterator[tuple[str, list[int]]]:
    """Every list of positive integers with its key, such as a shape."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _lists(value, f"{path}.{key}")
    elif isinstance(node, list) and node and all(type(value) is int and value > 0 for value in node):
        yield path, node


def _short(value: float) -> str:
    return f"{value:,}" if abs(value) < 10**15 else f"{value:.3g}" if abs(value) < 10**300 else "a larger number"
