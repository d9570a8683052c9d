"""Every model of conf/model/ with every neuron of conf/neuron/ that it can have, for small samples."""

import functools

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.folders import config_files
from snntrain.error import UsageError
from snntrain.functional import set_backend
from snntrain.model.builder import build_model

T, SAMPLES = 3, 4
MODELS = sorted(file.stem for file in config_files("model") if file.stem != "nir")  # which is the net of a file
NEURONS = sorted(file.stem for file in config_files("neuron"))
# Shapes of one sample at one step; the others take small pictures.
SHAPES = dict.fromkeys(("dense2", "dense3", "recurrent", "recurrent2", "recurrent3", "forecast"), (4,))
SHAPES |= {"plif_net_dvs": (2, 32, 32), "plif_net": (1, 12, 12), "vgg5": (3, 8, 8)}
SETTINGS = {"vgg5": {"features": 16}, "vgg9": {"features": 16}, "plif_net": {"features": 16}}
SETTINGS |= {"plif_net_dvs": {"features": 16}, "csnn": {"channels": 8}, "csnn_sew": {"channels": 8}}


@functools.cache
def _neuron(name: str) -> dict:
    return OmegaConf.to_container(compose([f"neuron={name}", f"T={T}"]).neuron, resolve=True)


@functools.cache
def _model(name: str) -> OmegaConf:
    facts = [f"data.sample_shape={list(shape_of(name))}", "data.num_classes=10", f"T={T}"]
    return compose(
        [f"model={name}", *facts, *(f"model.{key}={value}" for key, value in SETTINGS.get(name, {}).items())]
    )


def shape_of(model: str) -> tuple[int, ...]:
    return SHAPES.get(model, (3, 16, 16))


def net_of(model: str, neuron: str) -> nn.Module | None:
    """The net with fresh weights; None where the model refuses the neuron."""
    config = _model(model).copy()
    config.neuron = dict(_neuron(neuron))
    torch.manual_seed(1)
    try:
        net = build_model(check(config), shape_of(model))
        set_backend(net, "torch")
        return net
    except (UsageError, ValueError):
        return None


def samples_of(model: str) -> Tensor:
    """Samples [T, N, *] with values in [0, 1)."""
    return torch.rand(T, SAMPLES, *shape_of(model), generator=torch.Generator().manual_seed(2))
