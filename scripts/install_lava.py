"""Install lava-nc 0.10.0 and lava-dl 0.6.0, which pip refuses on a current Python, and check that they run.

python scripts/install_lava.py ~/lava       into a folder of their own; then SNNTRAIN_LAVA=~/lava finds them there
python scripts/install_lava.py venv         into the environment of this Python

About 160 MB. Their metadata require Python 3.10, numpy 1 and torch 2.3; with snntrain/lava_exchange/lava_shim.py they
run on later versions. Dependencies that this environment lacks (usually asteval) are installed with them.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

LAVA = ("lava-nc==0.10.0", "lava-dl==0.6.0")
NEEDED = {"numpy": "numpy>=2", "h5py": "h5py>=3.10", "scipy": "scipy", "networkx": "networkx", "asteval": "asteval"}
SHIM = Path(__file__).resolve().parents[1] / "snntrain" / "lava_exchange" / "lava_shim.py"
# Each in a process of its own, as the exporter and the tests use them.
TRIALS = {
    "netx (runs netx files)": "lava_shim.netx().hdf5.Network",
    "slayer (trains)": "lava_shim.slayer().neuron.cuba.Neuron(1.0, 0.5, 0.25)",
}


def install(target: str) -> None:
    """Install into a folder, or ('venv') into the environment of this Python."""
    place = [] if target == "venv" else ["--target", str(Path(target).expanduser()), "--upgrade"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *place]
    # Without dependencies: the versions they require would replace those that everything else uses.
    subprocess.run([*pip, "--no-deps", "--ignore-requires-python", *LAVA], check=True)
    missing = [requirement for name, requirement in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        subprocess.run([*pip, "--no-deps", *missing], check=True)


def try_out(target: str) -> None:
    """Import both halves through the shim; stop with the traceback of what fails."""
    folder = {} if target == "venv" else {"SNNTRAIN_LAVA": str(Path(target).expanduser())}
    for title, expression in TRIALS.items():
        program = f"import sys; sys.path.insert(0, {str(SHIM.parent)!r}); import lava_shim; {expression}"
        run = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | folder, capture_output=True, text=True, timeout=300
        )
        if run.returncode:
            raise SystemExit(f"{title} cannot be used:\n{run.stderr}")
        print(f"{title} works.")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", metavar="FOLDER|venv", help="where to put them")
    target = parser.parse_args().target
    install(target)
    try_out(target)
    if target != "venv":
        print(f"export SNNTRAIN_LAVA={Path(target).expanduser().resolve()}")


if __name__ == "__main__":
    main()
