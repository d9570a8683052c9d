"""Test or predict with a trained network, rebuilt from a run folder or from a checkpoint alone."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from snntrain import checksums
from snntrain.arguments import choice
from snntrain.callback import Progress, Seeding, SpikeStatistics, SynapticOperations
from snntrain.checkpoint import read_checkpoint
from snntrain.config.bounds import check_bounds
from snntrain.config.check import check_resolved
from snntrain.config.compose import explain
from snntrain.config.error import UsageError, refusing
from snntrain.config.foreign import admit
from snntrain.config.schema import top_level_keys
from snntrain.files import replacing, write_json
from snntrain.parallel.devices import one_device
from snntrain.registry import did_you_mean
from snntrain.run.build import build_data, build_task, build_trainer, net_shape
from snntrain.run.weights import load_weights, memory_for

OWN_KEYS = ("run", "checkpoint", "mode", "output")
MODES = ("test", "predict")
USAGE = """Test or predict with a trained network.

    python eval.py run=runs/2026-01-31/12-00-00_digits_csnn_lif             test on its best checkpoint
    python eval.py checkpoint=best.ckpt mode=predict output=predictions     from a checkpoint alone

Keys: run=FOLDER or checkpoint=FILE; mode=test|predict; output=FOLDER (default: artifacts/ of the run folder, or the
checkpoint's folder). Any other key=value overrides the saved config, e.g. T=8 paths.data=… data.batch_size=256
trainer.accelerator=gpu."""

console = Console(highlight=False)


def evaluate(arguments: Sequence[str]) -> dict[str, float]:
    """Run one evaluation.

    Args:
        arguments: key=value texts, see USAGE.

    Returns: the test metrics; {} after predict.
    Raises: UsageError naming what is wrong with the arguments, the checkpoint or the data.
    """
    own, overrides = _split(arguments)
    with refusing():
        mode = choice("eval", "mode", own.get("mode", "test"), MODES)
    checkpoint = _checkpoint(own)
    content = read_checkpoint(checkpoint)
    config = _override(content["snntrain"]["config"], overrides, f"checkpoint {checkpoint}")
    check_bounds(config, f"checkpoint {checkpoint}")
    check_resolved(config)
    _refuse_several_devices(overrides)
    output = Path(own["output"]) if "output" in own else _default_output(own, checkpoint)
    config["paths"]["run"] = str(output)
    with refusing("output"):
        output.mkdir(parents=True, exist_ok=True)
    with memory_for(content["state_dict"]):
        task = build_task(config)
    load_weights(task, content["state_dict"], f"checkpoint {checkpoint}")
    data = build_data(config)
    operations = SynapticOperations(net_shape(config))
    callbacks = [Seeding(config["seed"]), operations, SpikeStatistics(), Progress()]
    trainer = build_trainer({**config, "trainer": one_device(config["trainer"])}, callbacks, logger=False)
    console.print(f"{checkpoint}: {config['name']}, seed {config['seed']}, T = {task.T}", soft_wrap=True)
    return _test(trainer, task, data, output) if mode == "test" else _predict(trainer, task, data, output)


def _refuse_several_devices(overrides: list[str]) -> None:
    """An evaluation of a run that trained on several devices takes one; to ask for several is a mistake."""
    devices = OmegaConf.select(OmegaConf.from_dotlist(overrides), "trainer.devices")
    if devices is not None and devices != 1 and not (OmegaConf.is_list(devices) and len(devices) == 1):
        raise UsageError(f"eval: trainer.devices={devices}: an evaluation runs on one device. Leave it out.")


def _test(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> dict[str, float]:
    trainer.test(task, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
    hexadecimal = {name: value.hex() for name, value in metrics.items()}
    write_json(output / "eval_test.json", {"metrics": metrics, "hex": hexadecimal})
    console.print("   ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.count("/") == 1))
    console.print(f"written: {output / 'eval_test.json'}", soft_wrap=True)
    return metrics


def _predict(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> dict[str, float]:
    batches = trainer.predict(task, datamodule=data) or []
    columns = {key: torch.cat([batch[key] for batch in batches]).tolist() for key in ("label", "predicted", "scores")}
    names = data.CLASSES
    path = output / "predictions.csv"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "label", "predicted", *(f"score {name}" for name in names)])
        for index, (label, predicted, scores) in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([index, names[label], names[predicted], *scores])
    console.print(f"{len(columns['label']):,} predictions: {path}", soft_wrap=True)
    return {}


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    own: dict[str, str] = {}
    overrides: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(f"{argument!r} is not key=value. `python eval.py --help` shows the keys.")
        root = key.split(".")[0]
        if key in OWN_KEYS:
            own[key] = value
        elif root in top_level_keys():
            overrides.append(argument)
        else:
            known = [*OWN_KEYS, *top_level_keys()]
            raise UsageError(f"{key} is not a key of eval.py.{did_you_mean(root, known)} Known: {', '.join(known)}.")
    return own, overrides


def _checkpoint(own: dict[str, str]) -> Path:
    if ("run" in own) == ("checkpoint" in own):
        raise UsageError("eval: give either run=FOLDER or checkpoint=FILE.")
    if "checkpoint" in own:
        return Path(own["checkpoint"])
    folder = Path(own["run"])
    if not checksums.verify(folder) and (folder / "config.yaml").is_file():
        console.print(f"{folder} is {checksums.UNVERIFIED}", soft_wrap=True)
    for name in ("best.ckpt", "last.ckpt"):
        if (folder / "checkpoints" / name).is_file():
            return folder / "checkpoints" / name
    raise UsageError(
        f"run: {folder} holds no checkpoints/best.ckpt. Give the folder that train.py printed as run folder."
    )


def _default_output(own: dict[str, str], checkpoint: Path) -> Path:
    return Path(own["run"]) / "artifacts" if "run" in own else checkpoint.parent


def _override(config: Any, overrides: list[str], source: str) -> dict[str, Any]:
    try:
        given = OmegaConf.from_dotlist(overrides)
        trust = OmegaConf.select(given, "trust") is True  # a checkpoint from somebody else may not say so itself
        config = admit(config, source, trust, writing=("trainer",))
        merged = OmegaConf.to_container(OmegaConf.merge(config, given), resolve=True)
    except UsageError:
        raise
    except (OmegaConfBaseException, ValueError) as error:
        raise UsageError(f"eval: the overrides cannot be read: {explain(error)}.") from error
    merged = admit(merged, source, trust)
    if OmegaConf.select(given, "paths.data") is not None and "root" in merged["data"]:
        merged["data"]["root"] = merged["paths"]["data"]  # in a saved config the one no longer follows the other
    return merged
