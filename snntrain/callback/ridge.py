"""The last layer solved by ridge regression, as reservoir computing does it."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from snntrain.arguments import integer, real
from snntrain.functional import reset_net
from snntrain.layer.padding import padding
from snntrain.model.builder import Net
from snntrain.task import SequencePrediction


class RidgeReadout(pl.Callback):
    """Solve the last layer by ridge regression on all training data, before every validation.

    The layers before it are kept: random ones with freeze=[…], a reservoir of spiking neurons, or those that the
    gradient has trained so far. Of the inputs z of the last layer and what it has to add to the rest of the net's
    outputs, y:

        (Σ zᵀz + strength·P·I)·Wᵀ = Σ zᵀy      with a constant 1 in z for the bias, over the P real steps of all samples

    in float64. The loss has to be the squared error, which this minimizes.

    Args:
        strength: of the penalty on the weights, ≥ 0, where z has values about 1.
        skip: first steps of each sequence that are left out, ≥ 0, since the neurons have hardly charged there.

    Sources: Hoerl & Kennard, Technometrics 12, 1970; Maass, Natschläger & Markram, Neural Computation 14, 2002.
    """

    def __init__(self, strength: float = 1e-3, skip: int = 0) -> None:
        self.strength = real(self, "strength", strength, at_least=0)
        self.skip = integer(self, "skip", skip, at_least=0)

    def check_task(self, task: pl.LightningModule) -> None:
        """Raises: ValueError for a task or a net that this cannot solve, before any data are read."""
        if not isinstance(task, SequencePrediction) or task.num_classes is not None:
            raise ValueError(
                f"{type(self).__name__}: it solves tasks with values of every step as targets, such as task=forecast; "
                f"this is {type(task).__name__}. Leave it out."
            )
        last_layer(task.net)
        if self.skip >= task.T:
            raise ValueError(f"{type(self).__name__}: skip must leave some of the {task.T} steps, got {self.skip}.")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        layer = last_layer(pl_module.net)
        products: Tensor | float = 0.0
        targets: Tensor | float = 0.0
        count = 0
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for batch in trainer.datamodule.train_dataloader():
                z, y = self._rows(pl_module, layer, trainer.strategy.batch_to_device(batch))
                products, targets, count = products + z.T @ z, targets + z.T @ y, count + len(z)
            products.diagonal()[: layer.in_features].add_(self.strength * count)  # not the bias
            solved = torch.linalg.lstsq(products, targets).solution.T.to(layer.weight)
            layer.weight.copy_(solved[:, : layer.in_features])
            if layer.bias is not None:
                layer.bias.copy_(solved[:, -1])
        reset_net(pl_module.net)

    def _rows(self, task: pl.LightningModule, layer: nn.Linear, batch: Any) -> tuple[Tensor, Tensor]:
        """Inputs of the layer, with a 1 behind them, and what it has to give, of all real steps: [P, F + 1], [P, D]."""
        seen: dict[str, Tensor] = {}
        handle = layer.register_forward_hook(lambda module, inputs, output: seen.update(z=inputs[0], y=output))
        try:
            reset_net(task.net)
            y_seq = task.outputs("train", batch[0], batch)
        finally:
            handle.remove()
        wanted = batch[1] - (y_seq - seen["y"].float()).transpose(0, 1)
        counted = torch.ones(wanted.shape[:2], dtype=torch.bool, device=wanted.device)
        counted[:, : self.skip] = False
        with task.padded(batch):
            if (now := padding()) is not None:
                counted &= now.mask.T
        z, y = seen["z"].transpose(0, 1)[counted], wanted[counted]
        z, y = z.double(), y.double()
        return (torch.cat([z, torch.ones_like(z[:, :1])], 1) if layer.bias is not None else z), y


def last_layer(net: nn.Module) -> nn.Linear:
    """The dense layer at a net's end. Raises: ValueError if another one is there."""
    last = net
    while isinstance(last, (nn.Sequential, Net)):
        last = last.layers if isinstance(last, Net) else last[-1]
    if not isinstance(last, nn.Linear):
        raise ValueError(f"RidgeReadout: the net ends with {type(last).__name__}. Let it end with {{name: Linear, …}}.")
    return last
