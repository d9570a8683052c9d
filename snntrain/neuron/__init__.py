"""Spiking neurons, readouts that do not spike, and the ReLU of ANN twins.

They may import the ground floor, base, functional, surrogate and kernel.
"""

from snntrain.neuron.adaptive import AdaptBaseNode, IzhikevichNode
from snntrain.neuron.adaptive_threshold import ALIFNode, CELIFNode
from snntrain.neuron.adlif import AdLIFBaseNode, AdLIFNode, SEAdLIFNode
from snntrain.neuron.atif import ATIFNode
from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.clif import ComplementaryLIFNode
from snntrain.neuron.compartments import DHLIFNode, TCLIFNode
from snntrain.neuron.cuba import FloatCubaLIFNode
from snntrain.neuron.cuba_loihi import CubaLIFNode
from snntrain.neuron.glif import GatedLIFNode
from snntrain.neuron.integrate_and_fire import IFNode, SimpleIFNode
from snntrain.neuron.klif import KLIFNode
from snntrain.neuron.liaf import LIAFNode
from snntrain.neuron.lif import LIFNode, ParametricLIFNode, SimpleLIFNode
from snntrain.neuron.multilevel import ILIFNode, TernaryLIFNode
from snntrain.neuron.nonlinear import EIFNode, QIFNode
from snntrain.neuron.online import OTTTLIFNode, SLTTLIFNode
from snntrain.neuron.parallel import PSN, MaskedPSN, SlidingPSN
from snntrain.neuron.readout import NonSpikingIFNode, NonSpikingLIFNode
from snntrain.neuron.relu import ReLU
from snntrain.neuron.resonate import RAFNode

__all__ = [
    "PSN",
    "ALIFNode",
    "ATIFNode",
    "AdLIFBaseNode",
    "AdLIFNode",
    "AdaptBaseNode",
    "BaseNode",
    "CELIFNode",
    "ComplementaryLIFNode",
    "CubaLIFNode",
    "DHLIFNode",
    "EIFNode",
    "FloatCubaLIFNode",
    "GatedLIFNode",
    "IFNode",
    "ILIFNode",
    "IzhikevichNode",
    "KLIFNode",
    "LIAFNode",
    "LIFNode",
    "MaskedPSN",
    "NonSpikingIFNode",
    "NonSpikingLIFNode",
    "OTTTLIFNode",
    "ParametricLIFNode",
    "QIFNode",
    "RAFNode",
    "ReLU",
    "SEAdLIFNode",
    "SLTTLIFNode",
    "SimpleIFNode",
    "SimpleLIFNode",
    "SlidingPSN",
    "TCLIFNode",
    "TernaryLIFNode",
]
