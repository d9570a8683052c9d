"""plan and export: from a net to a netx file that computes the same."""

import copy
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain import __version__
from snntrain.arguments import choice
from snntrain.error import DamagedFile
from snntrain.export import netx_file, quantized
from snntrain.export.chain import check_rows, step_shape
from snntrain.export.emulator import Emulation, emulate
from snntrain.export.error import ExportError
from snntrain.export.loihi_neuron import neuron_of
from snntrain.export.netx_file import STATE_LIMIT, NetxLayer
from snntrain.export.plan import CAVEAT, InputSpec, Plan, PlanBuilder, Readout
from snntrain.export.walker import walk
from snntrain.files import damage, read_json, replacing, write_json
from snntrain.quantize import IntegerNet, QuantizedNet, observe, to_integer

MAX_POOLS = ("refuse", "neurons")


@torch.no_grad()
def plan(
    net: nn.Module | IntegerNet,
    example: Tensor,
    scale: float | Mapping[str, float] | None = None,
    append_neuron: nn.Module | None = None,
    max_pool: str = "refuse",
) -> Plan:
    """What would become of every layer of a net, or why it cannot be exported; print it.

    Batch normalizations are folded into the layers before them, average and sum pooling into the layers beside them. A
    last Linear layer without neurons is left to the host, as integers.

    Args:
        net: one layer after the other, with neurons that have a linear form and reset to 0 (those that leak are exact
            only as CubaLIFNode); or a net that snntrain.quantize made for the target 'loihi', prepared
            (the plan is a guess before observe) or of integers.
        example: an input [T, N, *] of the net; spikes, or other integers, unless the net quantizes it itself.
        scale: integers per unit of the weights, one number or {pattern of names: number}. None: for each layer the
            neuron's own, or a power of two, that leaves the weights as they are; or else the largest that fits.
        append_neuron: put this behind a last Linear layer.
        max_pool: 'neurons' puts a layer of neurons in the place of a maximum over spikes, which gives the same.

    Returns: the plan. Raises: ExportError where it does not come to one; ValueError naming an argument.
    """
    choice("plan", "max_pool", max_pool, MAX_POOLS)
    shape = step_shape(example)
    if not isinstance(net, (IntegerNet, QuantizedNet)):
        builder = PlanBuilder(shape, scale, max_pool)
        builder.plan.input = _input_of(example)
        builder.plan.rows = walk(net, example, builder, neuron_of, append_neuron)
        if not builder.plan.problems:
            builder.check_patterns()
        return builder.plan
    for name, value in {"scale": scale, "append_neuron": append_neuron}.items():
        if value is not None:
            raise ExportError("", f"{name} is for nets of floats; a quantized net has its integers already")
    if isinstance(net, QuantizedNet):
        if not net.is_observed:  # a guess that shows which layers can be exported
            net = copy.deepcopy(net)
            observe(net, [example])
        net = to_integer(net)
    return quantized.plan_of(net, shape, max_pool)


def _input_of(x: Tensor) -> InputSpec:
    """The integers that an example consists of.

    Raises: ExportError if it holds others.
    """
    if not torch.equal(x.float(), x.float().round()):
        raise ExportError(
            "",
            "the input holds values that are not integers, and a file takes spikes or integers",
            "Use an encoder that spikes (encoder=poisson, latency, …), or quantize the net: callbacks.qat.quant=loihi "
            "makes the input integers.",
        )
    low, high = int(x.min()), int(x.max())
    if low >= 0:
        return InputSpec(0, 2 ** max(high, 1).bit_length() - 1)
    half = 2 ** max(high, -low - 1).bit_length()
    return InputSpec(-half, half - 1)


def export(
    net: nn.Module | IntegerNet,
    path: str | os.PathLike,
    example: Tensor,
    calibration: Iterable[Tensor] = (),
    **options: Any,
) -> "Exported":
    """Write a net as a netx file, and beside it .json (what the input must be) and .readout.npz (what the host does).

    Before any file appears, the integers are run on example and calibration: Lava overflows without a word.

    Args:
        net, example: as in plan.
        path: of the HDF5 file, such as artifacts/net.h5; replaced if it is there.
        calibration: more inputs [T, N, *] like the ones to come.
        options: scale, append_neuron, max_pool, as in plan.

    Raises: ExportError naming the layer, what is wrong, and what to do.
    """
    path = Path(path)
    if path.suffix in (".json", ".npz"):
        raise ExportError("", f"path must not end in {path.suffix}, which is for the files beside it, got {path}")
    if isinstance(net, QuantizedNet) and not net.is_observed:
        raise ExportError("", "the ranges of the quantized net are not known", "Call observe(net, loader) first.")
    planned = plan(net, example, **options)
    check_rows(planned.rows)
    netx_file.check(planned.layers)
    headroom = _headroom(planned, [example, *calibration])
    exported = Exported(path, planned.layers, planned.input, planned.readout, planned.is_exact, headroom)
    exported.save(planned)
    return exported


