"""What the callback finds for the nets of tests/peers/neurobench_cases.py."""

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import neurobench_cases as cases
from small_training import trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntrain import functional
from snntrain.callback import NeuroBench, SynapticOperations


class Runs(pl.LightningModule):
    """Shows the net batches of the form [N, T, *], all steps at once or one after the other."""

    def __init__(self, net: nn.Module, *, in_steps: bool = False) -> None:
        super().__init__()
        self.net, self.in_steps, self.T = net, in_steps, cases.STEPS
        if in_steps:
            functional.set_step_mode(net, "s")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x = batch[0].transpose(0, 1)
        functional.reset_net(self.net)
        if self.in_steps:
            for step in x:
                self.net(step)
        else:
            self.net(x)


def results_of(
    folder: Path, net: nn.Module, shape: tuple[int, ...], batches: Any, *, every: int = 1, in_steps: bool = False
) -> tuple[dict[str, float], dict[str, Any]]:
    """(metrics, the callback's result) of a test with these batches."""
    operations = SynapticOperations(shape)
    callback = NeuroBench(operations, membranes_every=every)
    run = trainer(folder, operations, callback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.test(Runs(net, in_steps=in_steps), dataloaders=DataLoader(list(batches), batch_size=None), verbose=False)
    metrics = {name: float(value) for name, value in run.callback_metrics.items()}
    return metrics, callback.result


def of_case(folder: Path, case: cases.Case, **how: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """The same of a case."""
    return results_of(folder, cases.ours(case), case.shape, cases.batches(case), **how)
