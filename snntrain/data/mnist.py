"""MNIST and Fashion-MNIST, from files in torchvision's layout, packed or unpacked."""

import gzip
import hashlib
import tempfile
from pathlib import Path

from torch import Tensor
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from snntrain.arguments import flag
from snntrain.data.augmentation import Augmentation
from snntrain.data.datamodule import ImageDataModule
from snntrain.data.source import missing_message
from snntrain.data.split import ImageSplit


class MNIST(ImageDataModule):
    """70,000 handwritten digits of 28×28 pixels, 10,000 of them for testing.

    Reads <root>/<name>/raw as torchvision lays it out. A .gz file is verified by checksum and read as it is, so the
    folder may be read-only.

    Args:
        root: the folder that holds the data set's folder.
        download: fetch missing files with torchvision, which verifies them.
        Others as in ImageDataModule.

    Raises: FileNotFoundError naming the missing file, its URL and the folder to put it in, or OSError after a download
    that failed; ValueError naming a corrupt file.
    Source: LeCun et al., Proc. IEEE 1998.
    """

    SOURCE: type[datasets.MNIST] = datasets.MNIST
    CLASSES = tuple("0123456789")
    SAMPLE_SHAPE = (1, 28, 28)

    def __init__(
        self,
        root: str,
        num_classes: int,
        sample_shape: list[int],
        batch_size: int = 64,
        num_workers: int = 0,
        val_fraction: float = 1 / 12,
        seed: int = 1,
        download: bool = False,
        prefetch: int = 2,
        persistent_workers: bool = True,
        augment: Augmentation | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            num_classes,
            sample_shape,
            batch_size,
            num_workers,
            val_fraction,
            seed,
            prefetch,
            persistent_workers,
            augment,
            drop_last=drop_last,
        )
        self.root = Path(root)
        self.download = flag(self, "download", download)
        self.hashes: dict[str, str] = {}

    @property
    def raw(self) -> Path:
        """The folder of the four files."""
        return self.root / self.SOURCE.__name__ / "raw"

    def prepare_data(self) -> None:
        missing = [archive for archive, _ in self.SOURCE.resources if self._find(archive) is None]
        if not (self.download and missing):
            return
        try:
            self.SOURCE(str(self.root), download=True)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"data: the download failed ({' '.join(str(error).split())}). Download {', '.join(missing)} by hand "
                f"from {self.SOURCE.mirrors[0]} into {self.raw}."
            ) from error

    def load(self) -> dict[str, ImageSplit]:
        train_images, train_labels, test_images, test_labels = (
            self._read(archive, checksum) for archive, checksum in self.SOURCE.resources
        )
        return {
            "train": ImageSplit(train_images.unsqueeze(1), train_labels.long()),
            "test": ImageSplit(test_images.unsqueeze(1), test_labels.long()),
        }

    def fingerprint(self) -> dict[str, str]:
        return dict(self.hashes)

    def _find(self, archive: str) -> Path | None:
        packed = self.raw / archive  # comes first: it has a checksum
        return next((path for path in (packed, packed.with_suffix("")) if path.is_file()), None)

    def _read(self, archive: str, checksum: str) -> Tensor:
        culprit = self._find(archive)
        read = read_image_file if "images" in archive else read_label_file
        if culprit is None:
            raise FileNotFoundError(missing_message(self.SOURCE.__name__, self.root, file=archive))
        try:
            content = culprit.read_bytes()
            self.hashes[culprit.name] = hashlib.sha256(content).hexdigest()
            if culprit.name != archive:
                return read(str(culprit))
            received = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if received != checksum:
                raise ValueError(f"its MD5 is {received}, expected {checksum}")
            with tempfile.NamedTemporaryFile() as plain:
                plain.write(gzip.decompress(content))
                plain.flush()
                return read(plain.name)
        except (ValueError, AssertionError, RuntimeError, EOFError, OSError) as error:
            raise ValueError(
                f"data: {culprit} is corrupt ({str(error) or 'its length does not fit its header'}). Delete it, then "
                f"download it again from {self.SOURCE.mirrors[0]}{archive} or run with data.download=true."
            ) from error


class FashionMNIST(MNIST):
    """70,000 pictures of clothes, 28×28 pixels, 10,000 of them for testing.

    Args: as in MNIST.
    Source: Xiao, Rasul & Vollgraf, arXiv 1708.07747.
    """

    SOURCE = datasets.FashionMNIST
    CLASSES = tuple(datasets.FashionMNIST.classes)
