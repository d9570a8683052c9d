"""Download data sets: python scripts/fetch_data.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["fetch-data", *sys.argv[1:]]))
