"""Make an environment for each library that benchmarks/libraries/run.py compares.

python benchmarks/libraries/set_up.py ~/snn-libraries            all of them
python benchmarks/libraries/set_up.py ~/snn-libraries spyx lava  these alone

With PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu they take about 1 GB each. PyPI's torch for Linux comes
with CUDA: expect several GB per environment without it. Only pip is used, and what is there stays.
FOLDER/set_up.json says what was installed, and of what was not, why.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from libraries.contenders import CONTENDERS, Entry

RECORD = "set_up.json"


def python_of(folder: Path, venv: str) -> Path:
    """The Python of an environment."""
    return folder / venv / "bin" / "python"


def install(folder: Path, entry: Entry) -> dict[str, Any]:
    """Make one environment; {"versions": …} or {"reason": why not}."""
    place = folder / entry.venv
    is_new = not python_of(folder, entry.venv).exists()
    try:
        if is_new:
            run(sys.executable, "-m", "venv", str(place))
        pip = [str(python_of(folder, entry.venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, *entry.requires)
        if entry.alone:
            run(*pip, "--no-deps", "--ignore-requires-python", *entry.alone)
        listed = run(str(python_of(folder, entry.venv)), "-m", "pip", "list", "--format", "json")
    except subprocess.CalledProcessError as error:
        if is_new:  # one that was there before may still work
            shutil.rmtree(place, ignore_errors=True)
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or error.stderr.splitlines()
        return {"reason": " ".join(lines[-2:]) or f"{error.cmd[0]} ended with {error.returncode}"}
    return {"versions": {package["name"]: package["version"] for package in json.loads(listed)}}


def run(*command: str) -> str:
    """What a program prints; what it complains of is in the error that it raises."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """The command line."""
    venvs = {entry.venv: entry for entry in CONTENDERS.values() if entry.venv}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to put the environments")
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(venvs)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.libraries) - set(venvs):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(venvs)}")
    folder = options.folder.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for venv in options.libraries or venvs:
        print(f"{venv} …", flush=True)
        result = install(folder, venvs[venv])
        is_kept = "reason" in result and "versions" in found.get(venv, {}) and python_of(folder, venv).exists()
        if not is_kept:
            found[venv] = result
            record.write_text(json.dumps(found, indent=1), encoding="utf-8")
        if "reason" in result:
            print(f"  {'not brought up to date' if is_kept else 'not installed'}: {result['reason']}")
        else:
            print("  installed")


if __name__ == "__main__":
    main()
