"""Seconds to export the csnn to netx and to compare every spike of the file with the net's.

python scripts/bench_export.py                       1,000 random pictures of 28×28, T = 4
python scripts/bench_export.py --samples 200 --T 16

The net is quantised for Loihi and not trained; the comparison must find no spike that differs.
"""

import tempfile
import time
from pathlib import Path

import torch
from benchmark import console, describe_run, introduce, parser, positive
from torch import Tensor

from snntrain import create_model
from snntrain.export import export
from snntrain.files import write_json
from snntrain.functional import repeat
from snntrain.quantize import observe, prepare, preset, to_integer


def main() -> None:
    """Measure, show, write."""
    arguments = parser("Time the export to netx and the check of its spikes.", __doc__)
    arguments.add_argument("--samples", type=positive, default=1000, help="pictures compared (default %(default)s)")
    arguments.add_argument("--T", type=positive, default=4, help="time steps (default %(default)s)")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    run = describe_run(chosen.threads)
    introduce(run)
    torch.manual_seed(0)
    batches = [repeat(x, chosen.T) for x in torch.rand(chosen.samples, 1, 28, 28).split(64)]
    net = create_model("csnn", (1, 28, 28), 10, pool="AvgPool2d").eval()
    quantised = prepare(net, preset("loihi"), batches[0])
    observe(quantised, batches[:4])
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(quantised, batches, Path(folder, "net.h5"))
    write_json(chosen.output / "export.json", {"run": run, "samples": chosen.samples, "T": chosen.T, **measured})
    console.print(
        f"export {measured['export_seconds']} s, emulator and comparison {measured['check_seconds']} s: "
        f"{measured['mismatches']} of {measured['compared']:,} spikes differ"
    )


@torch.no_grad()
def measure(quantised: torch.nn.Module, batches: list[Tensor], path: Path) -> dict[str, float]:
    """Seconds, and spikes compared."""
    began = time.perf_counter()
    exported = export(quantised, path, batches[0])
    middle = time.perf_counter()
    integers, mismatches, compared = to_integer(quantised), 0, 0
    for x_seq in batches:
        wanted = integers.run(x_seq, record=True).spikes.values()
        for ours, theirs in zip(exported.run(x_seq).spikes, wanted, strict=True):
            mismatches += int(((ours != 0) != (theirs != 0)).sum())
            compared += ours.numel()
    end = time.perf_counter()
    seconds = {"export_seconds": round(middle - began, 2), "check_seconds": round(end - middle, 2)}
    return seconds | {"mismatches": mismatches, "compared": compared}


if __name__ == "__main__":
    main()
