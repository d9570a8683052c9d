"""What delays cost: a dense layer with learned delays beside the same layer without, forward and backward.

python scripts/bench_delay.py --rounds 7
python scripts/bench_delay.py --shape 100,64,256,256 --max 16

An axonal layer is to take at most 1.5 times as long as one without delays, a synaptic one at most `max` times as long.
In training delays are interpolated over all `max` steps; in evaluation they are whole steps. Each is measured with a
neuron behind it and without; the input is spikes of a density of 0.1 that need a gradient, as in a hidden layer.
"""

import argparse
from collections.abc import Callable
from typing import Any

import benchmark
import torch
from benchmark import console, milliseconds
from torch import nn

from snntrain import functional, terminal
from snntrain.layer import DelaySettings, Linear, with_delay
from snntrain.neuron import LIFNode
from snntrain.run.memory import keep_freed_memory

SHAPES = [(100, 64, 256, 256), (250, 32, 512, 512), (100, 256, 128, 128), (100, 128, 700, 128)]
KINDS = ("none", "axonal", "synaptic")
LIMITS = {"axonal": 1.5}


def shape(text: str) -> tuple[int, ...]:
    """An argument such as 100,64,256,256."""
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"must be T,N,inputs,outputs, four integers ≥ 1, got {text!r}")
    return tuple(map(int, sizes))


def layer(kind: str, inputs: int, outputs: int, most: int, has_neuron: bool) -> nn.Module:
    """A dense layer in step mode 'm', with delays of a kind, and with neurons."""
    torch.manual_seed(0)
    made: nn.Module = Linear(inputs, outputs)
    if kind != "none":
        made = with_delay(made, DelaySettings(max=most, kind=kind))
    net = nn.Sequential(made, LIFNode()) if has_neuron else nn.Sequential(made)
    functional.set_step_mode(net, "m")
    return net


def measurement(net: nn.Module, x: torch.Tensor, is_training: bool) -> Callable[[], float]:
    """One forward, in training with its backward, from a reset state."""
    net.train(is_training)

    def run() -> None:
        functional.reset_net(net)
        if is_training:
            x.grad = None
            net.zero_grad()
            net(x).sum().backward()
        else:
            with torch.no_grad():
                net(x)

    return lambda: benchmark.seconds_of(run)


def measured(sizes: tuple[int, ...], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way of running the layer."""
    T, N, inputs, outputs = sizes
    source = torch.Generator().manual_seed(0)
    x = (torch.rand(T, N, inputs, generator=source) < 0.1).float().requires_grad_()
    rows = []
    for has_neuron in (False, True):
        for is_training in (True, False):
            nets = {kind: layer(kind, inputs, outputs, options.max, has_neuron) for kind in KINDS}
            seconds = benchmark.interleaved(
                {kind: measurement(nets[kind], x, is_training) for kind in KINDS}, options.rounds
            )
            ratios = {kind: benchmark.ratio(seconds[kind], seconds["none"]) for kind in KINDS[1:]}
            found = {
                "shape": list(sizes),
                "neurons": "LIF" if has_neuron else "",
                "stage": "training step" if is_training else "evaluation",
            }
            rows.append(
                {**found, "seconds": {kind: benchmark.spread(seconds[kind]) for kind in KINDS}, "ratios": ratios}
            )
    return rows


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, rounds=7)
    benchmark.add_count(parser, "max", 16, "delays that there are")
    parser.add_argument("--shape", type=shape, action="append", help="T,N,inputs,outputs; may be given several times")
    options = parser.parse_args()
    keep_freed_memory()  # as train.py does
    run = benchmark.begin(options)
    rows = [row for sizes in options.shape or SHAPES for row in measured(sizes, options)]
    table = terminal.table("T, N, in, out", "neurons", "stage", *(f"{kind}, ms" for kind in KINDS), *KINDS[1:], texts=3)
    for row in rows:
        times = (milliseconds(row["seconds"][kind]["median"]) for kind in KINDS)
        ratios = (f"{row['ratios'][kind]:.2f}×" for kind in KINDS[1:])
        table.add_row(", ".join(map(str, row["shape"])), row["neurons"], row["stage"], *times, *ratios)
    console.print(table)
    benchmark.finish(options, "delay", run, {"rows": rows, "limits": {**LIMITS, "synaptic": options.max}})


if __name__ == "__main__":
    main()
