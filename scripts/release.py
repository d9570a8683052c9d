"""Make a release: build wheel and sdist, check them, install the wheel, and train the default with it.

python scripts/release.py      `make release` calls it; a few minutes, most of them for installing torch

It starts from a commit, so that a checkout with other changes is refused. The wheel must hold exactly the files of the
package, the configs and the records that git knows, and building it from the sdist must give the same files. What
passes all checks is left in dist/; nothing is uploaded.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from snntrain.error import UsageError
from snntrain.files import read_json, write_bytes
from snntrain.terminal import print_error

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LEARNED = 0.95
"""Test accuracy that the default exceeds with every seed; experiments/digits_lif has the figures."""


def check_clean(checkout: Path) -> None:
    """Raise UsageError, naming the files, if the checkout differs from its commit or is none."""
    git = ["git", "-C", str(checkout), "status", "--porcelain"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"release: {checkout} is not a git checkout, from which a release is built.")
    if changed := [line[3:] for line in done.stdout.splitlines()]:
        raise UsageError(
            f"release: these files differ from the commit: {', '.join(changed)}. Commit them, or put them away with "
            "git stash -u."
        )


def tracked_files(checkout: Path) -> set[str]:
    """Where the files that git knows of the package, the configs and the records lie in a wheel."""
    git = ["git", "-C", str(checkout), "ls-files", "-z", "snntrain", "conf", "experiments"]
    files = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
    return {file if file.startswith("snntrain/") else f"snntrain/{file}" for file in files if file}


def checksums(wheel: Path) -> dict[str, int]:
    """File of a wheel → checksum of its content."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def check_contents(wheel: Path, expected: set[str]) -> None:
    """Raise UsageError unless a wheel holds the files that are expected, and beside them only its metadata."""
    held = {name for name in checksums(wheel) if not PurePosixPath(name).parts[0].endswith(".dist-info")}
    said = [f"lacks {name}" for name in sorted(expected - held)] + [f"holds {name}" for name in sorted(held - expected)]
    if said:
        raise UsageError(f"release: {wheel.name} {', '.join(said)}. See tool.hatch.build in pyproject.toml.")


def check_same(wheel: Path, other: Path) -> None:
    """Raise UsageError if the wheel built from the sdist differs from that built from the checkout."""
    one, two = checksums(wheel), checksums(other)
    if differing := sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name)):
        raise UsageError(
            f"release: the wheels built from the sdist and from the checkout differ in {', '.join(differing)}. See "
            "tool.hatch.build.targets.sdist in pyproject.toml."
        )


def plain_environment() -> dict[str, str]:
    """Without what would let an installed snntrain find this checkout; pip takes the tested versions."""
    hidden = ("PYTHON", "SNNTRAIN_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"PIP_CONSTRAINT": str(CONSTRAINTS), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def call(*command: object, cwd: Path, shown: bool = False) -> None:
    """Run a command. If it fails, print what it said, unless that has been shown, and raise UsageError."""
    into = None if shown else subprocess.PIPE
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=plain_environment(), stdout=into, stderr=into and subprocess.STDOUT)
    if done.returncode:
        print((done.stdout or b"").decode(errors="replace"), end="", file=sys.stderr)
        raise UsageError(f"release: {' '.join(words)} failed with exit code {done.returncode}.")


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, a wheel from it, and one from the checkout, which must be the same. Returns: wheel and sdist."""
    call(sys.executable, "-m", "build", ROOT, "--outdir", folder / "release", cwd=folder)
    call(sys.executable, "-m", "build", ROOT, "--outdir", folder / "checkout", "--wheel", cwd=folder)
    (wheel,), (sdist,) = ((folder / "release").glob(ending) for ending in ("*.whl", "*.tar.gz"))
    (other,) = (folder / "checkout").glob("*.whl")
    check_contents(wheel, tracked_files(ROOT))
    check_same(wheel, other)
    return wheel, sdist


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment. Returns: the program snntrain."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    call(programs / "python", "-m", "pip", "install", "-c", CONSTRAINTS, wheel, cwd=folder)
    return programs / "snntrain"


def train(program: Path, folder: Path) -> None:
    """Train the default in an empty folder. Raises: UsageError if it learns less than it should."""
    folder.mkdir()
    call(program, "train", cwd=folder, shown=True)
    (results,) = folder.glob("runs/*/*/results.json")
    accuracy = read_json(results)["metrics"]["test/acc"]
    if accuracy < LEARNED:
        raise UsageError(f"release: the installed default reached test/acc {accuracy}, expected {LEARNED} or more.")


def check_tools() -> None:
    """Raise UsageError naming the extra if this environment lacks what builds and checks."""
    for tool in ("build", "twine"):
        try:
            version(tool)
        except PackageNotFoundError:
            raise UsageError(f"release: {tool} is not installed: pip install -e '.[release]'") from None


def release() -> None:
    """All steps, each announced."""
    check_tools()
    check_clean(ROOT)
    with tempfile.TemporaryDirectory(prefix="snntrain-release-") as place:
        folder = Path(place)
        with step("Building the sdist, and the wheel from it and from the checkout"):
            wheel, sdist = build(folder)
        with step("Checking both with twine"):
            call(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=folder)
        with step("Installing the wheel into a new environment"):
            program = install(wheel, folder / "venv")
        with step("Training the default with it in an empty folder"):
            train(program, folder / "empty")
        (ROOT / "dist").mkdir(exist_ok=True)
        for made in (wheel, sdist):
            write_bytes(ROOT / "dist" / made.name, made.read_bytes())
            print(f"dist/{made.name}: {made.stat().st_size / 1e6:.1f} MB")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"{title} …", flush=True)
    began = time.monotonic()
    yield
    print(f"{title}: {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    """The command line; 1 if the checkout is not clean or a step fails."""
    try:
        release()
    except UsageError as error:
        print_error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
