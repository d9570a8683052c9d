"""How the files of a run folder are parsed; what damage does to a parser, snntrain.files.damage turns into an error."""

import csv
import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.error import DamagedFile
from snntrain.files import MOST_BYTES, read_bytes, read_json, read_text, read_yaml

MOST_BYTES_OF_A_GRAPH = 2**31
Curve = list[tuple[float, float]]  # (epoch, value) pairs

_LAYER_FIELDS = {"path": str, "name": str, "output_shape": list, "parameters": int, "macs": int, "neuron": str}
_ENERGY_FIELDS = ("sops", "macs", "energy_uJ", "energy_ann_uJ", "pj_per_mac", "pj_per_sop")


def parse_layers(path: Path) -> list[dict[str, Any]]:
    """The rows of layers.json, with every field."""
    layers = read_json(path, list)
    for layer in layers:
        for key, kind in _LAYER_FIELDS.items():  # older runs lack some
            layer[key] = _of_kind(layer.get(key, kind()), kind)
    return layers


def parse_operations(path: Path) -> dict[str, Any]:
    """Operations and energy of the whole net, and under "layers" those of each layer by its path."""
    content = read_json(path)
    layers = {str(layer["path"]): layer for layer in _of_kind(content["layers"], list)}
    for numbers, keys in ((content, _ENERGY_FIELDS), *((layer, ("sops", "macs")) for layer in layers.values())):
        for key in keys:
            numbers[key] = float(numbers[key])
    return content | {"layers": layers, "source": str(content.get("source", ""))}


def parse_neurobench(path: Path) -> dict[str, Any]:
    """NeuroBench's metrics: under "values" a number or None for each name, under "undefined" why there is none."""
    content = read_json(path)
    undefined = {str(name): str(reason) for name, reason in _of_kind(content["undefined"], dict).items()}
    skipped = {"undefined", "layers", "source"}
    values = {name: None if value is None else float(value) for name, value in content.items() if name not in skipped}
    return {"values": values, "undefined": undefined, "source": str(content["source"])}


def parse_energy(path: Path) -> list[dict[str, Any]]:
    """The models of energy, each with its texts and numbers; a number that there is not is None."""
    models = _of_kind(read_json(path)["models"], list)
    texts, numbers = ("name", "title", "source", "leaves_out"), ("snn_uJ", "ann_uJ", "rate", "crossing")
    return [
        {key: str(model[key]) for key in texts}
        | {key: None if model.get(key) is None else float(model[key]) for key in numbers}
        for model in models
    ]


def parse_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, one for each epoch; a metric that an epoch does not have is not in its row."""
    rows = []
    for number, cells in enumerate(csv.DictReader(io.StringIO(read_text(path), newline=""))):
        epoch = as_number(cells.pop("epoch", number))
        if epoch is None or not math.isfinite(epoch):
            continue
        numbers = {name: as_number(cell) for name, cell in cells.items() if isinstance(name, str)}
        rows.append({"epoch": epoch} | {name: value for name, value in numbers.items() if value is not None})
    return rows


def curves_of(rows: Sequence[Mapping[str, float]]) -> dict[str, Curve]:
    """Metric → its curve over the epochs."""
    columns: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "epoch":
                columns.setdefault(name, {})[row["epoch"]] = value
    return {name: sorted(values.items()) for name, values in columns.items()}


def parse_overrides(path: Path) -> list[str]:
    """The overrides that a run was started with."""
    return [str(override) for override in read_yaml(path, list)]


def parse_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file."""
    content = io.BytesIO(read_bytes(path))
    size = sum(entry.file_size for entry in zipfile.ZipFile(content).infolist())
    if size > MOST_BYTES:
        raise DamagedFile(f"{path} is damaged: its arrays have {size:,} bytes, more than such a file can have.")
    with np.load(content, allow_pickle=False) as arrays:
        return dict(arrays)


def parse_graph(path: Path) -> bytes:
    """The bytes of an HDF5 file, which snntrain.export reads."""
    content = read_bytes(path, MOST_BYTES_OF_A_GRAPH)
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ValueError("it is no HDF5 file")
    return content


BY_SUFFIX: dict[str, Callable[[Path], Any]] = {".json": read_json, ".npz": parse_arrays, ".txt": read_text}
"""How artifacts are parsed that no module here knows by name."""


def as_number(value: Any) -> float | None:
    """A float, None for what is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _of_kind(content: Any, kind: type) -> Any:
    if not isinstance(content, kind):
        raise TypeError(f"a {kind.__name__} was expected, not a {type(content).__name__}")
    return content
