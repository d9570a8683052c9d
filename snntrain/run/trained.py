"""Train and load runs from Python: snntrain.train(…) and snntrain.load(…)."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from snntrain.config.compose import compose
from snntrain.config.folders import add_folder_beside_script
from snntrain.config.overrides import check_command
from snntrain.error import UsageError
from snntrain.functional import reset_net
from snntrain.randomness import derived_seed
from snntrain.run.build import build_data
from snntrain.run.evaluate import rebuild
from snntrain.run.folder import RunFolder
from snntrain.run.results import exact_metrics
from snntrain.run.saved_overrides import with_saved_overrides
from snntrain.task.contract import lacks_for_scores

_PLAIN_TEXT = re.compile(r"[A-Za-z_/][\w./+-]*")
_READ_AS_A_VALUE = ("null", "true", "false", "nan", "inf", "~")


@dataclass
class Trained:
    """A trained run with its best weights.

    Attributes:
        settings: its checked config.
        task: the LightningModule, in evaluation mode.
        metrics: of results.json, name → value; {} for a checkpoint outside a run folder.
        folder: the run folder; None for a checkpoint outside one.
    """

    settings: dict[str, Any]
    task: pl.LightningModule
    metrics: dict[str, float]
    folder: Path | None

    @property
    def net(self) -> nn.Module:
        """The network: [T, N, *] → [T, N, K] in step mode 'm'."""
        return self.task.net

    @cached_property
    def data(self) -> pl.LightningDataModule:
        """The datamodule of the run; its files are read on first use."""
        return build_data(self.settings)

    def predict(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores of samples, computed in batches of data.batch_size.

        Args:
            x: [N, *], samples as the data set gives them, before the encoder.
            lengths: real steps of sequences that were padded to T, int64 [N], as in the batches of the data set; None:
                all steps are real.

        Returns: [N, K], one score per class, label or value; [N, T, K] of sequences with one for each step.
        Raises: UsageError if the samples have another shape than those of the run.
        """
        shape = tuple(self.settings["data"]["sample_shape"])
        if x.dim() < len(shape) + 1 or tuple(x.shape[x.dim() - len(shape) :]) != shape:
            raise UsageError(f"predict: samples of this run have the shape {list(shape)}, got x of {list(x.shape)}.")
        if lengths is not None and not hasattr(self.task, "padded"):
            raise UsageError(f"predict: {type(self.task).__name__} takes no lengths. Leave them out.")
        if lengths is not None and lengths.shape != x.shape[:1]:
            raise UsageError(f"predict: lengths must be one for each of {len(x)} samples, got {list(lengths.shape)}.")
        if missing := lacks_for_scores(self.task):
            raise UsageError(f"predict: {type(self.task).__name__} has no method {missing}. Call its net instead.")
        self.task.eval()
        size = int(self.settings["data"].get("batch_size") or 64)
        with torch.no_grad():
            return torch.cat([self._scores(x, lengths, first, size) for first in range(0, len(x), size)])

    def _scores(self, x: Tensor, lengths: Tensor | None, first: int, size: int) -> Tensor:
        task, x = self.task, x[first : first + size]
        seeds = None
        if getattr(getattr(task, "encoder", None), "is_random", False):  # as in the test: of seed, stage and index
            indices = range(first, first + len(x))
            seeds = [derived_seed(self.settings["seed"], "encode", "test", index) for index in indices]
        x = x.to(task.device)
        reset_net(task.net)
        real = None if lengths is None else (x, None, None, lengths[first : first + size].to(task.device))
        with nullcontext() if real is None else task.padded(real):
            return task.scores((task(x) if seeds is None else task(x, seeds)).float()).cpu()


def train(*overrides: str | Mapping[str, Any], **settings: Any) -> Trained:
    """Train a run, as `python train.py` does.

        run = snntrain.train("model=csnn neuron=plif", T=8, trainer={"max_epochs": 3})
        run.metrics["test/acc"], run.folder

    Args:
        overrides: texts with overrides as on the command line, or mappings such as {"trainer.max_epochs": 3}.
        settings: more of them; a mapping changes single keys of a group, a text or number the key itself.

    Returns: the run with the weights of its best epoch.
    Raises: UsageError naming what is wrong, before any data is read; Diverged; Interrupted.
    """
    from snntrain.run.run import run

    words = with_saved_overrides(list(overrides_of(*overrides, settings)))
    add_folder_beside_script()
    check_command(words, is_sweep=False)
    config = compose(words)
    if config.show is not None:
        raise UsageError("show=… trains nothing. Use it with train.py.")
    folder = HydraConfig.get().run.dir
    run(config, Path(folder), words, is_chosen=any(word.startswith("hydra.run.dir=") for word in words))
    # This process has just run this config, so its plugins need no further trust.
    return load(config.paths.run, trust=bool(config.plugins) or config.trust)


def load(place: str | Path, *, trust: bool = False) -> Trained:
    """Rebuild a trained run.

    Args:
        place: a run folder, of which the best epoch's weights are taken, or a checkpoint file of one.
        trust: whether code that its config names may run, such as its plugins.

    Raises: UsageError for a missing or damaged file, or a config that needs trust.
    """
    path = Path(place)
    folder = RunFolder(path) if path.is_dir() else RunFolder.of_checkpoint(path)
    arguments = [f"run={path}" if path.is_dir() else f"checkpoint={path}", *(["trust=true"] if trust else [])]
    _, settings, task, _ = rebuild(arguments)
    task.eval()
    is_in_folder = folder.config.is_file()
    metrics = exact_metrics(folder.outcome()) if is_in_folder and folder.outcome() else {}
    return Trained(settings, task, metrics, folder.path if is_in_folder else None)


def overrides_of(*given: str | Mapping[str, Any]) -> Iterator[str]:
    """Overrides as on the command line, of texts that hold several and of mappings.

    Raises: UsageError for a value that no override can hold.
    """
    for one in given:
        if isinstance(one, str):
            yield from shlex.split(one)
        elif isinstance(one, Mapping):
            for key, value in one.items():
                if isinstance(value, Mapping):
                    yield from overrides_of({f"{key}.{inner}": held for inner, held in value.items()})
                else:
                    yield f"{key}={as_text(value)}"
        else:
            raise UsageError(f"train: overrides are texts or mappings, got {type(one).__name__}.")


def as_text(value: Any) -> str:
    """A value as it stands after the = of an override. Raises: UsageError."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, Path)):
        text = str(value)
        if _PLAIN_TEXT.fullmatch(text) and text.lower() not in _READ_AS_A_VALUE:
            return text
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_text(held)}" for key, held in value.items()) + "}"
    raise UsageError(
        f"train: an object of {type(value).__name__} is no text, number, list or mapping, so no config can hold it. "
        "Register its class in a module of yours, list that in plugins, and give its name; a data set is "
        "data=custom data.train._target_=my_module.MyDataset."
    )
