"""Search for hyper-parameters with Optuna: python scripts/tune.py search=lif_tau workers=2

Without arguments it lists the searches of conf/search. The same command again goes on with a study.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as train.py: workers share the cores

from snntrain.run.front import run_program


def main(arguments: list[str]) -> int:
    """Search; the exit code."""
    from snntrain.lab.search import command

    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:], keeps_traceback=True))
