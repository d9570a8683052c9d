"""A data set, a network and a trainer that need a fraction of a second, for tests of what happens around a batch."""

import inspect
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from snntrain import registry
from snntrain.data import ImageDataModule, ImageSplit
from snntrain.encoding import DirectEncoder, PoissonEncoder
from snntrain.model import build
from snntrain.randomness import generator
from snntrain.task import Classification

SGD = {
    "_target_": "torch.optim.SGD",
    "lr": 0.1,
    "schedule": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0},
}

#: Two layers of neurons; the second one fires more.
TWO = [
    "Flatten",
    {"name": "Linear", "out_features": 12},
    "neuron",
    {"name": "Linear", "out_features": 7},
    {"name": "neuron", "v_threshold": 0.1},
    {"name": "Linear", "out_features": 3},
]


class Patches(ImageDataModule):
    """100 + 24 pictures of 4×4: the class says which third of the pixels is bright.

    Splits of 90, 10 and 24; with batches of 32 the last one is always smaller.
    """

    CLASSES = ("top", "middle", "bottom")
    SAMPLE_SHAPE = (1, 4, 4)

    def __init__(self, batch_size: int = 32, **more: Any) -> None:
        super().__init__(num_classes=3, sample_shape=[1, 4, 4], batch_size=batch_size, **more)

    def load(self) -> dict[str, ImageSplit]:
        labels = torch.arange(124) % 3
        images = torch.randint(0, 120, (124, 16), generator=generator(5, "pictures"))
        for pixel in range(15):
            images[labels == pixel // 5, pixel] += 120
        images = images.to(torch.uint8).reshape(124, 1, 4, 4)
        return {"train": ImageSplit(images[:100], labels[:100]), "test": ImageSplit(images[100:], labels[100:])}

    def fingerprint(self) -> dict[str, str]:
        return {}


def small_task(
    *, neuron: Any = "IFNode", layers: list[Any] | None = None, poisson: bool = False, T: int = 3, **more: Any
) -> Classification:
    """A network of one hidden layer of neurons that do fire, with the same weights every time."""
    torch.manual_seed(3)
    layers = layers or [
        "Flatten",
        {"name": "Linear", "out_features": 12},
        "neuron",
        {"name": "Linear", "out_features": 3},
    ]
    neuron = {"name": neuron, "v_threshold": 0.4} if neuron == "IFNode" else neuron
    settings = {"num_classes": 3, "optim": SGD, **more}
    encoder = PoissonEncoder() if poisson else DirectEncoder()
    return Classification(build(layers, (1, 4, 4), neuron), encoder, T, **settings)


def trainer(folder: Path, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """A silent trainer on the CPU for two epochs."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    settings = {**quiet, "max_epochs": 2, "enable_checkpointing": any(map(is_checkpoint, callbacks)), **settings}
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", callbacks=list(callbacks), **settings)


def in_a_loop(neuron: dict[str, Any]) -> dict[str, Any]:
    """Settings that spare the compiling of a kernel where the neuron has kernels, which have tests of their own."""
    has_backend = "backend" in inspect.signature(registry.get("neuron", neuron["name"])).parameters
    return {**neuron, "backend": "torch"} if has_backend else neuron


def is_checkpoint(callback: pl.Callback) -> bool:
    return isinstance(callback, Checkpoint)


def weights(task: pl.LightningModule) -> dict[str, Tensor]:
    """Copies of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in task.net.named_parameters()}
