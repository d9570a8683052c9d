"""Test, predict with, or audit a trained network, rebuilt from a run folder or from a checkpoint alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain.callback.auditing import as_record, print_findings
from snntrain.config.compose import explain
from snntrain.config.error import refusing
from snntrain.config.foreign import admit
from snntrain.config.migration import MOST_OF_A_CONFIG
from snntrain.error import DamagedFile, UsageError
from snntrain.files import write_json
from snntrain.run.build import build_data, make_data, match
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.evaluation_settings import Request, read_request, refuse_unread
from snntrain.run.folder import RunFolder
from snntrain.run.interruption import interruptible
from snntrain.run.kept_graph import with_kept_graph
from snntrain.run.prediction import check_predicts, predict_files, predict_test_split, read_files
from snntrain.run.rebuilding import rebuilt_task, testing_trainer
from snntrain.run.report.report import write_report
from snntrain.run.results import in_both_forms
from snntrain.run.show_audit import audited, check_audited
from snntrain.terminal import print_line, terminal
from snntrain.tree import values_in

console = terminal()


def evaluate(arguments: Sequence[str]) -> dict[str, float]:
    """Run one evaluation.

    Args:
        arguments: key=value texts, see snntrain.run.evaluation_settings.

    Returns: the test metrics; {} after predict, stream and audit.
    Raises: UsageError naming what is wrong with the arguments, the checkpoint or the data.
    """
    request, config, task, classes = rebuild(arguments)
    own, output = request.own, Path(config["paths"]["run"])
    with refusing("output"):
        output.mkdir(parents=True, exist_ok=True)
    if own["mode"] == "predict":
        check_predicts(task)
    if own["mode"] == "stream":
        return _stream(task, config, own, output, classes)
    if own["mode"] == "audit":
        check_audited(task)
        _audit(task, config, own, output)
        return {}
    files = None
    if request.folder is None:
        data = build_data(config)
    else:
        data = make_data(config)
        files = read_files(data, request.folder, classes)
    match(task, data)
    trainer = testing_trainer(task, config)
    print_line(console, f"{own['checkpoint']}: {config['name']}, seed {config['seed']}, T = {task.T}")
    with interruptible():
        if own["mode"] == "test":
            return _test(trainer, task, data, output)
        if files is None:
            predict_test_split(trainer, task, data, output)
        else:
            predict_files(trainer, task, data, files, output)
        return {}


def _stream(
    task: pl.LightningModule, config: dict[str, Any], own: dict[str, str], output: Path, classes: Sequence[str] | None
) -> dict[str, float]:
    from snntrain.run.streaming import stream

    data = make_data(config)
    names = classes or getattr(data, "CLASSES", None) or tuple(map(str, range(config["data"].get("num_classes") or 0)))
    print_line(console, f"{own['checkpoint']}: {config['name']}, seed {config['seed']}, looks back on {task.T} windows")
    task.eval()
    with interruptible():
        stream(task, data, own, output, names)
    return {}


class Rebuilt(NamedTuple):
    """What a checkpoint and a command line make."""

    request: Request
    """The parsed arguments, with the checkpoint that was found."""
    config: dict[str, Any]
    """Its paths.run is the folder for output."""
    task: pl.LightningModule
    """With the checkpoint's weights."""
    classes: tuple[str, ...] | None
    """Names of the classes; None: the checkpoint is older and does not hold them."""


def rebuild(arguments: Sequence[str]) -> Rebuilt:
    """Build the task of a checkpoint with its weights; nothing is written and no data are read.

    Args:
        arguments: as in evaluate.

    Raises: UsageError.
    """
    request = read_request(arguments)
    checkpoint = _checkpoint(request.own)
    content = read_checkpoint(checkpoint)
    config = _override(content["snntrain"]["config"], request, f"checkpoint {checkpoint}")
    own = request.own
    beside = RunFolder(Path(own["run"])).artifacts if "run" in own else checkpoint.parent
    config["paths"]["run"] = str(Path(own.get("output", beside)))
    if OmegaConf.select(request.changes, "model.file") is None:
        config = with_kept_graph(config, RunFolder.of_checkpoint(checkpoint))
    own["checkpoint"] = str(checkpoint)
    task = rebuilt_task(config, content["state_dict"], f"checkpoint {checkpoint}")
    return Rebuilt(request, config, task, _classes(content["snntrain"], config, checkpoint))


def _classes(description: Mapping[str, Any], config: Mapping[str, Any], checkpoint: Path) -> tuple[str, ...] | None:
    classes = description.get("classes")
    if classes is None:
        return None
    is_list = isinstance(classes, (list, tuple)) and all(isinstance(name, str) for name in classes)
    data = config["data"]
    if not is_list or len(classes) != (data.get("num_targets") or data.get("num_classes")):
        raise DamagedFile(f"checkpoint: {checkpoint} is damaged: its classes are no list of a name for each class.")
    return tuple(classes)


def _test(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, output: Path
) -> dict[str, float]:
    trainer.test(task, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
    write_json(output / "eval_test.json", in_both_forms(metrics))
    console.print("   ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.count("/") == 1))
    print_line(console, f"written: {output / 'eval_test.json'}")
    return metrics


def _audit(task: pl.LightningModule, config: dict[str, Any], own: Mapping[str, str], output: Path) -> None:
    """Print and write what an audit finds, and show it in the run's report if there is one."""
    data = build_data(config)
    match(task, data)
    print_line(console, f"{own['checkpoint']}: {config['name']}, seed {config['seed']}, T = {task.T}")
    with interruptible():
        findings = audited(task, data, config, trained=True)
    write_json(output / "audit" / "audit.json", as_record(findings, T=task.T))
    print_findings(console, findings)
    print_line(console, f"written: {output / 'audit' / 'audit.json'}")
    if "run" in own and "output" not in own and RunFolder(Path(own["run"])).report.is_file():
        write_report(Path(own["run"]))


def _checkpoint(own: dict[str, str]) -> Path:
    if "checkpoint" in own:
        return Path(own["checkpoint"])
    run = RunFolder(Path(own["run"]))
    if (remark := run.verify()) and run.config.is_file():
        print_line(console, remark)
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
