"""Data sets, one Lightning datamodule each.

They may import the floors below, nothing of task, callback, config or run.
"""

from snntrain.data.augmentation import Augmentation
from snntrain.data.cifar import CIFAR10, CIFAR100
from snntrain.data.custom import Datasets
from snntrain.data.datamodule import DataModule, ImageDataModule, ValuesDataModule
from snntrain.data.digits import Digits
from snntrain.data.event_augmentation import EventAugmentation
from snntrain.data.event_folder import EventFolder
from snntrain.data.event_packets import PacketWriter
from snntrain.data.events import read_events
from snntrain.data.framing import Framing
from snntrain.data.image_folder import ImageFolder
from snntrain.data.in_memory import from_arrays
from snntrain.data.mackey_glass import MackeyGlass
from snntrain.data.made_sequences import BinaryAdding, Copy, NoisySine, Parity
from snntrain.data.mnist import MNIST, FashionMNIST
from snntrain.data.mnist_pairs import MNISTPairs
from snntrain.data.neuromorphic import ASLDVS, CIFAR10DVS, NMNIST, SHD, SSC, DVSGesture, NCaltech101
from snntrain.data.sampler import EpochSampler
from snntrain.data.sequential_mnist import SequentialMNIST
from snntrain.data.split import FrameSplit, ImageSplit, Split
from snntrain.data.svhn import SVHN
from snntrain.data.tabular import Diabetes, Friedman1
from snntrain.data.target import Target
from snntrain.data.timeseries import TimeseriesFolder

__all__ = [
    "ASLDVS",
    "CIFAR10",
    "CIFAR10DVS",
    "CIFAR100",
    "MNIST",
    "NMNIST",
    "SHD",
    "SSC",
    "SVHN",
    "Augmentation",
    "BinaryAdding",
    "Copy",
    "DVSGesture",
    "DataModule",
    "Datasets",
    "Diabetes",
    "Digits",
    "EpochSampler",
    "EventAugmentation",
    "EventFolder",
    "FashionMNIST",
    "FrameSplit",
    "Framing",
    "Friedman1",
    "ImageDataModule",
    "ImageFolder",
    "ImageSplit",
    "MNISTPairs",
    "MackeyGlass",
    "NCaltech101",
    "NoisySine",
    "PacketWriter",
    "Parity",
    "SequentialMNIST",
    "Split",
    "Target",
    "TimeseriesFolder",
    "ValuesDataModule",
    "from_arrays",
    "read_events",
]
