"""The netx file: layers of integers in HDF5, as Lava's reader wants them."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snntrain.error import DamagedFile
from snntrain.export.error import ExportError, UnreadableLayer
from snntrain.export.hdf5 import opened
from snntrain.export.synapse import window_sizes
from snntrain.files import replacing

SMALLEST_WEIGHT, LARGEST_WEIGHT = -256, 254
LARGEST_THRESHOLD = 2**17 - 1
SMALLEST_BIAS, LARGEST_BIAS = -(2**12), 2**12 - 1  # of the chip; the simulator takes eight times as much
STATE_LIMIT = 2**23  # of |u| and |v|: the simulator wraps u and clips v
LONGEST_DELAY = 62  # steps: Lava's reader cuts longer ones
DECAY_ONE = 4096  # a decay of 1: nothing is kept

_LARGEST = 2**31 - 1  # of any number in a file
_KINDS = ("input", "flatten", "dense", "dense_rec", "conv")
_SMALLER = "Use a smaller threshold (neuron.v_threshold), or a smaller scale (neuron.scale) of a net of floats."
_PAIRS = ("stride", "padding", "dilation")


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One layer of a file. Weights, biases and thresholds are integers.

    Attributes:
        kind: 'input', 'flatten', 'dense', 'dense_rec' or 'conv'.
        shape: of the output for one step, (N,) or (C, H, W); of the input for 'input' and 'flatten'.
        weight: (out, in), or (O, I/groups, kH, kW); even, in [−256, 254].
        weight_rec: (out, out), of 'dense_rec'.
        bias: (N,) or (C,), added to v as bias·64 in each step; None: 0.
        stride, padding, dilation: (H, W), of 'conv'.
        groups: of 'conv'.
        i_decay, v_decay: decays of current and potential times 4096, 0 … 4096.
        threshold: a number, or one for each neuron (dense) or channel (conv): spikes where v > threshold·64.
        delay: (in,), steps by which each input of 'dense' comes later; None: by none.
        name: of the layer in the net; not in the file.
    """

    kind: str
    shape: tuple[int, ...]
    weight: np.ndarray | None = None
    weight_rec: np.ndarray | None = None
    bias: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    i_decay: int = DECAY_ONE
    v_decay: int = 0
    threshold: np.ndarray | int = 0
    delay: np.ndarray | None = None
    name: str = ""

    @property
    def has_neurons(self) -> bool:
        """Whether it computes; 'input' and 'flatten' do not."""
        return self.weight is not None


def check(layers: Sequence[NetxLayer]) -> None:
    """Raises: ExportError naming the first layer with a number beyond what Lava computes rightly, and the limit."""
    biased = None
    for index, layer in enumerate(layers):
        if not layer.has_neurons:
            continue
        place = f"layer {index} ({layer.name or layer.kind})"
        _check_layer(layer, place)
        if layer.delay is not None and biased:
            raise ExportError(
                place,
                f"it has delays, and {biased} has a bias, which makes neurons spike before the first input arrives; "
                "delays would bring such spikes in later",
                "Train without biases up to the layer before the last delays.",
            )
        biased = place if layer.bias is not None else biased
        if layer.weight_rec is not None and biased:
            raise ExportError(
                place,
                f"it is recurrent, and {biased} has a bias, which makes neurons spike before the first input arrives; "
                "a recurrent layer remembers that",
                "Train without biases up to the last recurrent layer.",
            )


