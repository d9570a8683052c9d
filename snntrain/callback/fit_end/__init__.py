"""Fit-end callbacks: conversion, quantization, export and audit of a copy of the trained net, after its training.

They may import the library (ann2snn, quantize, export, audit) and Lightning, nothing of config or run.
"""

from typing import TYPE_CHECKING

from snntrain import registry
from snntrain.callback.fit_end.fit_end import FitEnd, Trained, run_in_turn

if TYPE_CHECKING:
    from snntrain.callback.fit_end.ann_to_snn import AnnToSnn
    from snntrain.callback.fit_end.audit import Audit
    from snntrain.callback.fit_end.c_export import CExport
    from snntrain.callback.fit_end.lava_export import LavaExport
    from snntrain.callback.fit_end.nir_export import NirExport
    from snntrain.callback.fit_end.onnx_export import OnnxExport
    from snntrain.callback.fit_end.quantization_aware import QuantizationAware

__all__ = [
    "AnnToSnn",
    "Audit",
    "CExport",
    "FitEnd",
    "LavaExport",
    "NirExport",
    "OnnxExport",
    "QuantizationAware",
    "Trained",
    "run_in_turn",
]


def __getattr__(name: str) -> object:
    """A callback, whose module the registry imports on first use.

    Together they import all of ann2snn, quantize and export, almost half of what every run would import of snntrain,
    and few runs have one of them.
    """
    if name in __all__:
        return registry.get("callback", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
