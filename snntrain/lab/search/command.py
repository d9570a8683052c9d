"""The command line of scripts/tune.py: parse it, check it, and run it with one or several workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.padding import Padding

from snntrain.config.folders import groups, take_config_folders
from snntrain.config.overrides import refuse_repeated
from snntrain.config.schema import top_level_keys
from snntrain.error import UsageError, without_password
from snntrain.installation import CHECKOUT, command_of
from snntrain.lab.search.settings import Search, load_search, searches
from snntrain.registry import did_you_mean
from snntrain.run.interruption import Interrupted, interruptible
from snntrain.terminal import bold, print_error, print_line, terminal

_OWN = ("search", "n_trials", "workers", "study", "storage")
_TUNE = command_of("tune")
_EXAMPLES = f"""\
  {_TUNE} search=lif_tau
      in runs/studies/lif_tau; the same command again continues it
  {_TUNE} search=lif_tau workers=2 n_trials=60
      or the command once more in another terminal
  {_TUNE} search=lif_tau study=long trainer.max_epochs=20
      any override of train.py, for every run
  {_TUNE} search=tau_lr_energy storage=sqlite:///study.db"""

console = terminal()


@dataclass
class Command:
    """A parsed command line.

    Attributes:
        changed: settings of the search.
        parent: process that started this one as a worker of several, else 0.
    """

    name: str
    workers: int = 1
    changed: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    parent: int = 0


def main(arguments: Sequence[str]) -> int:
    """Run the program; the exit code: 0 if the study is done, 1 if workers failed before that."""
    if not arguments or set(arguments) & {"-h", "--help"}:
        _help()
        return 0
    try:
        with interruptible():
            return _search(parse(take_config_folders(arguments)), list(arguments))
    except Interrupted as interruption:
        interruption.message = f"Interrupted ({interruption}). The same command continues it."
        print_line(terminal(stderr=True), interruption.message)
        raise


def parse(arguments: Sequence[str]) -> Command:
    """Parse and check a command line."""
    command = Command(name="")
    refuse_repeated(arguments)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key == "--parent" and equals:
            command.parent = _count(key, value)
        elif not equals or key.startswith("-"):
            raise UsageError(
                f"{argument!r} is not a setting.{did_you_mean(key, _OWN)} Write key=value: {', '.join(_OWN)}, or an "
                "override of train.py."
            )
        elif key == "search":
            command.name = value
        elif key == "workers":
            command.workers = _count(key, value)
        elif key == "n_trials":
            command.changed[key] = _count(key, value)
        elif key in _OWN:
            command.changed[key] = value
        else:
            near = did_you_mean(key, _OWN)
            if near and "." not in key and "/" not in key and key.lower() not in (*top_level_keys(), *groups()):
                raise UsageError(f"{argument!r} is not a setting.{near}")
            command.overrides.append(argument)
    if not command.name:
        raise UsageError(f"search=… is missing. Searches: {', '.join(searches())}, or the path of a .yaml file.")
    return command


def _count(key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{key} must be an integer ≥ 1, got {value!r}.")
    return int(value)


def _search(command: Command, arguments: list[str]) -> int:
    search = load_search(command.name, command.changed, command.overrides)
    # First, because its error says how to install Optuna if that is missing.
    from snntrain.lab.search.storage import open_storage  # isort: split
    from snntrain.lab.search.report import best_rows
    from snntrain.lab.search.space import rehearse, try_ends
    from snntrain.lab.search.study import has_trials, number_finished, open_study
    from snntrain.lab.search.worker import TooManyFailures, work
    from snntrain.run.run import quieten_lightning

    quieten_lightning()
    config = try_ends(search)
    folder = Path(config["paths"]["runs"]) / "studies" / search.study
    where = search.storage or str(folder / "study.journal")
    # A trial's own output goes into its folder; that the server is away is to be seen here.
    say = partial(print_line, terminal(file=sys.stderr))
    storage = open_storage(where, say=say, waits=bool(command.parent))
    has_runs = any(folder.glob("trial_*"))  # looked for first, as another worker may begin one at this moment
    if not has_trials(search, storage):
        if has_runs:
            raise UsageError(
                f"{folder} holds the runs of a study that {without_password(where)} does not know. Choose another "
                "name, study=…, or move that folder away."
            )
        rehearse(search)
    study = open_study(search, storage, config)
    if not command.parent:
        done = f"   {number_finished(study)} of {search.n_trials} trials are done   {folder}"
        print_line(console, bold(search.study, done))
    try:
        if command.workers == 1:
            work(search, study, folder, partial(print_line, console), command.parent)
        elif number_finished(study) < search.n_trials:
            _supervise(command.workers, arguments)
    except TooManyFailures as failure:
        print_error(str(failure))
        return 1
    if command.parent:
        return 0
    return _conclude(search, number_finished(study), best_rows(search, study), folder)


def _supervise(workers: int, arguments: list[str]) -> None:
    """Run the same command in several processes; the others replace the trial of one that dies."""
    again = [argument for argument in arguments if not argument.startswith("workers=")]
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}  # otherwise each would start a thread for every core
    if CHECKOUT is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "snntrain", "tune", *again, f"--parent={os.getpid()}"],
            env=environment,
            start_new_session=True,  # so that only this process gets Ctrl-C, and passes it on once
        )
        for _ in range(workers)
    ]
    console.print(f"workers: {', '.join(str(process.pid) for process in started)}")
    try:
        for process in started:
            if process.wait() < 0:
                print_error(f"{process.pid} was ended by {signal.Signals(-process.returncode).name}.", "worker")
    except Interrupted as interruption:
        for process in started:
            if process.poll() is None:
                process.send_signal(interruption.exit_code - 128)
        for process in started:
            process.wait()
        raise


def _conclude(search: Search, finished: int, best: Sequence[Any], folder: Path) -> int:
    for row in best:
        values = "   ".join(
            f"{objective.metric} {value:.6g}" for objective, value in zip(search.objectives, row.values, strict=True)
        )
        print_line(console, bold(f"best: trial {row.number}   {values}"))
        console.print(row.command, soft_wrap=True)  # to be copied in one piece
    print_line(console, f"report: {folder / 'study.html'}")
    if finished < search.n_trials:
        print_error(f"{finished} of {search.n_trials} trials are done; the same command continues the study.")
    return int(finished < search.n_trials)


def _help() -> None:
    console.print("Search for hyper-parameters: a study of many runs of train.py.\n")
    console.print("Settings: search=…  n_trials=…  workers=…  study=…")
    console.print("          storage=… (a file or the URL of a database)")
    console.print("Everything else is an override of train.py, for every run.\n\nSearches, conf/search:")
    for name, summary in searches().items():
        console.print(Padding(f"{name}: {summary}", (0, 0, 0, 2)))
    print_line(console, f"\nExamples:\n{_EXAMPLES}")
