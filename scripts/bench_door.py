"""How long it takes until a command line is answered: --help, and one typo of every kind.

python scripts/bench_door.py [--rounds 5]

Each command is a process of its own. A round runs all of them, and imports torch and Lightning beside them, which a
check may need; the table and benchmarks/door.json hold the medians. An answer may take 2 s for --help, 1.5 s for a typo
in the name of a group, a choice or a root key, and 1 s longer than importing Lightning for all others.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from snntrain.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "door.json"
HELP, EARLY, LATE = 2.0, 1.5, 1.0  # seconds; the last one on top of importing Lightning
# arguments → whether its check needs torch or Lightning
TYPOS = {
    "modle=csnn": False,
    "model=csn": False,
    "encoder=poison": False,
    "callbacks=[defalt]": False,
    "logger=csvv": False,
    "seeed=3": False,
    "T=4 T=5": False,
    "resme=auto": False,
    "-m seeed=1,2": False,
    "-m neuron=iff,lif": False,
    "neuron=lif,plif": False,
    "paths.dta=3": True,
    "T=abc": True,
    "neuron.tua=3": True,
    "neuron.tau=0.5": True,
    "surrogate.alph=2": True,
    "optim.lrr=3": True,
    "optim.lr=-1": True,
    "optim.schedule.T_mx=3": True,
    "data.batchsize=3": True,
    "task.los=mse": True,
    "task.loss=msee": True,
    "trainer.max_epoch=3": True,
    "trainer.max_epochs=-3": True,
    "callbacks.ema.dcay=1": True,
    "model.layers=[Foo]": True,
    "model.chanels=3": True,
    "plugins=[nothing_there]": True,
    "logger=csv logger.nme=a": True,
    "monitor.mde=max": True,
    "sweep.resme=true": True,
}
IMPORTS = {"import torch": "torch", "import Lightning": "snntrain; import lightning.pytorch"}

console = Console(highlight=False, markup=False)


def seconds(command: list[str], folder: str, code: int) -> float:
    """How long a command takes. Raises: SystemExit if it ends with another code."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return took


def main() -> int:
    """The command line; 1 if an answer takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    train = [sys.executable, str(ROOT / "train.py")]
    commands = {name: ([sys.executable, "-c", f"import {what}"], 0) for name, what in IMPORTS.items()}
    commands["--help"] = ([*train, "--help"], 0)
    commands |= {typo: ([*train, *typo.split()], 2) for typo in TYPOS}
    measured: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, (command, code) in commands.items():
                measured[name].append(seconds(command, folder, code))
    medians = {name: round(statistics.median(each), 2) for name, each in measured.items()}
    late = round(medians["import Lightning"] + LATE, 2)
    allowed = {"--help": HELP} | {typo: late if needs else EARLY for typo, needs in TYPOS.items()}
    table = Table("", "median s", "allowed s", box=None)
    for name, median in medians.items():
        table.add_row(name, f"{median:.2f}", f"{allowed[name]:.2f}" if name in allowed else "")
    console.print(f"{rounds} rounds, load average {os.getloadavg()[0]:.1f}")
    console.print(table)
    write_json(RESULTS, {"rounds": rounds, "load_average": os.getloadavg()[0], "medians": medians, "allowed": allowed})
    over = [name for name, limit in allowed.items() if medians[name] > limit]
    console.print(f"too slow: {', '.join(over)}" if over else "all within what is allowed")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
