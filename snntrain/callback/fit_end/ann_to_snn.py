"""AnnToSnn: turn the trained net of ReLUs into a spiking one and measure it over time steps."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snntrain.ann2snn import QCFS, ConversionWarning, Method, SpikingNet, convert, make_method, prepare, to_spiking
from snntrain.ann2snn.calibration import corrections
from snntrain.ann2snn.convert import check_reset
from snntrain.arguments import integer, invalid
from snntrain.callback.fit_end.evaluation import Headline, bars, drawn_batches, test_batches
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.callback.spike_statistics import watching
from snntrain.encoding import DirectEncoder
from snntrain.files import replacing, write_json, write_text
from snntrain.files.archive import write_checkpoint
from snntrain.functional import copy_net, set_step_mode
from snntrain.headline import long_name
from snntrain.model.builder import is_stateful
from snntrain.number_format import is_share
from snntrain.randomness import generator
from snntrain.registry import register
from snntrain.terminal import print_line


@register("callback")
class AnnToSnn(FitEnd):
    """Convert the trained net, calibrate it for T steps, and test it beside the ANN.

    Files: net.pt (see snntrain.run.converted), conversion.json, report.txt, accuracy.png, or what else the
    headline metric is called.

    Args:
        T: time steps that the net is to run, ≥ 1.
        method: how thresholds are chosen, a name in snntrain.ann2snn.METHODS.
        arguments: of the method.
        calibration: corrections joined by '+', or 'none', see snntrain.ann2snn.calibrate.
        calibration_steps: passes through the calibration data for each correction, ≥ 1.
        batches: calibration batches, of the data's batch_size, drawn from the training samples, ≥ 1.
        eval_T: numbers of steps after which the task's headline metric is measured, each ≥ 1.
        reset: of the neurons, 'soft' or 'hard', see snntrain.ann2snn.to_spiking.

    In a plain Trainer the module's net reads one static input [N, *].
    """

    name = "ann2snn"
    surroundings = ("encoder", "readout")  # T is that of the net it makes

    def __init__(
        self,
        T: int,
        method: str = "channel_mse",
        arguments: dict[str, Any] | None = None,
        calibration: str = "bias",
        calibration_steps: int = 3,
        batches: int = 16,
        eval_T: Sequence[int] = (4, 8, 16, 32),
        reset: str = "soft",
    ) -> None:
        super().__init__(T=T, encoder=DirectEncoder())
        self.method, self.arguments = method, dict(arguments or {})
        self._make_method()
        corrections(calibration)
        self.calibration = calibration
        self.calibration_steps = integer(self, "calibration_steps", calibration_steps, at_least=1)
        self.batches = integer(self, "batches", batches, at_least=1)
        if not isinstance(eval_T, Sequence) or isinstance(eval_T, str) or not eval_T:
            raise invalid(self, "eval_T", "a list of at least one integer such as [4, 8]", eval_T)
        self.reset = check_reset(self, reset, calibration)
        self.eval_T = sorted({integer(self, "eval_T", steps, at_least=1) for steps in eval_T})

    def _make_method(self) -> Method:
        return make_method(self.method, **self.arguments)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        if is_stateful(net):
            raise ValueError(
                "it converts nets of ReLUs, and this model has spiking or other stateful layers. Use neuron=relu, or "
                "leave ann2snn out of callbacks."
            )
        if not isinstance(task.encoder, DirectEncoder):
            raise ValueError(
                f"it converts nets that read one static input, and {type(task.encoder).__name__} makes a sequence. Use "
                "encoder=direct and data without a time axis."
            )
        if getattr(task, "population", 1) > 1 and isinstance(self._make_method(), QCFS):
            raise ValueError(
                f"method {self.method} fine-tunes with a cross-entropy of the net's own outputs, and task.population="
                f"{task.population} gives a class several of them. Use task.population=1, or another method."
            )
        example = torch.rand(4, *sample_shape, generator=generator(0, "ann2snn example"))
        snn = to_spiking(prepare(analog_net(net), example), reset=self.reset)
        snn.readout_start = int(getattr(self._make_method(), "delayed_readout", False))  # more is known after fit
        return snn

    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        from snntrain.callback.fit_end.figure import headline_figure  # matplotlib, which few runs need here

        ann = analog_net(trained.net).to(trained.device).eval()
        snn = self._convert(ann, trained, console)
        result = self._measure(ann, snn, trained, console)
        result |= {"T": self.T, "report": snn.report.to_dict(), "remarks": snn.report.all_warnings}
        write_checkpoint(folder / "net.pt", {"snntrain": dict(trained.description), "state_dict": snn.state_dict()})
        write_json(folder / "conversion.json", result)
        write_text(folder / "report.txt", f"{snn.report}\n")
        name = result["headline"]
        with replacing(folder / f"{long_name(name).lower()}.png") as temporary:
            figure = headline_figure(result[name], result[f"{name}_ann"], name)
            figure.savefig(temporary, format="png", dpi=192, facecolor="white")
        _print(result, console)
        trained.T = self.T
        metrics = {f"{name}_T{steps}": value for steps, value in result[name].items()}
        return snn, {f"{name}_ann": result[f"{name}_ann"], **metrics, "firing_rate": result["firing_rate"]}

    def _convert(self, ann: nn.Module, trained: Trained, console: Console) -> SpikingNet:
        source = generator(trained.seed, "ann2snn calibration")
        batches = [batch[0] for batch in drawn_batches(trained.data, self.batches, source)]
        count = sum(map(len, batches))
        method = self._make_method()
        console.print(f"ann2snn   {self.method}, calibration {self.calibration}, T = {self.T}, {count:,} samples")
        with bars(console) as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", ConversionWarning)  # they stand in the report
            if isinstance(method, QCFS):
                method.training = _Watched(trained.data.train_dataloader(), progress, "fine-tune")
            data = _Watched(batches, progress, "calibrate")
            return convert(ann, data, method, self.T, self.calibration, self.calibration_steps, reset=self.reset)

    def _measure(self, ann: nn.Module, snn: SpikingNet, trained: Trained, console: Console) -> dict[str, Any]:
        """The headline metric of both nets on the test set, and firing rates over the T steps of the conversion."""
        steps = sorted({*self.eval_T, self.T})
        task, total = trained.task_for(ann, 1), 0
        of_classes = getattr(task, "of_classes", lambda outputs: outputs)
        of_ann, of_steps = Headline(task), [Headline(task) for _ in steps]
        fired, seen = Counter(), Counter()

        def count(name: str, neurons: nn.Module, y: Tensor) -> None:
            left = self.T - (neurons.clock - neurons.T)  # of the T steps, as this call began
            steps = y.unflatten(0, (neurons.T, -1))[: max(left, 0)]
            fired[name] += int(torch.count_nonzero(steps))
            seen[name] += steps.numel()

        with watching(snn.neurons, count):
            for x, label, *_ in test_batches(trained, console, "ann2snn test"):
                with torch.no_grad():
                    of_ann.add(of_classes(ann(x)), label)
                for headline, outputs in zip(of_steps, snn.predict_at(x, steps), strict=True):
                    headline.add(of_classes(outputs), label)
                total += len(label)
        values = {str(T): headline.value for T, headline in zip(steps, of_steps, strict=True)}
        return {
            "samples": total,
            "headline": of_ann.name,
            f"{of_ann.name}_ann": of_ann.value,
            of_ann.name: {T: value for T, value in values.items() if int(T) in self.eval_T},
            "firing_rate": fired.total() / max(seen.total(), 1),
            "firing_rates": {name: fired[name] / max(seen[name], 1) for name in snn.neurons},
        }


def analog_net(net: nn.Module) -> nn.Module:
    """A copy of a network without spiking neurons that takes one step [N, *] and returns [N, K]."""
    net = copy_net(net)
    set_step_mode(net, "s")
    return net.eval()


class _Watched:
    """Batches of a loader, again and again, counted on a progress bar."""

    def __init__(self, loader: DataLoader | list[Tensor], progress: Progress, description: str) -> None:
        self.loader, self.progress = loader, progress
        self.description, self.bar = description, None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        self.bar = self.progress.add_task(f"ann2snn {self.description}", total=len(self))
        for batch in self.loader:
            yield batch
            self.progress.advance(self.bar)


def _print(result: Mapping[str, Any], console: Console) -> None:
    name = result["headline"]
    ann, scale, digits = result[f"{name}_ann"], *((100, 2) if is_share(name) else (1, 4))
    parts = [f"T={T} {value:.4f} ({scale * (value - ann):+.{digits}f})" for T, value in result[name].items()]
    print_line(console, f"ann2snn   ANN {ann:.4f}   " + "   ".join(parts))
    remarks = result["remarks"]
    for remark in remarks[:3]:
        print_line(console, f"ann2snn   {remark}")
    if len(remarks) > 3:
        console.print(f"ann2snn   {len(remarks) - 3} more remarks: artifacts/ann2snn/report.txt")
