"""Train a spiking network from a config: compose → check → build → fit → test → report.

python train.py                                                   digits, LIF conv net, under a minute
python train.py model=csnn neuron=plif data=fashion_mnist T=8
python train.py -m neuron=if,lif,plif seed=1,2,3                  a sweep
python train.py --help                                            every group and key
"""

import os
import sys

# Before torch loads: threads that wait for each other sleep instead of spinning. Spinning makes small networks many
# times slower as soon as another process (a second run, a neighbor in a sweep) wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hydra
from omegaconf import DictConfig

from snntrain.lab.command import command, run_job


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> float | None:
    """One run; the sweepers of Hydra get the monitored metric."""
    return run_job(config)


if __name__ == "__main__":
    sys.exit(command(train))
