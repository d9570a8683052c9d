"""The files of a run folder, read and checked one by one, for the report."""

import csv
import io
import math
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from snntrain.error import DamagedFile
from snntrain.files import MOST_BYTES, damage, read_bytes, read_json, read_text, read_yaml

Curve = list[tuple[float, float]]  # (epoch, value) pairs

# When each file is written; the page says so where one is missing.
_WRITTEN = {
    "results.json": "it is written when a run ends",
    "metrics.csv": "it is written after each epoch",
    "layers.json": "it is written once the model is built",
    "config.yaml": "it is written before training starts",
    "overrides.yaml": "it is written before training starts",
    "provenance.json": "it is written before training starts",
    "artifacts/test.npz": "the test of a classifier writes it",
    "artifacts/raster.npz": "the test writes it for one sample",
    "artifacts/synaptic_operations.json": "the test writes it",
    "artifacts/ann2snn/conversion.json": "the stage ann2snn writes it after the test",
    "artifacts/qat/quantization.json": "qat writes it after the test",
    "artifacts/lava/lava.json": "the stage lava writes it after the test",
    "artifacts/lava/plan.txt": "the stage lava writes it after the test",
    "artifacts/nir/nir.json": "the stage nir writes it after the test",
}
_ENDINGS = {
    "finished": "this run finished without it",
    "interrupted": "this run was interrupted before that",
    "pruned": "this run was pruned before that",
    "failed": "this run failed before that",
}
_LAYER_FIELDS = {"path": str, "name": str, "output_shape": list, "parameters": int, "macs": int, "neuron": str}
_ENERGY_FIELDS = ("sops", "macs", "energy_uJ", "energy_ann_uJ", "pj_per_mac", "pj_per_sop")


class Unavailable(Exception):
    """A file of the run folder is missing or damaged; the message is the sentence the page shows."""


class RunFiles:
    """The files of a run folder, each read at most once."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._read: dict[str, Any] = {}

    def read(self, name: str) -> Any:
        """Content of a file of the folder, as the parser for its name gives it.

        Raises: Unavailable if the file is missing or cannot be parsed.
        """
        if name not in self._read:
            path = self.folder / name
            try:
                with damage(path):
                    self._read[name] = _PARSERS[name](path)
            except FileNotFoundError:
                status = "" if name == "results.json" else self.read_or("results.json", {}).get("status")
                ending = _ENDINGS.get(str(status), "this run was cut off before that or is still going")
                self._read[name] = Unavailable(f"{name} is missing: {_WRITTEN[name]}, and {ending}.")
            except (DamagedFile, OSError, zipfile.BadZipFile) as error:
                reason = in_one_line(error).replace(f"{self.folder}/", "")
                self._read[name] = Unavailable(f"{name} could not be read: {reason}")
        if isinstance(self._read[name], Unavailable):
            raise self._read[name]
        return self._read[name]

    def monitor(self) -> tuple[str, str]:
        """The metric that chose the best epoch, and whether its largest ("max") or smallest ("min") value is best."""
        try:
            monitor = read_yaml(self.folder / "config.yaml")["monitor"]
            return str(monitor["metric"]), "min" if monitor["mode"] == "min" else "max"
        except (OSError, DamagedFile, KeyError, TypeError):
            return "val/acc", "max"

    def read_or(self, name: str, default: Any) -> Any:
        """Content of a file, or the default where read raises."""
        try:
            return self.read(name)
        except Unavailable:
            return default


def _of_kind(content: Any, kind: type) -> Any:
    if not isinstance(content, kind):
        raise TypeError(f"a {kind.__name__} was expected, not a {type(content).__name__}")
    return content


def _parse_mapping(path: pathlib.Path) -> dict[str, Any]:
    return read_json(path)


def _parse_results(path: pathlib.Path) -> dict[str, Any]:
    results = _parse_mapping(path)
    parts = {key: _of_kind(results.get(key, {}), dict) for key in ("metrics", "hex", "seconds", "throughput")}
    return results | parts


def _parse_layers(path: pathlib.Path) -> list[dict[str, Any]]:
    layers = read_json(path, list)
    for layer in layers:
        for key, kind in _LAYER_FIELDS.items():  # older runs lack some
            layer[key] = _of_kind(layer.get(key, kind()), kind)
    return layers


def _parse_operations(path: pathlib.Path) -> dict[str, Any]:
    """The totals, and under "layers" path → operations."""
    content = _parse_mapping(path)
    layers = {str(layer["path"]): layer for layer in _of_kind(content["layers"], list)}
    for numbers, keys in ((content, _ENERGY_FIELDS), *((layer, ("sops", "macs")) for layer in layers.values())):
        for key in keys:
            numbers[key] = float(numbers[key])
    return content | {"layers": layers, "source": str(content.get("source", ""))}


def _parse_metrics(path: pathlib.Path) -> dict[str, Curve]:
    """Column → (epoch, value) pairs of its filled cells."""
    columns: dict[str, dict[float, float]] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path), newline=""))):
        epoch = as_number(row.pop("epoch", number))
        for name, cell in row.items():
            value = as_number(cell)
            if epoch is not None and math.isfinite(epoch) and value is not None and isinstance(name, str):
                columns.setdefault(name, {})[epoch] = value
    return {name: sorted(values.items()) for name, values in columns.items()}


def _parse_overrides(path: pathlib.Path) -> list[str]:
    return [str(override) for override in read_yaml(path, list)]


def _parse_arrays(path: pathlib.Path) -> dict[str, Any]:
    content = io.BytesIO(read_bytes(path))
    size = sum(entry.file_size for entry in zipfile.ZipFile(content).infolist())
    if size > MOST_BYTES:
        raise DamagedFile(f"{path} is damaged: its arrays have {size:,} bytes, more than such a file can have.")
    with np.load(content, allow_pickle=False) as arrays:
        return dict(arrays)


_PARSERS: dict[str, Callable[[pathlib.Path], Any]] = {
    "results.json": _parse_results,
    "metrics.csv": _parse_metrics,
    "layers.json": _parse_layers,
    "config.yaml": read_text,
    "overrides.yaml": _parse_overrides,
    "provenance.json": _parse_mapping,
    "artifacts/test.npz": _parse_arrays,
    "artifacts/raster.npz": _parse_arrays,
    "artifacts/synaptic_operations.json": _parse_operations,
    "artifacts/ann2snn/conversion.json": _parse_mapping,
    "artifacts/qat/quantization.json": _parse_mapping,
    "artifacts/lava/lava.json": _parse_mapping,
    "artifacts/lava/plan.txt": read_text,
    "artifacts/nir/nir.json": _parse_mapping,
}


def as_number(value: Any) -> float | None:
    """A float, None for what is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def in_one_line(error: Exception) -> str:
    """Kind and text of an error, shortened."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:300] + "."
