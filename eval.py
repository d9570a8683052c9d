"""Test or predict with a trained network: rebuild → check → run. `python eval.py --help` shows the keys."""

import sys

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
