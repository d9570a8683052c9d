"""Time libraries for spiking neural networks side by side: layers and whole nets, forward and backward.

python benchmarks/libraries/set_up.py ~/snn-libraries                        once: an environment for each library
python benchmarks/libraries/run.py --venvs ~/snn-libraries                   everything
python benchmarks/libraries/run.py --venvs ~/snn-libraries --page docs/benchmarks.md    also the tables of that page
python benchmarks/libraries/run.py --venvs ~/snn-libraries --quick           three rounds, without the long cases
python benchmarks/libraries/run.py --venvs ~/snn-libraries --cases csnn --contenders snntrain,spikingjelly

Each library runs in a process and an environment of its own; they take turns, round by round. All get the same weights
and inputs, and the spikes of each are compared with those of its own equations, written out in numpy.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT / "benchmarks"), str(ROOT / "scripts"), str(ROOT)]
import benchmark
import numpy as np
from benchmark import console

from libraries import page, report
from libraries.cases import CASES, Arrays, Case
from libraries.contenders import EVERY, FLOOR, OURS
from libraries.equations import Form, agreement, currents
from libraries.processes import ContenderError, Process, start
from libraries.set_up import RECORD, python_of

SLOW = 4.0  # seconds of a pass from which on every third round has to do


# --- contenders ------------------------------------------------------------------------------------------------------


def begin(names: list[str], venvs: Path | None, threads: int) -> tuple[dict[str, Process], dict[str, Any]]:
    """Start the contenders that can run.

    Returns: their processes, and for each name either what it says of itself or {"missing": why it cannot run}.
    """
    record = venvs / RECORD if venvs else None
    known = json.loads(record.read_text(encoding="utf-8")) if record and record.exists() else {}
    processes: dict[str, Process] = {}
    described: dict[str, Any] = {}
    for name in names:
        venv = EVERY[name].venv
        if venv and (reason := why_missing(venv, venvs, known)):
            described[name] = {"missing": reason}
            continue
        process = start(name, python_of(venvs, venv) if venv else sys.executable, threads)
        try:
            described[name] = process.ask("describe")
            processes[name] = process
        except ContenderError as error:
            process.close()
            described[name] = {"missing": str(error)}
    return processes, described


def why_missing(venv: str, venvs: Path | None, known: dict[str, Any]) -> str | None:
    """Why an environment cannot be used; None: it can."""
    if venvs is None:
        return "needs --venvs, the folder that set_up.py filled"
    if reason := known.get(venv, {}).get("reason"):
        return f"not installed: {reason}"
    return None if python_of(venvs, venv).exists() else f"{venvs} has no environment {venv}: run set_up.py"


# --- one case --------------------------------------------------------------------------------------------------------


def measure(case: Case, processes: dict[str, Process], described: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Seconds, memory and equality of every contender that can state a case, and why others have no figures."""
    left_out = {name: reason for name in processes if (reason := described[name]["refusals"].get(case.name))}
    running = {name: process for name, process in processes.items() if name not in left_out}
    built: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="snntrain-libraries-") as folder:
        arrays = Arrays.of(case)
        arrays.save(f"{folder}/arrays.npz")
        for name, process in list(running.items()):
            try:
                files = {"arrays": f"{folder}/arrays.npz", "outputs": f"{folder}/{name}.npz"}
                built[name] = process.ask("build", case=case.name, **files)
            except ContenderError as error:
                left_out[name] = str(error)
                del running[name]
        compare(case, arrays, built, {name: Form(**described[name]["form"]) for name in running}, Path(folder))
    timed = interleaved(running, max(1, rounds // 3) if case.long else rounds, left_out)
    return {"rows": {name: {**built[name], **row} for name, row in timed.items()}, "left_out": left_out}


def interleaved(running: dict[str, Process], rounds: int, left_out: dict[str, str]) -> dict[str, dict[str, Any]]:
    """One value of each contender in turn, round by round; each round begins with another one.

    Returns: name → "rounds", the numbers of those that it took part in, and "seconds": part of a step → one value for
    each of them, the sum of the parts among them as "both". Who fails is moved to left_out.
    """
    rows: dict[str, dict[str, Any]] = {name: {"rounds": [], "seconds": {}} for name in running}
    for number in range(rounds):
        names = [name for name, row in rows.items() if takes_part(row, number)]
        at = number % max(len(names), 1)
        for name in names[at:] + names[:at]:
            try:
                answer = running[name].ask("run", rounds=1)
            except ContenderError as error:
                left_out[name] = str(error)
                del rows[name]
                continue
            answer["both"] = [sum(values) for values in zip(*answer.values(), strict=True)]
            rows[name]["rounds"].append(number)
            for part, values in answer.items():
                rows[name]["seconds"].setdefault(part, []).extend(values)
    return rows


def takes_part(row: dict[str, Any], number: int) -> bool:
    """Whether a contender is timed in this round: one that needs seconds for a pass, in every third only."""
    return number % 3 == 0 or row["seconds"]["both"][0] < SLOW


def compare(case: Case, arrays: Arrays, built: dict[str, Any], forms: dict[str, Form], folder: Path) -> None:
    """Add to each contender's entry how its output and gradient agree with its equations, and with ours."""
    current = None if case.is_net else currents(arrays)
    ours = np.load(folder / f"{OURS}.npz") if OURS in built else None
    for name, entry in built.items():
        if name == FLOOR:  # it has no neurons
            continue
        found = np.load(folder / f"{name}.npz")
        if ours is not None:
            a, b = ours["gradient"].ravel().astype(np.float64), found["gradient"].ravel().astype(np.float64)
            entry["gradient_cosine"] = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))
        if current is not None:
            entry["spikes"] = agreement(current, found["output"], forms[name])
        elif ours is not None:
            largest = np.abs(ours["output"]).max()
            equal = np.abs(ours["output"] - found["output"]) <= 1e-3 * largest
            entry["scores"] = {"equal": float(equal.mean())}


