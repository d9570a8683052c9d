"""From an integer net to the parts of its C program: which buffers there are, what they hold, and the steps in order.

The operations are those that snntrain.quantize.numpy_runner interprets; each has a template of its name.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snntrain.export.c import bounds
from snntrain.export.c.program import Buffer, Neuron, Program, Step
from snntrain.export.c.values import TYPES, Value, sizes_of, smallest_type, title_of
from snntrain.export.c.weights import Table, Weights, conv_rows, is_depthwise, linear_rows
from snntrain.export.error import CExportError
from snntrain.quantize.integer_file import NEURONS, Arrays, Operation
from snntrain.quantize.numpy_runner import along_channels

_MOST = 2**24  # values of a sample at one step: far more than a microcontroller holds, and safe in 32-bit indices
_MOST_WEIGHTS = 2**25  # of a layer
_MOST_BYTES = 2**30  # of all buffers: many operations of a hostile file must not use up the memory


def planned(
    operations: list[Operation],
    arrays: Arrays,
    sample_shape: Sequence[int],
    *,
    readout_start: int = 0,
    skips_silence: bool = True,
) -> Program:
    """Plan the program of an integer net.

    Args:
        operations, arrays: of an IntegerNet.
        sample_shape: of the input at one step, without the batch: [features], [C, L] or [C, H, W].
        readout_start: first step whose output snn_run counts.
        skips_silence: dense layers and convolutions skip inputs that are 0, except depthwise ones; else every product
            is computed, whatever comes in.

    Raises: CExportError naming the operation, why and what to do.
    """
    return _Planner(operations, arrays, tuple(sample_shape)).program(readout_start, skips_silence)


class _Planner:
    """Walks the operations once."""

    def __init__(self, operations: list[Operation], arrays: Arrays, sample_shape: tuple[int, ...]) -> None:
        self.operations, self.arrays, self.shape = operations, arrays, sample_shape
        self.values: dict[int, Value] = {}
        self.steps: list[Step] = []
        self.neurons: list[Neuron] = []
        self.buffers: list[Buffer] = []
        self.held = 0  # bytes
        self.users: list[list[int]] = [[] for _ in operations]
        for place, operation in enumerate(operations):
            for source in operation["sources"]:
                self.users[source].append(place)

    def program(self, readout_start: int, skips_silence: bool) -> Program:
        if not 1 <= len(self.shape) <= 3 or any(size < 1 for size in self.shape):
            raise CExportError("", f"a sample has the shape {list(self.shape)}", "It must have 1 to 3 dims, all ≥ 1.")
        if not any(operation["op"] in NEURONS for operation in self.operations):
            raise CExportError("", "the net has no neurons", "Export a spiking net.")
        names = Counter(operation["name"] for operation in self.operations)
        if max(names.values()) > 1:
            name = names.most_common(1)[0][0]
            raise CExportError("", f"two operations of the net have the name {name!r}", "Use a copy of the file.")
        for place, operation in enumerate(self.operations):
            getattr(self, f"_{operation['op']}")(place, operation)
        first, last = self.operations[0], self.operations[-1]
        output = self.values[last["sources"][0]]
        widest = {
            ctype: max((step.target.channels for step in self.steps if step.sums == ctype), default=0)
            for ctype in ("int16_t", "int32_t")
        }
        for ctype, count in widest.items():
            if count:
                self.add_buffer(last, f"sums_{ctype[3:5]}", ctype, count, "the sums of a layer")
        scale = self.arrays[f"{last['name']}.scale"]
        return Program(
            steps=tuple(self.steps),
            input=self.input,
            output=output,
            neurons=tuple(self.neurons),
            buffers=tuple(self.buffers),
            limits=(first["lowest"], first["highest"]),
            rounding=first["rounding"],
            per_step=float(self.arrays[f"{first['name']}.per_step"][0]),
            scale=np.broadcast_to(scale, (output.count,)),
            readout_start=readout_start,
            skips_silence=skips_silence,
        )

    # --- what operations share ---------------------------------------------------------------------------------------

    def own(self, operation: Operation, part: str) -> np.ndarray | None:
        return self.arrays.get(f"{operation['name']}.{part}")

    def sources_of(self, operation: Operation) -> tuple[Value, ...]:
        return tuple(self.values[source] for source in operation["sources"])

    def new_value(self, place: int, operation: Operation, shape: tuple[int, ...], low: int, high: int) -> Value:
        """A value with a buffer of its own."""
        value = Value(f"value_{place}", sizes_of(shape), len(shape), low, high)
        if not 1 <= value.count <= _MOST:
            reason = f"its output has {value.count:,} values at one step, and 1 to {_MOST:,} can be held"
            raise CExportError(title_of(operation), reason, "Export a smaller net.")
        self.add_buffer(operation, value.name, value.ctype, value.count, f"{value.shape_text}, {title_of(operation)}")
        self.values[place] = value
        return value

    def add_buffer(self, operation: Operation, name: str, ctype: str, count: int, holds: str) -> Buffer:
        buffer = Buffer(name, ctype, count, holds)
        self.hold(operation, buffer.size)
        self.buffers.append(buffer)
        return buffer

    def hold(self, operation: Operation, size: int) -> None:
        """Count bytes that are needed for an operation and refuse too many, before they are used."""
        self.held += size
        if self.held > _MOST_BYTES:
            reason = f"it and the operations before need {self.held:,} bytes, and {_MOST_BYTES:,} can be held"
            raise self.refuse(operation, reason, "Export a smaller net.")

    def add_step(self, place: int, operation: Operation, target: Value, **more: Any) -> None:
        more = {
            "template": operation["op"],
            "sources": self.sources_of(operation),
            "title": title_of(operation),
            **more,
        }
        self.steps.append(Step(name=f"step_{place}", operation=operation, target=target, **more))

    def refuse(self, operation: Operation, reason: str, remedy: str) -> CExportError:
        return CExportError(title_of(operation), reason, remedy)

    # --- operations --------------------------------------------------------------------------------------------------

    def _input(self, place: int, operation: Operation) -> None:
        low, high = bounds.within(title_of(operation), operation["lowest"], operation["highest"])
        if low > high:
            raise self.refuse(operation, f"its limits are {low} and {high}", "Use a copy of the file.")
        if self.own(operation, "per_step").size != 1:
            raise self.refuse(operation, "its values have different steps", "Use one step for the whole input.")
        if math.prod(self.shape) > _MOST:
            raise self.refuse(operation, f"a sample has {math.prod(self.shape):,} values", "Export a smaller net.")
        given = Value("in", sizes_of(self.shape), len(self.shape), min(low, 0), max(high, 0), planes=True)
        self.input = given
        if (low, high) == TYPES[given.ctype]:  # nothing else can come in
            self.values[place] = given
            return
        clipped = replace(given, name=f"value_{place}")
        holds = f"{given.shape_text}, the input within its limits"
        self.add_buffer(operation, clipped.name, clipped.ctype, clipped.count, holds)
        self.values[place] = clipped
        self.add_step(place, operation, clipped, sources=(given,))

    def _linear(self, place: int, operation: Operation) -> None:
        self._layer(place, operation)

    _conv = _scale = _linear

    def _layer(self, place: int, operation: Operation) -> None:
        """Plan a layer, unless its sums go to neurons alone, which then plan it."""
        shape, low, high = self._sums_of(operation)
        users = self.users[place]
        if len(users) == 1 and self.operations[users[0]]["op"] in NEURONS:
            self.values[place] = Value("", sizes_of(shape), len(shape), low, high)
            return
        target = self.new_value(place, operation, shape, low, high)
        self.add_step(place, operation, target, **self._layer_parts(place, operation, low, high))

    def _sums_of(self, operation: Operation) -> tuple[tuple[int, ...], int, int]:
        """Shape and limits of a layer's output."""
        (source,), weight = self.sources_of(operation), self.own(operation, "weight")
        if not 1 <= weight.size <= _MOST_WEIGHTS:
            reason = f"it has {weight.size:,} weights, and 1 to {_MOST_WEIGHTS:,} can be written"
            raise self.refuse(operation, reason, "Export a smaller net.")
        if operation["op"] == "linear":
            if source.shape != weight.shape[1:]:
                reason = f"its input has the shape {list(source.shape)}, and its weight takes {weight.shape[1]} values"
                raise self.refuse(operation, reason, "Put a Flatten before it, or give the sample's right shape.")
            shape: tuple[int, ...] = weight.shape[:1]
        elif operation["op"] == "scale":
            if source.channels % len(weight):
                raise self.refuse(operation, f"{len(weight)} weights do not fit {source.channels} channels", "")
            shape = source.shape
        else:
            shape = self._shape_after_conv(operation, source, weight)
        bias = self.own(operation, "bias")
        low, high = bounds.of_sums(title_of(operation), weight, bias, source.low, source.high)
        return shape, low, high

    def _shape_after_conv(self, operation: Operation, source: Value, weight: np.ndarray) -> tuple[int, ...]:
        groups = operation["groups"]
        if source.rank != weight.ndim - 1 or source.channels != weight.shape[1] * groups or len(weight) % groups:
            reason = f"its weight {list(weight.shape)} in {groups} groups does not fit an input {list(source.shape)}"
            raise self.refuse(operation, reason, "Give the sample's right shape.")
        return (len(weight), *self._windows(operation, source, weight.shape[2:], operation["dilation"]))

    def _windows(
        self, operation: Operation, source: Value, kernel: Sequence[int], dilation: Sequence[int]
    ) -> tuple[int, ...]:
        """Height and width of what a window gives, of which a 1-d operation has the width only."""
        settings = (kernel, dilation, operation["stride"], operation["padding"])
        sizes = source.shape[1:]
        if any(len(setting) != len(sizes) for setting in settings) or not sizes:
            reason = f"its settings are for {len(kernel)} dims, and its input has the shape {list(source.shape)}"
            raise self.refuse(operation, reason, "Give the sample's right shape.")
        if min(*kernel, *dilation, *operation["stride"]) < 1:
            raise self.refuse(operation, "its kernel, stride or dilation is 0", "Use a copy of the file.")
        found = []
        for size, k, d, s, p in zip(sizes, *settings, strict=True):
            room = size + 2 * p - d * (k - 1) - 1
            if room < 0 or max(k, d, s, p) > _MOST:
                raise self.refuse(operation, f"its window does not fit an input {list(source.shape)}", "")
            found.append(room // s + 1)
        return tuple(found)

    def _layer_parts(self, place: int, operation: Operation, low: int, high: int) -> dict[str, Any]:
        """Weights, bias and the type of sums of a layer."""
        (source,), weight, bias = self.sources_of(operation), self.own(operation, "weight"), self.own(operation, "bias")
        if operation["op"] == "linear":
            rows = linear_rows(weight, source)
        elif operation["op"] == "conv":
            rows = conv_rows(weight, operation["groups"])
        else:  # of values that were flattened, a weight belongs to several elements
            rows = along_channels(weight, (1, *source.shape)).reshape(1, -1)
            if rows.size == 1:
                rows = rows.repeat(source.channels, 1)
            if bias is not None:
                bias = along_channels(bias, (1, *source.shape)).ravel()
                bias = bias.repeat(source.channels) if bias.size == 1 else bias
        is_small = TYPES["int16_t"][0] <= low and high <= TYPES["int16_t"][1]
        return {
            "weights": Weights.of(f"weights_{place}", rows),
            "bias": None if bias is None or not bias.any() else Table.of(f"bias_{place}", bias),
            "kernel": weight.shape[2:],
            "is_depthwise": operation["op"] == "conv" and is_depthwise(weight, operation["groups"]),
            "sums": "int16_t" if is_small else "int32_t",
        }

    def _neuron(self, place: int, operation: Operation) -> None:
        (source,) = self.sources_of(operation)
        spikes = self.new_value(place, operation, source.shape, 0, 1)
        ctype = smallest_type(*_of_bits(operation["bits"]), signed=True)
        name = title_of(operation).split(" ")[0]
        held = (f"potentials_{place}", ctype, spikes.count, f"{spikes.shape_text}, {name}")
        potentials = self.add_buffer(operation, *held)
        currents = None
        if operation["op"] == "cuba":
            holds = f"{spikes.shape_text}, currents of {name}"
            currents = self.add_buffer(operation, f"currents_{place}", ctype, spikes.count, holds)
        widest = bounds.widest_in_neuron(operation, source.low, source.high)
        bounds.within(title_of(operation), -widest, widest, bits=64)
        own = {part: self._per_neuron(place, operation, part, spikes) for part in ("threshold", "start")}
        wide = "int32_t" if widest < 2**31 else "int64_t"
        neuron = Neuron(name, operation, spikes, potentials, currents, wide, **own)
        self.neurons.append(neuron)
        before = operation["sources"][0]
        layer = self.operations[before]
        if source.name:
            self.add_step(place, operation, spikes, neuron=neuron)
            return
        parts = self._layer_parts(before, layer, source.low, source.high)
        title = f"{title_of(layer)}, {title_of(operation)}"
        reads = self.sources_of(layer)
        self.add_step(before, layer, spikes, template=layer["op"], sources=reads, title=title, neuron=neuron, **parts)

    _cuba = _neuron

    def _per_neuron(self, place: int, operation: Operation, part: str, value: Value) -> tuple[int | Table, str]:
        """Thresholds or starts: one number, a table by channel, or one in the order of the buffer."""
        array = self.own(operation, part)
        if array is None:
            return 0, ""
        if (array.ndim > 1 and array.shape != value.shape) or (array.ndim == 1 and value.channels % array.size):
            reason = f"its {part} has the shape {list(array.shape)}, and its neurons {list(value.shape)}"
            raise self.refuse(operation, reason, "Give the sample's right shape.")
        every = np.broadcast_to(along_channels(array, (1, *value.shape)), (1, *value.shape)).ravel()
        if (every == every[0]).all():
            return int(every[0]), ""
        by_channel = every.reshape(value.channels, -1)
        if (by_channel == by_channel[:, :1]).all():
            return Table.of(f"{part}_{place}", by_channel[:, 0]), "channel"
        return Table.of(f"{part}_{place}", every[value.positions()]), "place"

    def _max_pool(self, place: int, operation: Operation) -> None:
        (source,), kernel = self.sources_of(operation), operation["kernel"]
        size = self._windows(operation, source, kernel, [1] * len(kernel))
        if any(2 * p > k for p, k in zip(operation["padding"], kernel, strict=True)):
            raise self.refuse(operation, "its padding is larger than half its kernel", "Use a copy of the file.")
        low, high = source.low, source.high
        if operation["op"] == "sum_pool":
            area = math.prod(kernel)
            low, high = bounds.within(title_of(operation), min(low * area, 0), max(high * area, 0))
        if operation["op"] == "rate_max_pool":  # a maximum of sums rises by no more than each of them, and may fall
            low, high = min(low, 0), max(high, 0)
        target = self.new_value(place, operation, (source.channels, *size), low, high)
        own: tuple[Buffer, ...] = ()
        if operation["op"] == "rate_max_pool":
            title = title_of(operation)
            own = (
                self.add_buffer(operation, f"totals_{place}", "int64_t", source.count, f"sums over time, {title}"),
                self.add_buffer(operation, f"best_{place}", "int64_t", target.count, f"the largest of them, {title}"),
            )
        self.add_step(place, operation, target, buffers=own)

    _sum_pool = _rate_max_pool = _max_pool

    def _flatten(self, place: int, operation: Operation) -> None:
        (source,) = self.sources_of(operation)
        self.hold(operation, 8 * source.count)  # of the order
        flat = replace(source, sizes=(source.count, 1, 1), rank=1, planes=False, order=source.positions())
        in_order = np.array_equal(flat.order, np.arange(source.count))
        if in_order or all(self.operations[user]["op"] == "linear" for user in self.users[place]):
            self.values[place] = replace(flat, order=None if in_order else flat.order)
            return
        self.add_step(place, operation, self.new_value(place, operation, flat.shape, source.low, source.high))

    def _votes(self, place: int, operation: Operation) -> None:
        (source,), size = self.sources_of(operation), operation["size"]
        if source.rank != 1 or size < 1 or source.count % size:
            reason = f"groups of {size} do not divide an input of the shape {list(source.shape)}"
            raise self.refuse(operation, reason, "Vote after a linear layer whose outputs the groups divide.")
        low, high = bounds.within(title_of(operation), source.low * size, source.high * size)
        self.add_step(place, operation, self.new_value(place, operation, (source.count // size,), low, high))

    def _add(self, place: int, operation: Operation) -> None:
        sources = self.sources_of(operation)
        shape = sources[0].shape
        if operation["op"] == "concat":
            beside = {source.shape[1:] for source in sources}
            shape = (sum(source.channels for source in sources), *shape[1:])
            fits = len(beside) == 1 and len({source.rank for source in sources}) == 1
        else:
            fits = all(source.shape == shape for source in sources)
        if not fits:
            reason = f"its inputs have the shapes {', '.join(str(list(source.shape)) for source in sources)}"
            raise self.refuse(operation, reason, "Give the sample's right shape.")
        low, high = bounds.of_join(title_of(operation), operation, list(sources))
        self.add_step(place, operation, self.new_value(place, operation, shape, low, high))

    _mul = _invert = _concat = _add

    def _output(self, place: int, operation: Operation) -> None:
        (source,), scale = self.sources_of(operation), self.own(operation, "scale")
        if source.rank != 1 or scale.size not in (1, source.count):
            reason = f"the net gives values of the shape {list(source.shape)} with {scale.size} scales"
            raise self.refuse(operation, reason, "Let it end with a linear layer.")
        self.add_step(place, operation, source)


def _of_bits(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
