"""Repeat a recorded experiment or a run folder and compare the results with the recorded ones."""

import datetime
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table
from rich.text import Text

from snntrain.config.bounds import check_bounds
from snntrain.config.check import check, check_resolved
from snntrain.config.compose import check_overrides, compose
from snntrain.config.foreign import admit
from snntrain.config.overrides import key_of, read_changes
from snntrain.config.schema import Paths
from snntrain.error import UsageError
from snntrain.installation import EXPERIMENTS
from snntrain.lab.experiment.environment import (
    compared_hardware,
    compared_versions,
    comparison_table,
    computing,
    is_same,
    match_threads,
)
from snntrain.lab.experiment.measured import RULE, RULE_OF_ONE_RUN, Verdict, compare
from snntrain.lab.experiment.portable import portable, relocated
from snntrain.lab.experiment.recorded import (
    Record,
    Reference,
    read_record,
    read_run,
    recorded_names,
)
from snntrain.lab.experiment.recording import composed, refuse_several_devices, split_overrides
from snntrain.lava_exchange.lava_shim import installed_lava
from snntrain.registry import did_you_mean
from snntrain.run.differences import WITHOUT_EFFECT, differences
from snntrain.run.folder import RunFolder
from snntrain.run.memory import keep_freed_memory
from snntrain.run.provenance import git
from snntrain.run.run import quieten_lightning, run_checked
from snntrain.terminal import print_line, table, terminal

AGREES, DIFFERS, OTHER_CONFIG = 0, 1, 3

console = terminal()


def reproduce(name: str, seed: int | None, overrides: Sequence[str], experiments: Path = EXPERIMENTS) -> int:
    """Repeat one seed of a recorded experiment, the first one for None.

    Overrides may name folders (paths.data=…); anything else makes it another experiment, whose differences are printed.

    Returns: 0 if every compared metric agrees, 1 if one does not, 3 (without training) if the experiment's config is
    not the recorded one.
    """
    known = recorded_names(experiments)
    if name not in known:
        raise UsageError(
            f"{name!r} is not a recorded experiment.{did_you_mean(name, known)} Recorded: "
            f"{', '.join(known) or 'none'}. A run folder: --from FOLDER."
        )
    reference = read_record(experiments / name)
    seed = _seed_of(reference, seed)
    ours, folders = split_overrides(overrides)
    check_overrides(overrides)
    given = [*reference.overrides, *ours, *folders]
    now = portable(composed(name, next(iter(reference.metrics)), given), name)
    rows = differences(reference.config, now, free=WITHOUT_EFFECT)
    if rows:
        console.print(Text(f"{name} is not what was recorded:", style="bold red"))
        console.print(comparison_table(rows, ("recorded", "now")))
        console.print("Nothing was trained. Undo the change, or record the experiment anew: scripts/record.py.")
        return OTHER_CONFIG
    words = [f"experiment={name}", *given, f"seed={seed}"]
    config = compose(words)
    config.paths.run = str(_new_folder(config.paths.runs, f"{name}_seed{seed}"))
    settings = check(config)
    command = shlex.join(["python", "scripts/reproduce.py", name, "--seed", str(seed)])
    return _repeat(reference, seed, settings, words, command, RULE)


def reproduce_from(folder: Path, seed: int | None, overrides: Sequence[str]) -> int:
    """Repeat a run folder, or the first seed of a record, from its files alone, which may come from anywhere.

    Overrides may be paths.data, paths.runs, data.num_workers and trust=true, without which no code of its own is run.

    Returns: 0 if every compared metric agrees, 1 if one does not.
    """
    if not folder.is_dir():
        raise UsageError(f"--from: {folder} is not a folder. Give a run folder of train.py, or a recorded experiment.")
    is_record = Record(folder).expected.is_file()
    given = changes_of(overrides)
    trust = given.get("trust") is True
    reference = read_record(folder) if is_record else read_run(folder)
    config = admit(reference.config, str(folder), trust, writing=("callbacks", "trainer"))
    own = config["seed"]
    if not isinstance(own, int) or own not in reference.metrics:
        raise UsageError(f"{folder}: its config has seed {config['seed']!r}, its results are of another.")
    if seed not in (None, own):
        raise UsageError(f"--seed {seed}: {folder} has seed {own}, and only that can be repeated from a folder.")
    settings = settled(config, folder, given)
    check_bounds(settings, str(folder))
    check_resolved(settings)
    command = shlex.join(["python", "scripts/reproduce.py", "--from", folder.name])
    return _repeat(reference, own, settings, [], command, RULE if is_record else RULE_OF_ONE_RUN)


def _seed_of(reference: Reference, seed: int | None) -> int:
    if seed is None:
        return next(iter(reference.metrics))
    if seed not in reference.metrics:
        listing = ", ".join(map(str, reference.metrics))
        raise UsageError(f"--seed {seed} is not recorded for {reference.title}; recorded: {listing}.")
    return seed


def _new_folder(runs: str, title: str) -> Path:
    began = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    return Path(runs) / "reproductions" / f"{began}_{title}"


