"""LavaExport: write the net as a netx file for Loihi and prove that the file computes what the net does."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain.arguments import choice, flag, integer, real
from snntrain.callback.fit_end.evaluation import (
    Headline,
    drawn_batches,
    sequences,
    spikes_and_scores,
    test_sequences,
)
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.encoding import DirectEncoder
from snntrain.export import Emulation, Exported, ExportError, LavaError, emulate, export, plan, run_in_lava
from snntrain.export.lava_run import check_system
from snntrain.export.netx import MAX_POOLS, most_used
from snntrain.export.plan import CAVEAT
from snntrain.files import write_json, write_text
from snntrain.headline import long_name
from snntrain.lava_exchange.lava_shim import installed_lava
from snntrain.quantize import QuantizedNet, to_integer
from snntrain.randomness import generator
from snntrain.registry import register
from snntrain.terminal import print_line, table

CALIBRATION_BATCHES = 4  # of training samples, on which an overflow is found before the file is written


@register("callback")
class LavaExport(FitEnd):
    """Export to netx, run the file in the emulator and in Lava's simulator, count what differs.

    Files: net.h5 (with net.json and net.readout.npz, see snntrain.export.export), lava.json, plan.txt.

    Args:
        samples: test samples on which every spike of the emulated file is compared with the net's, ≥ 1; its accuracy
            is measured on all that are tested.
        lava_samples: those that Lava's simulator runs as well, where it is installed; 0: none.
        timeout: seconds that the simulator may take.
        required: an error where lava_samples > 0 and Lava is not installed; else the report says so.
        folder: where scripts/install_lava.py put Lava; None: SNNTRAIN_LAVA, .lava, or this Python's packages.
        max_pool: 'refuse', or 'neurons', which puts neurons in the place of a maximum over spikes.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "lava"

    def __init__(
        self,
        samples: int = 1000,
        lava_samples: int = 50,
        timeout: float = 600.0,
        required: bool = False,
        folder: str | None = None,
        max_pool: str = "refuse",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.samples = integer(self, "samples", samples, at_least=1)
        self.lava_samples = integer(self, "lava_samples", lava_samples, at_least=0)
        self.timeout = real(self, "timeout", timeout, above=0)
        self.required = flag(self, "required", required)
        self.folder, self.max_pool = folder, choice(self, "max_pool", max_pool, MAX_POOLS)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        example = torch.rand(2, 2, *sample_shape, generator=torch.Generator().manual_seed(0))
        if not isinstance(net, QuantizedNet):  # which rounds its input itself
            if isinstance(task.encoder, DirectEncoder):
                raise ValueError(
                    "the net would read pixels, and a file takes spikes or integers. Use an encoder that spikes, such "
                    "as encoder=poisson, or put qat before it: callbacks.qat.quant=loihi makes the input integers."
                )
            example = (example > 0.5).float()
        planned = plan(net, example, max_pool=self.max_pool)
        if planned.problems:
            raise ValueError(" ".join(planned.problems))
        if not planned.is_exact:
            rounded = [planned.layers[index].name for index, how in planned.scales.items() if not how.is_exact]
            raise ValueError(
                f"{', '.join(rounded)} would be rounded to the chip's integers, and the file would not compute what "
                "the net does. Put qat before it, callbacks=[default,qat,lava] callbacks.qat.quant=loihi; or train in "
                "integers: neuron=cuba_lif and lava_block entries, as in model=csnn_loihi."
            )
        if self.required and self.lava_samples and installed_lava(self.folder) is None:
            raise ValueError(_NOT_INSTALLED)
        if self.lava_samples and installed_lava(self.folder) is not None:
            check_system()
        return net

    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        net = trained.net.eval()
        task = trained.task_for(net, trained.T)
        first, _ = next(test_sequences(task, trained, console, "lava"))
        batches = drawn_batches(trained.data, CALIBRATION_BATCHES, generator(trained.seed, "lava calibration"))
        drawn = (x_seq for x_seq, _ in sequences(task, batches, trained.device))
        exported = export(net, folder / "net.h5", first, calibration=drawn, max_pool=self.max_pool)
        write_text(folder / "plan.txt", f"{plan(net, first, max_pool=self.max_pool)}\n")
        began = time.perf_counter()
        result = self._emulate(net, exported, task, trained, console)
        result |= {"emulator_seconds": round(time.perf_counter() - began, 1), "note": CAVEAT, "lava": {}}
        write_json(folder / "lava.json", result)
        try:
            result["lava"] = self._simulate(exported, task, trained, console)
        except LavaError as error:
            result["lava"] = {"failed": str(error)}
            raise
        finally:
            write_json(folder / "lava.json", result)
        _print(result, console)
        found = result["lava"]
        if result["mismatches"] or found.get("mismatches"):
            raise RuntimeError(
                f"lava: the exported net differs from the trained one in {result['mismatches']:,} spikes of the "
                f"emulator and {found.get('mismatches', 0):,} of Lava's simulator; see {folder / 'lava.json'}. "
                "The trained net is not affected."
            )
        metrics = {name: float(result[name]) for name in (result["headline"], "mismatches", "spikes", "sops")}
        if "mismatches" in found:
            metrics |= {"lava_mismatches": float(found["mismatches"]), "lava_samples": float(found["samples"])}
        return net, metrics

    @torch.no_grad()
    def _emulate(
        self, net: nn.Module, exported: Exported, task: pl.LightningModule, trained: Trained, console: Console
    ) -> dict[str, Any]:
        """The emulated file beside the net."""
        integers = to_integer(net) if isinstance(net, QuantizedNet) else None
        total = compared = 0
        headline = Headline(task)
        headroom = dict(exported.headroom)
        differing, spikes, operations = Counter(), Counter(), Counter()
        for x_seq, label in test_sequences(task, trained, console, "lava emulator"):
            emulation = exported.run(x_seq)
            headroom = most_used(headroom, exported.layers, emulation)
            headline.add(task.scores(exported.outputs(emulation.output)), label)
            total += len(label)
            if compared >= self.samples:
                continue
            compared += len(label)
            expected = integers.run(x_seq, record=True).spikes if integers else spikes_and_scores(net, x_seq)[0]
            differing.update(_differences(exported, emulation, expected))
            for name, (fired, operated) in _costs(exported, emulation, x_seq).items():
                spikes[name] += fired
                operations[name] += operated
        return {
            "T": trained.T,
            "samples": total,
            "compared_samples": compared,
            "headline": headline.name,
            headline.name: headline.value,
            "mismatches": differing.total(),
            "spikes": spikes.total() / compared,
            "sops": operations.total() / compared,
            "headroom": headroom,
            "layers": [
                {
                    "name": name,
                    "mismatches": differing[name],
                    "spikes": spikes[name] / compared,
                    "sops": operations[name] / compared,
                    "used": headroom.get(name),
                }
                for name in differing
            ],
        }

    def _simulate(
        self, exported: Exported, task: pl.LightningModule, trained: Trained, console: Console
    ) -> dict[str, Any]:
        """Lava's simulator beside the emulator."""
        if not self.lava_samples:
            return {"skipped": "callbacks.lava.lava_samples is 0"}
        folder = installed_lava(self.folder)
        if folder is None:
            print_line(console, f"lava   {_NOT_INSTALLED}")
            return {"skipped": _NOT_INSTALLED}
        parts, count = [], 0
        for x_seq, _ in test_sequences(task, trained, console, "lava simulator"):
            parts.append(exported.input.encode(x_seq.cpu()))
            count += x_seq.shape[1]
            if count >= self.lava_samples:
                break
        x_seq = torch.cat(parts, 1)[:, : self.lava_samples]
        print_line(console, f"lava   Lava's simulator runs {x_seq.shape[1]} samples …")
        run = run_in_lava(exported.path, x_seq, timeout=self.timeout, folder=folder or None)
        differing = run.mismatches(emulate(exported.layers, x_seq))
        names = [layer.name for layer in exported.layers if layer.has_neurons]
        return {
            "samples": x_seq.shape[1],
            "seconds": round(run.seconds, 1),
            "mismatches": sum(differing),
            "layers": dict(zip(names, differing, strict=True)),
        }


_NOT_INSTALLED = (
    "Lava is not installed, so its simulator did not run: `make lava` installs it into .lava, or "
    "`python scripts/install_lava.py FOLDER` anywhere (callbacks.lava.folder=FOLDER)."
)


def _differences(exported: Exported, emulation: Emulation, expected: Mapping[str, Tensor]) -> dict[str, int]:
    """Layer of the file → spikes that differ from those of the net's neurons of the same rank."""
    names = [exported.layers[index].name for index in emulation.layers]
    if len(names) != len(expected):
        by_name = dict(zip(names, emulation.spikes, strict=True))
        missing = [name for name in expected if name not in by_name]
        if missing:
            raise ExportError(f"lava: {', '.join(missing)} are not in the file, which has {', '.join(names)}.")
        return {name: _differing(by_name[name], spikes) for name, spikes in expected.items()}
    pairs = zip(names, emulation.spikes, expected.values(), strict=True)
    return {name: _differing(ours, theirs) for name, ours, theirs in pairs}


def _differing(ours: Tensor, theirs: Tensor) -> int:
    return int(((ours != 0).cpu() != (theirs != 0).cpu().view(ours.shape)).sum())


def _costs(exported: Exported, emulation: Emulation, x_seq: Tensor) -> dict[str, tuple[float, float]]:
    """Layer of the file → spikes it fires, and additions of weights that its input causes."""
    found, x = {}, exported.input.encode(x_seq) != 0
    for index, spikes in zip(emulation.layers, emulation.spikes, strict=True):
        layer = exported.layers[index]
        x = x.float()
        if layer.kind == "conv":
            ones = torch.ones(1, 1, *layer.weight.shape[2:])
            # Each active input is added once for each window that it lies in, and each output channel of its group.
            flat = x.flatten(0, 1)
            sums = F.conv2d(flat.sum(1, keepdim=True), ones, None, layer.stride, layer.padding, layer.dilation).sum()
            operated = float(sums) * layer.weight.shape[0] / layer.groups
        else:
            operated = float(x.sum()) * layer.weight.shape[0]
        found[layer.name] = float(spikes.sum()), operated
        x = spikes
    return found


def _print(result: Mapping[str, Any], console: Console) -> None:
    headers = ("mismatches:\nemulator", "\nLava", "spikes\na sample", "SOPs\na sample", "range of\nu, v used")
    shown = table("layer", *headers, texts=1)
    for row in result["layers"]:
        used = "" if row["used"] is None else f"{row['used']:.1%}"
        in_lava = result["lava"].get("layers", {}).get(row["name"], "–")
        shown.add_row(
            row["name"], f"{row['mismatches']}", f"{in_lava}", f"{row['spikes']:,.0f}", f"{row['sops']:,.0f}", used
        )
    console.print(shown)
    lava = result["lava"]
    simulated = (
        f"Lava: {lava['mismatches']} mismatches on {lava['samples']} samples in {lava['seconds']} s"
        if "mismatches" in lava
        else "Lava did not run"
    )
    name = result["headline"]
    print_line(
        console,
        f"lava   {long_name(name)} {result[name]:.4f}   {result['mismatches']} mismatches on "
        f"{result['compared_samples']:,} samples in the emulator   {simulated}",
    )
    print_line(console, f"lava   {CAVEAT}")
