"""CExport: write the integer net as C99, compile it here, and prove that it computes the same integers."""

import copy
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch import nn

from snntrain.arguments import flag, integer
from snntrain.callback.fit_end.evaluation import Headline, test_sequences
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.export.c import NOT_INSTALLED, Compiler, ExportedC, cortex_m4_compiler, export_c, native_compiler
from snntrain.export.c.plan import planned
from snntrain.export.error import CExportError
from snntrain.files import write_json
from snntrain.functional import set_backend
from snntrain.headline import long_name
from snntrain.quantize import IntegerNet, QuantizationError, QuantizedNet, observe, to_integer
from snntrain.registry import register
from snntrain.terminal import print_line, table


@register("callback")
class CExport(FitEnd):
    """Export the integer net that qat made to C99, for microcontrollers.

    The program is compiled with the machine's C compiler and run on test samples; every output, spike and potential
    must be that of the integer net.

    Files: net.c, net.h, main.c, Makefile, CMakeLists.txt, arduino/, zephyr/, c.json.

    Args:
        verify_samples: test samples on which all is compared, ≥ 1; the task's headline metric is measured on the same.
        event_driven: dense layers and convolutions skip inputs that are 0, except depthwise ones; False: every product
            is computed, whatever comes in.
        required: an error before training where there is no C compiler; else the report says so.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "c"

    def __init__(
        self, verify_samples: int = 256, event_driven: bool = True, required: bool = False, **common: Any
    ) -> None:
        super().__init__(**common)
        self.verify_samples = integer(self, "verify_samples", verify_samples, at_least=1)
        self.event_driven = flag(self, "event_driven", event_driven)
        self.required = flag(self, "required", required)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        if not isinstance(net, QuantizedNet):
            raise ValueError(
                "it writes integers, and this net computes with floats. Put qat before it: callbacks=[default,qat,c]."
            )
        if self.required and native_compiler() is None:
            raise ValueError(NOT_INSTALLED)
        integers = _in_sample_integers(net, sample_shape)
        if integers is not None:
            planned(integers.operations, integers.arrays, sample_shape)
        return net

    @torch.no_grad()
    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        net = trained.net.eval()
        task = trained.task_for(net, trained.T)
        first, _ = next(test_sequences(task, trained, console, "c"))
        integers, shape = to_integer(net), first.shape[2:]
        exported = export_c(integers, folder, shape, event_driven=self.event_driven, T=trained.T)
        sizes = exported.program.sizes
        result: dict[str, Any] = {
            "T": trained.T,
            "constant_bytes": sizes["constants"],
            "buffer_bytes": sizes["buffers"],
            "buffers": [
                [each.name, each.ctype, each.count, each.size, each.holds] for each in exported.program.buffers
            ],
            "sizes": {},
        }
        compiler = native_compiler()
        if compiler is None:
            result["skipped"] = NOT_INSTALLED
            write_json(folder / "c.json", result)
            print_line(console, f"c   {NOT_INSTALLED}")
            return net, {}
        with tempfile.TemporaryDirectory(prefix="snntrain-c-") as built:
            result |= self._compare(exported, compiler, Path(built), task, trained, console)
            result |= _measured(exported, compiler, Path(built))
        write_json(folder / "c.json", result)
        _print(result, console)
        if result["mismatches"]:
            parts = ", ".join(f"{count:,} {name}" for name, count in result["differing"].items() if count)
            raise RuntimeError(
                f"c: the compiled program differs from the integer net in {parts}; see {folder / 'c.json'}. The "
                "trained net is not affected."
            )
        metrics = {name: float(result[name]) for name in (result["headline"], "mismatches")}
        for target, found in result["sizes"].items():
            prefix = "" if target == "this machine" else "cortex_m4_"
            metrics |= {f"{prefix}{name}": float(value) for name, value in found.items()}
        return net, metrics

    def _compare(
        self,
        exported: ExportedC,
        compiler: Compiler,
        built: Path,
        task: pl.LightningModule,
        trained: Trained,
        console: Console,
    ) -> dict[str, Any]:
        """The compiled program beside the integer net, on test samples."""
        program = exported.build(built / "net", compiler=compiler)
        headline, samples = Headline(task), 0
        differing, compared = Counter(outputs=0, spikes=0, potentials=0), Counter()
        for x_seq, label in test_sequences(task, trained, console, "c"):
            found = exported.compare([program], x_seq)
            differing.update(found.differing)
            compared.update(found.compared)
            headline.add(task.scores(found.logits.to(trained.device)), label)
            samples += len(label)
            if samples >= self.verify_samples:
                break
        return {
            "compiler": " ".join(compiler.command),
            "samples": samples,
            "mismatches": differing.total(),
            "differing": dict(differing),
            "compared": dict(compared),
            "headline": headline.name,
            headline.name: headline.value,
        }


def _in_sample_integers(net: QuantizedNet, sample_shape: tuple[int, ...]) -> IntegerNet | None:
    """The integers that a net would have after a look at random input; None if its sums would not fit then."""
    tried = copy.deepcopy(net).eval()
    set_backend(tried, "torch")  # kernels would have to be compiled for one look
    example = torch.rand(2, 2, *sample_shape, generator=torch.Generator().manual_seed(0))
    try:
        observe(tried, [example], 1)
        return to_integer(tried)
    except QuantizationError:  # training changes the weights: whether sums fit is known after it
        return None


def _measured(exported: ExportedC, compiler: Compiler, built: Path) -> dict[str, Any]:
    """Chip → bytes of flash and RAM of net.c, and chip → why its compiler failed."""
    sizes, failed = {}, {}
    for target, each in {"this machine": compiler, "Cortex-M4": cortex_m4_compiler()}.items():
        if each is None:
            continue
        try:
            found = each.sizes(exported.folder, built / "size.o")
        except CExportError as error:
            failed[target] = error.reason  # such as a compiler without a C library: the comparison is not lost
            continue
        if found is not None:
            sizes[target] = found
    return {"sizes": sizes, "not_measured": failed}


def _print(result: dict[str, Any], console: Console) -> None:
    if result["sizes"]:
        shown = table("net.c, compiled for size", "flash, bytes", "RAM, bytes", texts=1)
        for target, found in result["sizes"].items():
            shown.add_row(target, f"{found['flash_bytes']:,}", f"{found['ram_bytes']:,}")
        console.print(shown)
    elif not result["not_measured"]:
        print_line(console, "c   `size` of the GNU binutils or of LLVM was not found: flash and RAM were not measured.")
    for target, reason in result["not_measured"].items():
        print_line(console, f"c   flash and RAM on {target} were not measured: {reason}")
    name = result["headline"]
    print_line(
        console,
        f"c   {long_name(name)} {result[name]:.4f}   {result['mismatches']:,} mismatches in "
        f"{sum(result['compared'].values()):,} outputs, spikes and potentials of {result['samples']:,} samples",
    )
