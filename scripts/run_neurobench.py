"""NeuroBench's own harness on a run folder: python scripts/run_neurobench.py runs/…"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run-neurobench", *sys.argv[1:]]))