def changes_of(overrides: Sequence[str]) -> dict[str, Any]:
    """Overrides of a run from elsewhere, as nested keys; those that would change the run are refused."""
    allowed = ("paths.data", "paths.runs", "data.num_workers", "trust")
    for override in overrides:
        key = key_of(override)
        if key not in allowed:
            raise UsageError(
                f"{override!r} would make it another run.{did_you_mean(key, allowed)} With --from only "
                f"{', '.join(allowed)} can be set."
            )
        if not override.partition("=")[2]:
            raise UsageError(f"{override} has no value.")
    return OmegaConf.to_container(read_changes(overrides, "reproduce.py"))


def settled(config: dict[str, Any], folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """A config from elsewhere, with folders of this machine."""
    default, own, asked = asdict(Paths()), config["paths"], given.get("paths", {})
    runs = asked.get("runs", default["runs"])
    there = isinstance(own.get("data"), str) and Path(own["data"]).is_dir()
    data = asked.get("data", own["data"] if there else default["data"])
    title = folder.resolve().name
    settings = relocated(config, {"data": data, "runs": runs, "run": str(_new_folder(runs, title))})
    if "num_workers" in given.get("data", {}):
        settings["data"] = {**settings["data"], "num_workers": given["data"]["num_workers"]}
    # A logger changes no result, but one that writes elsewhere might report to a server of the run's author.
    logger = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": settings["paths"]["run"], "name": "logs"}
    return {**settings, "resume": None, "show": None, "debug": {}, "logger": logger if settings["logger"] else {}}


def _repeat(
    reference: Reference, seed: int, settings: dict[str, Any], words: list[str], command: str, rule: str
) -> int:
    refuse_several_devices(settings, "a repetition")
    quieten_lightning()
    keep_freed_memory()
    same_surroundings = compare_surroundings(reference, settings["trainer"].get("accelerator"))
    metrics = run_checked(settings, words, None, command)
    folder = Path(settings["paths"]["run"])
    same_data = compare_data(reference.data[seed], RunFolder(folder).read(RunFolder.provenance)["data"])
    bits = same_data and same_surroundings
    found = {name: float(value) for name, value in metrics.items()}
    recorded = reference.metrics[seed]
    without_lava = installed_lava((settings["callbacks"].get("lava") or {}).get("folder")) is None
    verdicts = compare(recorded, found, reference.tolerances[seed], bits, without_lava)
    return conclude(f"{reference.title}, seed {seed}", verdicts, bits, rule)


def compare_surroundings(reference: Reference, accelerator: str | None) -> bool:
    """Let torch use the recorded number of threads, and print commit, hardware and packages, recorded and here.

    Returns: whether all on which rounding can depend is the same.
    """
    match_threads(reference.hardware)
    packages = compared_versions(reference.versions)
    hardware = compared_hardware(reference.hardware, accelerator)
    commit = (git("rev-parse", "HEAD") or "").strip() or None
    changed = [row for row in packages if row[1] != row[2]]
    count = (f"{len(packages)} recorded", f"{len(changed)} differ") if changed else ("all the same",) * 2
    code = ("commit", *(str(name)[:12] for name in (reference.commit, commit)))
    console.print(comparison_table([code, *hardware, ("packages", *count), *changed]))
    return is_same(computing(packages)) and is_same(hardware)


def compare_data(recorded: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Whether the data are the recorded ones; what differs is printed."""
    # The hashes alone, because the names may contain folders of one machine.
    if sorted(here.values()) == sorted(recorded.values()):
        return True
    rows = [(name, recorded.get(name, "—"), here.get(name, "—")) for name in {**recorded, **here}]
    console.print("data, SHA-256:")
    console.print(comparison_table([row for row in rows if row[1] != row[2]]))
    return False


def conclude(what: str, verdicts: list[Verdict], bits: bool, rule: str) -> int:
    """Print a comparison and what follows from it; the exit code.

    Args:
        what: was repeated.
        verdicts: on each metric.
        bits: whether every bit had to be equal.
        rule: of the tolerances otherwise.
    """
    why = (
        "same packages, class of hardware and data: every bit has to be equal"
        if bits
        else f"packages, class of hardware or data differ: within {rule}"
    )
    console.print(verdict_table(verdicts))
    print_line(console, f"rule: {why}")
    wrong = [verdict for verdict in verdicts if verdict.agrees is False]
    compared = [verdict for verdict in verdicts if verdict.agrees is not None]
    if wrong or not compared:
        console.print(
            Text.assemble(("not reproduced", "bold red"), f": {what}, {len(wrong)} of {len(compared)} metrics differ")
        )
        return DIFFERS
    manner = "to the last bit" if bits else "within tolerance"
    console.print(Text.assemble(("reproduced", "bold green"), f" {manner}: {what}, {len(compared)} metrics"))
    return AGREES


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """A table of recorded and found metrics, the rule that was applied, and the verdict."""
    listed = table("metric", "recorded", "found", "rule", "")
    words = {True: ("agrees", "green"), False: ("differs", "bold red"), None: ("not compared", "dim")}
    for verdict in verdicts:
        result, style = words[verdict.agrees]
        cells = (verdict.name, _number(verdict.recorded), _number(verdict.found), verdict.rule)
        listed.add_row(*(Text(cell) for cell in cells), Text(result, style=style))
    return listed


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.8g}" if math.isfinite(value) else str(value)
