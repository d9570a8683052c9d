"""Spiking neurons, and the ReLU of their ANN twins."""

from snntrain.neuron.base_node import BaseNode
from snntrain.neuron.integrate_and_fire import IFNode
from snntrain.neuron.lif import LIFNode, ParametricLIFNode
from snntrain.neuron.relu import ReLU

__all__ = ["BaseNode", "IFNode", "LIFNode", "ParametricLIFNode", "ReLU"]
