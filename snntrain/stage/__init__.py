"""Fit-end stages: what happens to a copy of the trained network after its test."""

from snntrain.stage.conversion import Conversion
from snntrain.stage.lava import LavaExport
from snntrain.stage.nir import NirExport
from snntrain.stage.quantisation import Quantisation
from snntrain.stage.stage import ORDER, Stage, Trained, in_order, run_stages

__all__ = [
    "ORDER",
    "Conversion",
    "LavaExport",
    "NirExport",
    "Quantisation",
    "Stage",
    "Trained",
    "in_order",
    "run_stages",
]