def _check_layer(layer: NetxLayer, place: str) -> None:
    for name in ("weight", "weight_rec"):
        weight = getattr(layer, name)
        if weight is None:
            continue
        low, high = int(weight.min()), int(weight.max())
        if low < SMALLEST_WEIGHT or high > LARGEST_WEIGHT or (weight % 2).any():
            raise ExportError(
                place,
                f"{name} must be even integers from {SMALLEST_WEIGHT} to {LARGEST_WEIGHT}, got {low} to {high}",
                "Use a smaller scale (neuron.scale), or in Python none, to let the weights choose it.",
            )
    if layer.kind != "conv" and is_misread([layer.weight, layer.weight_rec]):
        raise ExportError(
            place,
            "where no weight of a matrix is positive, its smallest must not be −2^k, which Lava's reader cuts, got "
            f"{int(layer.weight.min())}",
            "Use another scale (neuron.scale).",
        )
    if layer.kind != "conv" and not (layer.weight.any() or (layer.weight_rec is not None and layer.weight_rec.any())):
        raise ExportError(place, "all weights are 0, which Lava cannot load", "Leave the layer out, or train it.")
    _check_range(layer.threshold, "the threshold", 0, LARGEST_THRESHOLD, place, _SMALLER)
    remedy = "Give biases fewer bits (callbacks.qat.quant.bias.bits), a net of floats a smaller scale (neuron.scale)."
    _check_range(0 if layer.bias is None else layer.bias, "a bias", SMALLEST_BIAS, LARGEST_BIAS, place, remedy)
    if layer.bias is not None and layer.i_decay != DECAY_ONE:
        raise ExportError(place, f"a bias needs i_decay {DECAY_ONE}, got {layer.i_decay}", "Train without a bias.")
    if layer.delay is not None:
        _check_range(layer.delay, "a delay", 0, LONGEST_DELAY, place, "Use a smaller delay.max.")
    for name in ("i_decay", "v_decay"):
        _check_range(getattr(layer, name), name, 0, DECAY_ONE, place, "Use decays from 0 to 1.")


def is_misread(weights: Sequence[np.ndarray | None]) -> bool:
    """Whether Lava's reader changes weights of a dense layer.

    It shifts them all to the left until the largest uses 8 bits. Matrices without a positive weight then have 8 bits
    and no sign, so that −256 is cut to −255 and loses its last bits.

    Args:
        weights: the matrices of the layer, even integers in [−256, 254]; None for one that it has not.
    """
    present = [weight for weight in weights if weight is not None]
    high, low = max(int(weight.max()) for weight in present), min(int(weight.min()) for weight in present)
    room = min(LARGEST_WEIGHT / high if high > 0 else np.inf, SMALLEST_WEIGHT / low if low < 0 else np.inf)
    if room == np.inf:
        return False
    shift = int(np.floor(np.log2(room)))
    return any(weight.max() <= 0 and int(weight.min()) << shift == SMALLEST_WEIGHT for weight in present)


def _check_range(value: Any, what: str, low: int, high: int, place: str, remedy: str) -> None:
    values = np.asarray(value)
    bad = values[(values < low) | (values > high)]
    if bad.size:
        raise ExportError(place, f"{what} must be from {low} to {high}, got {int(bad.flat[0])}", remedy)


def write(layers: Sequence[NetxLayer], path: str | os.PathLike) -> None:
    """Write a file, whole or not at all.

    Raises: ExportError, see check.
    """
    check(layers)
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in _datasets(layer).items():
                # Weights are small integers in float32. Any HDF5 reads gzip; shuffled, bytes of a kind lie together.
                is_large = np.size(value) > 1024
                group.create_dataset(name, data=value, compression="gzip" if is_large else None, shuffle=is_large)


def _datasets(layer: NetxLayer) -> dict[str, Any]:
    found: dict[str, Any] = {"type": np.array([layer.kind.encode()], dtype="S10")}
    if layer.kind != "flatten":
        found["shape"] = np.array(layer.shape, dtype=np.int64)
    if not layer.has_neurons:
        return found
    for name in ("weight", "weight_rec"):
        if getattr(layer, name) is not None:
            found[name] = getattr(layer, name).astype(np.float32)
    if layer.bias is not None:
        found["bias"] = layer.bias.astype(np.int64)
    if layer.delay is not None:
        # One row for each output, though all are the same: a row alone Lava's reader may take for delays of outputs.
        found["delay"] = np.tile(layer.delay.astype(np.int64), (len(layer.weight), 1))
    if layer.kind == "conv":
        out_channels, in_channels, *kernel = layer.weight.shape
        found |= {name: np.array(getattr(layer, name), dtype=np.int64) for name in _PAIRS}
        found |= {"groups": layer.groups, "kernelSize": np.array(kernel, dtype=np.int64)}
        found |= {"inChannels": in_channels * layer.groups, "outChannels": out_channels}
    else:
        found |= {"inFeatures": layer.weight.shape[1], "outFeatures": layer.weight.shape[0]}
    threshold = np.asarray(layer.threshold, dtype=np.int64)
    decays = {"iDecay": layer.i_decay, "vDecay": layer.v_decay}
    neuron = {"type": "CUBA", **decays, "vThMant": threshold, "refDelay": 1, "gradedSpike": False}
    return found | {f"neuron/{name}": value for name, value in neuron.items()}


