"""Write arrays of the tested network for the report to draw."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from snntrain.data import Split, Target
from snntrain.data.standard import Standard
from snntrain.files import replacing
from snntrain.functional import reset_net
from snntrain.hooks import spiking_layers
from snntrain.monitor import recording, telling_neurons
from snntrain.run.report.picture import picture

_SMALLEST, _LARGEST = 4, 96  # sides of a picture: below it is none, above it is drawn smaller
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
    arrays: Mapping[str, Tensor],
    classes: tuple[str, ...],
    samples: Any,
    path: Path,
    standard: Standard | None = None,
    dt: float | None = None,
) -> None:
    """Write what the task shows of the test.

    Args:
        arrays: name → array of the task; of its "mistakes", see snntrain.task.evidence, the samples are added as
            pictures, if they are some: pictures, uint8 [m, H, W, 1 or 3].
        classes: names of the classes, labels or values.
        samples: of the test.
        path: of the .npz.
        standard: by which the values were scaled, so that the report can show them in their own units.
        dt: length of a time step in ms; None: not known.
    """
    found = {name: array.cpu().numpy() for name, array in arrays.items()}
    if "mistakes" in found and len(pictures := _pictures(samples, found["mistakes"][:, 0])):
        found["pictures"] = pictures
    if standard is not None:
        found |= {"value_mean": standard.mean.numpy(), "value_std": standard.std.numpy()}
    if dt is not None:
        found["dt"] = np.array(float(dt))
    _write_arrays(path, **found, classes=np.array([str(name) for name in classes]))


def _pictures(samples: Any, index: np.ndarray) -> np.ndarray:
    """The samples of these indices as small pictures; [] if they are none."""
    if not isinstance(samples, Split) or len(samples.shape) not in (3, 4) or min(samples.shape[-2:]) < _SMALLEST:
        return np.zeros(0)
    place = {int(known): position for position, known in enumerate(samples.index.tolist())}
    if not len(index) or not all(int(known) in place for known in index):
        return np.zeros(0)
    found = [picture(x.numpy()) for x in samples.__getitems__([place[int(known)] for known in index])[0]]
    stride = -(-max(found[0].shape[:2]) // _LARGEST)
    return np.stack([np.atleast_3d(255 * one[::stride, ::stride]).round().astype(np.uint8) for one in found])


@torch.no_grad()
def write_raster(task: pl.LightningModule, sample: Sample, path: Path, precision: Precision) -> None:
    """Write the spikes of every neuron for one sample.

    Args:
        task: holds the trained network, in the precision that it was tested in.
        sample: what the network gets, and what it is to tell.
        path: of the .npz: input, with a class label and predicted, else with targets of another kind target, prediction
            and kind, output [T, K], and spikes/<layer> [T, neurons] for each spiking layer; of a few of these neurons,
            traced/<layer> [n], the potential after reset v/<layer> [T, n], and the threshold v_threshold/<layer>, NaN
            if it is not one number. Of a sequence these are its real steps.
        precision: of the trainer that tested it.
    """
    was_training = task.training
    reset_net(task.net)
    try:
        watched = recording(task.net, ("spikes", "v")) if spiking_layers(task.net) else nullcontext({})
        with watched as seen, precision.forward_context():
            y_seq = task.eval()(precision.convert_input(sample.x.unsqueeze(0).to(task.device))).float()
        layers = {path: {name: values[:, 0].flatten(1).cpu() for name, values in seen[path].items()} for path in seen}
    finally:
        task.train(was_training)
        reset_net(task.net)
    real = slice(sample.steps)
    spikes = {path: (layer["spikes"] != 0).to(torch.uint8).numpy()[real] for path, layer in layers.items()}
    traces: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        v = layer["v"].float().numpy()[real] if "v" in layer else np.zeros(0)
        if v.shape == spikes[name].shape and v.size:
            chosen, threshold = telling_neurons(v, spikes[name]), task.net.get_submodule(name).v_threshold
            is_number = isinstance(threshold, (int, float)) or (
                isinstance(threshold, Tensor) and threshold.numel() == 1
            )
            traces |= {
                f"traced/{name}": chosen,
                f"v/{name}": v[:, chosen],
                f"v_threshold/{name}": np.array(float(threshold) if is_number else np.nan),
            }
    x = sample.x if sample.steps is None else sample.x[real]
    told = _told(task, sample, y_seq)
    _write_arrays(
        path,
        input=x.cpu().numpy(),
        **told,
        output=y_seq[real, 0].cpu().numpy(),
        **{f"spikes/{name}": fires for name, fires in spikes.items()},
        **traces,
    )


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
        if len(target) != len(prediction):  # the target comes after these steps
            return {"kind": np.array(sample.kind.name)}
    return {"target": target, "prediction": prediction, "kind": np.array(sample.kind.name)}


def _write_arrays(path: Path, **arrays: object) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
