"""ReLU in a neuron's place: builds the ANN twin of a spiking model."""

from torch import nn

from snntrain.base import StepModule
from snntrain.registry import register


@register("neuron")
class ReLU(StepModule, nn.ReLU):
    """max(x, 0) at every step, without state: a model of these is an ordinary ANN.

    Shapes: any; the output has the shape of the input in both step modes.
    """

    def __init__(self, step_mode: str = "s") -> None:
        super().__init__()
        self.step_mode = step_mode
