"""Ship the weights of a record: those of its best seed in validation, with a certificate of what they measured."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml

from snntrain.config import migration
from snntrain.error import UsageError
from snntrain.files import naming, replacing_folder
from snntrain.installation import EXPERIMENTS
from snntrain.lab.experiment.environment import hardware_class
from snntrain.lab.experiment.measured import RULE, compare, is_timed, sizes_of_splits
from snntrain.lab.experiment.portable import portable
from snntrain.lab.experiment.record_page import json_text
from snntrain.lab.experiment.recorded import read_record, read_run
from snntrain.lab.experiment.recording import check_code, portable_names
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.folder import RunFolder
from snntrain.run.pretrained import FOLDER, Certificate, Part, WeightsFolder
from snntrain.run.results import exact_metrics, monitor_of

LARGEST = 5 * 2**20
"""Bytes of a file that lies in the record; a larger one is named with its SHA-256 and an address."""

SHIPPED = ("qat/net.safetensors", "qat/quantization.json", "lava/net.h5", "nir/net.nir", "c/net.c", "c/net.h")
"""What fit-end callbacks make of the weights, as seen from the folder of artifacts."""


def best_seed(name: str, experiments: Path = EXPERIMENTS) -> int:
    """The seed of a record whose best epoch is the best in validation; of equals the first."""
    reference = read_record(experiments / name)
    metric, mode = monitor_of(reference.config)
    sign = 1 if mode == "max" else -1
    return max(reference.metrics, key=lambda seed: sign * reference.metrics[seed][metric])


def ship_weights(name: str, run: Path, address: str | None = None, experiments: Path = EXPERIMENTS) -> Path:
    """Put the weights of a finished run into the record of its experiment, in the place of those that were there.

    Args:
        name: of the record.
        run: a run of it with the best seed, whose metrics agree with the record's.
        address: hf://owner/name, from which files above LARGEST bytes will be fetched; None: such a file is refused.

    Returns: the folder of the weights.
    Raises: UsageError for a run that is not the record's, or did not measure what the record says.
    """
    record, found = read_record(experiments / name), read_run(run)
    if RunFolder(run).graph.is_file():
        raise UsageError(f"{run} has the net of a NIR graph, whose file a record does not hold. Ship the graph itself.")
    code = RunFolder(run).read(RunFolder.provenance)["code"]
    check_code(name, run, code, code["commit"])
    (seed, metrics), *_ = found.metrics.items()
    best = best_seed(name, experiments)
    if seed != best:
        raise UsageError(f"{run} has seed {seed}; the best one of {name} in validation is {best}. Give a run of that.")
    verdicts = compare(record.metrics[seed], metrics, record.tolerances[seed], exact=False)
    if wrong := [verdict.name for verdict in verdicts if verdict.agrees is False]:
        raise UsageError(f"{run} did not measure what {name} has: {', '.join(wrong)}. Its tolerance is {RULE}.")
    folder = experiments / name / FOLDER
    with replacing_folder(folder) as new:
        _fill(new, name, seed, RunFolder(run), address)
    return folder


def _fill(folder: Path, name: str, seed: int, run: RunFolder, address: str | None) -> None:
    config, facts = run.read_config(), run.read(RunFolder.provenance)
    origin = {
        "format": migration.FORMAT,
        "time": facts["time"],
        "commit": facts["code"]["commit"],
        "versions": facts["versions"],
        "hardware": hardware_class(facts["hardware"], config["trainer"].get("accelerator")),
        "data": portable_names(facts["data"]),
    }
    about = {"experiment": name, "seed": str(seed), "format": "pt"}
    contents = {
        WeightsFolder.config.name: yaml.safe_dump(portable(config, name), sort_keys=False, allow_unicode=True).encode(),
        WeightsFolder.provenance.name: json_text(origin).encode(),
        WeightsFolder.net.name: safetensors.torch.save(_weights(run), about),
    }
    contents |= {made: (run.artifacts / made).read_bytes() for made in SHIPPED if (run.artifacts / made).is_file()}
    parts = {made: _part(made, content, address) for made, content in contents.items()}
    metrics = {key: value for key, value in exact_metrics(run.read(RunFolder.results)).items() if not is_timed(key)}
    certificate = Certificate(name, seed, parts, metrics, sizes_of_splits(run.read(RunFolder.splits), config))
    contents[WeightsFolder.certificate.name] = json_text(certificate.as_json()).encode()
    for made, content in contents.items():
        if made in parts and parts[made].address:
            continue
        with naming(folder / made):
            (folder / made).parent.mkdir(parents=True, exist_ok=True)
            (folder / made).write_bytes(content)


def _part(name: str, content: bytes, address: str | None) -> Part:
    is_elsewhere = len(content) > LARGEST
    if is_elsewhere and address is None:
        raise UsageError(
            f"{name} has {len(content):,} bytes, and records hold no file above {LARGEST:,}. Say with --hub "
            "hf://owner/name where it can be fetched."
        )
    where = f"{address}/{name}" if is_elsewhere else None
    return Part(hashlib.sha256(content).hexdigest(), len(content), where)


def _weights(run: RunFolder) -> dict[str, Any]:
    """The weights of the best epoch, each with values of its own: the file cannot hold tensors that share them."""
    weights: Mapping[str, Any] = read_checkpoint(run.best_checkpoint)["state_dict"]
    return {name: value.detach().clone().contiguous() for name, value in weights.items()}
