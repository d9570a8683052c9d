"""Write arrays of the tested network for the report to draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from snntrain.callback.spike_statistics import spiking_layers, watching
from snntrain.data import Split, Target
from snntrain.data.standard import Standard
from snntrain.files import replacing
from snntrain.functional import reset_net

OVER_TIME = (Target.STEP_CLASSES, Target.STEP_VALUES)


@dataclass
class Sample:
    """One sample that the network is shown.

    Attributes:
        x: e.g. [C, H, W].
        target: what is to be told of it; None where that is no class and no other kind of target that is known.
        kind: of the target.
        steps: real ones of a padded sequence; None: all.
    """

    x: Tensor
    target: Tensor | None
    kind: Target = Target.CLASS
    steps: int | None = None


def first_sample(samples: Any, kind: Target) -> Sample | None:
    """The first sample of a split; None if a data set of the user's has something else than pairs (tensor, target)."""
    if isinstance(samples, Split):
        x, target, _, *lengths = samples.__getitems__([0])
        return Sample(x[0], target[0], kind, int(lengths[0][0]) if lengths else None)
    item = samples[0] if hasattr(samples, "__getitem__") else None
    if not (isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], Tensor)):
        return None
    target = torch.as_tensor(item[1]) if isinstance(item[1], (int, float, Tensor, np.ndarray)) else None
    is_class = target is not None and target.numel() == 1 and not target.is_floating_point()
    return Sample(item[0], target if is_class or kind is not Target.CLASS else None, kind)


def write_test(
    arrays: Mapping[str, Tensor], classes: tuple[str, ...], path: Path, standard: Standard | None = None
) -> None:
    """Write what the task shows of the test, name → array, and the names of the classes, labels or values.

    Args:
        standard: by which the values were scaled, so that the report can show them in their own units.
    """
    found = {name: array.cpu().numpy() for name, array in arrays.items()}
    if standard is not None:
        found |= {"value_mean": standard.mean.numpy(), "value_std": standard.std.numpy()}
    _write_arrays(path, **found, classes=np.array([str(name) for name in classes]))


@torch.no_grad()
def write_raster(task: pl.LightningModule, sample: Sample, path: Path, precision: Precision) -> None:
    """Write the spikes of every neuron for one sample.

    Args:
        task: holds the trained network, in the precision that it was tested in.
        sample: what the network gets, and what it is to tell.
        path: of the .npz: input, with a class label and predicted, else with targets of another kind target, prediction
            and kind, output [T, K], and spikes/<layer> [T, neurons] for each spiking layer. Of a sequence these are its
            real steps.
        precision: of the trainer that tested it.
    """
    fired: dict[str, list[Tensor]] = {}  # a layer is called once per step, per chunk or for the whole sequence

    def collect(name: str, layer: nn.Module, output: Tensor) -> None:
        steps = output if layer.step_mode == "m" else output.unsqueeze(0)
        fired.setdefault(f"spikes/{name}", []).append((steps[:, 0].flatten(1) != 0).to(torch.uint8).cpu())

    was_training = task.training
    reset_net(task.net)
    try:
        with watching(spiking_layers(task.net), collect), precision.forward_context():
            y_seq = task.eval()(precision.convert_input(sample.x.unsqueeze(0).to(task.device))).float()
    finally:
        task.train(was_training)
        reset_net(task.net)
    real = slice(sample.steps)
    spikes = {name: torch.cat(steps).numpy()[real] for name, steps in fired.items()}
    x = sample.x if sample.steps is None else sample.x[real]
    told = _told(task, sample, y_seq)
    _write_arrays(path, input=x.cpu().numpy(), **told, output=y_seq[real, 0].cpu().numpy(), **spikes)


def _told(task: pl.LightningModule, sample: Sample, y_seq: Tensor) -> dict[str, np.ndarray]:
    """What the sample is and what the network takes it for."""
    if sample.target is None:
        return {}
    scores, target = task.scores(y_seq), sample.target.cpu().numpy()
    if sample.kind is Target.CLASS:
        return {"label": target.reshape(()), "predicted": scores[0].argmax().cpu().numpy()}
    prediction = task.predicted(scores)[0].cpu().numpy()
    if sample.kind in OVER_TIME:
        target, prediction = target[: sample.steps], prediction[: sample.steps]
    return {"target": target, "prediction": prediction, "kind": np.array(sample.kind.name)}


def _write_arrays(path: Path, **arrays: object) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
