"""Layers followed by neurons as blocks of lava-dl. The layers are only read.

What lava-dl has not is a ValueError, an unknown neuron a NotImplementedError, and no lava-dl at all an ImportError.
Blocks have no delay between layers (delay_shift), and start every sequence at rest. lava-dl has a surrogate of its own
(an exponential), whatever that of the neuron was.
"""

import warnings
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.arguments import also_called
from snntrain.lava_exchange.lava_shim import slayer
from snntrain.lava_exchange.neuron import CubaParameters, cuba_parameters, fires_alike
from snntrain.lava_exchange.normalization import BatchNorm2d
from snntrain.lava_exchange.synapse import (
    AVERAGE,
    CONV,
    LINEAR,
    POOL,
    check_conv,
    check_flatten,
    check_linear,
    check_pool,
    conv_arguments,
    pool_arguments,
    window_size,
    with_weight_of,
    with_whole_windows,
)
from snntrain.neuron.cuba_arithmetic import quantize_8b


@also_called(sj_ms_neuron="neuron")
def to_lava_block_dense(fc: nn.Linear, neuron: nn.Module, quantize_to_8bit: bool = True) -> nn.Module:
    """slayer.block.cuba.Dense that does what a bias-free Linear and a neuron do.

    With weights that are multiples of 2/64 and binary inputs it fires exactly as the layers do where the neuron is an
    IFNode or CubaLIFNode; other neurons it follows as closely as integers can.

    Args:
        fc: bias-free.
        neuron: IFNode, LIFNode, ParametricLIFNode, CubaLIFNode or FloatCubaLIFNode; v_reset = 0, no decay_input.
        quantize_to_8bit: the block runs with weights on the grid of 8 bits.
    """
    check_linear(fc)
    parameters = cuba_parameters(neuron, on_grid=quantize_to_8bit)
    _warn(neuron, fc.weight, parameters, quantize_to_8bit)
    sizes = {"in_neurons": fc.in_features, "out_neurons": fc.out_features}
    block = _cuba().Dense(asdict(parameters), **sizes, delay_shift=False, **_hook(quantize_to_8bit))
    with_weight_of(fc, block.synapse)
    return _with_norm_of(neuron, block)


@also_called(conv2d_nn="conv", sj_ms_neuron="neuron")
def to_lava_block_conv(conv: nn.Conv2d, neuron: nn.Module, quantize_to_8bit: bool = True) -> nn.Module:
    """slayer.block.cuba.Conv that does what a bias-free Conv2d and a neuron do; otherwise as to_lava_block_dense."""
    check_conv(conv)
    parameters = cuba_parameters(neuron, on_grid=quantize_to_8bit)
    _warn(neuron, conv.weight, parameters, quantize_to_8bit)
    arguments = conv_arguments(conv)
    block = _cuba().Conv(asdict(parameters), **arguments, delay_shift=False, **_hook(quantize_to_8bit))
    with_weight_of(conv, block.synapse)
    return _with_norm_of(neuron, block)


@also_called(pool2d_nn="pool", sj_ms_neuron="neuron")
def to_lava_block_pool(pool: nn.Module, neuron: nn.Module, quantize_to_8bit: bool = True) -> nn.Module:
    """slayer.block.cuba.Pool that does what an AvgPool2d or SumPool2d and a neuron do.

    lava-dl sums. For a mean the threshold is multiplied by the size of a window instead, so that the spikes are those
    of the mean. For the windows see avgpool2d_to_lava_synapse_pool, otherwise to_lava_block_dense.
    """
    check_pool(pool)
    gain = window_size(pool) if type(pool) in AVERAGE else 1
    parameters = cuba_parameters(neuron, gain, on_grid=quantize_to_8bit)
    one = torch.ones(())
    if quantize_to_8bit and quantize_8b(one, parameters.scale) != one:
        raise ValueError(
            f"{type(neuron).__name__}: scale is {parameters.scale}; for pooling it must be even and ≤ 254."
        )
    _warn(neuron, one, parameters, quantize_to_8bit)
    arguments = pool_arguments(pool)
    block = _cuba().Pool(asdict(parameters), **arguments, delay_shift=False, **_hook(quantize_to_8bit))
    with_whole_windows(block.synapse, pool)
    return _with_norm_of(neuron, block)


@also_called(flatten_nn="flatten")
def to_lava_block_flatten(flatten: nn.Flatten) -> nn.Module:
    """slayer.block.cuba.Flatten, for a layer that joins all dims but the batch's."""
    check_flatten(flatten)
    return _cuba().Flatten()


def to_lava_block_input(neuron: nn.Module) -> nn.Module:
    """slayer.block.cuba.Input: a neuron that turns the input itself, rounded to 8 bits, into spikes."""
    parameters = cuba_parameters(neuron)
    return _with_norm_of(neuron, _cuba().Input(asdict(parameters), delay_shift=False))


def to_lava_block_average(voting: nn.Module, blocks: list[nn.Module]) -> nn.Module:
    """slayer.block.cuba.Average: the means that a VotingLayer takes of the spikes of a dense block.

    Args:
        voting: VotingLayer.
        blocks: those before it, the last of them dense, with as many neurons as votes.
    """
    last = blocks[-1] if blocks else None
    neurons = last.synapse.out_channels if isinstance(last, _cuba().Dense) else 0
    if not neurons or neurons % voting.voting_size:
        raise ValueError(f"VotingLayer must follow a dense block with a multiple of {voting.voting_size} neurons.")
    return _cuba().Average(num_outputs=neurons // voting.voting_size)


WITH_NEURON = ((LINEAR, to_lava_block_dense), (CONV, to_lava_block_conv), (POOL, to_lava_block_pool))


def _cuba() -> Any:
    return slayer().block.cuba


def _hook(quantize_to_8bit: bool) -> dict[str, None]:
    return {} if quantize_to_8bit else {"pre_hook_fx": None}  # lava-dl quantizes by default


def _with_norm_of(neuron: nn.Module, block: nn.Module) -> nn.Module:
    norm = getattr(neuron, "norm", None)
    if norm is None:
        return block
    if not isinstance(norm, BatchNorm2d):
        kind = type(norm).__name__
        raise NotImplementedError(f"{type(neuron).__name__}: its norm is {kind}; use lava_exchange.BatchNorm2d.")
    block.neuron.norm = norm.to_lava()
    block.neuron.norm.pre_hook_fx = block.neuron.quantize_8bit
    return block


def _warn(neuron: nn.Module, weight: Tensor, parameters: CubaParameters, quantize_to_8bit: bool) -> None:
    """Of what changes the spikes."""
    kind = type(neuron).__name__
    if not fires_alike(neuron):
        warnings.warn(
            f"{kind}: lava-dl truncates states to integers and fires above the threshold, not at it; some spikes will "
            "differ. Train with CubaLIFNode for equal ones.",
            stacklevel=3,
        )
    if quantize_to_8bit:
        with torch.no_grad():
            clipped = int(((quantize_8b(weight, parameters.scale) - weight).abs() > 1.01 / parameters.scale).sum())
        if clipped:
            lowest, highest = -256 / parameters.scale, 254 / parameters.scale
            warnings.warn(
                f"{kind}: {clipped} weights before it are beyond 8 bits ({lowest:g} … {highest:g}) and are clipped.",
                stacklevel=3,
            )
