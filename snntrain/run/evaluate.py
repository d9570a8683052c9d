"""Test or predict with a trained network, rebuilt from a run folder or from a checkpoint alone."""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from snntrain.callback import Progress, Resetting, Seeding, SpikeStatistics, SynapticOperations
from snntrain.config.bounds import check_bounds
from snntrain.config.check import check_resolved
from snntrain.config.compose import explain
from snntrain.config.error import refusing
from snntrain.config.foreign import admit
from snntrain.config.migration import MOST_OF_A_CONFIG
from snntrain.error import UsageError
from snntrain.files import replacing, write_json
from snntrain.run.build import build_data, build_task, build_trainer, match, net_shape
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.evaluation_settings import Request, read_request, refuse_unread
from snntrain.run.folder import RunFolder
from snntrain.run.interruption import interruptible
from snntrain.run.parallel.devices import one_device
from snntrain.run.results import in_both_forms
from snntrain.run.weights import load_weights, memory_for
from snntrain.spreadsheet import cell
from snntrain.task.contract import lacks_for_scores, resets_net
from snntrain.terminal import terminal
from snntrain.tree import values_in

console = terminal()


def evaluate(arguments: Sequence[str]) -> dict[str, float]:
    """Run one evaluation.

    Args:
        arguments: key=value texts, see snntrain.run.evaluation_settings.

    Returns: the test metrics; {} after predict.
    Raises: UsageError naming what is wrong with the arguments, the checkpoint or the data.
    """
    request, config, task = rebuild(arguments)
    own, output = request.own, Path(config["paths"]["run"])
    with refusing("output"):
        output.mkdir(parents=True, exist_ok=True)
    if own["mode"] == "predict" and (missing := lacks_for_scores(task)):
        raise UsageError(
            f"eval: mode=predict needs a task with forward and scores; {type(task).__name__} lacks {missing}."
        )
    data = build_data(config)
    match(task, data)
    operations = SynapticOperations(net_shape(config))
    callbacks = [
        Seeding(config["seed"]),
        *([] if resets_net(task) else [Resetting()]),
        operations,
        SpikeStatistics(),
        Progress(),
    ]
    trainer = build_trainer({**config, "trainer": one_device(config["trainer"])}, callbacks, logger=False)
    console.print(f"{own['checkpoint']}: {config['name']}, seed {config['seed']}, T = {task.T}", soft_wrap=True)
    with interruptible():
        return (_test if own["mode"] == "test" else _predict)(trainer, task, data, output)


def rebuild(arguments: Sequence[str]) -> tuple[Request, dict[str, Any], pl.LightningModule]:
    """Build the task of a checkpoint with its weights; nothing is written and no data are read.

    Args:
        arguments: as in evaluate.

    Returns: the parsed arguments, with the checkpoint that was found; the config, whose paths.run is the folder for
    output; and the task.
    Raises: UsageError.
    """
    request = read_request(arguments)
    checkpoint = _checkpoint(request.own)
    content = read_checkpoint(checkpoint)
    config = _override(content["snntrain"]["config"], request, f"checkpoint {checkpoint}")
    check_bounds(config, f"checkpoint {checkpoint}")
    check_resolved(config)
    own = request.own
    beside = RunFolder(Path(own["run"])).artifacts if "run" in own else checkpoint.parent
    config["paths"]["run"] = str(Path(own.get("output", beside)))
    own["checkpoint"] = str(checkpoint)
    with memory_for(content["state_dict"]):
        task = build_task(config)
    load_weights(task, content["state_dict"], f"checkpoint {checkpoint}")
    return request, config, task


def _test(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> dict[str, float]:
    trainer.test(task, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
    write_json(output / "eval_test.json", in_both_forms(metrics))
    console.print("   ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.count("/") == 1))
    console.print(f"written: {output / 'eval_test.json'}", soft_wrap=True)
    return metrics


def _scores_of_a_batch(task: pl.LightningModule, batch: Sequence[Tensor], batch_idx: int) -> dict[str, Tensor]:
    """What predict_step of snntrain's tasks gives, for a plain LightningModule."""
    x, target, *_ = batch
    scores = task.scores(task(x).float())
    return {"label": target, "predicted": scores.argmax(1), "scores": scores}


def _predict(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> dict[str, float]:
    if not is_overridden("predict_step", task):
        task.predict_step = partial(_scores_of_a_batch, task)
    batches = trainer.predict(task, datamodule=data) or []
    if not all(isinstance(batch, Mapping) and {"label", "predicted", "scores"} <= batch.keys() for batch in batches):
        raise UsageError(
            f"eval: mode=predict: predict_step of {type(task).__name__} must give a dict with label, predicted and "
            "scores. Leave predict_step out: forward and scores are enough."
        )
    columns = {key: torch.cat([batch[key] for batch in batches]).tolist() for key in ("label", "predicted", "scores")}
    path = output / "predictions.csv"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [cell(str(name)) for name in data.CLASSES]
        writer.writerow(["index", "label", "predicted", *(f"score {name}" for name in data.CLASSES)])
        for index, (label, predicted, scores) in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([index, names[label], names[predicted], *scores])
    console.print(f"{len(columns['label']):,} predictions: {path}", soft_wrap=True)
    return {}


def _checkpoint(own: dict[str, str]) -> Path:
    if "checkpoint" in own:
        return Path(own["checkpoint"])
    run = RunFolder(Path(own["run"]))
    if (remark := run.verify()) and run.config.is_file():
        console.print(remark, soft_wrap=True)
    checkpoint = run.kept_checkpoint()
    if checkpoint is None:
        raise UsageError(
            f"run: {run} holds no {run.best_checkpoint.relative_to(run)}. Give the folder that train.py printed as run "
            "folder."
        )
    return checkpoint


def _override(config: Any, request: Request, source: str) -> dict[str, Any]:
    trust = request.changes.get("trust") is True  # only the user may say so, not the checkpoint
    config = admit(config, source, trust, writing=("trainer",))
    refuse_unread(request, config)
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(config, request.changes), resolve=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(f"eval: {' '.join(request.words)} cannot be set: {explain(error)}.") from error
    if values_in(merged) > MOST_OF_A_CONFIG:  # an override may copy whole sections, again and again
        raise UsageError(f"eval: {' '.join(request.words)} gives more than {MOST_OF_A_CONFIG:,} values.")
    merged = admit(merged, source, trust)
    if OmegaConf.select(request.changes, "paths.data") is not None:
        merged["data"] = _moved(merged["data"], config["paths"].get("data"), merged["paths"]["data"])
    return merged


def _moved(data: dict[str, Any], before: Any, now: str) -> dict[str, Any]:
    """The data section with its places moved to another folder: in a saved config they no longer follow paths.data."""
    places = {key: value for key, value in data.items() if isinstance(value, str) and key in ("root", "folder")}
    inside = {key: value for key, value in places.items() if key == "root" or Path(value).is_relative_to(str(before))}
    if not inside:
        hint = "".join(f" Write data.{key}=…." for key in places)
        raise UsageError(f"paths.data={now} does nothing: this data set reads nothing in {before}.{hint}")
    return data | {
        key: now if key == "root" else str(Path(now) / Path(value).relative_to(str(before)))
        for key, value in inside.items()
    }
