"""export_c: an integer net as C99, and the comparison of the compiled program with the net."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import integer
from snntrain.export.c.compiler import ELSEWHERE, NOT_INSTALLED, Compiler, native_compiler, output_of
from snntrain.export.c.plan import planned
from snntrain.export.c.program import Program
from snntrain.export.c.source import written
from snntrain.export.error import CExportError
from snntrain.files import write_text
from snntrain.functional import repeated_step
from snntrain.quantize import IntegerNet, numpy_runner

_MOST_BYTES = 2**27  # of results that are held at once


@dataclass
class CRun:
    """What the program computes.

    Attributes:
        outputs: int32 [T, N, K], before they are scaled to floats.
        spikes, potentials: for each layer of neurons in order, [T, N, *] in the shape of the integer net.
    """

    outputs: np.ndarray
    spikes: list[np.ndarray]
    potentials: list[np.ndarray]


@dataclass
class Comparison:
    """What a compiled program computes, beside snntrain.quantize.numpy_runner.

    Attributes:
        differing, compared: how many "outputs", "spikes" and "potentials".
        logits: of the program, float32 [T, N, K].
    """

    differing: Counter[str]
    compared: Counter[str]
    logits: Tensor

    @property
    def mismatches(self) -> int:
        """Values that differ."""
        return self.differing.total()


class ExportedC:
    """An integer net that was written as C.

    Args:
        net: the integer net.
        program: the plan of its program.
        folder: of net.c, net.h, main.c and Makefile.
    """

    def __init__(self, net: IntegerNet, program: Program, folder: Path) -> None:
        self.net, self.program, self.folder = net, program, folder

    def build(self, output: Path, *flags: str, compiler: Compiler | None = None) -> Path:
        """Compile the program that also writes spikes and potentials.

        Raises: CExportError if there is no compiler, or it refuses the program.
        """
        compiler = compiler or native_compiler()
        if compiler is None:
            raise CExportError("", NOT_INSTALLED)
        return compiler.build(self.folder, output, "-DSNN_RECORD", *(flags or ("-O2",)))

    def integers(self, x: np.ndarray) -> np.ndarray:
        """An input [T, N, *] as the integers that the program reads."""
        first = self.net.operations[0]
        return numpy_runner.run([first], self.net.arrays, x)["logits"].astype(np.dtype(self.program.input.ctype[:-2]))

    def run(self, command: Sequence[str | Path], x_seq: Tensor) -> CRun:
        """Run a compiled program on a sequence [T, N, *].

        Args:
            command: the program, and what it runs in, if anything.
        """
        T, N = x_seq.shape[:2]
        step = repeated_step(x_seq)
        given = x_seq if step is None else step.unsqueeze(0)
        integers = self.integers(given.detach().cpu().float().numpy())
        arguments = [*map(str, command), str(T), *([] if step is None else ["picture"])]
        samples = np.ascontiguousarray(integers.swapaxes(0, 1)).tobytes()
        said, layout = output_of(arguments, given=samples, remedy=ELSEWHERE), self._layout()
        if len(said) != N * T * layout.itemsize:
            reason = f"{arguments[0]} wrote {len(said):,} bytes instead of {N * T * layout.itemsize:,}"
            raise CExportError("", reason, "Build it anew.")
        results = np.frombuffer(said, layout).reshape(N, T).swapaxes(0, 1)
        neurons = self.program.neurons
        return CRun(
            results["outputs"],
            [each.spikes.as_in_the_net(results[f"spikes {i}"]) for i, each in enumerate(neurons)],
            [each.spikes.as_in_the_net(results[f"potentials {i}"]) for i, each in enumerate(neurons)],
        )

    def _layout(self) -> np.dtype:
        """What main.c writes after a step."""
        parts: list[tuple[str, str, int]] = [("outputs", "int32", self.program.output.count)]
        for index, neuron in enumerate(self.program.neurons):
            parts.append((f"spikes {index}", "uint8", neuron.spikes.count))
            parts.append((f"potentials {index}", neuron.potentials.ctype[:-2], neuron.spikes.count))
        return np.dtype([(name, kind, (count,)) for name, kind, count in parts])

    def compare(self, command: Sequence[str | Path], x_seq: Tensor) -> Comparison:
        """Compare a compiled program with snntrain.quantize.numpy_runner on a sequence [T, N, *].

        Args:
            command: the program, and what it runs in, if anything.
        """
        last = self.net.operations[-1]
        unscaled = [*self.net.operations[:-1], {**last, "op": "flatten"}]  # its input [T, N, K], still in integers
        differing, compared, outputs = Counter(outputs=0, spikes=0, potentials=0), Counter(), []
        for part in x_seq.split(self._samples_at_once(x_seq), 1):
            x = part.detach().cpu().float().numpy()
            expected = numpy_runner.run(unscaled, self.net.arrays, x, record=True)
            ours = self.run(command, part)
            pairs = [("outputs", ours.outputs, expected["logits"])]
            for name in ("spikes", "potentials"):
                pairs += [(name, *pair) for pair in zip(getattr(ours, name), expected[name].values(), strict=True)]
            for name, a, b in pairs:
                differing[name] += a.size if a.shape != b.shape else int((a != b).sum())
                compared[name] += a.size
            outputs.append(ours.outputs)
        logits = np.concatenate(outputs, 1).astype(np.float32) * self.program.scale
        return Comparison(differing, compared, torch.from_numpy(logits))

    def _samples_at_once(self, x_seq: Tensor) -> int:
        # numpy_runner holds every value of every step as an int32, and windows of a convolution as many times.
        values = sum(buffer.count for buffer in self.program.buffers) + math.prod(x_seq.shape[2:])
        return max(1, min(64, _MOST_BYTES // (len(x_seq) * values * 4 * 9)))

    def __repr__(self) -> str:
        sizes = self.program.sizes
        return f"ExportedC({self.folder}, {sizes['constants']:,} bytes of constants, {sizes['buffers']:,} of buffers)"


def export_c(
    net: IntegerNet, folder: str | os.PathLike, sample_shape: Sequence[int], *, event_driven: bool = True, T: int = 4
) -> ExportedC:
    """Write an integer net as C99: net.c and net.h, main.c, a Makefile, and sketches for CMake, Arduino and Zephyr.

    Args:
        net: see snntrain.quantize.to_integer.
        folder: for the files.
        sample_shape: of the input at one step, without the batch: [features], [C, L] or [C, H, W].
        event_driven: dense layers and convolutions skip inputs that are 0, except depthwise ones; else every product is
            computed, whatever comes in.
        T: steps for which the sketches for Arduino and Zephyr show a picture, ≥ 1; the net itself takes any number.

    Raises: CExportError naming the operation, why and what to do; DamagedNetError for a readout that starts nowhere.
    """
    program = planned(
        net.operations,
        net.arrays,
        sample_shape,
        readout_start=net.readout_start,
        skips_silence=event_driven,
    )
    folder = Path(folder)
    for name, text in written(program, integer("export_c", "T", T, at_least=1)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
    return ExportedC(net, program, folder)