def read(path: str | os.PathLike) -> list[NetxLayer]:
    """The layers of a file, also of one that another program wrote.

    Raises: DamagedFile (a ValueError) naming the file and the dataset; ExportError naming the layer and what is not
    known of it.
    """
    path = Path(path)
    with opened(path) as file:
        groups = file.get("layer")
        if not isinstance(groups, h5py.Group) or sorted(groups) != sorted(map(str, range(len(groups)))):
            raise DamagedFile(f"{path} is no complete netx file: /layer must hold the groups 0, 1, … without a gap.")
        layers = [_Reader(path, groups[str(index)]).layer(index) for index in range(len(groups))]
    return _with_shapes(layers, path)


class _Reader:
    """Reads one layer; what does not fit together is named by file and dataset."""

    def __init__(self, path: Path, group: Any) -> None:
        self.path, self.group = path, group

    def layer(self, index: int) -> NetxLayer:
        kind = self.text("type")
        place = f"{self.path}: layer {index} ({kind})"
        if kind not in _KINDS:
            raise UnreadableLayer(place, "its type is not known", f"Known: {', '.join(_KINDS)}.")
        if kind == "flatten":
            return NetxLayer(kind, ())
        shape = tuple(self.integers("shape", 1, least=1, sizes=((1,), (3,))).tolist())
        if kind == "input":
            return NetxLayer(kind, shape)
        neuron_kind = self.text("neuron/type")
        if neuron_kind not in ("CUBA", "LOIHI"):
            raise UnreadableLayer(place, f"it has neurons of type {neuron_kind}", "Known: CUBA.")
        dims = 4 if kind == "conv" else 2
        arrays = {"weight": self.integers("weight", dims)}
        if kind == "dense_rec":
            arrays["weight_rec"] = self.integers("weight_rec", 2, sizes=((len(arrays["weight"]),) * 2,))
        outputs = len(arrays["weight"])
        if shape[0] != outputs or len(shape) != dims - 1:
            raise self.damaged("shape", f"it is {list(shape)}, and the weights have {outputs} rows")
        if "delay" in self.group:
            arrays["delay"] = self.delays(kind, place, arrays["weight"].shape)
        if "bias" in self.group:
            arrays["bias"] = self.integers("bias", 1, sizes=((outputs,),))
        if kind == "conv":
            arrays |= {name: self.pair(name, least=0 if name == "padding" else 1) for name in _PAIRS}
            arrays["groups"] = self.number("groups", 1, outputs)
            if outputs % arrays["groups"]:
                raise self.damaged("groups", f"{arrays['groups']} groups do not divide {outputs} channels")
        threshold = self.integers("neuron/vThMant", None)
        if threshold.size not in (1, outputs):
            raise self.damaged("neuron/vThMant", f"it has {threshold.size} values for {outputs} outputs")
        return NetxLayer(
            kind,
            shape,
            **arrays,
            i_decay=self.number("neuron/iDecay", 0, DECAY_ONE),
            v_decay=self.number("neuron/vDecay", 0, DECAY_ONE),
            threshold=threshold.reshape(-1) if threshold.size > 1 else int(threshold.reshape(())),
        )

    def damaged(self, name: str, reason: str) -> DamagedFile:
        return DamagedFile(f"{self.path} is damaged: {self.group.name}/{name}: {reason}.")

    def value(self, name: str) -> np.ndarray:
        node = self.group.get(name)
        if not isinstance(node, h5py.Dataset):
            raise DamagedFile(f"{self.path} is no complete netx file: {self.group.name}/{name} is missing.")
        return np.asarray(node[()])

    def text(self, name: str) -> str:
        values = self.value(name).reshape(-1)
        if values.size != 1 or not isinstance(values[0], (bytes, str)):
            raise self.damaged(name, "it is not one text")
        return values[0] if isinstance(values[0], str) else values[0].decode("utf-8", "replace")

    def integers(
        self, name: str, dims: int | None, *, least: int | None = None, sizes: Sequence[tuple[int, ...]] = ()
    ) -> np.ndarray:
        """Integers of any dtype, of so many dims (None: any), and of one of the sizes if some are given."""
        values = self.value(name)
        if values.dtype.kind not in "biuf" or not values.size:
            raise self.damaged(name, f"it holds no numbers, but {values.size} values of {values.dtype}")
        if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST or (values != np.round(values)).any():
            raise self.damaged(name, f"it holds values that are not integers up to {_LARGEST}")
        if (dims is not None and values.ndim != dims) or (sizes and values.shape not in sizes):
            raise self.damaged(name, f"it has the shape {list(values.shape)}")
        if least is not None and values.min() < least:
            raise self.damaged(name, f"it holds {values.min()}, which is less than {least}")
        return values.astype(np.int64)

    def delays(self, kind: str, place: str, shape: tuple[int, ...]) -> np.ndarray:
        """Steps for each input of a dense layer."""
        values = self.integers("delay", None, least=0)
        is_known = kind == "dense" and values.shape == shape and (values == values[0]).all()
        if not is_known or values.max() > LONGEST_DELAY:
            reason = f"its delays are not one for each input of a dense layer, of up to {LONGEST_DELAY} steps"
            raise UnreadableLayer(place, reason)
        return values[0]

    def number(self, name: str, low: int, high: int) -> int:
        values = self.integers(name, None)
        if not (values.min() == values.max() and low <= values.min() <= high):
            raise self.damaged(name, f"it must be one number from {low} to {high}")
        return int(values.flat[0])

    def pair(self, name: str, least: int) -> tuple[int, int]:
        values = self.integers(name, None, least=least).reshape(-1)
        if values.size > 2:
            raise self.damaged(name, f"it has {values.size} values instead of two")
        return (int(values[0]), int(values[-1]))


