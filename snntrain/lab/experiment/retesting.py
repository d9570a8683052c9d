"""Test the weights of a record again, and compare what they measure with their certificate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from snntrain.callback.fit_end.evaluation import Headline, sequences
from snntrain.config.foreign import admit
from snntrain.error import UsageError
from snntrain.files import damage, read_json
from snntrain.installation import EXPERIMENTS
from snntrain.lab.experiment.measured import Verdict, compare, is_accuracy, samples_behind
from snntrain.lab.experiment.recorded import Reference
from snntrain.lab.experiment.reproduction import changes_of, compare_data, compare_surroundings, conclude, settled
from snntrain.quantize import IntegerNet
from snntrain.run.build import build_data, match, task_around
from snntrain.run.memory import keep_freed_memory
from snntrain.run.pretrained import Pretrained, WeightsFolder, find_pretrained
from snntrain.run.rebuilding import rebuilt_task, testing_trainer
from snntrain.run.run import quieten_lightning

RULE = "2 samples or 0.2 % of an accuracy, whichever is more, and 1 % of everything else; integer nets are exact"
_INTEGER_NET, _QUANTIZATION = "qat/net.safetensors", "qat/quantization.json"


def retest(name: str, overrides: Sequence[str], experiments: Path = EXPERIMENTS) -> int:
    """Test the weights of a record, and its integer net if it has one, on the record's test set.

    Every file is compared with its SHA-256 first. With the same packages, class of hardware and data every bit of the
    metrics has to come back, elsewhere they have to agree within RULE; those of an integer net are exact everywhere.

    Args:
        name: as in find_pretrained.
        overrides: paths.data, paths.runs, data.num_workers and trust=true.

    Returns: 0 if every metric agrees, 1 if one does not.
    Raises: UsageError; DamagedFile for a file that is not the certified one.
    """
    found = find_pretrained(name, "reproduce --weights", experiments)
    for part in found.certificate.parts:
        found.file(part)
    reference = _reference(found)
    given = changes_of(overrides)
    config = admit(reference.config, str(found.folder), given.get("trust") is True, writing=("callbacks", "trainer"))
    settings = settled(config, found.folder.path, given)
    quieten_lightning()
    keep_freed_memory()
    same_surroundings = compare_surroundings(reference, settings["trainer"].get("accelerator"))
    task = rebuilt_task(settings, found.weights(), str(found.folder))
    data = build_data(settings)
    same_data = compare_data(reference.data[found.certificate.seed], data.fingerprint())
    match(task, data)
    metrics = _tested(task, data, settings)
    bits = same_data and same_surroundings
    seed = found.certificate.seed
    recorded = {key: value for key, value in reference.metrics[seed].items() if key.startswith("test/")}
    verdicts = compare(recorded, metrics, reference.tolerances[seed], bits)
    if same_data and _INTEGER_NET in found.certificate.parts:
        verdicts.append(_of_integers(found, task, data, settings))
    return conclude(f"the weights of {reference.title}, seed {seed}", verdicts, bits, RULE)


def _reference(found: Pretrained) -> Reference:
    """The certificate as what a repetition is compared with."""
    config, certificate = found.config(), found.certificate
    with damage(found.folder.provenance):
        facts = found.folder.read(WeightsFolder.provenance)
        surroundings = {
            "versions": {str(package): version for package, version in facts["versions"].items()},
            "hardware": dict(facts["hardware"]),
            "data": {certificate.seed: {str(file): str(sha) for file, sha in facts["data"].items()}},
            "commit": facts["commit"],
        }
    if config["seed"] != certificate.seed:
        raise UsageError(
            f"{found.folder} has seed {config['seed']!r} in its config and {certificate.seed} in weights.json."
        )
    tolerances = {name: _tolerance(name, value, certificate.samples) for name, value in certificate.metrics.items()}
    return Reference(
        title=certificate.experiment,
        config=config,
        metrics={certificate.seed: certificate.metrics},
        tolerances={certificate.seed: tolerances},
        **surroundings,
    )


def _tolerance(name: str, value: float, samples: dict[str, int]) -> float:
    """How far a metric of the same weights may lie off where sums are rounded in another order, see RULE."""
    return max(2 / samples_behind(name, samples), 0.002) if is_accuracy(name) else 0.01 * abs(value)


def _tested(task: pl.LightningModule, data: pl.LightningDataModule, settings: dict[str, Any]) -> dict[str, float]:
    trainer = testing_trainer(task, settings)
    trainer.test(task, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _of_integers(
    found: Pretrained, task: pl.LightningModule, data: pl.LightningDataModule, settings: dict[str, Any]
) -> Verdict:
    """Whether the integer net has the accuracy of the certificate, to the last bit."""
    net, path = IntegerNet.load(found.file(_INTEGER_NET)), found.file(_QUANTIZATION)
    with damage(path):
        around = task_around(torch.nn.Identity(), settings, T=int(read_json(path)["T"])).eval()
    headline = Headline(around)
    with torch.no_grad():
        for x_seq, target in sequences(around, data.test_dataloader(), torch.device("cpu")):
            headline.add(around.scores(net(x_seq)), target)
    name = f"qat/{headline.name}_int"
    recorded = found.certificate.metrics.get(name)
    (verdict,) = compare({} if recorded is None else {name: recorded}, {name: headline.value}, {}, exact=True)
    return verdict
