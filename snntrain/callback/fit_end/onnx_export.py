"""OnnxExport: write the net as an ONNX file, and compare what onnxruntime computes of it with the net."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from snntrain.arguments import integer, real
from snntrain.callback.fit_end.evaluation import Headline, test_sequences
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.export.onnx import TOLERANCE, ExportedOnnx, check_installed, compare_onnx, export_onnx
from snntrain.files import write_json
from snntrain.headline import long_name
from snntrain.registry import register
from snntrain.terminal import print_line


@register("callback")
class OnnxExport(FitEnd):
    """Export to ONNX, and compare the file in onnxruntime with the net.

    Files: net.onnx, onnx.json.

    Args:
        samples: test samples on which spikes, outputs and classes are compared, ≥ 1; the task's headline metric is
            measured on the same.
        tolerance: how far from the threshold a spike may differ and how far outputs may differ, > 0; see
            snntrain.export.onnx.OnnxComparison. What differs otherwise is an error.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "onnx"

    def __init__(self, samples: int = 256, tolerance: float = TOLERANCE, **common: Any) -> None:
        super().__init__(**common)
        self.samples = integer(self, "samples", samples, at_least=1)
        self.tolerance = real(self, "tolerance", tolerance, above=0)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        check_installed()
        export_onnx(net, torch.rand(2, 2, *sample_shape, generator=torch.Generator().manual_seed(0)))
        return net

    @torch.no_grad()
    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        net = trained.net.eval()
        task = trained.task_for(net, trained.T)
        first, _ = next(test_sequences(task, trained, console, "onnx"))
        exported = export_onnx(net, first[:, :2], folder / "net.onnx")
        result = {"T": trained.T, "bytes": len(exported.model), "layers": list(exported.layers)}
        result |= self._compare(exported, net, test_sequences(task, trained, console, "onnx"), task)
        write_json(folder / "onnx.json", result)
        name, mismatches, max_error = (result[key] for key in ("headline", "mismatches", "max_error"))
        print_line(
            console,
            f"onnx   {long_name(name)} {result[name]:.4f} of {result[f'{name}_net']:.4f}   {mismatches:,} mismatches "
            f"in {result['compared']:,} spikes, outputs differ by up to {max_error:.1e}, {result['samples']:,} samples",
        )
        if mismatches or max_error > self.tolerance:
            raise RuntimeError(
                f"onnx: {mismatches:,} of {result['compared']:,} spikes of the file differ from the net's farther "
                f"from the threshold than callbacks.onnx.tolerance={self.tolerance:g}, and outputs by up to "
                f"{max_error:.1e}; see {folder / 'onnx.json'}. The trained net is not affected."
            )
        return net, {key: float(result[key]) for key in (name, "mismatches", "differing", "max_error", "samples")}

    def _compare(
        self,
        exported: ExportedOnnx,
        net: nn.Module,
        sequences: Iterable[tuple[Tensor, Tensor]],
        task: pl.LightningModule,
    ) -> dict[str, Any]:
        """The file beside the net, on test samples."""
        of_net, of_file = Headline(task), Headline(task)
        counts: Counter[str] = Counter(samples=0, compared=0, differing=0, mismatches=0, changed_classes=0)
        max_error = 0.0
        for x_seq, label in sequences:
            batch = compare_onnx(exported, net, x_seq, self.tolerance)
            expected, scores = (task.scores(y_seq.to(label.device)) for y_seq in (batch.expected, batch.y_seq))
            of_net.add(expected, label)
            of_file.add(scores, label)
            counts.update(samples=len(label))
            counts.update({name: getattr(batch, name) for name in ("compared", "differing", "mismatches")})
            if of_net.name == "acc":
                counts.update(changed_classes=int((scores.argmax(1) != expected.argmax(1)).sum()))
            max_error = max(max_error, batch.max_error)
            if counts["samples"] >= self.samples:
                break
        return {
            **counts,
            "max_error": max_error,
            "tolerance": self.tolerance,
            "headline": of_net.name,
            f"{of_net.name}_net": of_net.value,
            of_net.name: of_file.value,
        }
