"""Train a spiking network from a config: compose → check → build → fit → test → report.

python train.py                                                   digits, LIF conv net, under a minute
python train.py model=csnn neuron=plif data=fashion_mnist T=8
python train.py -m neuron=if,lif,plif seed=1,2,3                  a sweep
python train.py --help                                            every group and key
"""

import sys

from snntrain.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
