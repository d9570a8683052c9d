"""Load a converted net from the file that AnnToSnn wrote."""

from pathlib import Path

import torch

from snntrain.ann2snn import SpikingNet, prepare, to_spiking
from snntrain.callback.fit_end.ann_to_snn import analog_net
from snntrain.config.bounds import check_bounds
from snntrain.config.check import check_resolved
from snntrain.config.foreign import admit
from snntrain.run.build import build_net, net_shape
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.weights import load_weights, memory_for


def load_converted(path: str | Path, trust: bool = False) -> SpikingNet:
    """Rebuild the spiking net of a run from artifacts/ann2snn/net.pt alone.

        snn = load_converted("runs/…/artifacts/ann2snn/net.pt")
        logits = snn.predict(images, T=8)

    Args:
        path: the file.
        trust: import the plugins that its config names.

    Raises: UsageError if the file is missing, damaged or not from snntrain, or names plugins and is not trusted.
    """
    content = read_checkpoint(Path(path))
    config = admit(content["snntrain"]["config"], str(path), trust)
    check_bounds(config, str(path))
    check_resolved(config)
    with memory_for(content["state_dict"]):
        snn = to_spiking(prepare(analog_net(build_net(config)), torch.rand(4, *net_shape(config))))
    load_weights(snn, content["state_dict"], str(path))
    return snn
