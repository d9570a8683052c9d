"""What it gives to compute the layers before the first neuron once: a static picture against the same one T times.

python scripts/bench_static_prefix.py                                       csnn, vgg9 and sew_resnet18
python scripts/bench_static_prefix.py --models csnn --T 8 --rounds 10

The outputs in evaluation are compared first: they must be equal.
"""

from collections.abc import Callable
from functools import partial

import torch
from benchmark import console, describe_run, interleaved, introduce, parser, positive, ratio, seconds_of, spread
from rich.table import Table
from torch import Tensor, nn

from snntrain import create_model, functional, list_models
from snntrain.encoding import DirectEncoder
from snntrain.files import write_json

SHAPES = {"csnn": (1, 28, 28)}


def main() -> None:
    """Measure, show, write."""
    arguments = parser("Time the static prefix of models.", __doc__)
    arguments.add_argument("--models", default="csnn,vgg9,sew_resnet18", help="of " + ", ".join(list_models()))
    arguments.add_argument("--T", type=positive, default=4, help="time steps (default %(default)s)")
    arguments.add_argument("--batch", type=positive, default=16, help="samples (default %(default)s)")
    arguments.add_argument("--rounds", type=positive, default=7, help="interleaved rounds (default %(default)s)")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    run = describe_run(chosen.threads)
    introduce(run)
    measured = {name: measure(name, chosen.T, chosen.batch, chosen.rounds) for name in chosen.models.split(",")}
    show(measured)
    settings = {"T": chosen.T, "batch": chosen.batch, "rounds": chosen.rounds}
    path = chosen.output / "static_prefix.json"
    write_json(path, {"run": run, "settings": settings, "models": measured})
    console.print(str(path), soft_wrap=True)


def show(measured: dict[str, dict[str, dict[str, float]]]) -> None:
    """The results as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("model", "stage", "once, ms", "T times, ms", "faster"):
        table.add_column(header, justify="left" if header in ("model", "stage") else "right")
    for name, stages in measured.items():
        for stage, result in stages.items():
            milliseconds = (f"{1000 * result[kind]:.1f}" for kind in ("once", "T times"))
            table.add_row(name, stage, *milliseconds, f"{result['faster']:.2f}×")
    console.print(table)


def measure(name: str, T: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Stage → seconds once and T times, and how many times faster the one is."""
    torch.manual_seed(0)
    shape = SHAPES.get(name, (3, 32, 32))
    net = create_model(name, shape, 10, T=T)
    x, y = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
    inputs = {"once": lambda: DirectEncoder()(x, T), "T times": lambda: x.expand(T, *x.shape).clone()}
    if not torch.equal(*(evaluate(net, make) for make in inputs.values())):
        raise RuntimeError(f"{name}: the outputs differ.")
    results = {}
    for stage, work in (("training step", train), ("evaluation", evaluate)):
        for make in inputs.values():  # compiles kernels, warms memory up
            work(net, make, y)
        calls = {kind: partial(seconds_of, partial(work, net, make, y)) for kind, make in inputs.items()}
        seconds = interleaved(calls, rounds)
        results[stage] = {kind: spread(values)["median"] for kind, values in seconds.items()}
        results[stage]["faster"] = ratio(seconds["T times"], seconds["once"])
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
