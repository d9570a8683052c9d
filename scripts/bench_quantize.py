"""What fine-tuning in integer arithmetic costs: training steps of a net against those of its quantized copy.

python scripts/bench_quantize.py                                            csnn, every preset
python scripts/bench_quantize.py --presets int8,w4v4 --T 8 --rounds 10
"""

import statistics
from functools import partial

import benchmark
import torch
from benchmark import console, milliseconds
from torch import Tensor, nn

from snntrain import create_model, functional, list_models, terminal
from snntrain.quantize import PRESETS, observe, prepare, preset

SHAPE = (1, 28, 28)


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, T=4, batch=64, rounds=7)
    parser.add_argument("--model", default="csnn", help="one of " + ", ".join(list_models()))
    parser.add_argument("--presets", default=",".join(PRESETS), help="(default %(default)s)")
    options = parser.parse_args()
    run = benchmark.begin(options)
    measured = measure(options.model, options.presets.split(","), options.T, options.batch, options.rounds)
    table = terminal.table("net", "training step, ms", "times float", texts=1)
    for name, result in measured.items():
        table.add_row(name, milliseconds(result["seconds"]), f"{result['ratio']:.2f}")
    console.print(table)
    benchmark.finish(options, "quantize", run, {"nets": measured})


def measure(model: str, names: list[str], T: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Net → median seconds of a training step, and how many times that of the float net."""
    torch.manual_seed(0)
    x_seq = functional.repeat(torch.rand(batch, *SHAPE), T)
    y = torch.randint(0, 10, (batch,))
    nets: dict[str, nn.Module] = {"float": create_model(model, SHAPE, 10, T=T)}
    for name in names:
        nets[name] = prepare(nets["float"].eval(), preset(name), x_seq)
        observe(nets[name], [x_seq], 1)
    calls = {
        name: partial(benchmark.seconds_of, partial(train, net, x_seq, y, optimizer(net))) for name, net in nets.items()
    }
    seconds = benchmark.interleaved(calls, rounds)
    return {
        name: {"seconds": statistics.median(values), "ratio": benchmark.ratio(values, seconds["float"])}
        for name, values in seconds.items()
    }


def optimizer(net: nn.Module) -> torch.optim.Optimizer:
    """What train.py uses by default."""
    return torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)


def train(net: nn.Module, x_seq: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward, update."""
    functional.reset_net(net)
    optimizer.zero_grad()
    nn.functional.cross_entropy(net.train()(x_seq).mean(0), y).backward()
    optimizer.step()


if __name__ == "__main__":
    main()
