"""MNIST and Fashion-MNIST, from files in torchvision's layout, packed or unpacked."""

import hashlib
import math
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from snntrain.arguments import flag
from snntrain.data.datamodule import ImageDataModule
from snntrain.data.download import fetch
from snntrain.data.source import missing_message
from snntrain.data.split import ImageSplit
from snntrain.files import naming
from snntrain.registry import register

MOST_BYTES = 256 * 2**20
"""Five times the size of the largest file when unpacked. A larger file is not MNIST's and is not read."""

#: Checksums of the unpacked files, which torchvision does not publish: computed from archives with the published MD5.
UNPACKED_SHA256 = {
    ("MNIST", "train-images-idx3-ubyte"): "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ("MNIST", "train-labels-idx1-ubyte"): "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ("MNIST", "t10k-images-idx3-ubyte"): "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ("MNIST", "t10k-labels-idx1-ubyte"): "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ("FashionMNIST", "train-images-idx3-ubyte"): "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ("FashionMNIST", "train-labels-idx1-ubyte"): "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ("FashionMNIST", "t10k-images-idx3-ubyte"): "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ("FashionMNIST", "t10k-labels-idx1-ubyte"): "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@register("data")
class MNIST(ImageDataModule):
    """70,000 handwritten digits of 28×28 pixels, 10,000 of them for testing.

    Reads <root>/<name>/raw as torchvision lays it out. A .gz file is verified by checksum and unpacked in memory, so
    the folder may be read-only. An unpacked file that differs from the published one is read with a warning, because
    the change may be intended.

    Args:
        root: the folder that holds the data set's folder.
        download: fetch missing files, verified.
        Others as in ImageDataModule.

    Raises: FileNotFoundError naming the missing file, its URL and the folder to put it in, or OSError after a download
    that failed, or a disk that does; ValueError naming a corrupt file.
    Source: LeCun et al., Proc. IEEE 1998.
    """

    SOURCE: type[datasets.MNIST] = datasets.MNIST
    CLASSES = tuple("0123456789")
    SAMPLE_SHAPE = (1, 28, 28)

    def __init__(self, root: str, *, download: bool = False, val_fraction: float = 1 / 12, **common: Any) -> None:
        super().__init__(val_fraction=val_fraction, **common)
        self.root = Path(root)
        self.download = flag(self, "download", download)
        self.hashes: dict[str, str] = {}
        self.unpublished: list[str] = []

    @property
    def raw(self) -> Path:
        """The folder of the four files."""
        return self.root / self.SOURCE.__name__ / "raw"

    def prepare_data(self) -> None:
        if self.download and any(self._find(archive) is None for archive, _ in self.SOURCE.resources):
            fetch(self.SOURCE.__name__, self.root)

    def load(self) -> dict[str, ImageSplit]:
        splits = {}
        for name, files in (("train", self.SOURCE.resources[:2]), ("test", self.SOURCE.resources[2:])):
            images, labels = (self._read(archive, checksum) for archive, checksum in files)
            if len(images) != len(labels):
                raise ValueError(
                    f"data: {self._find(files[0][0])} holds {len(images):,} pictures, but {self._find(files[1][0])} "
                    f"{len(labels):,} labels. Replace the file that does not belong to the other."
                )
            splits[name] = ImageSplit(images.unsqueeze(1), labels.long())
        return splits

    def assumed(self) -> dict[str, str]:
        files = f"not the published ones: {', '.join(self.unpublished)}" if self.unpublished else "the published ones"
        return {"files": f"{files}, by checksum", "values": "v/255 of 8 bits"} | super().assumed()

    def fingerprint(self) -> dict[str, str]:
        return dict(self.hashes)

    def _find(self, archive: str) -> Path | None:
        packed = self.raw / archive  # preferred, because its checksum is published
        return next((path for path in (packed, packed.with_suffix("")) if path.is_file()), None)

    def _read(self, archive: str, checksum: str) -> Tensor:
        """The pictures uint8 [n, 28, 28] or the labels uint8 [n] of a file."""
        culprit = self._find(archive)
        if culprit is None:
            raise FileNotFoundError(missing_message(self.SOURCE.__name__, self.root, file=archive))
        size = culprit.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(
                f"data: {culprit} has {size:,} bytes, more than the {MOST_BYTES:,} that such a file can have. Put the "
                f"published one in its place: {self.SOURCE.mirrors[0]}{archive}"
            )
        with naming(culprit):
            content = culprit.read_bytes()
        self.hashes[culprit.name] = hashlib.sha256(content).hexdigest()
        if culprit.name == archive:
            received = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if received != checksum:
                raise self._corrupt(culprit, archive, f"its MD5 is {received}, expected {checksum}")
            content = _unpacked(content)
        try:
            values = _idx(content, (28, 28) if "images" in archive else ())
        except ValueError as error:
            raise self._corrupt(culprit, archive, str(error)) from error
        if "labels" in archive and (values >= self.num_classes).any():
            place = int((values >= self.num_classes).nonzero()[0])
            raise ValueError(
                f"data: {culprit} has the label {values[place]} at index {place}; labels must be below "
                f"data.num_classes = {self.num_classes}. Correct it or put the published file in its place."
            )
        published = UNPACKED_SHA256.get((self.SOURCE.__name__, culprit.name))
        if culprit.name != archive and published != self.hashes[culprit.name]:
            warnings.warn(
                f"data: {culprit} is not the published file: its SHA-256 is another one. Results are not those of "
                f"{self.SOURCE.__name__}.",
                stacklevel=2,
            )
            self.unpublished.append(culprit.name)
        return values

    def _corrupt(self, culprit: Path, archive: str, reason: str) -> ValueError:
        return ValueError(
            f"data: {culprit} is corrupt ({reason}). Delete it, then download it again from "
            f"{self.SOURCE.mirrors[0]}{archive} or run with data.download=true."
        )


def _unpacked(packed: bytes) -> bytes:
    """The content of a .gz, cut off one byte after the largest size a file may have."""
    try:
        return zlib.decompressobj(wbits=31).decompress(packed, MOST_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"data: a file cannot be unpacked ({error}).") from error


def _idx(content: bytes, sizes: tuple[int, ...]) -> Tensor:
    """The values of a file in the IDX format: type and rank, sizes, bytes.

    Raises: ValueError if it is not one of uint8 [n, *sizes].
    """
    rank = 1 + len(sizes)
    start = 4 + 4 * rank
    if len(content) < start or content[:4] != bytes((0, 0, 8, rank)):
        raise ValueError(f"it does not begin as an IDX file of bytes with {rank} dimension{'s' * (rank > 1)} does")
    count, *found = (int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if tuple(found) != sizes:
        raise ValueError(f"its pictures are {'×'.join(map(str, found))} pixels, expected {'×'.join(map(str, sizes))}")
    expected = start + count * math.prod(sizes)
    if len(content) != expected:
        raise ValueError(f"its length does not fit its header: {len(content):,} bytes instead of {expected:,}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(count, *sizes)


@register("data")
class FashionMNIST(MNIST):
    """70,000 pictures of clothes, 28×28 pixels, 10,000 of them for testing.

    Source: Xiao, Rasul & Vollgraf, arXiv 1708.07747.
    """

    SOURCE = datasets.FashionMNIST
    CLASSES = tuple(datasets.FashionMNIST.classes)
