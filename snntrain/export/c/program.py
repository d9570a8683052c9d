"""The parts of the C program of an integer net, as the templates read them."""

from dataclasses import dataclass

import numpy as np

from snntrain.export.c.values import Value, bytes_of
from snntrain.export.c.weights import Table, Weights
from snntrain.quantize.integer_file import Operation


@dataclass(frozen=True)
class Buffer:
    """A static array of the program."""

    name: str
    ctype: str
    count: int
    holds: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * bytes_of(self.ctype)


@dataclass(frozen=True)
class Neuron:
    """The constants of a layer of neurons.

    Attributes:
        name: in the integer net, as text that is safe in C.
        operation: the neuron.
        spikes: their value.
        potentials: the buffer.
        currents: the buffer of those that have a memory of their own, or None.
        wide: the type in which potentials and currents are added.
        threshold, start: one number, or a table and how it is indexed: by 'channel' or 'place'.
    """

    name: str
    operation: Operation
    spikes: Value
    potentials: Buffer
    currents: Buffer | None
    wide: str
    threshold: tuple[int | Table, str]
    start: tuple[int | Table, str]


@dataclass(frozen=True)
class Window:
    """Height and width of a convolution's or a pooling's window and of its steps."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int = 1


@dataclass(frozen=True)
class Step:
    """A function of the program.

    Attributes:
        template: its file, without its ending.
        name: of the function.
        title: what it computes, for a comment.
        operation: the operation.
        sources: values that it reads.
        target: the value that it writes.
        neuron: of a layer, the neurons that take its sums at once.
        weights, bias: of a layer.
        kernel, is_depthwise: of a convolution.
        sums: of a layer, the type of sums.
        buffers: those of its own.
    """

    template: str
    name: str
    title: str
    operation: Operation
    sources: tuple[Value, ...]
    target: Value
    neuron: Neuron | None = None
    weights: Weights | None = None
    bias: Table | None = None
    kernel: tuple[int, ...] = ()
    is_depthwise: bool = False
    sums: str = ""
    buffers: tuple[Buffer, ...] = ()

    @property
    def reads_the_input(self) -> bool:
        return any(source.name == "in" for source in self.sources)

    @property
    def parameters(self) -> str:
        """Of the function, in its declaration."""
        named = {"in": "const snn_in_t *in", "out": "int32_t *out"}
        return ", ".join(named[name] for name in self.arguments.split(", ") if name) or "void"

    @property
    def arguments(self) -> str:
        """Of the function, in a call."""
        return ", ".join(["in"] * self.reads_the_input + ["out"] * (self.template == "output"))

    @property
    def sums_name(self) -> str:
        """The buffer of its sums."""
        return f"sums_{self.sums[3:5]}"

    @property
    def window(self) -> "Window":
        """Of a convolution or a pooling."""
        own, ones = self.operation, [1, 1]
        sizes = {key: own.get(key, ones) for key in ("stride", "padding", "dilation")}
        sizes["kernel"] = own.get("kernel", self.kernel)
        # A 1-d operation has no height: its window there is 1, without a padding.
        none = {"padding": 0}
        return Window(
            groups=own.get("groups", 1),
            **{key: (*[none.get(key, 1)] * (2 - len(size)), *size) for key, size in sizes.items()},
        )


@dataclass(frozen=True)
class Program:
    """All that the templates need.

    Attributes:
        steps: in the order in which they run.
        input, output: values; the output is taken before it is scaled to floats.
        neurons: layers of neurons, in order.
        buffers: all static arrays.
        limits: smallest and largest integer of the input.
        per_step: by what a caller multiplies its input before rounding it.
        scale: by what a caller multiplies an output, [outputs].
        readout_start: first step that counts.
        skips_silence: inputs that are 0 are skipped.
    """

    steps: tuple[Step, ...]
    input: Value
    output: Value
    neurons: tuple[Neuron, ...]
    buffers: tuple[Buffer, ...]
    limits: tuple[int, int]
    rounding: str
    per_step: float
    scale: np.ndarray
    readout_start: int
    skips_silence: bool

    @property
    def tables(self) -> list[Table]:
        """All constant arrays."""
        found: list[Table | None] = []
        for step in self.steps:
            found += [step.weights.table if step.weights else None, step.bias]
        found += [part for neuron in self.neurons for part, _ in (neuron.threshold, neuron.start)]
        return [table for table in found if isinstance(table, Table)]

    @property
    def input_steps(self) -> str:
        """What a caller's values are multiplied by, as a number of C99."""
        return f"{self.per_step.hex()}f"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of weights and other constants, and of all buffers."""
        constants = sum(table.array.size * bytes_of(table.ctype) for table in self.tables)
        return {"constants": constants, "buffers": sum(buffer.size for buffer in self.buffers)}

    @property
    def most_steps(self) -> int:
        """Steps whose outputs can be added in 32 bits."""
        return (2**31 - 1) // max(-self.output.low, self.output.high, 1)
