"""Test or predict with a trained network: rebuild → check → run. `python eval.py --help` shows the keys."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see train.py

from rich.console import Console
from rich.markup import escape

from snntrain.config.error import UsageError
from snntrain.run.evaluate import USAGE, evaluate
from snntrain.run.run import quieten_lightning


def main(arguments: list[str]) -> int:
    """Evaluate; 0 if it went well, 2 for a wrong command line, 130 after Ctrl-C."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    quieten_lightning()
    try:
        evaluate([argument for argument in arguments if argument != "debug.traceback=true"])
    except UsageError as error:
        if "debug.traceback=true" in arguments:
            raise
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