# --- command line ----------------------------------------------------------------------------------------------------


def names_of(known: dict[str, Any]) -> Any:
    """A type for arguments that list some of these names."""

    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def read_options() -> argparse.Namespace:
    """The command line, checked."""
    parser = benchmark.parser(__doc__, rounds=7)
    parser.add_argument(
        "--venvs", type=Path, metavar="FOLDER", help="what set_up.py filled; without it, snntrain alone"
    )
    parser.add_argument("--cases", type=names_of(CASES), help=f"of {','.join(CASES)} (default: all)")
    parser.add_argument("--contenders", type=names_of(EVERY), default=list(EVERY), help=f"of {','.join(EVERY)}")
    parser.add_argument("--quick", action="store_true", help="three rounds, without the long cases")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="also put the tables into docs/benchmarks.md, of a whole run"
    )
    options = parser.parse_args()
    if options.venvs and not options.venvs.expanduser().is_dir():
        parser.error(f"argument --venvs: {options.venvs} is no folder; run set_up.py {options.venvs} first")
    if options.quick:
        options.rounds = min(options.rounds, 3)
    whole = set(options.cases or CASES) == set(CASES) and set(options.contenders) == set(EVERY)
    if options.page and (options.quick or not whole):
        parser.error("argument --page: the page shows everything; leave --quick, --cases and --contenders out")
    options.cases = options.cases or [name for name, case in CASES.items() if not (options.quick and case.long)]
    return options


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    venvs = options.venvs.expanduser().absolute() if options.venvs else None
    run = benchmark.begin(options)
    processes, described = begin(options.contenders, venvs, options.threads)
    results: dict[str, Any] = {}
    try:
        for name in options.cases:
            results[name] = measure(CASES[name], processes, described, options.rounds)
            report.print_case(CASES[name], results[name], described)
    except KeyboardInterrupt:
        console.print("[yellow]Stopped; the cases above are written.[/yellow]")
    finally:
        for process in processes.values():
            process.close()
    report.print_missing(described)
    if not results:
        sys.exit("error: stopped before the first case was measured")
    content = {"contenders": described, "cases": results}
    benchmark.finish(options, "libraries", run, content, report.plot(results, described))
    if options.page and len(results) == len(options.cases):  # not of a run that was stopped
        page.update(options.page, json.loads((options.output / "libraries.json").read_text(encoding="utf-8")))
        console.print(options.page)


if __name__ == "__main__":
    main()
