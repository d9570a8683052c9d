"""From trained ReLU nets to spiking nets.

It may import the net floor and graph, no Lightning and no config.

snn = convert(ann, loader, T=8)
logits = snn.predict(images, T=8)
"""

from snntrain.ann2snn.activation import Rectifier, rectifiers
from snntrain.ann2snn.calibration import calibrate
from snntrain.ann2snn.convert import convert
from snntrain.ann2snn.converted import ConversionWarning, SpikingNet, to_spiking
from snntrain.ann2snn.converter import Converter
from snntrain.ann2snn.graph import ConversionError, prepare
from snntrain.ann2snn.method import METHODS, Method, Setting, make_method
from snntrain.ann2snn.node import RatePooling, SpikingRectifier
from snntrain.ann2snn.qcfs import QCFS, QCFSRectifier
from snntrain.ann2snn.report import ConversionReport
from snntrain.ann2snn.scaler import VoltageHook, VoltageScaler
from snntrain.download import download_url

__all__ = [
    "METHODS",
    "QCFS",
    "ConversionError",
    "ConversionReport",
    "ConversionWarning",
    "Converter",
    "Method",
    "QCFSRectifier",
    "RatePooling",
    "Rectifier",
    "Setting",
    "SpikingNet",
    "SpikingRectifier",
    "VoltageHook",
    "VoltageScaler",
    "calibrate",
    "convert",
    "download_url",
    "make_method",
    "prepare",
    "rectifiers",
    "to_spiking",
]
