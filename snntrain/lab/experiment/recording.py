"""Record an experiment: run it with several seeds, or use existing runs, and write experiments/<name>/."""

import datetime
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from snntrain.config import migration
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.config.folders import groups
from snntrain.config.overrides import check_command, root_of
from snntrain.error import UsageError
from snntrain.files import damage
from snntrain.installation import CHECKOUT, CONF, EXPERIMENTS
from snntrain.lab.experiment.environment import compared_versions, hardware_class, imported_packages, lock_text
from snntrain.lab.experiment.measured import RULE, is_timed, sizes_of_splits, summary
from snntrain.lab.experiment.portable import portable, refuse_local_places
from snntrain.lab.experiment.record_page import curves, json_text, literature, readme, remark
from snntrain.lab.experiment.recorded import (
    FORMAT,
    NOTES,
    Record,
    is_generated,
    verify_run,
    write_record,
)
from snntrain.registry import did_you_mean
from snntrain.run.build import build_callbacks, build_task, check_fit_end
from snntrain.run.differences import WITHOUT_EFFECT, differences
from snntrain.run.folder import RunFolder
from snntrain.run.provenance import git
from snntrain.run.results import exact_metrics
from snntrain.run.run import run
from snntrain.terminal import bold, terminal

FEWEST_SEEDS = 3  # from which a spread can be estimated
# Keys that the command line of a record does not accept, and what to use instead.
_NOT_HERE = {
    "seed": "give --seeds",
    "experiment": "it is the name",
    **dict.fromkeys(("resume", "show", "sweep", "launch", "hydra"), ""),
}
_TABLE = "experiments/README.md"
_OF_A_SEED = ("metrics", "hex", "seconds", "memory", "best_epoch")  # what a record keeps of results.json

console = terminal()


