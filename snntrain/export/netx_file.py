"""The netx file: layers of integers in HDF5, as Lava's reader wants them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snntrain.export.error import ExportError
from snntrain.files import replacing

SMALLEST_WEIGHT, LARGEST_WEIGHT = -256, 254
LARGEST_THRESHOLD = 2**17 - 1
SMALLEST_BIAS, LARGEST_BIAS = -(2**12), 2**12 - 1  # of the chip; the simulator takes eight times as much
STATE_LIMIT = 2**23  # of |u| and |v|: the simulator wraps u and clips v
DECAY_ONE = 4096  # a decay of 1: nothing is kept

_KINDS = ("input", "flatten", "dense", "dense_rec", "conv")
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
    name: str = ""

    @property
    def has_neurons(self) -> bool:
        """Whether it computes; 'input' and 'flatten' do not."""
        return self.weight is not None


def check(layers: Sequence[NetxLayer]) -> None:
    """Raises: ExportError naming the first layer with a number beyond what Lava computes rightly, and the limit."""
    biased = None
    for index, layer in enumerate(layers):
        place = f"export: layer {index} ({layer.name or layer.kind})"
        if not layer.has_neurons:
            continue
        _check_layer(layer, place)
        biased = place if layer.bias is not None else biased
        if layer.weight_rec is not None and biased:
            raise ExportError(
                f"{place} is recurrent, and {biased.removeprefix('export: ')} has a bias, which makes neurons spike "
                "before the first input arrives; a recurrent layer remembers that. Train without biases up to the last "
                "recurrent layer."
            )


def _check_layer(layer: NetxLayer, place: str) -> None:
    for name in ("weight", "weight_rec"):
        weight = getattr(layer, name)
        if weight is None:
            continue
        low, high = int(weight.min()), int(weight.max())
        if low < SMALLEST_WEIGHT or high > LARGEST_WEIGHT or (weight % 2).any():
            raise ExportError(
                f"{place}: {name} must be even integers from {SMALLEST_WEIGHT} to {LARGEST_WEIGHT}, got {low} to "
                f"{high}. Use a smaller scale, or none to let the weights choose it."
            )
    if layer.kind != "conv" and is_misread([layer.weight, layer.weight_rec]):
        raise ExportError(
            f"{place}: where no weight of a matrix is positive, its smallest must not be −2^k, which Lava's reader "
            f"cuts, got {int(layer.weight.min())}. Use another scale."
        )
    if layer.kind != "conv" and not (layer.weight.any() or (layer.weight_rec is not None and layer.weight_rec.any())):
        raise ExportError(f"{place}: all weights are 0, which Lava cannot load. Leave the layer out, or train it.")
    _check_range(layer.threshold, "the threshold", 0, LARGEST_THRESHOLD, place, "Use a smaller scale or threshold.")
    remedy = "Use a smaller scale, or train with smaller biases."
    _check_range(0 if layer.bias is None else layer.bias, "a bias", SMALLEST_BIAS, LARGEST_BIAS, place, remedy)
    if layer.bias is not None and layer.i_decay != DECAY_ONE:
        raise ExportError(f"{place}: a bias needs i_decay {DECAY_ONE}, got {layer.i_decay}. Train without a bias.")
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
        raise ExportError(f"{place}: {what} must be from {low} to {high}, got {int(bad.flat[0])}. {remedy}")


def write(layers: Sequence[NetxLayer], path: str | os.PathLike) -> None:
    """Write a file, whole or not at all.

    Raises: ExportError, see check.
    """
    check(layers)
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in _datasets(layer).items():
                group.create_dataset(name, data=value)


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

    Raises: ExportError naming the layer and what is missing or not known.
    """
    try:
        with h5py.File(path, "r") as file:
            layers = [_read_layer(file[f"layer/{index}"], index, path) for index in range(len(file["layer"]))]
    except (OSError, KeyError) as error:
        raise ExportError(f"export: {path} is no complete netx file: {error}.") from error
    return _with_shapes(layers, path)


def _read_layer(group: h5py.Group, index: int, path: Any) -> NetxLayer:
    kind = np.asarray(group["type"][()]).reshape(-1)[0].decode()
    place = f"export: {path}: layer {index} ({kind})"
    if kind not in _KINDS:
        raise ExportError(f"{place} is not known. Known: {', '.join(_KINDS)}.")
    if "delay" in group:
        raise ExportError(f"{place} has delays, which the emulator does not compute.")
    if kind in ("input", "flatten"):
        return NetxLayer(kind, tuple(map(int, group["shape"])) if kind == "input" else ())
    neuron = group["neuron"]
    neuron_kind = np.asarray(neuron["type"][()]).reshape(-1)[0].decode()
    if neuron_kind not in ("CUBA", "LOIHI"):
        raise ExportError(f"{place} has neurons of type {neuron_kind}. Known: CUBA.")
    arrays = {name: group[name][()].astype(np.int64) for name in ("weight", "weight_rec", "bias") if name in group}
    if kind == "conv":
        arrays |= {name: _pair(group[name][()]) for name in _PAIRS} | {"groups": int(group["groups"][()])}
    threshold = np.asarray(neuron["vThMant"][()]).astype(np.int64)
    return NetxLayer(
        kind,
        tuple(map(int, group["shape"])),
        **arrays,
        i_decay=int(neuron["iDecay"][()]),
        v_decay=int(neuron["vDecay"][()]),
        threshold=threshold if threshold.size > 1 else int(threshold.reshape(())),
    )


def _pair(value: Any) -> tuple[int, int]:
    values = np.asarray(value).reshape(-1)
    return (int(values[0]), int(values[-1]))


def _with_shapes(layers: list[NetxLayer], path: Any) -> list[NetxLayer]:
    """Flatten has no shape in the file: it is that of the layer before it."""
    known = []
    for index, layer in enumerate(layers):
        if layer.kind == "flatten":
            if not known:
                raise ExportError(f"export: {path}: layer {index} (flatten) has no layer before it.")
            layer = NetxLayer("flatten", known[-1].shape)
        known.append(layer)
    return known
