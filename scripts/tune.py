"""Search for hyper-parameters with Optuna: python scripts/tune.py search=lif_tau workers=2

Without arguments it lists the searches of conf/search. The same command again goes on with a study.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as train.py: workers share the cores

from snntrain.search.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
