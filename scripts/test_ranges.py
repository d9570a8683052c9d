"""Try snntrain at the ends of the version ranges in pyproject.toml, each end in an environment of its own.

python scripts/test_ranges.py                       every environment; 30 GB and an hour or two
python scripts/test_ranges.py lowest-3.11 pictures  some of them

It builds the wheel, installs it with the lowest or the newest versions that its ranges and the registry allow, and
trains, continues, evaluates, exports, sweeps and searches with the command `snntrain` in an empty folder. Then it runs
a few test files of this checkout. What was installed and what happened is written to benchmarks/ranges.json and, as a
table, to benchmarks/ranges.md.

It needs uv, which can resolve to the lowest versions: pip install uv. An environment whose Python is neither on PATH,
nor in pyenv, nor installed by uv is listed as not run. PyPI's torch for Linux brings the libraries of CUDA, which all
environments share on disk; UV_TORCH_BACKEND=cpu takes PyTorch's smaller builds where its own index can be reached.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from snntrain import __version__
from snntrain.files import replacing, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "ranges.json"
COMMAND = "python scripts/test_ranges.py"
# Compiled packages whose old releases have no wheel for a new Python. Building these takes minutes, or fails.
ONLY_WHEELS = ("numpy", "scipy", "scikit-learn", "matplotlib", "h5py", "numba", "pillow", "torch", "torchvision")
EXTRAS = ("events", "aedat4", "nir", "tune")
# Of the packages that are not installed with snntrain, what its tests need.
FOR_TESTS = ("pytest>=8", "hypothesis>=6.100")
SHOWN = (
    *("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn"),
    *("matplotlib", "rich", "numba", "jinja2", "h5py", "filelock", "psutil", "tonic", "nir", "optuna"),
)
# They touch what depends on versions most: signatures of torch and Lightning, kernels, readers of recordings, NIR.
TESTS = (
    *("tests/unit/data/test_events.py", "tests/unit/export/test_nir.py"),
    *("tests/unit/neuron/test_lif.py", "tests/unit/config"),
)
SMALL = ("T=2", "data.batch_size=128")

console = Console(highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Environment:
    """Which versions are installed.

    Attributes:
        python: its version.
        resolution: what uv chooses: "lowest-direct" or "highest".
        first: packages that are installed before the others, at the other end of their ranges.
        extras: of snntrain.
    """

    python: str
    resolution: str
    first: tuple[str, ...] = ()
    extras: tuple[str, ...] = EXTRAS


TORCH = ("torch>=2.6", "torchvision>=0.21")
ENVIRONMENTS = {
    "lowest-3.11": Environment("3.11", "lowest-direct"),
    "lowest-3.12": Environment("3.12", "lowest-direct"),
    "lowest-3.13": Environment("3.13", "lowest-direct"),
    "newest-3.11": Environment("3.11", "highest"),
    "newest-3.12": Environment("3.12", "highest"),
    "newest-3.13": Environment("3.13", "highest"),
    "newest-torch-among-lowest": Environment("3.11", "lowest-direct", first=TORCH),
    "lowest-torch-among-newest": Environment("3.11", "highest", first=TORCH),
    "pictures": Environment("3.13", "highest", extras=()),
}


@dataclass
class Step:
    """A command of the smoke suite.

    Attributes:
        name: what it shows.
        code: its exit code.
        error: the first line that says what went wrong; "" if it did what was expected.
    """

    name: str
    code: int
    seconds: float
    error: str = ""


@dataclass
class Tried:
    """What happened in one environment.

    Attributes:
        python: the interpreter's version; "" if none was found.
        error: why it was not built, or the first step's error; "" if all went well.
    """

    name: str
    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    error: str = ""


# --- building --------------------------------------------------------------------------------------------------------


def uv() -> str:
    """The program uv, on PATH or beside this Python."""
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        raise SystemExit("It needs uv, which is not installed: pip install uv")
    return found


def interpreter(wanted: str) -> str | None:
    """A Python of this version that starts, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    of_pyenv = map(str, sorted(pyenv.glob(f"{wanted}.*/bin/python")))
    candidates = [sys.executable, shutil.which(f"python{wanted}"), *of_pyenv]
    found = subprocess.run([uv(), "python", "find", "--no-python-downloads", wanted], capture_output=True, text=True)
    for one in (*candidates, found.stdout.strip()):
        script = "import sys; print(*sys.version_info[:2], sep='.')"
        if one and subprocess.run([one, "-c", script], capture_output=True, text=True).stdout.strip() == wanted:
            return one
    return None


