"""Exchange with lava-dl: Loihi's trainable neuron, its quantizers, and conversion of layers into lava-dl's.

It may import the net floor; only what makes or runs objects of lava-dl needs it installed (scripts/install_lava.py).
"""

from snntrain.lava_exchange.block import (
    to_lava_block_conv,
    to_lava_block_dense,
    to_lava_block_flatten,
    to_lava_block_pool,
)
from snntrain.lava_exchange.container import BlockContainer
from snntrain.lava_exchange.layout import NXT_to_TNX, TNX_to_NXT, lava_neuron_forward
from snntrain.lava_exchange.net import to_lava_blocks
from snntrain.lava_exchange.normalization import BatchNorm2d
from snntrain.lava_exchange.pooling import SumPool2d
from snntrain.lava_exchange.synapse import (
    avgpool2d_to_lava_synapse_pool,
    conv2d_to_lava_synapse_conv,
    linear_to_lava_synapse_dense,
)
from snntrain.neuron.cuba_arithmetic import (
    LeakyIntegratorStep,
    quantize_8b,
    right_shift_to_zero,
    step_quantize,
    step_quantize_atgf,
)
from snntrain.neuron.cuba_loihi import CubaLIFNode

__all__ = [
    "BatchNorm2d",
    "BlockContainer",
    "CubaLIFNode",
    "LeakyIntegratorStep",
    "NXT_to_TNX",
    "SumPool2d",
    "TNX_to_NXT",
    "avgpool2d_to_lava_synapse_pool",
    "conv2d_to_lava_synapse_conv",
    "lava_neuron_forward",
    "linear_to_lava_synapse_dense",
    "quantize_8b",
    "right_shift_to_zero",
    "step_quantize",
    "step_quantize_atgf",
    "to_lava_block_conv",
    "to_lava_block_dense",
    "to_lava_block_flatten",
    "to_lava_block_pool",
    "to_lava_blocks",
]
