"""Files of nets that are damaged, or made to do harm: refused by file and dataset, in bounded time and memory."""

import random
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.error import DamagedFile
from snntrain.export import ExportError, export_nir, import_nir
from snntrain.export.netx_file import NetxLayer, read, write

WEIGHT = np.arange(48).reshape(3, 16) * 2


def netx(path: Path) -> None:
    conv = NetxLayer("conv", (1, 4, 4), np.full((1, 1, 3, 3), 2), padding=(1, 1), threshold=3)
    dense = NetxLayer("dense", (3,), WEIGHT, bias=np.array([1, 2, 3]), threshold=np.array([4, 5, 6]))
    write([NetxLayer("input", (1, 4, 4)), conv, NetxLayer("flatten", (1, 4, 4)), dense], path)


def nir_graph(path: Path) -> None:
    pytest.importorskip("nir")
    net = nn.Sequential(layer.Linear(6, 4), neuron.LIFNode()).eval()
    functional.set_step_mode(net, "m")
    export_nir(net, torch.zeros(2, 1, 6), path)


READERS = {"netx": (netx, read), "nir": (nir_graph, import_nir)}


def damaged(content: bytes, source: random.Random) -> bytes:
    data = bytearray(content)
    kind = source.choice(["bit", "cut", "bytes", "zeros"])
    if kind == "bit":
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == "cut":
        del data[source.randrange(len(data)) :]
    elif kind == "bytes":
        for _ in range(20):
            data[source.randrange(len(data))] = source.randrange(256)
    else:
        start = source.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    return bytes(data)


@pytest.mark.parametrize("kind", READERS)
def test_random_damage_is_named_or_does_no_harm(tmp_path, kind):
    make, reader = READERS[kind]
    make(tmp_path / "net")
    content, source, refused = (tmp_path / "net").read_bytes(), random.Random(kind), 0
    for number in range(40):
        path = tmp_path / f"{number}.file"
        path.write_bytes(damaged(content, source))
        began = time.monotonic()
        try:
            reader(path)
        except (DamagedFile, ExportError) as error:
            assert path.name in str(error), error
            refused += 1
        assert time.monotonic() - began < 20
    assert refused > 13


def holding(path: Path, name: str):
    """What replaces a dataset of a file."""

    def external(file: h5py.File) -> None:
        file[name] = h5py.ExternalLink("other.h5", "/x")

    def soft(file: h5py.File) -> None:
        file[name] = h5py.SoftLink("/layer/0")

    def elsewhere(file: h5py.File) -> None:
        (path.parent / "raw").write_bytes(bytes(96))
        file.create_dataset(name, (3, 4), "f8", external=[(str(path.parent / "raw"), 0, 96)])

    def huge(file: h5py.File) -> None:
        file.create_dataset(name, (10**6, 10**6), "f4", chunks=(100, 100))

    def large_chunk(file: h5py.File) -> None:
        file.create_dataset(name, (3, 16), "f4", maxshape=(None, None), chunks=(10**5, 10**3))

    def loop(file: h5py.File) -> None:
        file[name] = file["layer"]

    return {each.__name__: each for each in (external, soft, elsewhere, huge, large_chunk, loop)}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("external", "a link to another place or file"),
        ("soft", "a link to another place or file"),
        ("elsewhere", "it lies in another file"),
        ("huge", "declares 4,000,000,000,000 bytes and holds 0"),
        ("large_chunk", "declares 400,000,000 bytes and holds 0"),
        ("loop", "perhaps one that contains itself"),
    ],
)
def test_bombs_loops_and_other_files_are_refused(tmp_path, how, text):
    path = tmp_path / "net.h5"
    netx(path)
    with h5py.File(path, "a") as file:
        del file["layer/3/weight"]
        holding(path, "layer/3/weight")[how](file)
    with pytest.raises(DamagedFile, match=text) as error:
        read(path)
    assert "net.h5" in str(error.value) and "/layer/3/weight" in str(error.value)


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        ("layer/3/weight", WEIGHT.astype(np.float32) + 0.5, "values that are not integers"),
        ("layer/3/weight", np.full((3, 16), np.nan), "values that are not integers"),
        ("layer/3/weight", WEIGHT[:, :9], r"/layer/3: it gives \[3\].* it would give nothing"),
        ("layer/3/weight", WEIGHT.ravel(), r"the shape \[48\]"),
        ("layer/3/weight", np.array([b"x"] * 3), "it holds no numbers"),
        ("layer/3/shape", np.array([5]), "the weights have 3 rows"),
        ("layer/3/bias", np.array([1, 2]), r"the shape \[2\]"),
        ("layer/3/neuron/vThMant", np.array([1, 2]), "2 values for 3 outputs"),
        ("layer/3/neuron/iDecay", 5000, "one number from 0 to 4096"),
        ("layer/3/neuron", 5, "is missing"),
        ("layer/0/shape", np.array([1, -4, 4]), "less than 1"),
        ("layer/1/stride", np.array([0, 1]), "less than 1"),
        ("layer/1/groups", 2, "one number from 1 to 1"),
        ("layer/1/padding", np.array([0, 0]), r"it would give \[1, 2, 2\]"),
        ("layer/2/type", np.array([1]), "it is not one text"),
    ],
)
def test_numbers_that_do_not_fit_together_are_named(tmp_path, place, value, text):
    path = tmp_path / "net.h5"
    netx(path)
    with h5py.File(path, "a") as file:
        del file[place]
        file[place] = value
    with pytest.raises(DamagedFile, match=text) as error:
        read(path)
    assert "net.h5" in str(error.value) and f"/{place[:7]}" in str(error.value)
