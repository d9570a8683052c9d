"""Compare snntrain.quantize in mode 'qualia' with qualia-plugin-snn 2.6.0: how many of their numbers differ.

python scripts/compare_qualia.py ~/qualia          the folder of the reference; pip installs it there if it is missing

Qualia needs SpikingJelly 0.0.0.0.14, which cannot be installed beside the version that the benchmarks use; therefore
it has a folder of its own. pytest tests/peers/test_qualia.py does the same with SNNTRAIN_QUALIA=~/qualia.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from benchmark import console
from qualia_reference import Case, Record, record_neuron, record_quantizer
from torch import Tensor, nn

from snntrain import terminal
from snntrain.quantize import Quantizer, qualia
from snntrain.surrogate import Sigmoid

REFERENCE = ("qualia-core==2.6.0", "qualia-plugin-snn==2.6.0", "spikingjelly==0.0.0.0.14")
TOLERANCE = 1e-6  # of gradients, in units of the largest one of a case; values must be equal bit for bit


class OurNeuron(nn.Module):
    """The neurons of snntrain.quantize.qualia with the interface that record_neuron expects."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        arguments = dict(case["arguments"])
        for kind in ("input", "v", "act"):
            self.add_module(f"quantizer_{kind}", Quantizer({**case["quant_params"], "mode": "qualia"}, kind))
        self.is_atif = case["what"] == "ATIF"
        self.surrogate = Sigmoid(arguments.pop("alpha", 4.0))
        self.theta = nn.Parameter(torch.tensor([0.9])) if self.is_atif else None
        self.switches = {name: arguments.pop(name) for name in ("decay_input", "detach_reset") if name in arguments}
        tau = {"tau": 2.0} if case["what"] == "LIF" else {}
        self.p = qualia.Hyperparameters(**{"v_threshold": 1.0} | tau | arguments)
        self.v_start = 0.0 if self.is_atif or self.p.v_reset is None else self.p.v_reset
        self.v: Tensor | None = None

    def step(self, x: Tensor) -> Tensor:
        v = torch.full_like(x.detach(), self.v_start) if self.v is None else self.v
        if self.is_atif:
            y, self.v = qualia.atif_step(x, v, self.theta, self, self.surrogate)
        else:
            y, self.v, self.p = qualia.neuron_step(
                x, v, self.p, self, self.surrogate, training=self.training, **self.switches
            )
        return y

    def reset(self) -> None:
        self.v = None

    def hyperparameters(self) -> list[float]:
        values = [] if self.is_atif else [self.p.v_threshold, self.p.tau, self.p.v_reset]
        return [value for value in values if value is not None]


# What is counted in each group of cases, as the headers of the table.
CRASHES, VALUES, DIFFERENT = "crash there", "values", "different values"
GRADIENTS, ROUNDED, WRONG = "gradients", "different gradients", f"by more than {TOLERANCE:g}, or not finite"
HEADERS = ("cases", CRASHES, VALUES, DIFFERENT, GRADIENTS, ROUNDED, WRONG)


def main() -> None:
    """Run both, compare, show; exit code 1 if they differ."""
    parser = argparse.ArgumentParser(description="Compare snntrain.quantize with qualia-plugin-snn 2.6.0.")
    parser.add_argument("folder", type=Path, help="of the reference: qualia-core, qualia-plugin-snn and SpikingJelly")
    parser.add_argument("--output", type=Path, help=".npz file for what the reference computes; default: in the folder")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    install(chosen.folder)
    path = chosen.output or chosen.folder / "reference.npz"
    run_reference(chosen.folder, path)
    counts = compare(path)
    show(counts)
    sys.exit(any(count[DIFFERENT] or count[WRONG] for count in counts.values()))


def install(folder: Path) -> None:
    """Install the reference into a folder, without its dependencies: its neurons need only torch and numpy."""
    if not (folder / "qualia_plugin_snn").exists():
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(folder))
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *REFERENCE], check=True)


def run_reference(folder: Path, output: Path) -> None:
    """Run the reference in a process that imports its SpikingJelly and not the installed one."""
    script = Path(__file__).with_name("qualia_reference.py")
    environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
    subprocess.run([sys.executable, script, folder, output], check=True, env=environment)


def compare(path: Path) -> dict[str, Counter[str]]:
    """Run our side and compare it with the reference; group of cases → counts."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    with np.load(path) as file:
        theirs: dict[int, Record] = defaultdict(dict)
        for key in file.files:
            if key != "cases":
                number, name = key.split("/")
                theirs[int(number)][name] = file[key]
        listed = json.loads(str(file["cases"]))
    for number, case in enumerate(listed):
        count = counts[case["group"]]
        count["cases"] += 1
        ours = run_ours(case)
        if number in theirs:
            _count(count, ours, theirs[number])
        else:
            count[CRASHES] += 1  # ours must give finite numbers
            count[WRONG] += sum(int((~np.isfinite(array)).sum()) for array in ours.values())
    return dict(counts)


def run_ours(case: Case) -> Record:
    """The numbers that snntrain computes."""
    if case["what"] == "Quantizer":
        return record_quantizer(Quantizer({**case["quant_params"], "mode": "qualia"}, "w"), "step")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "1/tau = .* rounds to 0", RuntimeWarning)
        return record_neuron(OurNeuron(case))


def _count(count: Counter[str], ours: Record, theirs: Record) -> None:
    if ours.keys() != theirs.keys():
        raise ValueError(f"compare_qualia: one side has {sorted(ours)}, the other {sorted(theirs)}.")
    for name, expected in theirs.items():
        different = ours[name] != expected
        if name.startswith("gradient"):
            error = np.abs(ours[name] - expected) / max(np.abs(expected).max(), np.finfo(np.float32).tiny)
            count[GRADIENTS] += expected.size
            count[ROUNDED] += int(different.sum())
            count[WRONG] += int((~(error <= TOLERANCE)).sum())
        else:
            count[VALUES] += expected.size
            count[DIFFERENT] += int(different.sum())


def show(counts: dict[str, Counter[str]]) -> None:
    """Print a table."""
    console.print("qualia-plugin-snn 2.6.0 and snntrain, mode 'qualia'")
    table = terminal.table("", *HEADERS, texts=1)
    for group, count in counts.items():
        table.add_row(group, *(f"{count[header]:,}" for header in HEADERS))
    console.print(table)


if __name__ == "__main__":
    main()
