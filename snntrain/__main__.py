"""All programs by one name each: `snntrain train …`, also as `python -m snntrain train …`.

train.py, eval.py and scripts/ call the same function, so that a checkout needs no installation of the command.
"""

import os
import sys
from collections.abc import Sequence

# Before torch loads: threads that wait for each other sleep instead of spinning. Spinning makes small networks many
# times slower as soon as another process (a second run, a neighbor in a sweep) wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import importlib

from snntrain import __version__
from snntrain.error import UsageError
from snntrain.registry import did_you_mean
from snntrain.run.front import run_program

PROGRAMS = {
    "train": "train a net, or many in a sweep (-m)",
    "eval": "test or predict with a trained net",
    "tune": "search for hyper-parameters",
    "reproduce": "repeat a recorded experiment, or a run, and compare",
    "record": "measure an experiment with several seeds, in a checkout",
    "run-neurobench": "run NeuroBench's own harness on a run folder",
    "summarize": "one table of runs",
    "browse": "one page of all runs",
    "fetch-data": "download data sets, or install files that you have",
    "show": "print a model, a data set, what runs fused, or faults: show model …, data …, kernels …, audit …",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the programs.

    Args:
        arguments: the program's name and its own arguments; None: those of the command line.

    Returns: the exit code; every error has been printed on stderr.
    """
    name, *others = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    return run_program(lambda words: _start(name, words), others, keeps_traceback=name in ("train", "show", "tune"))


def _start(name: str, arguments: list[str]) -> int:
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"snntrain {__version__}")
        return 0
    if name not in PROGRAMS:
        raise UsageError(
            f"{name!r} is no program of snntrain.{did_you_mean(name, PROGRAMS)} Programs: {', '.join(PROGRAMS)}."
        )
    if name == "show":
        what, *rest = arguments or [""]
        if what not in ("model", "data", "kernels", "audit"):
            raise UsageError(
                f"snntrain show: {what!r} cannot be shown. Write snntrain show model …, show data …, show kernels … or "
                "show audit …."
            )
        name, arguments = "train", [f"show={what}", *rest]
    program = importlib.import_module(f"snntrain.lab.programs.{name.replace('-', '_')}")
    return program.main(arguments)


def _usage() -> str:
    listed = "\n".join(f"  snntrain {name:<16}{purpose}" for name, purpose in PROGRAMS.items())
    return f"Programs, each with its own --help:\n{listed}"


if __name__ == "__main__":
    sys.exit(main())