def _with_shapes(layers: list[NetxLayer], path: Path) -> list[NetxLayer]:
    """Flatten has no shape in the file: it is that of the layer before it. Each layer must fit the one before it."""
    known: list[NetxLayer] = []
    shape: tuple[int, ...] | None = None
    for index, layer in enumerate(layers):
        if layer.kind == "flatten":
            if shape is None:
                raise UnreadableLayer(f"{path}: layer {index} (flatten)", "it has no layer before it")
            layer = NetxLayer("flatten", shape)
        elif layer.has_neurons and shape is not None and layer.shape != (found := _output_shape(layer, shape)):
            raise DamagedFile(
                f"{path} is damaged: /layer/{index}: it gives {list(layer.shape)}, but with its weights, from an input "
                f"of {list(shape)}, it would give {'nothing' if found is None else list(found)}."
            )
        shape = (math.prod(shape),) if layer.kind == "flatten" else layer.shape
        known.append(layer)
    return known


def _output_shape(layer: NetxLayer, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """What a layer gives for an input of this shape; None if its weights do not fit it."""
    if layer.kind != "conv":
        return (len(layer.weight),) if shape == (layer.weight.shape[1],) else None
    if len(shape) != 3 or shape[0] != layer.weight.shape[1] * layer.groups:
        return None
    sizes = window_sizes(shape[1:], layer.weight.shape[2:], layer.stride, layer.padding, layer.dilation)
    return (len(layer.weight), *sizes) if min(sizes) > 0 else None
