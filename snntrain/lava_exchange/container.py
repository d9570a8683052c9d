"""A layer and its neurons, trained as Loihi will compute them."""

from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.arguments import also_called, invalid
from snntrain.base import StepModule, autocast_off
from snntrain.functional import seq_to_ann_forward
from snntrain.lava_exchange import block
from snntrain.lava_exchange.neuron import cuba_parameters
from snntrain.lava_exchange.pooling import SumPool2d
from snntrain.lava_exchange.synapse import CONV, FLATTEN, LINEAR, check_conv, check_flatten, check_linear
from snntrain.neuron.cuba_loihi import CubaLIFNode


class BlockContainer(StepModule, nn.Module):
    """A layer and neurons, trained with weights of 8 bits and integer states.

    Forward uses the layer's weights as quantize_8b rounds them; the weights themselves stay as training left them.

    Args:
        synapse: bias-free Linear or Conv2d, SumPool2d, or Flatten.
        neuron: CubaLIFNode, or a neuron that becomes one, with its surrogate function and detach_reset: IFNode (with
            equal spikes), LIFNode, ParametricLIFNode (tau stays as it is), FloatCubaLIFNode. None for Flatten.
        norm: applied to the current, see CubaLIFNode.
        step_mode: 's' or 'm', for the neuron too.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'), N and * as the layer takes them.
    Raises: ValueError or NotImplementedError for what lava-dl's blocks cannot do.
    """

    @also_called(neu="neuron")
    def __init__(
        self, synapse: nn.Module, neuron: nn.Module | None, norm: nn.Module | None = None, step_mode: str = "s"
    ) -> None:
        super().__init__()
        _check(synapse)
        if type(synapse) in FLATTEN:
            if neuron is not None or norm is not None:
                raise ValueError("BlockContainer: neuron and norm must be None where the layer is Flatten.")
        elif neuron is None:
            raise invalid(self, "neuron", f"a spiking neuron where the layer is {type(synapse).__name__}", neuron)
        self.synapse = synapse
        self.neuron = None if neuron is None else _loihi(neuron, norm)
        self.step_mode = step_mode

    @property
    def step_mode(self) -> str:
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        StepModule.step_mode.fset(self, value)
        if self.neuron is not None:
            self.neuron.step_mode = value

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        with autocast_off(x.device):  # half precision would round sums of weights
            current = self._current(x) if self.step_mode == "s" else seq_to_ann_forward(x, self._current)
        return current if self.neuron is None else self.neuron(current)

    def _current(self, x: Tensor) -> Tensor:
        synapse = self.synapse
        if type(synapse) in LINEAR:
            weight = self.neuron.quantize_8bit(synapse.weight)
            return F.linear(x.to(weight.dtype), weight)
        if type(synapse) in CONV:
            weight = self.neuron.quantize_8bit(synapse.weight)
            more = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
            return F.conv2d(x.to(weight.dtype), weight, None, *more)
        return x.flatten(1) if type(synapse) in FLATTEN else synapse(x)

    def to_lava_block(self) -> nn.Module:
        """The same as a block of lava-dl, with copies of the weights."""
        if type(self.synapse) in FLATTEN:
            return block.to_lava_block_flatten(self.synapse)
        build = next(build for kinds, build in block.WITH_NEURON if type(self.synapse) in kinds)
        return build(self.synapse, self.neuron)

    def extra_repr(self) -> str:
        return f"step_mode={self.step_mode}"


def _check(synapse: nn.Module) -> None:
    if type(synapse) in LINEAR:
        check_linear(synapse)
    elif type(synapse) in CONV:
        check_conv(synapse)
    elif type(synapse) in FLATTEN:
        check_flatten(synapse)
    elif type(synapse) is not SumPool2d:
        raise NotImplementedError(
            f"BlockContainer: {type(synapse).__name__} is none of Linear, Conv2d, SumPool2d and Flatten. For AvgPool2d "
            "use SumPool2d and a threshold multiplied by the size of its window."
        )


def _loihi(neuron: nn.Module, norm: nn.Module | None) -> CubaLIFNode:
    if type(neuron) is CubaLIFNode:
        if norm is not None:
            neuron.attach_norm(norm)
        return neuron
    parameters = cuba_parameters(neuron)
    return CubaLIFNode(
        parameters.current_decay,
        parameters.voltage_decay,
        parameters.threshold,
        scale=parameters.scale,
        surrogate_function=neuron.surrogate_function,
        norm=norm,
        detach_reset=neuron.detach_reset,
        backend=neuron.backend,
        store_v_seq=neuron.store_v_seq,
    )
