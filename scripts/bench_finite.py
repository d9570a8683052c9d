"""What the callback Finite costs: a look at the loss after every step, at all weights after every second one.

python scripts/bench_finite.py                        the default net, the csnn on 28×28 pictures, a tiny mlp
python scripts/bench_finite.py --steps 400 --threads 2

Each net is trained in one run. A random half of its steps is followed by the look, whose time is also measured by
itself. All times are processor times, which other processes disturb little.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmark
from benchmark import console

from snntrain import terminal
from snntrain.callback import Finite
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.run.build import build
from snntrain.run.memory import keep_freed_memory
from snntrain.run.run import quieten_lightning

PICTURES = ("data=fashion_mnist", "plugins=[random_pictures]", "data._target_=random_pictures.RandomPictures")
NETS = {"digits, csnn": (), "28×28, csnn": ("model=csnn", *PICTURES), "digits, mlp": ("model=mlp", "model.features=8")}
WARM_UP = 5


class HalfOfTheTime(Finite):
    """Look after a random half of the steps, and note the times."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = random.Random(0)
        self.looks: list[float] = []
        self.steps: dict[bool, list[float]] = {True: [], False: []}
        self.before: tuple[bool, float] | None = None

    def on_train_batch_end(self, *args: Any) -> None:
        now, looks = time.process_time(), self.draw.random() < 0.5
        if self.before is not None:
            self.steps[self.before[0]].append(now - self.before[1])  # the look of the step before, and this step
        if looks:
            super().on_train_batch_end(*args)
            self.looks.append(time.process_time() - now)
        self.before = looks, now


def measure(overrides: tuple[str, ...], steps: int, folder: Path) -> dict[str, float]:
    """Milliseconds of a step without and with the look, of the look itself, and its share of a step."""
    limits = ("trainer.max_epochs=10000", f"trainer.max_steps={steps}", "trainer.limit_val_batches=1")
    config = compose([*overrides, *limits])
    config.paths.run = str(folder)
    settings = check(config)
    look = HalfOfTheTime()
    settings["callbacks"] = {"spike_statistics": settings["callbacks"]["spike_statistics"]}
    built = build(settings, [look])
    built.trainer.fit(built.task, datamodule=built.data)
    medians = [1000 * statistics.median(values[WARM_UP:]) for values in (look.steps[False], look.steps[True])]
    alone = 1000 * statistics.fmean(look.looks[WARM_UP:])  # every second one is at the loss alone
    return {"without_ms": medians[0], "with_ms": medians[1], "look_ms": alone, "share": alone / medians[0]}


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__)
    benchmark.add_count(parser, "steps", 200, "of each run")
    options = parser.parse_args()
    run = benchmark.begin(options)
    quieten_lightning()
    keep_freed_memory()
    measured = {}
    for name, overrides in NETS.items():
        with tempfile.TemporaryDirectory(prefix="snntrain-bench-") as folder:
            measured[name] = measure(overrides, options.steps, Path(folder))
    table = terminal.table("net", "step without, ms", "with, ms", "look alone, ms", "share of a step", texts=1)
    for name, result in measured.items():
        times = (f"{result[key]:.3f}" for key in ("without_ms", "with_ms", "look_ms"))
        table.add_row(name, *times, f"{result['share']:.2%}")
    console.print(table)
    benchmark.finish(options, "finite", run, {"nets": measured})


if __name__ == "__main__":
    main()
