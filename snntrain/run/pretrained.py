"""The weights that a recorded experiment ships, what certifies them, and how they are read.

experiments/<name>/weights/
    weights.json       the certificate: SHA-256 and size of each file, and what these weights measured
    config.yaml        of the run that trained them
    provenance.json    its commit, versions, hardware, and the SHA-256 of its data
    net.safetensors    the weights of its best epoch, under the names that they have in a checkpoint
    qat/ lava/ …       what its fit-end callbacks made of them
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import safetensors
from torch import Tensor, nn

from snntrain.config.foreign import admit
from snntrain.error import DamagedFile, MissingFile, UsageError
from snntrain.files import read_bytes, read_json
from snntrain.files.checksums import digest_of
from snntrain.installation import EXPERIMENTS
from snntrain.registry import did_you_mean
from snntrain.run.folder import RunFile, RunFolder
from snntrain.run.hub import fetch, is_hub_address
from snntrain.run.results import exact_metrics

FORMAT = 1  # of weights.json
FOLDER = "weights"
_MOST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Part:
    """A file of a folder of weights, as the certificate describes it.

    Attributes:
        sha256: of its content.
        size: in bytes.
        address: from which it can be fetched, hf://…; None for a file that lies in the folder.
    """

    sha256: str
    size: int
    address: str | None = None


@dataclass(frozen=True)
class Certificate:
    """What stands in weights.json.

    Attributes:
        experiment: the record.
        seed: of the run, the record's best one in validation.
        parts: file → what it has to be.
        metrics: of the run's test and fit-end callbacks, to the last bit.
        samples: split → number of samples.
    """

    experiment: str
    seed: int
    parts: dict[str, Part]
    metrics: dict[str, float]
    samples: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The content of weights.json."""
        parts = {
            name: {"sha256": part.sha256, "bytes": part.size, **({"address": part.address} if part.address else {})}
            for name, part in self.parts.items()
        }
        return {
            "format": FORMAT,
            "experiment": self.experiment,
            "seed": self.seed,
            "files": parts,
            "samples": self.samples,
            "hex": {name: value.hex() for name, value in sorted(self.metrics.items())},
        }


def parse_certificate(path: Path) -> Certificate:
    """Read weights.json. Raises: what damage does to a parser; UsageError for a newer format."""
    content = read_json(path)
    if content["format"] != FORMAT:
        raise UsageError(f"{path} has format {content['format']!r}; this snntrain reads {FORMAT}. Update it.")
    parts = {str(name): _part(name, entry) for name, entry in content["files"].items()}
    samples = {str(split): int(count) for split, count in content["samples"].items()}
    if type(content["seed"]) is not int or min(samples.values(), default=0) < 1:
        raise ValueError("its seed or its number of samples is no whole number ≥ 1")
    metrics = exact_metrics({"metrics": {}, "hex": content["hex"]})
    return Certificate(str(content["experiment"]), content["seed"], parts, metrics, samples)


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    place, address = PurePosixPath(name), entry.get("address")
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{name} lies outside of the folder")
    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) or not 0 <= int(entry["bytes"]) <= _MOST_BYTES:
        raise ValueError(f"the entry of {name} is no SHA-256 with a size")
    if not (address is None or is_hub_address(address)):
        raise ValueError(f"{address!r} is no address hf://…")
    return Part(entry["sha256"], int(entry["bytes"]), address)


class WeightsFolder(RunFolder):
    """A folder of certified weights; its config and provenance are those of a run."""

    certificate: ClassVar = RunFile("weights.json", "record.py writes it", parse_certificate)
    net: ClassVar = RunFile("net.safetensors", "record.py writes it", read_bytes)


