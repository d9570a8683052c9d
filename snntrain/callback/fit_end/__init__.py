"""Fit-end callbacks: conversion, quantization and export of a copy of the trained net when its training has ended.

They may import the library (ann2snn, quantize, export) and Lightning, nothing of config or run.
"""

import importlib
from typing import TYPE_CHECKING

from snntrain.callback.fit_end.fit_end import FitEnd, Trained, run_in_turn

if TYPE_CHECKING:
    from snntrain.callback.fit_end.ann_to_snn import AnnToSnn
    from snntrain.callback.fit_end.lava_export import LavaExport
    from snntrain.callback.fit_end.nir_export import NirExport
    from snntrain.callback.fit_end.quantization_aware import QuantizationAware

__all__ = ["AnnToSnn", "FitEnd", "LavaExport", "NirExport", "QuantizationAware", "Trained", "run_in_turn"]

# Class → its module. Together they import all of ann2snn, quantize and export, almost half of what every run would
# import of snntrain, and few runs have one of them.
_HOMES = {
    "AnnToSnn": "snntrain.callback.fit_end.ann_to_snn",
    "LavaExport": "snntrain.callback.fit_end.lava_export",
    "NirExport": "snntrain.callback.fit_end.nir_export",
    "QuantizationAware": "snntrain.callback.fit_end.quantization_aware",
}


def __getattr__(name: str) -> object:
    """A callback, whose module is imported on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
