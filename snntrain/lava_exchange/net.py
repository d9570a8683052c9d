"""A net of layers and neurons in turn as lava-dl's blocks."""

from collections.abc import Iterable, Iterator

from torch import nn

from snntrain import layer
from snntrain.lava_exchange.block import (
    WITH_NEURON,
    to_lava_block_average,
    to_lava_block_flatten,
    to_lava_block_input,
)
from snntrain.lava_exchange.container import BlockContainer
from snntrain.lava_exchange.neuron import is_neuron
from snntrain.lava_exchange.synapse import FLATTEN

Block = nn.Module


def to_lava_blocks(net: Iterable[nn.Module]) -> list[Block]:
    """The blocks of lava-dl that do what a sequence of layers and neurons does; the net is only read.

    Args:
        net: list, tuple or nn.Sequential of Linear, Conv2d, AvgPool2d or SumPool2d, each followed by a neuron; Flatten;
            BlockContainer; VotingLayer at the end; a neuron at the start, which turns the input into spikes. Containers
            nn.Sequential inside it are unpacked.

    Raises: ValueError or NotImplementedError naming the layer by its place, for what lava-dl has no block for.
    """
    layers = list(_unpacked(net))
    blocks: list[Block] = []
    place = 0
    while place < len(layers):
        try:
            used = _append(blocks, layers, place)
        except (ValueError, NotImplementedError) as error:
            raise type(error)(f"to_lava_blocks: layer {place}: {error}") from None
        place += used
    return blocks


def _unpacked(net: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in net:
        if type(module) in (nn.Sequential, layer.Sequential):
            yield from _unpacked(module)
        else:
            yield module


def _append(blocks: list[Block], layers: list[nn.Module], place: int) -> int:
    """Append the block that starts at a place; returns how many layers it stands for."""
    module, following = layers[place], layers[place + 1 : place + 2]
    kind = type(module)
    for kinds, build in WITH_NEURON:
        if kind in kinds:
            if not following or not is_neuron(following[0]):
                after = type(following[0]).__name__ if following else "nothing"
                raise ValueError(f"{kind.__name__} must be followed by a spiking neuron, not by {after}.")
            blocks.append(build(module, following[0]))
            return 2
    if kind in FLATTEN:
        blocks.append(to_lava_block_flatten(module))
    elif isinstance(module, BlockContainer):
        blocks.append(module.to_lava_block())
    elif kind is layer.VotingLayer:
        blocks.append(to_lava_block_average(module, blocks))
    elif is_neuron(module) and place == 0:
        blocks.append(to_lava_block_input(module))
    elif is_neuron(module):
        raise ValueError(f"{kind.__name__} follows neither Linear, Conv2d nor a pooling.")
    else:
        raise NotImplementedError(
            f"lava-dl has no block for {kind.__name__}. {_REMEDIES.get(kind.__name__, '')}".strip()
        )
    return 1


_REMEDIES = {
    "MaxPool2d": "Use AvgPool2d or SumPool2d followed by neurons, or a stride of the convolution.",
    "BatchNorm2d": "Fold it into the weights.",
    "BatchNorm1d": "Fold it into the weights.",
    "Dropout": "Leave it out: it does nothing in evaluation.",
}
