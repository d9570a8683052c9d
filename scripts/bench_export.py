"""Seconds to export the csnn to netx and to compare every spike of the file with the net's.

python scripts/bench_export.py                       1,000 random pictures of 28×28, T = 4
python scripts/bench_export.py --samples 200 --T 16

The net is quantized for Loihi and not trained; the comparison must find no spike that differs.
"""

import tempfile
import time
from pathlib import Path

import benchmark
import torch
from benchmark import console
from torch import Tensor

from snntrain import create_model
from snntrain.export import export
from snntrain.functional import repeat
from snntrain.quantize import observe, prepare, preset, to_integer


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, T=4)
    benchmark.add_count(parser, "samples", 1000, "pictures compared")
    options = parser.parse_args()
    run = benchmark.begin(options)
    torch.manual_seed(0)
    batches = [repeat(x, options.T) for x in torch.rand(options.samples, 1, 28, 28).split(64)]
    net = create_model("csnn", (1, 28, 28), 10, pool="AvgPool2d").eval()
    quantized = prepare(net, preset("loihi"), batches[0])
    observe(quantized, batches[:4])
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(quantized, batches, Path(folder, "net.h5"))
    console.print(
        f"export {measured['export_seconds']} s, emulator and comparison {measured['check_seconds']} s: "
        f"{measured['mismatches']} of {measured['compared']:,} spikes differ"
    )
    benchmark.finish(options, "export", run, measured)


@torch.no_grad()
def measure(quantized: torch.nn.Module, batches: list[Tensor], path: Path) -> dict[str, float]:
    """Seconds of the export and of the check, and how many spikes it compared."""
    began = time.perf_counter()
    exported = export(quantized, path, batches[0])
    middle = time.perf_counter()
    integers, mismatches, compared = to_integer(quantized), 0, 0
    for x_seq in batches:
        expected = integers.run(x_seq, record=True).spikes.values()
        for ours, theirs in zip(exported.run(x_seq).spikes, expected, strict=True):
            mismatches += int(((ours != 0) != (theirs != 0)).sum())
            compared += ours.numel()
    end = time.perf_counter()
    seconds = {"export_seconds": round(middle - began, 2), "check_seconds": round(end - middle, 2)}
    return seconds | {"mismatches": mismatches, "compared": compared}


if __name__ == "__main__":
    main()
