"""What each data set is: its files, where they come from and go to, its license and citation.

Addresses and checksums are read from torchvision's and tonic's classes, so that they follow their updates. Sizes are
listed here, because those classes do not have them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from snntrain.data.tonic_package import import_tonic
from snntrain.installation import command_of
from snntrain.registry import did_you_mean


@dataclass(frozen=True)
class SourceFile:
    """A file to download.

    Attributes:
        name: what it is called on disk.
        urls: its addresses, which are tried in turn.
        md5: its checksum; None if nobody published one.
        size: bytes, rounded where the exact number is unknown; None where no number is known.
        unpack: whether it is an archive that is unpacked into the same folder.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None
    size: int | None
    unpack: bool

    def __str__(self) -> str:
        size = decimal(self.size) if self.size else "size not published"
        return (
            f"{self.name} ({' or '.join(self.urls)}, {size}, {f'MD5 {self.md5}' if self.md5 else 'no MD5 published'})"
        )


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: its name here, which is its class's.
        title: its name in the literature, and its size.
        license, citation, homepage: what users of the data need to know.
        folder: where its files go, relative to paths.data.
        files: what to download; empty if it comes with a package.
    """

    name: str
    title: str
    license: str
    citation: str
    homepage: str
    folder: str
    files: tuple[SourceFile, ...]


_NOT_STATED = "none stated by the authors; ask them before you redistribute it"
_CC_BY = "Creative Commons Attribution 4.0"
_KRIZHEVSKY = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009"
_ORCHARD = (
    "Orchard, Jayawant, Cohen & Thakor, Converting Static Image Datasets to Spiking Neuromorphic Datasets Using "
    "Saccades, Frontiers in Neuroscience 9:437, 2015"
)
_CRAMER = (
    "Cramer, Stradmann, Schemmel & Zenke, The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking "
    "Neural Networks, IEEE Transactions on Neural Networks and Learning Systems 33, 2022"
)
_HEIDELBERG = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"

# name → (title, license, citation, homepage, folder under paths.data)
_FACTS = {
    "Digits": (
        "Optical Recognition of Handwritten Digits, the 1,797 that come with scikit-learn",
        _CC_BY,
        "Alpaydin & Kaynak, UCI Machine Learning Repository, 1998",
        "https://archive.ics.uci.edu/dataset/80",
        "",
    ),
    "Diabetes": (
        "Diabetes, the 442 patients that come with scikit-learn",
        _NOT_STATED,
        "Efron, Hastie, Johnstone & Tibshirani, Least Angle Regression, Annals of Statistics 32(2), 2004",
        "https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
        "",
    ),
    "MNIST": (
        "MNIST, 70,000 handwritten digits",
        "Creative Commons Attribution-ShareAlike 3.0",
        "LeCun, Bottou, Bengio & Haffner, Gradient-based Learning Applied to Document Recognition, Proc. IEEE 86, 1998",
        "http://yann.lecun.com/exdb/mnist/",
        "MNIST/raw",
    ),
    "FashionMNIST": (
        "Fashion-MNIST, 70,000 pictures of clothes",
        "MIT",
        "Xiao, Rasul & Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, "
        "arXiv 1708.07747, 2017",
        "https://github.com/zalandoresearch/fashion-mnist",
        "FashionMNIST/raw",
    ),
    "CIFAR10": (
        "CIFAR-10, 60,000 color pictures",
        _NOT_STATED,
        _KRIZHEVSKY,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "",
    ),
    "CIFAR100": (
        "CIFAR-100, 60,000 color pictures",
        _NOT_STATED,
        _KRIZHEVSKY,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "",
    ),
    "SVHN": (
        "Street View House Numbers, 99,289 cropped digits",
        "for non-commercial use only",
        "Netzer, Wang, Coates, Bissacco, Wu & Ng, Reading Digits in Natural Images with Unsupervised Feature Learning, "
        "NIPS Workshop on Deep Learning and Unsupervised Feature Learning, 2011",
        "http://ufldl.stanford.edu/housenumbers/",
        "SVHN",
    ),
    "NMNIST": (
        "N-MNIST, 70,000 recordings of handwritten digits, 34×34",
        "Creative Commons Attribution-ShareAlike 4.0",
        _ORCHARD,
        "https://www.garrickorchard.com/datasets/n-mnist",
        "NMNIST",
    ),
    "DVSGesture": (
        "DVS128 Gesture, 1,342 recordings of 11 hand gestures, 128×128",
        _CC_BY,
        "Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017",
        "https://research.ibm.com/interactive/dvsgesture/",
        "DVSGesture",
    ),
    "CIFAR10DVS": (
        "CIFAR10-DVS, 10,000 recordings of CIFAR-10 pictures, 128×128",
        _CC_BY,
        "Li, Liu, Ji, Li & Shi, CIFAR10-DVS: An Event-Stream Dataset for Object Classification, Frontiers in "
        "Neuroscience 11:309, 2017",
        "https://doi.org/10.3389/fnins.2017.00309",
        "CIFAR10DVS",
    ),
    "NCaltech101": (
        "N-Caltech101, 8,709 recordings of Caltech101 pictures, of different sizes",
        _CC_BY,
        _ORCHARD,
        "https://www.garrickorchard.com/datasets/n-caltech101",
        "NCALTECH101",
    ),
    "ASLDVS": (
        "ASL-DVS, 100,800 recordings of 24 letters of American Sign Language, 240×180",
        _NOT_STATED,
        "Bi, Chadha, Abbas, Bourtsoulatze & Andreopoulos, Graph-based Object Classification for Neuromorphic Vision "
        "Sensing, ICCV 2019",
        "https://github.com/PIX2NVS/NVS2Graph",
        "ASLDVS",
    ),
    "SHD": ("Spiking Heidelberg Digits, 20 spoken digits on 700 channels", _CC_BY, _CRAMER, _HEIDELBERG, "SHD"),
    "SSC": ("Spiking Speech Commands, 35 spoken words on 700 channels", _CC_BY, _CRAMER, _HEIDELBERG, "SSC"),
}

_OF_SCIKIT_LEARN = ("Digits", "Diabetes")

_SIZES = {
    ("MNIST", "train-images-idx3-ubyte.gz"): 9_912_422,
    ("MNIST", "train-labels-idx1-ubyte.gz"): 28_881,
    ("MNIST", "t10k-images-idx3-ubyte.gz"): 1_648_877,
    ("MNIST", "t10k-labels-idx1-ubyte.gz"): 4_542,
    ("FashionMNIST", "train-images-idx3-ubyte.gz"): 26_421_880,
    ("FashionMNIST", "train-labels-idx1-ubyte.gz"): 29_515,
    ("FashionMNIST", "t10k-images-idx3-ubyte.gz"): 4_422_102,
    ("FashionMNIST", "t10k-labels-idx1-ubyte.gz"): 5_148,
    ("CIFAR10", "cifar-10-python.tar.gz"): 170_498_071,
    ("CIFAR100", "cifar-100-python.tar.gz"): 169_001_437,
    ("SVHN", "train_32x32.mat"): 182_040_794,
    ("SVHN", "test_32x32.mat"): 64_275_384,
    ("NMNIST", "train.zip"): 1_010_000_000,
    ("NMNIST", "test.zip"): 170_000_000,
    ("SHD", "shd_train.h5.zip"): 131_000_000,
    ("SHD", "shd_test.h5.zip"): 38_000_000,
}


def names() -> list[str]:
    """The data sets known here."""
    return list(_FACTS)


def license_of(name: str) -> str:
    """The license of a data set, one of names()."""
    return _FACTS[name][1]


def find(name: str) -> Source:
    """What is known about a data set; case, '_' and '-' in its name do not matter.

    Raises: ValueError with the nearest name; ImportError for a data set of events where tonic is not installed.
    """
    plain = {_plain(known): known for known in _FACTS}
    if _plain(name) not in plain:
        near = did_you_mean(_plain(name), plain)
        near = near and f" Did you mean {plain[_plain(near.split()[-1])]}?"
        raise ValueError(f"{name!r} is not a data set with a source.{near} Known: {', '.join(_FACTS)}.")
    key = plain[_plain(name)]
    return Source(key, *_FACTS[key], files=_files(key))


def missing_message(name: str, root: Path | str, missing: str = "", file: str = "") -> str:
    """The error text for files that are missing: which, where to get them, where to put them.

    Args:
        name: the data set, as for find.
        root: paths.data.
        missing: what was looked for, relative to its folder; default: the files themselves.
        file: the one file of the source that brings it; default: all of them.
    """
    source = find(name)
    folder = Path(root) / source.folder
    files = [one for one in source.files if not file or one.name == file]
    it = "it" if len(files) == 1 else "them"
    what = missing or _listed([one.name for one in files])
    verb = "are" if not missing and len(files) > 1 else "is"
    fetch = f"{command_of('fetch-data')} name={source.name}"
    by_hand = f"then unpack {it} with `{fetch} --from FILE`" if files[0].unpack else f"put {it} into that folder"
    return (
        f"data: {what} {verb} not in {folder}. Download {_listed(list(map(str, files)))} and {by_hand}; or let "
        f"`{fetch}` do it, run with data.download=true, or point paths.data at the folder that has {it}."
    )


def _listed(items: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _files(name: str) -> tuple[SourceFile, ...]:
    if name in _OF_SCIKIT_LEARN:
        return ()
    rows = _image_files(name) if name in ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN") else None
    return tuple(
        SourceFile(file, urls, md5, _SIZES.get((name, file)), unpack=file.endswith((".zip", ".tar.gz")))
        for file, urls, md5 in (_event_files(name) if rows is None else rows)
    )


def _image_files(name: str) -> list[tuple[str, tuple[str, ...], str]]:
    from torchvision import datasets

    theirs: Any = getattr(datasets, name)
    if name.endswith("MNIST"):
        return [(file, tuple(mirror + file for mirror in theirs.mirrors), md5) for file, md5 in theirs.resources]
    if name == "SVHN":
        return [(file, (url,), md5) for url, file, md5 in (theirs.split_list[split] for split in ("train", "test"))]
    return [(theirs.filename, (theirs.url,), theirs.tgz_md5)]


def _event_files(name: str) -> list[tuple[str, tuple[str, ...], str]]:
    datasets = import_tonic("datasets", f"data: where {name} comes from")  # seconds to import; pictures do not need it
    theirs: Any = getattr(datasets, "NCALTECH101" if name == "NCaltech101" else name)
    if name in ("SHD", "SSC"):
        splits = ("train", "valid", "test") if name == "SSC" else ("train", "test")
        archives = [(getattr(theirs, f"{split}_zip"), getattr(theirs, f"{split}_md5")) for split in splits]
        return [(file, (theirs.base_url + file,), md5) for file, md5 in archives]
    if name in ("NMNIST", "DVSGesture"):
        facts = [
            tuple(getattr(theirs, f"{split}_{fact}") for fact in ("filename", "url", "md5"))
            for split in ("train", "test")
        ]
        return [(file, (url,), md5) for file, url, md5 in facts]
    return [(theirs.filename, (theirs.url,), theirs.file_md5)]
