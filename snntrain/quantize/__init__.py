"""Quantized spiking nets: fine-tuning, and an engine that computes in integers alone.

It may import the net floor, graph and ann2snn, no Lightning and no config.

net = prepare(trained, preset("w4v8"))     a copy whose layers and neurons exchange integers
observe(net, loader)                       ranges and steps
…                                          train it like any other net
freeze(net)
engine = to_integer(net)                   the same numbers, without floats
engine.save("net.safetensors")
"""

from snntrain.quantize.arithmetic import rounded
from snntrain.quantize.atif import QuantizedATIF
from snntrain.quantize.calibration import freeze, observe
from snntrain.quantize.error import QuantizationError
from snntrain.quantize.integer_file import DamagedNetError
from snntrain.quantize.integer_net import IntegerNet, IntegerRun, to_integer
from snntrain.quantize.layer import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedLayer,
    QuantizedLinear,
    QuantizerActProtocol,
    QuantizerInputProtocol,
)
from snntrain.quantize.node import QuantizedIFNode, QuantizedLIFNode
from snntrain.quantize.params import KINDS, QuantParams
from snntrain.quantize.prepare import LOIHI_GRID, LOIHI_SHIFT, prepare
from snntrain.quantize.quantized_net import QuantizedNet
from snntrain.quantize.quantizer import Quantizer
from snntrain.quantize.settings import PRESETS, QuantSettings, preset

__all__ = [
    "KINDS",
    "LOIHI_GRID",
    "LOIHI_SHIFT",
    "PRESETS",
    "DamagedNetError",
    "IntegerNet",
    "IntegerRun",
    "QuantParams",
    "QuantSettings",
    "QuantizationError",
    "QuantizedATIF",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedIFNode",
    "QuantizedLIFNode",
    "QuantizedLayer",
    "QuantizedLinear",
    "QuantizedNet",
    "Quantizer",
    "QuantizerActProtocol",
    "QuantizerInputProtocol",
    "freeze",
    "observe",
    "prepare",
    "preset",
    "rounded",
    "to_integer",
]
