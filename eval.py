"""Test or predict with a trained network: rebuild → check → run. `python eval.py --help` shows the keys."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see train.py

from snntrain.run.front import run_program


def main(arguments: list[str]) -> int:
    """Evaluate; the exit code."""
    from snntrain.run.evaluation_settings import USAGE

    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    from snntrain.run.evaluate import evaluate
    from snntrain.run.run import quieten_lightning

    quieten_lightning()
    evaluate(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
