"""Kill runs at random moments, resume them, and compare with undisturbed runs: nothing is lost, every bit is equal.

python scripts/kill_campaign.py                       50 kills over all scenes, some minutes
python scripts/kill_campaign.py --kills 10 --seed 3 --only train,sweep --keep /tmp/kills

Each scene first runs undisturbed. Then a process that does the same is killed by SIGKILL at a random moment within
that time, the files it left are checked, and the work is resumed as a user would. Exit code 1 if a result was lost,
a file that exists cannot be read, or a metric differs in any bit.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see train.py
os.environ.setdefault("OMP_NUM_THREADS", "1")  # results depend on the number of threads

import numpy as np
import torch

from snntrain.error import UsageError
from snntrain.lab.experiment.recorded import read_record
from snntrain.lab.experiment.recording import record
from snntrain.lab.sweep.jobs import read_jobs
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.folder import RunFolder
from snntrain.run.run import run  # noqa: F401  imported once, before the processes are forked

ROOT = Path(__file__).resolve().parents[1]
TINY = ("model=mlp", "model.features=8", "T=2", "trainer.max_epochs=3", "data.batch_size=64", "optim.lr=0.02")
LIMIT = 300.0  # seconds after which a process counts as hanging
Hex = dict[str, str]


class Lost(Exception):
    """Raised for a result that is missing or has changed."""


class Scene(ABC):
    """Work that takes a while, writes files, and can be resumed.

    Attributes:
        name: used by --only.
        weight: how many of 50 kills it gets.
    """

    name: str
    weight: int

    def prepare(self, folder: Path) -> None:
        """Make the folder and the files that the work needs."""
        folder.mkdir(parents=True)

    @abstractmethod
    def begin(self) -> None:
        """Do the work. Called in a process of its own, whose working directory is the scene's folder."""

    def go_on(self) -> None:
        """Do what a user does after a kill, in the same way: the same again, unless a scene knows better."""
        self.begin()

    @abstractmethod
    def results(self, folder: Path) -> Hex:
        """All metrics that exist, by place and name."""

    def check_left(self, folder: Path, whole: Hex) -> None:
        """Check what a kill left: every file can be read, and no result has changed."""
        for checkpoint in folder.glob("**/*.ckpt"):
            if not checkpoint.name.startswith("."):
                read_checkpoint(checkpoint)
        self.compare(self.results(folder), whole, partly=True)

    def compare(self, found: Hex, whole: Hex, partly: bool) -> None:
        """Raise Lost for metrics that differ and, unless only a part is expected, for missing ones."""
        wrong = [key for key in found if found[key] != whole.get(key)]
        missing = [] if partly else [key for key in whole if key not in found]
        if wrong or missing:
            raise Lost(f"{len(wrong)} metrics differ, {len(missing)} are missing: {', '.join((wrong + missing)[:4])}")


def train(*arguments: str) -> None:
    """train.py in this process."""
    program("train.py", *arguments)


