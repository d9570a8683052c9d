"""Linear layers with sparse inputs as fuse=fast computes them, against torch's dense products, in the same run.

python scripts/bench_products.py                                 three shapes, a convolution, two nets, four densities
python scripts/bench_products.py --shapes 640x2312x512 --densities 0.05,0.5

Inputs are random spikes. A shape is that of the product: rows (time steps times samples), inputs, outputs. "backward"
gives the gradients of weights and bias, as in a net's first layer. Above a density of 0.1 both take torch's product, so
that what is left of the difference is the counting. The convolution of 1 × 1 has 384 channels at 8 × 8 places of 256
pictures, as in a spiking transformer on CIFAR. The event net is Linear, LIF, Linear on frames of 2 × 34 × 34
pixels, T = 10, 64 samples; the recurrent net is Linear and a recurrent LIF layer, 700 → 512, T = 250, 32 samples. A
step is forward and backward without the optimizer.
"""

import argparse
import statistics
from functools import partial
from typing import Any

import benchmark
import torch
from benchmark import console, milliseconds
from recurrent_peers import Ours, Size, Weights
from torch import Tensor, nn

from snntrain import functional, terminal
from snntrain.layer import Conv2d, Flatten, Linear, Sequential, set_fuse
from snntrain.neuron import LIFNode
from snntrain.run.memory import keep_freed_memory

SHAPES = ((640, 2312, 512), (8000, 512, 512), (12800, 700, 128))
DENSITIES = (0.02, 0.05, 0.08, 0.5)
EVENTS = torch.Size((10, 64, 2, 34, 34))
PICTURES = (256, 8, 8, 384)  # channels innermost, as behind another convolution
DENSE, SPARSE = "dense", "sparse"
FUSE = {DENSE: "exact", SPARSE: "fast"}


def compared(calls: dict[str, dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Part of a step → median seconds of both, and how many times as fast the sparse one is."""
    flat = {(part, name): call for part, both in calls.items() for name, call in both.items()}
    seconds = benchmark.interleaved({key: partial(benchmark.seconds_of, call) for key, call in flat.items()}, rounds)
    return {
        part: {name: statistics.median(seconds[part, name]) for name in FUSE}
        | {"times_as_fast": benchmark.ratio(seconds[part, DENSE], seconds[part, SPARSE])}
        for part in calls
    }


def spikes(shape: tuple[int, ...], density: float) -> Tensor:
    """Ones at random places."""
    return (torch.rand(shape) < density).float()


def with_fuse(net: nn.Module) -> dict[str, nn.Module]:
    """A net in both modes, with weights of its own in each."""
    nets = {name: functional.copy_net(net) for name in FUSE}
    for name, copied in nets.items():
        set_fuse(copied, FUSE[name])
    return nets


def measure_layer(what: str, layer: nn.Module, x: Tensor, density: float, rounds: int) -> dict[str, Any]:
    """One layer with spikes."""
    layers = with_fuse(layer)
    outs = {name: layer(x) for name, layer in layers.items()}
    g = torch.randn_like(outs[DENSE])

    def backward(name: str) -> None:
        layers[name].zero_grad()
        outs[name].backward(g, retain_graph=True)

    calls = {
        "forward": {name: partial(layer, x) for name, layer in layers.items()},
        "backward": {name: partial(backward, name) for name in layers},
    }
    return {"what": what, "density": density, **compared(calls, rounds)}


def measure_product(shape: tuple[int, int, int], density: float, rounds: int) -> dict[str, Any]:
    """One Linear layer."""
    torch.manual_seed(0)
    rows, inputs, outputs = shape
    x = spikes((rows, inputs), density)
    return measure_layer("x".join(map(str, shape)), Linear(inputs, outputs), x, density, rounds)


def measure_convolution(density: float, rounds: int) -> dict[str, Any]:
    """One convolution of 1 × 1."""
    torch.manual_seed(0)
    x = spikes(PICTURES, density).movedim(-1, 1)
    channels = PICTURES[-1]
    return measure_layer("1x1 convolution", Conv2d(channels, channels, 1), x, density, rounds)


def event_net(density: float) -> tuple[nn.Module, torch.Size]:
    """A net for events, and the shape of its input."""
    layers = [Linear(EVENTS[2:].numel(), 512), LIFNode(v_threshold=0.3, detach_reset=True), Linear(512, 10)]
    net = Sequential(Flatten(), *layers)
    functional.set_step_mode(net, "m")
    return net, EVENTS


def recurrent_net(density: float) -> tuple[nn.Module, torch.Size]:
    """A recurrent layer, of which some of the neurons fire, and the shape of its input."""
    size = Size(250, 32, 700, 512)
    return Ours(Weights.of(size, density), "fused"), torch.Size((size.T, size.N, size.inputs))


NETS = {"event net": event_net, "recurrent net": recurrent_net}


def measure_net(what: str, density: float, rounds: int) -> dict[str, Any]:
    """A step of a net."""
    torch.manual_seed(0)
    net, shape = NETS[what](density)
    x = spikes(shape, density)

    def step(net: nn.Module) -> None:
        functional.reset_net(net)
        net.zero_grad()
        net(x).square().mean().backward()

    calls = {name: partial(step, net) for name, net in with_fuse(net).items()}
    return {"what": what, "density": density, **compared({"step": calls}, rounds)}


def shapes(text: str) -> list[tuple[int, int, int]]:
    """The argument --shapes."""
    found = [part.split("x") for part in text.split(",")]
    if not all(len(sizes) == 3 and all(size.isdecimal() and int(size) for size in sizes) for sizes in found):
        raise argparse.ArgumentTypeError(f"must be ROWSxINPUTSxOUTPUTS, e.g. 640x2312x512, got {text!r}")
    return [tuple(map(int, sizes)) for sizes in found]


def densities(text: str) -> list[float]:
    """The argument --densities."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [-1.0]
    if not all(0 <= density <= 1 for density in found):
        raise argparse.ArgumentTypeError(f"must be numbers from 0 to 1, e.g. 0.02,0.1, got {text!r}")
    return found


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, rounds=15)
    parser.add_argument("--shapes", type=shapes, default=SHAPES, help="ROWSxINPUTSxOUTPUTS, separated by commas")
    parser.add_argument("--densities", type=densities, default=DENSITIES, help="of the inputs, separated by commas")
    options = parser.parse_args()
    keep_freed_memory()  # as train.py does; here it serves both
    run = benchmark.begin(options)
    rows = [
        measure_product(shape, density, options.rounds) for shape in options.shapes for density in options.densities
    ]
    rows += [measure_convolution(density, options.rounds) for density in options.densities]
    rows += [measure_net(what, density, options.rounds) for what in NETS for density in options.densities]
    table = terminal.table("", "density", "part", "dense, ms", "sparse, ms", "times as fast", texts=3)
    for row in rows:
        for part in ("forward", "backward", "step"):
            if part in row:
                times = (milliseconds(row[part][name], 2) for name in FUSE)
                table.add_row(row["what"], f"{row['density']}", part, *times, f"{row[part]['times_as_fast']:.2f}")
    console.print(table)
    benchmark.finish(options, "products", run, {"rows": rows})


if __name__ == "__main__":
    main()
