"""What counting NeuroBench's metrics costs in a test.

python scripts/bench_neurobench.py                                  digits_lif, whose data come with scikit-learn
python scripts/bench_neurobench.py fmnist_csnn paths.data=~/data    another record, and where its data lie

A record's network, with the weights that it ships, is tested with the metrics and without, in turn.
"""

import benchmark  # before torch

from benchmark import console  # isort: skip

import tempfile
from collections.abc import Sequence

from snntrain import create_model
from snntrain.callback import EnergyModels, NeuroBench
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.run.build import build
from snntrain.run.run import quieten_lightning


def share_of_test(record: str, overrides: Sequence[str], rounds: int) -> dict[str, float]:
    """Seconds of a test with and without the metrics, and the share by which they lengthen it."""
    with tempfile.TemporaryDirectory(prefix="snntrain-bench-") as folder:
        config = compose([f"experiment={record}", "callbacks=default", "~callbacks.progress", *overrides])
        config.paths.run = folder
        built = build(check(config))
    built.task.net.load_state_dict(create_model(record, pretrained=True).state_dict())
    everything = built.trainer.callbacks
    without = [callback for callback in everything if not isinstance(callback, NeuroBench | EnergyModels)]

    def seconds(callbacks: list) -> float:
        built.trainer.callbacks = callbacks
        return benchmark.seconds_of(lambda: built.trainer.test(built.task, datamodule=built.data, verbose=False))

    measured = benchmark.interleaved(
        {"with": lambda: seconds(everything), "without": lambda: seconds(without)}, rounds=rounds
    )
    told = {name: benchmark.spread(values)["median"] for name, values in measured.items()}
    return told | {"cost": benchmark.ratio(measured["with"], measured["without"]) - 1}


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__)
    parser.add_argument("record", nargs="?", default="digits_lif")
    parser.add_argument("overrides", nargs="*", help="keys of the config")
    benchmark.add_count(parser, "rounds", 10, "tests of each kind")
    options = parser.parse_args()
    run = benchmark.begin(options)
    quieten_lightning()
    told = share_of_test(options.record, options.overrides, options.rounds)
    console.print(
        f"{options.record}: a test takes {told['with']:.2f} s with NeuroBench's metrics, {told['without']:.2f} s "
        f"without: {told['cost']:+.1%} (median of {options.rounds} rounds)"
    )
    benchmark.finish(options, "neurobench", run, {"record": options.record, **told})


if __name__ == "__main__":
    main()