def program(name: str, *arguments: str) -> None:
    """One of the programs in this process."""
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(str(ROOT / name), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{name} {' '.join(arguments)} ended with exit code {end.code}") from None


def metrics_of(folder: Path) -> Hex:
    """The exact metrics of a finished run, otherwise {}."""
    found = RunFolder(folder).outcome()
    return found["hex"] if found.get("status") == "finished" else {}


class Training(Scene):
    """A run with random spikes, a learning-rate schedule and an average of the weights."""

    name, weight = "train", 15
    more: tuple[str, ...] = ("encoder=poisson", "neuron=plif", "callbacks=[default,ema]")

    def begin(self) -> None:
        train(*TINY, *self.more, "hydra.run.dir=run")

    def go_on(self) -> None:
        resumable = RunFolder(Path("run")).last_checkpoint.is_file()
        train(*TINY, *self.more, *(["resume=run"] if resumable else ["hydra.run.dir=again"]))

    def results(self, folder: Path) -> Hex:
        return metrics_of(folder / "run") or metrics_of(folder / "again")


class Converting(Training):
    """Fit-end callbacks: ANN to SNN, then integers, which are fine-tuned."""

    name, weight = "fit_end", 6
    more = (
        "neuron=relu",
        "callbacks=[default,ann2snn,qat]",
        "callbacks.qat.epochs=2",
        "callbacks.qat.sensitivity_batches=0",
    )


class Exporting(Training):
    """Export to NIR."""

    name, weight = "nir", 4
    more = ("callbacks=[default,nir]",)


class Sweeping(Scene):
    """Two jobs in a sweep folder."""

    name, weight = "sweep", 9

    def begin(self) -> None:
        train("-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep")

    def go_on(self) -> None:
        resumable = Path("sweep/sweep.json").is_file()
        train("-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep", *["sweep.resume=true"] * resumable)

    def results(self, folder: Path) -> Hex:
        if not (folder / "sweep/sweep.json").is_file():
            return {}
        jobs = [job for job in read_jobs(folder / "sweep") if job.status == "finished"]
        return {f"{job.number} {name}": float(value).hex() for job in jobs for name, value in job.metrics.items()}


class Caching(Scene):
    """Recordings of events, framed and cached on the disk by the first run that reads them."""

    name, weight = "cache", 6
    data = ("data=event_folder", "data.root=recordings", "data.num_classes=2", "data.cache_root=cache", "model=mlp")
    more = ("model.features=8", "T=2", "trainer.max_epochs=1", "data.batch_size=64")

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        draw = np.random.default_rng(1)
        for split, count in (("train", 150), ("test", 50)):
            for kind in ("a", "b"):
                place = folder / "recordings" / split / kind
                place.mkdir(parents=True)
                for number in range(count):
                    events = draw.integers(0, 34, (200, 4))
                    events[:, 2], events[:, 3] = np.sort(draw.integers(0, 10**5, 200)), draw.integers(0, 2, 200)
                    np.save(place / f"{number}.npy", events)

    def begin(self) -> None:
        train(*self.data, *self.more, "hydra.run.dir=run")

    def go_on(self) -> None:
        train(*self.data, *self.more, "hydra.run.dir=again")

    def results(self, folder: Path) -> Hex:
        return metrics_of(folder / "again") or metrics_of(folder / "run")


class Recording(Scene):
    """A record of three seeds."""

    name, weight = "record", 5
    experiment = "digits_lif"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        (folder / "experiments").mkdir()

    def begin(self) -> None:
        overrides = ["model=mlp", "model.features=8", "T=2", "trainer.max_epochs=1", "data.batch_size=512"]
        record(self.experiment, [1, 2, 3], overrides, "0" * 40, Path("experiments"))

    def results(self, folder: Path) -> Hex:
        if not (folder / "experiments" / self.experiment).exists():
            return {}
        found = read_record(folder / "experiments" / self.experiment).metrics.items()
        return {f"{seed} {name}": value.hex() for seed, metrics in found for name, value in metrics.items()}


class Replacing(Recording):
    """A record that replaces an existing one, which must be readable at every moment."""

    name, weight = "replace", 2

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        in_a_process(self.begin, folder)

    def check_left(self, folder: Path, whole: Hex) -> None:
        self.compare(self.results(folder), whole, partly=False)


class Searching(Scene):
    """A study of three trials."""

    name, weight = "tune", 5
    search = """\
study: killed
n_trials: 3
overrides: [model=mlp, model.features=8, T=2, trainer.max_epochs=1, data.batch_size=512]
parameters: {optim.lr: {type: float, low: 1.0e-4, high: 3.0e-2, log: true}}
objectives: [{metric: val/acc, direction: maximize}]
sampler: {type: random, seed: 1}
"""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        (folder / "search.yaml").write_text(self.search, encoding="utf-8")

    def begin(self) -> None:
        program("scripts/tune.py", "search=search.yaml")

    def results(self, folder: Path) -> Hex:
        trials = sorted(folder.glob("runs/studies/killed/trial_*"))
        return {f"{trial.name} {name}": value for trial in trials for name, value in metrics_of(trial).items()}

    def compare(self, found: Hex, whole: Hex, partly: bool) -> None:
        """A killed trial is replaced by one with the next number and other values; three finish in any case."""
        super().compare({key: value for key, value in found.items() if key in whole}, whole, partly=True)
        finished = {key.split()[0] for key in found}
        if not partly and len(finished) != 3:
            raise Lost(f"{len(finished)} of 3 trials are finished")


SCENES = (Training, Converting, Exporting, Sweeping, Caching, Recording, Replacing, Searching)


def in_a_process(work: Callable[[], None], folder: Path, kill_after: float | None = None) -> bool:
    """Do some work in a fork of this process, which saves importing torch again.

    Returns: whether it was killed before it ended.
    Raises: RuntimeError with the end of its output if it failed; TimeoutError if it hangs.
    """
    log = folder / "output.txt"
    process = multiprocessing.get_context("fork").Process(target=_work_in, args=(work, folder, log))
    process.start()
    process.join(LIMIT if kill_after is None else kill_after)
    was_running = process.exitcode is None
    process.kill()
    process.join()
    if was_running and kill_after is None:
        raise TimeoutError(f"it did not end within {LIMIT:.0f} seconds")
    if process.exitcode and not was_running:
        raise RuntimeError("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]))
    return was_running


def _work_in(work: Callable[[], None], folder: Path, log: Path) -> None:
    """Work in a folder, with all output in a file, also that of further processes."""
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
    work()


def undisturbed(scene: Scene, folder: Path) -> tuple[Hex, float]:
    """The results of an undisturbed run, and how long it takes once its kernels are compiled."""
    seconds = 0.0
    for attempt in ("first", "second"):
        place = folder / f"{scene.name}_{attempt}"
        scene.prepare(place)
        began = time.perf_counter()
        in_a_process(scene.begin, place)
        seconds = time.perf_counter() - began
    found = scene.results(place)
    if not found or found != scene.results(folder / f"{scene.name}_first"):
        raise Lost(f"{scene.name}: two undisturbed runs are not equal")
    return found, seconds


def killed(scene: Scene, folder: Path, moment: float, whole: Hex) -> str:
    """Kill once, resume and compare; returns what went wrong, or ''."""
    scene.prepare(folder)
    try:
        in_a_process(scene.begin, folder, kill_after=moment)
        scene.check_left(folder, whole)
        in_a_process(scene.go_on, folder)
        scene.compare(scene.results(folder), whole, partly=False)
    except (Lost, RuntimeError, TimeoutError, UsageError, OSError, KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(arguments: list[str]) -> int:
    """Run the campaign; the exit code."""
    parser = argparse.ArgumentParser(
        "kill_campaign.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--only", default="", help=f"of {', '.join(scene.name for scene in SCENES)}, with commas")
    parser.add_argument("--keep", type=Path, help="a folder for what the failing ones left; default: a temporary one")
    asked = parser.parse_args(arguments)
    scenes = [scene() for scene in SCENES if not asked.only or scene.name in asked.only.split(",")]
    draw, began = random.Random(asked.seed), time.perf_counter()
    plan = [scene for scene in scenes for _ in range(scene.weight)]
    plan = [plan[index % len(plan)] for index in range(asked.kills)] if asked.kills > len(plan) else plan
    plan = draw.sample(plan, asked.kills)
    torch.set_num_threads(1)
    base = (asked.keep or Path(tempfile.mkdtemp(prefix="kills-"))).resolve()
    os.environ.setdefault("SNNTRAIN_CACHE", str(base / "kernels"))
    wrong, references = 0, {}
    for number, scene in enumerate(plan):
        if scene.name not in references:
            references[scene.name] = undisturbed(scene, base)
            print(f"{scene.name}: undisturbed {references[scene.name][1]:.1f} s", flush=True)
        whole, seconds = references[scene.name]
        folder, moment = base / f"{number:03d}_{scene.name}", draw.uniform(0, seconds)
        problem = killed(scene, folder, moment, whole)
        wrong += bool(problem)
        print(f"{number + 1:3d}  {scene.name:8} killed after {moment:5.2f} s   {problem or 'equal'}", flush=True)
        if not problem:
            shutil.rmtree(folder)
    if not wrong:
        shutil.rmtree(base)
    print(
        json.dumps({"kills": len(plan), "lost or different": wrong, "minutes": (time.perf_counter() - began) // 6 / 10})
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
