"""Where the seconds of a one-epoch run on the digits go, from the command to the prompt.

python scripts/bench_startup.py --rounds 7

Each run is a process of its own, started as python train.py trainer.max_epochs=1 with a line that notes the time at
the end of each phase. A first run, which is not counted, writes bytecode and compiled kernels: the figures are those of
every run after the first. Beside it, in each round: --help and a misspelled key, which import neither torch nor
Lightning. The table and benchmarks/startup.json hold medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [str(ROOT / "train.py"), "trainer.max_epochs=1"]
_MARKED = "SNNTRAIN_BENCH_STARTUP"  # in the environment of a run that notes its phases: when it was started, and a file
#: What ends at each mark, in order.
PHASES = {
    "program": "Python; import Hydra and what checks a command line",
    "composed": "compose the config",
    "lightning": "import lightning.pytorch, which imports torch",
    "imported": "import snntrain",
    "checked": "check the config",
    "built": "build net, data and Trainer; load kernels from their cache",
    "first batch": "provenance, table of layers, start of the Trainer",
    "trained": "the epoch: training, validation, checkpoints",
    "tested": "test on the best checkpoint, spike raster",
    "reported": "results and report",
    "ended": "end of the process",
}
_IMPORT, _FIRST = "lightning", "first batch"
OTHERS = {"--help": (["--help"], 0), "a misspelled key": (["seeed=3"], 2)}


def marked_run() -> int:
    """Train as train.py does, noting when each phase ends."""
    began, file = os.environ[_MARKED].split(":", 1)
    marks: dict[str, float] = {}

    def mark(phase: str) -> None:
        marks[phase] = time.time() - float(began)

    def marking(owner: Any, name: str, after: str = "", before: str = "") -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            if before:
                mark(before)
            try:
                return function(*arguments, **named)
            finally:
                if after:
                    mark(after)

        setattr(owner, name, replaced)

    from snntrain.__main__ import main
    from snntrain.lab.programs import train

    mark("program")
    import_libraries = train._import_libraries

    def imports() -> None:
        mark("composed")
        import lightning.pytorch as pl

        mark("lightning")
        import_libraries()
        mark("imported")
        from snntrain.run import run

        class FirstBatch(pl.Callback):
            def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, index: int) -> None:
                if trainer.global_step == 0:
                    mark("first batch")

        build = run.build

        def with_first_batch(settings: dict[str, Any], more: Any = ()) -> Any:
            return build(settings, [*more, FirstBatch()])

        run.build = with_first_batch
        marking(run, "check", after="checked")
        marking(run, "build", after="built")
        marking(run, "_test", before="trained")
        marking(run, "_conclude", before="tested", after="reported")

    train._import_libraries = imports
    code = main(["train", *sys.argv[1:]])
    Path(file).write_text(json.dumps(marks), encoding="utf-8")
    return code


def one_run(environment: dict[str, str], folder: str) -> dict[str, float]:
    """Phase → seconds of one run in a fresh process."""
    marks_file = Path(folder) / "marks.json"
    marks_file.unlink(missing_ok=True)
    began = time.time()
    given = environment | {_MARKED: f"{began}:{marks_file}"}
    _succeeded([sys.executable, __file__, *TRAIN[1:], f"paths.runs={folder}/runs"], given, folder, 0)
    marks = json.loads(marks_file.read_text(encoding="utf-8")) | {"ended": time.time() - began}
    ends = [0.0, *(marks[phase] for phase in PHASES)]
    return {phase: end - start for phase, start, end in zip(PHASES, ends, ends[1:], strict=False)}


def seconds(command: list[str], environment: dict[str, str], folder: str, code: int) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    _succeeded([sys.executable, *command], environment, folder, code)
    return time.perf_counter() - began


def _succeeded(command: list[str], environment: dict[str, str], folder: str, code: int) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")


def summary(phases: dict[str, list[float]], others: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and what the aims are about: sums within each round."""
    rounds = list(zip(*phases.values(), strict=True))
    names = list(phases)
    first, imports = names.index(_FIRST) + 1, names.index(_IMPORT)
    sums = {
        "whole run": [sum(each) for each in rounds],
        "first batch": [sum(each[:first]) for each in rounds],
        "first batch, without the import of Lightning": [sum(each[:first]) - each[imports] for each in rounds],
        "first batch, after the import of Lightning": [sum(each[imports + 1 : first]) for each in rounds],
    }
    return {
        kind: {name: round(statistics.median(values), 3) for name, values in measured.items()}
        for kind, measured in {"phases": phases, "sums": sums, "others": others}.items()
    }


def main() -> int:
    """The command line."""
    import benchmark  # here, because it imports torch, and a run that is measured imports this file

    from snntrain import terminal

    options = benchmark.parser(__doc__, rounds=7).parse_args()
    run = benchmark.begin(options)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
    others: dict[str, list[float]] = {name: [] for name in OTHERS}
    with tempfile.TemporaryDirectory() as folder:
        one_run(environment, folder)
        for _ in range(options.rounds):
            for phase, took in one_run(environment, folder).items():
                phases[phase].append(took)
            for name, (words, code) in OTHERS.items():
                others[name].append(seconds([TRAIN[0], *words], environment, folder, code))
    found = summary(phases, others)
    table = terminal.table("", "median s", texts=1)
    for phase, what in PHASES.items():
        table.add_row(what, f"{found['phases'][phase]:.2f}")
    for name, value in (found["sums"] | found["others"]).items():
        table.add_row(name, f"{value:.2f}")
    benchmark.console.print(table)
    benchmark.finish(options, "startup", run, found)
    return 0


if __name__ == "__main__":
    sys.exit(marked_run() if _MARKED in os.environ else main())
