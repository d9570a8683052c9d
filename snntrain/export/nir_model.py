"""The model `nir`: the net of a NIR file, to be trained on, quantized and exported like any other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from snntrain import functional, layer, registry
from snntrain.export.error import NirImportError
from snntrain.export.nir_import import import_nir


@registry.register("model", "nir")
def nir_model(
    sample_shape: Sequence[int],
    num_classes: int,
    file: str,
    dt: float = 1e-4,
    surrogate: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The net of a NIR file for data of a shape; samples [C, H, W] are flattened for a graph that reads [C·H·W].

    Args:
        sample_shape: of one sample at one step.
        num_classes: outputs that the graph must have.
        file: path of the graph.
        dt: seconds that a step stands for, see import_nir.
        surrogate: {name: …, arguments} of the neurons' surrogate gradient; None: their default.

    Returns: the net in step mode 'm', [T, N, *sample_shape] → [T, N, num_classes].
    Raises: as import_nir; ExportError for a graph that does not fit the data.
    """
    make = None if surrogate is None else lambda: registry.build("surrogate", **surrogate)
    net = import_nir(file, dt, surrogate_function=make)
    shape, wanted = tuple(sample_shape), net.input_shape
    if wanted is not None and wanted != shape:
        if wanted != (math.prod(shape),):
            reason = f"it reads steps of shape {list(wanted)}, and the data have {list(shape)}"
            raise NirImportError(file, reason, "Choose data, or an encoder, of that shape.")
        net = nn.Sequential(layer.Flatten(step_mode="m"), *(net if isinstance(net, nn.Sequential) else [net]))
    outputs = _outputs(net, shape, file)
    if outputs != (num_classes,):
        reason = f"it gives {list(outputs)} for a step, and the task wants [{num_classes}]"
        raise NirImportError(file, reason, "Choose data with as many classes.")
    return net


@torch.no_grad()
def _outputs(net: nn.Module, shape: tuple[int, ...], file: str) -> tuple[int, ...]:
    """What the net gives for a step of this shape."""
    try:
        found = net(torch.zeros(1, 1, *shape))
    except (ValueError, RuntimeError) as error:  # of a layer whose graph does not say what it reads
        reason = f"it does not take steps of shape {list(shape)} ({str(error).splitlines()[0]})"
        raise NirImportError(file, reason, "Choose data, or an encoder, of the shape that it reads.") from error
    functional.reset_net(net)
    return tuple(found.shape[2:])