def _headroom(planned: Plan, inputs: Iterable[Tensor]) -> dict[str, float]:
    """For each layer the used share of the range of u and v.

    Raises: ExportError naming a layer whose currents overflow, or in which a spike changes because potentials do.
    """
    most: dict[str, float] = {}
    for x_seq in inputs:
        x = planned.input.encode(x_seq)
        run = emulate(planned.layers, x)
        run.check_currents(planned.layers)
        if max(run.headroom) >= 1:
            _check_clipping(planned, x, run)
        most = most_used(most, planned.layers, run)
    return most


def most_used(most: Mapping[str, float], layers: Sequence[NetxLayer], run: Emulation) -> dict[str, float]:
    """Headrooms by layer, together with those of one more run."""
    names = [layers[index].name for index in run.layers]
    return {name: max(most.get(name, 0.0), used) for name, used in zip(names, run.headroom, strict=True)}


def _check_clipping(planned: Plan, x: Tensor, run: Emulation) -> None:
    """Raises: ExportError where clipping in Lava changes a spike; mostly it clips what is far below 0 anyway."""
    expected = emulate(planned.layers, x, limits=planned.limits)
    for index, spikes, others, v in zip(run.layers, run.spikes, expected.spikes, run.v_range, strict=True):
        if differing := int((spikes != others).sum()):
            raise ExportError(
                f"layer {index} ({planned.layers[index].name})",
                f"it overflows on the calibration data: Lava clips potentials at 2^23 = {STATE_LIMIT}, got {v[0]} to "
                f"{v[1]}, and {differing} spikes would change",
                "Give the input or the weights fewer bits (callbacks.qat.quant.input.bits and "
                "callbacks.qat.quant.w.bits), a net of floats a smaller scale (neuron.scale), or use "
                "neurons that leak.",
            )


@dataclass
class Exported:
    """A netx file and what belongs to it.

    Attributes:
        path: of the HDF5 file.
        layers: in it.
        input: which integers it takes.
        readout: what the host computes from its spikes, or None.
        is_exact: nothing was rounded: its spikes are those of the net.
        headroom: layer → the largest share of the range of u and v that calibration data used; from 1 on potentials
            were clipped, without a change of spikes.
    """

    path: Path
    layers: list[NetxLayer]
    input: InputSpec
    readout: Readout | None
    is_exact: bool
    headroom: dict[str, float]

    def run(self, x_seq: Tensor) -> Emulation:
        """Emulate it on an input [T, N, *] of the net.

        Raises: ExportError if currents overflow, so that Lava would compute something else.
        """
        run = emulate(self.layers, self.input.encode(x_seq))
        run.check_currents(self.layers)
        return run

    def logits(self, x_seq: Tensor) -> Tensor:
        """What the net puts out for an input: [T, N, K]; the last layer's spikes where there is no readout."""
        return self.outputs(self.run(x_seq).output)

    def outputs(self, spikes: Tensor) -> Tensor:
        """The same from the last layer's spikes [T, N, *], which Lava gives as well."""
        return spikes.float() if self.readout is None else self.readout(spikes)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Exported":
        """Read the files that export wrote.

        Raises: ExportError naming a file that is missing; DamagedFile naming one that is not complete.
        """
        path = Path(path)
        layers = netx_file.read(path)
        beside, host = path.with_suffix(".json"), path.with_suffix(".readout.npz")
        try:
            about = read_json(beside)
            with damage(beside):
                spec = InputSpec(**about["input"])
                names = {int(index): str(one["name"]) for index, one in about["layers"].items()}
                headroom = {str(name): float(used) for name, used in about["headroom"].items()}
                is_exact, has_readout = bool(about["is_exact"]), bool(about["has_readout"])
            readout = None
            if has_readout:
                with damage(host), np.load(host) as parts:
                    readout = Readout(**{name: parts[name] for name in ("weight", "bias", "step")})
        except FileNotFoundError as error:
            raise ExportError("", f"{error.filename} is missing beside {path}", "Export it again.") from error
        except zipfile.BadZipFile as error:
            raise DamagedFile(f"{host} is damaged ({error}). Export it again.") from error
        layers = [replace(layer, name=names.get(index, "")) for index, layer in enumerate(layers)]
        return cls(path, layers, spec, readout, is_exact, headroom)

    def save(self, planned: Plan) -> None:
        """Write all files, each whole or not at all, the netx file last."""
        about = {
            "snntrain": __version__,
            "note": CAVEAT,
            "input": asdict(self.input),
            "message_bits": self.input.message_bits,
            "has_readout": self.readout is not None,
            "is_exact": self.is_exact,
            "layers": {
                str(index): {"name": self.layers[index].name, **asdict(rounding)}
                for index, rounding in planned.scales.items()
            },
            "headroom": self.headroom,
        }
        readout = self.path.with_suffix(".readout.npz")
        if self.readout is None:
            readout.unlink(missing_ok=True)
        else:
            with replacing(readout) as temporary, open(temporary, "wb") as file:
                np.savez(file, **asdict(self.readout))
        write_json(self.path.with_suffix(".json"), about)
        netx_file.write(self.layers, self.path)