def install(environment: Environment, wheel: Path, folder: Path, python: str) -> Path:
    """Make the environment. Returns: its folder of programs. Raises: CalledProcessError."""
    _uv("venv", "--clear", "--python", python, str(folder))
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    into = ("pip", "install", "--python", str(programs / "python"))
    wheels = [word for package in ONLY_WHEELS for word in ("--only-binary", package)]
    if environment.first:
        other = "highest" if environment.resolution == "lowest-direct" else "lowest-direct"
        _uv(*into, *wheels, "--resolution", other, *environment.first)
    extras = [word for extra in environment.extras for word in ("--extra", extra)]
    tests = FOR_TESTS if environment.extras else ()
    # uv takes the lowest versions of what is asked for directly: of the ranges themselves, not of the wheel.
    ranges = ("--resolution", environment.resolution, "-r", str(ROOT / "pyproject.toml"))
    _uv(*into, *wheels, *ranges, *extras, *tests)
    _uv(*into, "--no-deps", str(wheel))
    return programs


def _uv(*arguments: str) -> None:
    subprocess.run([uv(), "-q", *arguments], check=True, text=True, stderr=subprocess.PIPE)


def versions(programs: Path) -> dict[str, str]:
    """Package → version of what is installed there."""
    listed = [uv(), "-q", "pip", "list", "--format", "json", "--python", str(programs / "python")]
    packages = json.loads(subprocess.run(listed, check=True, capture_output=True, text=True).stdout)
    return {package["name"]: package["version"] for package in packages}


# --- the smoke suite -------------------------------------------------------------------------------------------------


def smoke(environment: Environment, programs: Path, folder: Path) -> Iterator[Step]:
    """Run the suite in an empty folder, one command after the other."""
    command = str(programs / "snntrain")
    mlp = ("model=mlp", "model.features=32", *SMALL, "trainer.max_epochs=1")

    def step(name: str, *words: str, code: int = 0, says: str = "") -> Step:
        return _step(name, [command, *words], folder, code, says)

    yield step("help", "train", "--help", says="model=")
    yield step("refuse a typo", "train", "modle=csnn", code=2, says="Did you mean model?")
    yield step("train", "train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=run", says="test/acc")
    yield step("continue", "train", "resume=run", "trainer.max_epochs=2", says="test/acc")
    yield step("evaluate", "eval", "run=run", says="test/acc")
    quantize = ("callbacks=[default,qat,lava]", "callbacks.qat.quant=loihi", "callbacks.lava.lava_samples=0")
    yield step("quantize and export to Loihi", "train", *mlp, *quantize, says="lava")
    yield step("sweep", "train", "-m", *mlp, "neuron=if,plif", says="val/acc")
    if "nir" in environment.extras:
        yield step("export to NIR", "train", *mlp, "callbacks=[default,nir]", says="nir")
    if "tune" in environment.extras:
        yield step("search", "tune", "search=lif_tau", "n_trials=2", *mlp)
    if "events" not in environment.extras:
        yield step("refuse events", "train", "data=nmnist", code=2, says="snntrain[events]")
        return
    yield _step(
        "tests",
        [str(programs / "python"), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *TESTS],
        ROOT,
        0,
        "100%",
    )


def _step(name: str, command: Sequence[str], folder: Path, code: int, says: str) -> Step:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SNNTRAIN_", "VIRTUAL_"))}
    data = {key: os.environ[key] for key in ("SNNTRAIN_DATA",) if key in os.environ}
    own = {"COLUMNS": "200", "PYTHONPATH": str(ROOT) if folder == ROOT else ""}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=plain | data | own, capture_output=True, text=True, check=False)
    made = Step(name, done.returncode, round(time.monotonic() - began, 1))
    if done.returncode != code:
        made.error = first_error(done.stdout + done.stderr) or f"exit code {done.returncode}"
    elif says not in done.stdout + done.stderr:
        made.error = f"it did not say {says!r}"
    return made


