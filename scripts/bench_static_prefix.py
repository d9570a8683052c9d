"""What computing the layers before the first neuron once saves: a static picture against the same one T times.

python scripts/bench_static_prefix.py                                       csnn, vgg9 and sew_resnet18
python scripts/bench_static_prefix.py --models csnn --T 8 --rounds 10

The outputs in evaluation are compared first: they must be equal.
"""

import statistics
from collections.abc import Callable
from functools import partial

import benchmark
import torch
from benchmark import console, milliseconds
from torch import Tensor, nn

from snntrain import create_model, functional, list_models, terminal
from snntrain.encoding import DirectEncoder

SHAPES = {"csnn": (1, 28, 28)}


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, T=4, batch=16, rounds=7)
    parser.add_argument("--models", default="csnn,vgg9,sew_resnet18", help="of " + ", ".join(list_models()))
    options = parser.parse_args()
    run = benchmark.begin(options)
    measured = {name: measure(name, options.T, options.batch, options.rounds) for name in options.models.split(",")}
    table = terminal.table("model", "stage", "once, ms", "T times, ms", "faster", texts=2)
    for name, stages in measured.items():
        for stage, result in stages.items():
            times = (milliseconds(result[kind]) for kind in ("once", "T times"))
            table.add_row(name, stage, *times, f"{result['faster']:.2f}×")
    console.print(table)
    benchmark.finish(options, "static_prefix", run, {"models": measured})


def measure(name: str, T: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Stage → seconds of each input, and how many times faster the static one is."""
    torch.manual_seed(0)
    shape = SHAPES.get(name, (3, 32, 32))
    net = create_model(name, shape, 10, T=T)
    x, y = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
    inputs = {"once": lambda: DirectEncoder()(x, T), "T times": lambda: x.expand(T, *x.shape).clone()}
    if not torch.equal(*(evaluate(net, make) for make in inputs.values())):
        raise RuntimeError(f"{name}: the outputs differ.")
    results = {}
    for stage, work in (("training step", train), ("evaluation", evaluate)):
        calls = {kind: partial(benchmark.seconds_of, partial(work, net, make, y)) for kind, make in inputs.items()}
        seconds = benchmark.interleaved(calls, rounds)
        results[stage] = {kind: statistics.median(values) for kind, values in seconds.items()}
        results[stage]["faster"] = benchmark.ratio(seconds["T times"], seconds["once"])
    return results


def train(net: nn.Module, make: Callable[[], Tensor], y: Tensor) -> None:
    """Forward and backward."""
    functional.reset_net(net)
    nn.functional.cross_entropy(net.train()(make()).mean(0), y).backward()


@torch.no_grad()
def evaluate(net: nn.Module, make: Callable[[], Tensor], y: Tensor | None = None) -> Tensor:
    """Forward in evaluation."""
    functional.reset_net(net)
    return net.eval()(make())


if __name__ == "__main__":
    main()
