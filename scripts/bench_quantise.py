"""What fine-tuning in integer arithmetic costs: training steps of a net against those of its quantised copy.

python scripts/bench_quantise.py                                            csnn, every preset
python scripts/bench_quantise.py --presets int8,w4v4 --T 8 --rounds 10
"""

from functools import partial

import torch
from benchmark import console, describe_run, interleaved, introduce, parser, positive, ratio, seconds_of, spread
from rich.table import Table
from torch import Tensor, nn

from snntrain import create_model, functional, list_models
from snntrain.files import write_json
from snntrain.quantize import PRESETS, observe, prepare, preset

SHAPE = (1, 28, 28)


def main() -> None:
    """Measure, show, write."""
    arguments = parser("Time training steps of quantised nets.", __doc__)
    arguments.add_argument("--model", default="csnn", help="one of " + ", ".join(list_models()))
    arguments.add_argument("--presets", default=",".join(PRESETS), help="(default %(default)s)")
    arguments.add_argument("--T", type=positive, default=4, help="time steps (default %(default)s)")
    arguments.add_argument("--batch", type=positive, default=64, help="samples (default %(default)s)")
    arguments.add_argument("--rounds", type=positive, default=7, help="interleaved rounds (default %(default)s)")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    run = describe_run(chosen.threads)
    introduce(run)
    measured = measure(chosen.model, chosen.presets.split(","), chosen.T, chosen.batch, chosen.rounds)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("net", "training step, ms", "times float"):
        table.add_column(header, justify="left" if header == "net" else "right")
    for name, result in measured.items():
        table.add_row(name, f"{1000 * result['seconds']:.1f}", f"{result['ratio']:.2f}")
    console.print(table)
    settings = {"model": chosen.model, "T": chosen.T, "batch": chosen.batch, "rounds": chosen.rounds}
    path = chosen.output / "quantise.json"
    write_json(path, {"run": run, "settings": settings, "nets": measured})
    console.print(str(path), soft_wrap=True)


def measure(model: str, names: list[str], T: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Net → median seconds of a training step, and how many times that of the float net."""
    torch.manual_seed(0)
    x_seq = functional.repeat(torch.rand(batch, *SHAPE), T)
    y = torch.randint(0, 10, (batch,))
    nets: dict[str, nn.Module] = {"float": create_model(model, SHAPE, 10, T=T)}
    for name in names:
        nets[name] = prepare(nets["float"].eval(), preset(name), x_seq)
        observe(nets[name], [x_seq], 1)
    calls = {name: partial(seconds_of, partial(train, net, x_seq, y, optimizer(net))) for name, net in nets.items()}
    for call in calls.values():  # compiles kernels, warms memory up
        call()
    seconds = interleaved(calls, rounds)
    return {
        name: {"seconds": spread(values)["median"], "ratio": ratio(values, seconds["float"])}
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
