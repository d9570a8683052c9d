"""NirExport: write the net as a NIR graph, read it back, and count the spikes that differ."""

import itertools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import nn

from snntrain.arguments import choice, integer, real
from snntrain.callback.fit_end.around import Reader
from snntrain.callback.fit_end.evaluation import Headline, spikes_and_scores, test_sequences
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.export import export_nir, import_nir
from snntrain.export.nir import READERS
from snntrain.files import write_json
from snntrain.headline import long_name
from snntrain.quantize import QuantizedNet
from snntrain.registry import register
from snntrain.task import Classification, Supervised
from snntrain.task.readout import last, make_readout, membrane_tau
from snntrain.terminal import print_line

_KNOWN_SCORES = (Supervised.scores, Classification.scores, Reader.scores)


@register("callback")
class NirExport(FitEnd):
    """Export to NIR, which snnTorch, Norse and sinabs read.

    Where batch normalizations are folded, weights are rounded anew, and a potential at the threshold can fall to the
    other side of it: the share of spikes that differ is reported, and is an error above `tolerance`.

    With the readout `membrane` the graph ends with LI neurons, whose last potentials are the scores, if the reader has
    such.

    Files: net.nir, nir.json.

    Args:
        samples: test samples on which spikes are compared, ≥ 1; the task's headline metric is measured on the same.
        dt: seconds that a step stands for, see snntrain.export.export_nir.
        tolerance: largest share of spikes that may differ, in [0, 1].
        reader: who is to read it: 'nir', 'snntorch', 'norse' or 'sinabs', see snntrain.export.export_nir.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "nir"

    def __init__(
        self, samples: int = 256, dt: float = 1e-4, tolerance: float = 1e-3, reader: str = "nir", **common: Any
    ) -> None:
        super().__init__(**common)
        self.samples = integer(self, "samples", samples, at_least=1)
        self.dt = real(self, "dt", dt, above=0)
        self.reader = choice(self, "reader", reader, READERS)
        self.tolerance = real(self, "tolerance", tolerance, at_least=0, at_most=1)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        if isinstance(net, QuantizedNet):
            raise ValueError(
                "a NIR graph holds the equations of neurons, not the integers that qat makes. Use "
                "callbacks=[default,nir], or lava after qat."
            )
        example = torch.rand(2, 2, *sample_shape, generator=torch.Generator().manual_seed(0))
        export_nir(net, example, dt=self.dt, reader=self.reader, readout_tau=self._tau(task), verify=False)
        return net

    def _tau(self, task: pl.LightningModule) -> float | None:
        """The time constant of the neurons at the end of the graph, where the task has such and the reader knows them.

        They are linear, so that it is the same to sum up the outputs of a class before or behind them.
        """
        if "LI" not in READERS[self.reader].kinds or type(task).scores not in _KNOWN_SCORES:
            return None
        return membrane_tau(make_readout(task.readout) if isinstance(task, Reader) else task.read_out)

    @torch.no_grad()
    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        net = trained.net.eval()
        task = trained.task_for(net, trained.T)
        samples_left = test_sequences(task, trained, console, "nir")
        first = next(samples_left)
        folder.mkdir(parents=True, exist_ok=True)
        tau = self._tau(task)
        graph = export_nir(net, first[0], folder / "net.nir", self.dt, reader=self.reader, readout_tau=tau)
        as_read = "sinabs" if self.reader == "sinabs" else "nir"
        copy = import_nir(folder / "net.nir", self.dt, reader=as_read).to(trained.device).eval()
        task_of_copy = task if tau is None else _reads_last(trained.task_for(copy, trained.T))
        differing = spikes = samples = 0
        of_net, of_copy = Headline(task), Headline(task_of_copy)
        for x_seq, label in itertools.chain([first], samples_left):
            (expected, y_seq), (found, y_seq_copy) = (spikes_and_scores(each, x_seq) for each in (net, copy))
            pairs = zip(expected.values(), found.values(), strict=True)
            differing += sum(int((ours != theirs).sum()) for ours, theirs in pairs)
            spikes += sum(values.numel() for values in expected.values())
            of_net.add(task.scores(y_seq), label)
            of_copy.add(task_of_copy.scores(y_seq_copy), label)
            samples += len(label)
            if samples >= self.samples:
                break
        result: dict[str, Any] = {
            "T": trained.T,
            "dt": self.dt,
            "reader": self.reader,
            "readout_tau": tau,
            "samples": samples,
            "mismatches": differing,
            "compared": spikes,
            "headline": of_net.name,
            f"{of_net.name}_net": of_net.value,
            of_net.name: of_copy.value,
            "nodes": {name: type(node).__name__ for name, node in graph.nodes.items()},
        }
        write_json(folder / "nir.json", result)
        print_line(
            console,
            f"nir   {long_name(of_net.name)} {of_copy.value:.4f} of {of_net.value:.4f}   {differing:,} of {spikes:,} "
            f"spikes differ after export and import, {samples:,} samples",
        )
        if differing > self.tolerance * spikes:
            raise RuntimeError(
                f"nir: {differing:,} of {spikes:,} spikes of the graph differ from those of the net, more than a "
                f"share of callbacks.nir.tolerance={self.tolerance:g}; see {folder / 'nir.json'}. The trained net is "
                "not affected."
            )
        return net, {of_copy.name: of_copy.value, "mismatches": float(differing), "samples": float(samples)}


def _reads_last(task: pl.LightningModule) -> pl.LightningModule:
    """A task of a net whose outputs are the potentials that its readout would make."""
    setattr(task, "readout" if isinstance(task, Reader) else "read_out", last)
    return task
