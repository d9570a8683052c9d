"""Write arrays of the tested network for the report to draw."""

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from snntrain.callback.spike_statistics import spiking_layers, watching
from snntrain.files import replacing
from snntrain.functional import reset_net


def write_confusion(confusion: Tensor, classes: tuple[str, ...], path: Path) -> None:
    """Write the confusion counts of the test [K, K] (rows are true classes) and the names of the classes."""
    _write_arrays(path, confusion=confusion.cpu().numpy(), classes=np.array(classes))


@torch.no_grad()
def write_raster(task: pl.LightningModule, x: Tensor, label: int, path: Path, precision: Precision) -> None:
    """Write the spikes of every neuron for one sample.

    Args:
        task: holds the trained network, in the precision that it was tested in.
        x: one sample, e.g. [C, H, W].
        label: its class.
        path: of the .npz: input, label, predicted, output [T, K], and spikes/<layer> [T, neurons] for each spiking
            layer.
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
            y_seq = task.eval()(precision.convert_input(x.unsqueeze(0).to(task.device))).float()
    finally:
        task.train(was_training)
        reset_net(task.net)
    predicted = int(task.scores(y_seq).argmax())
    output = y_seq[:, 0].cpu().numpy()
    spikes = {name: torch.cat(steps).numpy() for name, steps in fired.items()}
    _write_arrays(path, input=x.cpu().numpy(), label=label, predicted=predicted, output=output, **spikes)


def _write_arrays(path: Path, **arrays: object) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