def first_error(said: str) -> str:
    """The line of an output that says what went wrong: pytest's, the program's own, or the last one of a traceback."""
    for pattern in (r"^E  +(.*)$", r"^(?:ERROR|FAILED) (.*)$", r"^error: (.*)$", r"^(\w*(?:Error|Exception)\b.*)$"):
        if found := re.search(pattern, said, re.MULTILINE):
            return found[1].strip()[:200]
    return (said.strip().splitlines() or [""])[-1][:200]


# --- all of it -------------------------------------------------------------------------------------------------------


def attempt(name: str, environment: Environment, wheel: Path, folder: Path) -> Tried:
    """Build an environment and run the smoke suite in it; it is removed afterwards."""
    tried = Tried(name)
    python = interpreter(environment.python)
    if python is None:
        tried.error = f"not run: no Python {environment.python} was found"
        return tried
    place = folder / name
    try:
        programs = install(environment, wheel, place, python)
    except subprocess.CalledProcessError as error:
        tried.error = f"not built: {first_error(error.stderr)}"
        return tried
    script = "import platform; print(platform.python_version())"
    tried.python = subprocess.run([programs / "python", "-c", script], capture_output=True, text=True).stdout.strip()
    installed = versions(programs)
    tried.versions = {package: installed[package] for package in SHOWN if package in installed}
    with tempfile.TemporaryDirectory(prefix="snntrain-ranges-") as empty:
        for step in smoke(environment, programs, Path(empty)):
            tried.steps.append(step)
            console.print(f"  {step.name:<30}{step.seconds:>7.1f} s  {step.error or 'ok'}")
    tried.error = next((f"{step.name}: {step.error}" for step in tried.steps if step.error), "")
    shutil.rmtree(place)
    return tried


def as_table(all_tried: Sequence[dict]) -> str:
    """The results as a page in Markdown."""
    names = [package for package in SHOWN if any(package in one["versions"] for one in all_tried)]
    rows = [["Python", *(one["python"] or "–" for one in all_tried)]]
    rows += [[package, *(one["versions"].get(package, "–") for one in all_tried)] for package in names]
    passed = [f"{sum(not step['error'] for step in one['steps'])} of {len(one['steps'])} steps" for one in all_tried]
    rows += [["result", *passed], ["first error", *(one["error"] or "none" for one in all_tried)]]
    header = ["", *(one["name"] for one in all_tried)]
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    steps = ", ".join(dict.fromkeys(step["name"] for one in all_tried for step in one["steps"]))
    return (
        f"# The ends of the version ranges\n\nMade by `{COMMAND}`, snntrain {__version__}. Steps: {steps}.\n\n{table}\n"
    )


def main() -> int:
    """The command line; 1 if an environment that could be built fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="*", metavar="NAME", help=f"{', '.join(ENVIRONMENTS)}; default: all")
    parser.add_argument("--folder", type=Path, help="where they are built; default: a temporary folder")
    options = parser.parse_args()
    for name in options.environments:
        if name not in ENVIRONMENTS:
            parser.error(f"{name} is not an environment. Choose among {', '.join(ENVIRONMENTS)}.")
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["environments"] if RESULTS.is_file() else []
    results = {one["name"]: one for one in before}
    with tempfile.TemporaryDirectory(prefix="snntrain-wheel-", dir=options.folder) as place:
        _uv("build", "--wheel", "--out-dir", place, str(ROOT))
        wheel = next(Path(place).glob("snntrain-*.whl"))
        for name in options.environments or ENVIRONMENTS:
            console.print(f"{name}:")
            results[name] = asdict(attempt(name, ENVIRONMENTS[name], wheel, Path(place)))
            console.print(f"  {results[name]['error'] or 'all steps as expected'}")
            ordered = [results[one] for one in ENVIRONMENTS if one in results]
            write_json(RESULTS, {"command": COMMAND, "environments": ordered})
            with replacing(RESULTS.with_suffix(".md")) as temporary:
                temporary.write_text(as_table(ordered), encoding="utf-8")
    return int(any(results[name]["error"] and results[name]["steps"] for name in options.environments or ENVIRONMENTS))


if __name__ == "__main__":
    sys.exit(main())
