"""Search for hyper-parameters with Optuna: python scripts/tune.py search=lif_tau workers=2"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
