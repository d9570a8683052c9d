"""Small data sets in the formats of MNIST, CIFAR and SVHN; torchvision is told to expect their checksums."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from pytest import MonkeyPatch
from torchvision import datasets

from snntrain.data import DataModule

MNIST_NAMES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
MNIST_COUNTS = {"train": 24, "test": 6}
CIFAR_COUNT = 30  # pictures per file
SVHN_COUNTS = {"train": 40, "test": 12}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    """Write files, whose folders are made."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def loaded(kind: type[DataModule], root: Path, **more: Any) -> DataModule:
    """A data set of the kind, read from a folder."""
    data = kind(str(root), **{"num_classes": len(kind.CLASSES), "sample_shape": kind.SAMPLE_SHAPE, **more})
    data.prepare_data()
    data.setup()
    return data


def idx(array: torch.Tensor) -> bytes:
    """The IDX format: magic number (type 8 = uint8, rank), sizes, values; all big-endian."""
    return struct.pack(f">BBBB{array.dim()}I", 0, 0, 8, array.dim(), *array.shape) + array.numpy().tobytes()


def packed(content: bytes) -> bytes:
    """A .gz of the content that has the same bytes every time."""
    return gzip.compress(content, mtime=0)


def mnist_files(patch: MonkeyPatch) -> dict[str, bytes]:
    """The four unpacked files; torchvision lists their .gz files."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name in MNIST_NAMES:
        count = MNIST_COUNTS["train" if name.startswith("train") else "test"]
        shape, top = ((count, 28, 28), 256) if "images" in name else ((count,), 10)
        made[name] = idx(torch.randint(0, top, shape, generator=generator).to(torch.uint8))
    resources = [(f"{name}.gz", hashlib.md5(packed(content)).hexdigest()) for name, content in made.items()]
    patch.setattr(datasets.MNIST, "resources", resources)
    return made


def cifar_files(patch: MonkeyPatch, name: str) -> dict[str, bytes]:
    """Files like Krizhevsky's of CIFAR10 or CIFAR100, without their folder."""
    theirs, random = getattr(datasets, name), np.random.default_rng(0)
    key, classes = ("labels", 10) if name == "CIFAR10" else ("fine_labels", 100)
    made = {}
    for file, _ in (*theirs.train_list, *theirs.test_list):
        pixels = random.integers(0, 256, (CIFAR_COUNT, 3072), dtype=np.uint8)
        made[file] = pickle.dumps({"data": pixels, key: random.integers(0, classes, CIFAR_COUNT).tolist()}, protocol=2)
    made[theirs.meta["filename"]] = pickle.dumps({theirs.meta["key"]: [f"kind {n}" for n in range(classes)]})
    sums = {file: hashlib.md5(content).hexdigest() for file, content in made.items()}
    for listed in ("train_list", "test_list"):
        patch.setattr(theirs, listed, [[file, sums[file]] for file, _ in getattr(theirs, listed)])
    patch.setattr(theirs, "meta", theirs.meta | {"md5": sums[theirs.meta["filename"]]})
    return made


def cifar_archive(patch: MonkeyPatch, name: str, contents: dict[str, bytes]) -> bytes:
    """The files as an archive of their folder."""
    theirs, file = getattr(datasets, name), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for inside, content in contents.items():
            entry = tarfile.TarInfo(f"{theirs.base_folder}/{inside}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    patch.setattr(theirs, "tgz_md5", hashlib.md5(file.getvalue()).hexdigest())
    return file.getvalue()


def svhn_arrays() -> dict[str, dict[str, np.ndarray]]:
    """Pictures X [32, 32, 3, n] and labels y 1 … 10, of which 10 is the digit 0, of both splits."""
    random = np.random.default_rng(1)
    return {
        split: {
            "X": random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8),
            "y": random.integers(1, 11, (count, 1), dtype=np.uint8),
        }
        for split, count in SVHN_COUNTS.items()
    }


def svhn_files(patch: MonkeyPatch) -> dict[str, bytes]:
    """The two .mat files of svhn_arrays."""
    made, listed = {}, dict(datasets.SVHN.split_list)
    for split, arrays in svhn_arrays().items():
        file = io.BytesIO()
        scipy.io.savemat(file, arrays, do_compression=True)
        made[f"{split}_32x32.mat"] = file.getvalue()
        listed[split] = [*listed[split][:2], hashlib.md5(file.getvalue()).hexdigest()]
    patch.setattr(datasets.SVHN, "split_list", listed)
    return made