def check_request(name: str, seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Refuse a request that is wrong before anything runs."""
    check_experiment(name)
    _check_seeds(seeds)
    split_overrides(overrides)
    trainer = OmegaConf.to_container(compose([f"experiment={name}", *overrides]).trainer)
    refuse_several_devices({"trainer": trainer}, "a record")


def check_experiment(name: str) -> None:
    """Refuse an experiment without a file in conf/experiment."""
    known = groups().get("experiment", [])
    if name not in known:
        raise UsageError(
            f"{name!r} is not an experiment.{did_you_mean(name, known)} Those of conf/experiment: {', '.join(known)}."
        )


def clean_commit(name: str, root: Path | None = CHECKOUT) -> str:
    """The commit of a checkout in which nothing except the experiment's own record has changed."""
    if root is None:
        raise UsageError("record: snntrain is installed here, so a record could not name its code. Use a git checkout.")
    commit = git("rev-parse", "HEAD", root=root)
    if commit is None:
        raise UsageError(f"record: {root} is not a git checkout with a commit, so a record could not name its code.")
    status = git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", root=root) or ""
    changed = [entry[3:] for entry in status.split("\0") if entry]
    _refuse_changes(changed, name, "record: the checkout has changes that are in no commit")
    return commit.strip()


def _refuse_changes(changed: Sequence[str], name: str, what: str) -> None:
    changed = [path for path in changed if path != _TABLE and not path.startswith(f"experiments/{name}/")]
    if changed:
        listing = ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
        raise UsageError(f"{what}: {listing}. Commit them, or put them away with git stash -u.")


def composed(name: str, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved config of an experiment, with the run folder that records use."""
    return check(compose([f"experiment={name}", *overrides, f"seed={seed}", f"paths.run=runs/{name}"]))


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the overrides that belong to the experiment from those of folders, which do not."""
    ours, folders = [], []
    for override in overrides:
        root = root_of(override)
        if root in _NOT_HERE or not ("=" in override or override.startswith("~")):
            reason = _NOT_HERE.get(root) or "it is no part of an experiment"
            raise UsageError(f"{override!r} cannot be overridden here: {reason}. Overrides are key=value.")
        (folders if root == "paths" else ours).append(override)
    check_command(overrides, is_sweep=False)
    return ours, folders


def record(
    name: str, seeds: Sequence[int], overrides: Sequence[str], commit: str, experiments: Path = EXPERIMENTS
) -> dict[int, Path]:
    """Run an experiment with every seed and write its record; returns the run folder of each seed.

    Wrong names, seeds and overrides are refused before any training. If a run fails, the earlier record stays as it is.
    """
    check_request(name, seeds, overrides)
    ours, folders = split_overrides(overrides)
    configs = {seed: compose([f"experiment={name}", *overrides, f"seed={seed}"]) for seed in seeds}
    refuse_local_places(portable(composed(name, seeds[0], overrides), name))  # and whatever else its check refuses
    began = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    where = Path(configs[seeds[0]].paths.runs) / "recordings" / f"{began}_{name}"
    runs = {}
    for number, seed in enumerate(seeds, start=1):
        console.print(bold(f"\n{name}, seed {seed}", f" ({number} of {len(seeds)})"))
        words = [f"experiment={name}", *ours, f"seed={seed}"]
        run(configs[seed], where / f"seed_{seed}", [*words, *folders], shlex.join(["python", "train.py", *words]))
        runs[seed] = where / f"seed_{seed}"
    command = ["python", "scripts/record.py", name, "--seeds", ",".join(map(str, seeds)), *ours]
    _write(name, runs, ours, commit, shlex.join(command), experiments)
    return runs


def record_from(
    name: str, folders: Sequence[Path], overrides: Sequence[str], commit: str, experiments: Path = EXPERIMENTS
) -> dict[int, Path]:
    """Write the record of an experiment from finished runs at this commit, each with another seed; returns them."""
    check_experiment(name)
    ours, _ = split_overrides(overrides)
    runs: dict[int, Path] = {}
    for folder in folders:
        seed = _check_run(name, folder, ours, commit)
        if seed in runs:
            raise UsageError(f"{folder} has seed {seed}, as {runs[seed]} has. Give runs of different seeds.")
        runs[seed] = folder
    _check_seeds(list(runs))
    runs = dict(sorted(runs.items()))
    first = composed(name, next(iter(runs)), ours)
    refuse_several_devices(first, "a record")
    refuse_local_places(portable(first, name))
    # This imports the packages that the runs used, for the lock file.
    check_fit_end(build_callbacks(first), build_task(first), first)
    command = ["python", "scripts/record.py", name, "--seeds", ",".join(map(str, runs)), *ours]
    _write(name, runs, ours, commit, shlex.join(command), experiments)
    return runs


def refuse_several_devices(settings: Mapping[str, Any], what: str) -> None:
    """Refuse several devices: batches and the order of sums would differ between machines."""
    devices, nodes = settings["trainer"].get("devices", 1), settings["trainer"].get("num_nodes", 1)
    if (isinstance(devices, list) and len(devices) != 1) or (not isinstance(devices, list) and str(devices) != "1"):
        raise UsageError(f"trainer.devices={devices}: {what} runs on one device. Write trainer.devices=1.")
    if nodes != 1:
        raise UsageError(f"trainer.num_nodes={nodes}: {what} runs on one device. Write trainer.num_nodes=1.")


def _check_seeds(seeds: Sequence[int]) -> None:
    if len(set(seeds)) != len(seeds) or len(seeds) < FEWEST_SEEDS or min(seeds) < 0:
        raise UsageError(
            f"--seeds: at least {FEWEST_SEEDS} different seeds ≥ 0 are needed to take a tolerance from, got "
            f"{', '.join(map(str, seeds)) or 'none'}."
        )


def _check_run(name: str, folder: Path, overrides: Sequence[str], commit: str) -> int:
    """Check that a run folder belongs to the experiment, and return its seed."""
    run = RunFolder(folder)
    verify_run(run)
    status, facts = run.read(RunFolder.results).get("status"), run.read(RunFolder.provenance)
    if status != "finished":
        raise UsageError(f"{folder}: this run is {status!r}, not finished. Continue it: train.py resume={folder}.")
    with damage(run.provenance):
        codes = [dict(part["code"]) for part in (facts, *facts.get("continued", []))]
    for code in codes:
        check_code(name, folder, code, commit)
    config = run.read_config()
    if not isinstance(config["seed"], int):
        raise UsageError(f"{run.config} is damaged: it has no seed.")
    expected = portable(composed(name, config["seed"], overrides), name)
    different = differences(expected, portable(config, name), free=WITHOUT_EFFECT)
    if different:
        listing = "; ".join(f"{key} is {now!r}, {name} has {then!r}" for key, then, now in different[:5])
        raise UsageError(f"{folder} is no run of {name}: {listing}. Give the overrides of the runs to record.py too.")
    rows = [row for row in compared_versions(facts.get("versions", {})) if row[1] != row[2]]
    if rows:
        listing = ", ".join(f"{package} {then}, here {now}" for package, then, now in rows)
        raise UsageError(f"{folder} was run with other packages: {listing}. Run it again.")
    return config["seed"]


def check_code(name: str, folder: Path, code: Mapping[str, Any], commit: str | None) -> None:
    """Refuse a run of other code than that of a commit, by what its provenance says of its code."""
    if code.get("commit") != commit:
        raise UsageError(f"{folder} was run at commit {code.get('commit')}, the checkout is at {commit}. Run it again.")
    changed = [*code.get("untracked", []), *re.findall(r"^diff --git a/.* b/(.*)$", code.get("diff", ""), re.M)]
    _refuse_changes(changed, name, f"{folder} was run with changes that are in no commit")


def _write(
    name: str, runs: dict[int, Path], overrides: list[str], commit: str, command: str, experiments: Path
) -> None:
    found = {seed: RunFolder(folder).read(RunFolder.results) for seed, folder in runs.items()}
    metrics = {seed: exact_metrics(results) for seed, results in found.items()}
    _refuse_unequal("metrics", {seed: sorted(values) for seed, values in metrics.items()}, runs)
    first = next(iter(runs.values()))
    config = RunFolder(first).read_config()
    accelerator = config["trainer"].get("accelerator")
    facts = {seed: RunFolder(folder).read(RunFolder.provenance) for seed, folder in runs.items()}
    hardware = {seed: hardware_class(fact["hardware"], accelerator) for seed, fact in facts.items()}
    _refuse_unequal("class of hardware", hardware, runs)
    data = {seed: portable_names(fact["data"]) for seed, fact in facts.items()}
    is_of_the_seed = any(hashes != data[next(iter(runs))] for hashes in data.values())
    if is_of_the_seed and not getattr(get_object(config["data"]["_target_"]), "MADE_UP", False):
        _refuse_unequal("data", data, runs)
    sizes = sizes_of_splits(RunFolder(first).read(RunFolder.splits), config)
    expected = {
        "format": FORMAT,
        "experiment": name,
        "what": what_it_is(name),
        "rule": RULE,
        "samples": sizes,
        "not_compared": [metric for metric in next(iter(metrics.values())) if is_timed(metric)],
        "metrics": summary(metrics, sizes),
        "seeds": {str(seed): {key: kept[key] for key in _OF_A_SEED if key in kept} for seed, kept in found.items()},
    }
    origin = facts[next(iter(runs))]
    provenance = {
        "format": migration.FORMAT,
        "time": origin["time"],
        "command": command,
        "overrides": overrides,
        "commit": commit,
        "versions": origin["versions"],
        "hardware": hardware[next(iter(runs))],
        "data": data[next(iter(runs))],
        **({"data_of_seeds": {str(seed): hashes for seed, hashes in data.items()}} if is_of_the_seed else {}),
    }
    folder = experiments / name
    has_notes = (folder / NOTES).is_file() or (
        Record(folder).readme.is_file() and not is_generated(Record(folder).readme)
    )
    files = {
        Record.config.name: yaml.safe_dump(portable(config, name), sort_keys=False, allow_unicode=True),
        Record.expected.name: json_text(expected),
        Record.provenance.name: json_text(provenance),
        Record.lock.name: lock_text(imported_packages()),
        Record.curves.name: curves(runs),
        Record.readme.name: readme(name, expected, provenance, has_notes, literature(folder), remark(folder)),
    }
    write_record(folder, files)


def portable_names(data: Mapping[str, str]) -> dict[str, str]:
    """File → SHA-256, without the folders of one machine."""
    return {Path(path).name if Path(path).is_absolute() else path: sha for path, sha in data.items()}


def _refuse_unequal(what: str, of_seeds: dict[int, Any], runs: dict[int, Path]) -> None:
    (first, expected), *others = of_seeds.items()
    for seed, value in others:
        if value != expected:
            raise UsageError(f"{runs[seed]} has other {what} than {runs[first]}: {value!r}, not {expected!r}.")


def what_it_is(name: str) -> str:
    """The comment at the top of an experiment's YAML."""
    lines = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").strip())
    return " ".join(comment for comment in comments if not comment.startswith("@package")) or name