@dataclass(frozen=True)
class Pretrained:
    """Weights that were found, none of which has been read.

    Attributes:
        folder: where they lie.
        certificate: what they have to be.
        address: of the folder, if it came from the hub; further files are fetched when they are asked for.
    """

    folder: WeightsFolder
    certificate: Certificate
    address: str | None = None

    def file(self, name: str) -> Path:
        """The path of a file whose content is what the certificate says.

        Raises: UsageError for a name that is not in the certificate; MissingFile; DamagedFile.
        """
        part = self.certificate.parts.get(name)
        if part is None:
            raise UsageError(f"{self.folder} has no {name}; it has {', '.join(self.certificate.parts)}.")
        path = self.folder.path / name
        address = part.address or (self.address and f"{self.address}/{name}")
        if not path.is_file():
            if address is None:
                raise MissingFile(f"{path} is missing, a file of {part.size:,} bytes. Use a whole copy of the record.")
            path = fetch(address)
        if path.stat().st_size != part.size or digest_of(path) != part.sha256:
            raise DamagedFile(
                f"{path} is damaged, or another file: its SHA-256 is not that of {WeightsFolder.certificate.name}. Use "
                "a copy of it."
            )
        return path

    def config(self) -> dict[str, Any]:
        """The config of the run that trained them, as the present program writes it."""
        self.file(WeightsFolder.provenance.name), self.file(WeightsFolder.config.name)
        return self.folder.read_config()

    def weights(self) -> dict[str, Tensor]:
        """The weights of the run's task, under the names that they have in a checkpoint."""
        path = self.file(WeightsFolder.net.name)
        weights, about = read_weights(path)
        certified = self.certificate.experiment, str(self.certificate.seed)
        if (about.get("experiment"), about.get("seed")) != certified:
            raise DamagedFile(
                f"{path} holds the weights of {about.get('experiment')}, seed {about.get('seed')}, not those of "
                f"{' seed '.join(certified)}. Use a copy of the file."
            )
        return weights


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the texts that go with them. Reading runs no code from the file.

    Raises: DamagedFile; FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise DamagedFile(f"{path} is damaged, or no safetensors file ({error}). Use a copy of it.") from error


def pretrained_names(experiments: Path = EXPERIMENTS) -> list[str]:
    """The recorded experiments that ship weights, sorted."""
    found = experiments.glob(f"[!.]*/{FOLDER}/{WeightsFolder.certificate.name}")
    return sorted(path.parent.parent.name for path in found)


def find_pretrained(place: str, what: str, experiments: Path = EXPERIMENTS) -> Pretrained:
    """Find certified weights; of the files only the certificate is read.

    Args:
        place: the name of a recorded experiment; a folder with a weights.json; or hf://owner/name, with @revision or
            /folder behind it, where such a folder lies.
        what: who asks, for messages.

    Raises: UsageError naming what there is; MissingFile; DamagedFile.
    """
    if is_hub_address(place):
        address = place.rstrip("/")
        folder = WeightsFolder(fetch(f"{address}/{WeightsFolder.certificate.name}").parent)
        return Pretrained(folder, folder.read(WeightsFolder.certificate), address)
    names = pretrained_names(experiments)
    folder = WeightsFolder(experiments / place / FOLDER if place in names else Path(place))
    if not folder.certificate.is_file():
        raise UsageError(
            f"{what}: {place!r} is no file or folder, and no recorded experiment with weights."
            f"{did_you_mean(place, names)} Those are: {', '.join(names) or 'none'}."
        )
    return Pretrained(folder, folder.read(WeightsFolder.certificate))


def pretrained_net(name: str, trust: bool = False) -> nn.Module:
    """The trained net of a recorded experiment, in evaluation mode and step mode 'm'.

    Args:
        name: as in find_pretrained.
        trust: whether code that its config names may run.

    Raises: UsageError; DamagedFile.
    """
    from snntrain.run.rebuilding import rebuilt_task  # which imports Lightning

    found = find_pretrained(name, "create_model")
    config = admit(found.config(), str(found.folder), trust, writing=("callbacks", "trainer"))
    return rebuilt_task(config, found.weights(), str(found.folder)).net.eval()
