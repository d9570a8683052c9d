"""Fit-end callbacks: conversion, quantization and export of a copy of the trained net when its training has ended.

They may import the library (ann2snn, quantize, export) and Lightning, nothing of config or run.
"""

from snntrain.callback.fit_end.ann_to_snn import AnnToSnn
from snntrain.callback.fit_end.c_export import CExport
from snntrain.callback.fit_end.fit_end import FitEnd, Trained, run_in_turn
from snntrain.callback.fit_end.lava_export import LavaExport
from snntrain.callback.fit_end.nir_export import NirExport
from snntrain.callback.fit_end.quantization_aware import QuantizationAware

__all__ = ["AnnToSnn", "CExport", "FitEnd", "LavaExport", "NirExport", "QuantizationAware", "Trained", "run_in_turn"]
