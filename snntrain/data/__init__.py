"""Data sets, one Lightning datamodule each."""

from snntrain.data.datamodule import ImageDataModule, Split
from snntrain.data.digits import Digits
from snntrain.data.mnist import MNIST, FashionMNIST
from snntrain.data.sampler import EpochSampler

__all__ = ["MNIST", "Digits", "EpochSampler", "FashionMNIST", "ImageDataModule", "Split"]
