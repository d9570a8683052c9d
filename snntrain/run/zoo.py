"""The models that come with snntrain, by the names of their files in conf/model/."""

import fnmatch
from collections.abc import Sequence
from typing import Any

from torch import nn

from snntrain import registry
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.config.folders import config_files
from snntrain.model.builder import Choice, build_model
from snntrain.run.pretrained import pretrained_names, pretrained_net


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names of the models, filtered by a shell pattern such as '*resnet*', sorted.

    They are the choices of `model=` and classes of the user's registered as "model"; not `nir`, whose layers are those
    of a file.

    Args:
        pattern: that the names have to fit.
        pretrained: list the recorded experiments instead whose trained nets `create_model(…, pretrained=True)` gives.
    """
    if pretrained:
        return fnmatch.filter(pretrained_names(), pattern)
    known = ({file.stem for file in config_files("model")} | set(registry.names("model"))) - {"nir"}
    return sorted(fnmatch.filter(known, pattern))


def create_model(
    name: str,
    sample_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    neuron: Choice = "LIFNode",
    norm: str | None = None,
    T: int = 4,
    *,
    pretrained: bool = False,
    **settings: Any,
) -> nn.Module:
    """Build a model of conf/model/ without a run, or take the trained net of a recorded experiment.

    Args:
        name: one of list_models(); with `pretrained` one of list_models(pretrained=True), a folder of such weights, or
            its address hf://owner/name.
        sample_shape: shape of one sample at one step, e.g. (3, 32, 32).
        num_classes: outputs.
        neuron: as in build.
        norm: a choice of conf/norm/: bn, tdbn, tebn, bntt; None: the model's own.
        T: time steps of a sequence, for models that need it.
        pretrained: take a trained net, in evaluation mode. It is what it is, so there is nothing else to give.
        settings: keys of the model's file, e.g. channels=64; `create_model("nir", …, file="net.nir")` reads a graph.

    Returns: the network in step mode 'm'.
    Raises: ValueError for an unknown name or setting, with the nearest one; UsageError or DamagedFile for weights.

    Examples:
        create_model("sew_resnet18", (3, 32, 32), 10, neuron="IFNode", join="and")
        create_model("fmnist_plif", pretrained=True)
    """
    if pretrained:
        chosen = {"neuron": None if neuron == "LIFNode" else neuron, "T": None if T == 4 else T}
        given = {"sample_shape": sample_shape, "num_classes": num_classes, "norm": norm, **chosen, **settings}
        if named := [key for key, value in given.items() if value is not None]:
            raise ValueError(
                f"create_model: {', '.join(named)} cannot be chosen for a trained net. Leave them out, or fine-tune: "
                f"train.py init_from={name}."
            )
        return pretrained_net(name)
    if sample_shape is None or num_classes is None:
        raise ValueError(f"create_model: {name!r} needs sample_shape and num_classes, such as (3, 32, 32), 10.")
    if name not in [file.stem for file in config_files("model")]:
        known = list_models()
        raise ValueError(f"create_model: {name!r} is no model.{registry.did_you_mean(name, known)} Known: {known}.")
    facts = [f"data.num_classes={num_classes}", f"data.sample_shape={list(sample_shape)}", f"T={T}"]
    chosen = [] if norm is None else [f"norm={norm}"]
    config = compose([f"model={name}", *chosen, *facts, *(f"model.{key}={value}" for key, value in settings.items())])
    if not callable(neuron):
        config.neuron = {"name": neuron} if isinstance(neuron, str) else dict(neuron)
    resolved = check(config)
    return build_model(resolved, sample_shape, neuron=neuron if callable(neuron) else None)
