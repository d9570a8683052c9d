"""Record an experiment with several seeds: python scripts/record.py digits_lif"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["record", *sys.argv[1:]]))
