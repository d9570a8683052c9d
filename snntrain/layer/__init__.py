"""Layers with step modes.

They may import the ground floor, base, functional, kernel and neuron.

They raise ValueError for an argument out of range, for a module inside whose step mode they cannot use, and for an
input that does not fit, naming the shapes expected and received; those with a state raise StateMismatchError for an
input that does not fit it.
"""

from snntrain.layer.attention import MultiDimensionalAttention, TemporalWiseAttention
from snntrain.layer.branch import Branches, Residual
from snntrain.layer.container import MultiStepContainer, SeqToANNContainer, StepModeContainer
from snntrain.layer.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from snntrain.layer.delay import AxonalDelay, DelaySettings, SynapticDelay, delay_lines, interpolated, with_delay
from snntrain.layer.dendritic import DendriticLinear
from snntrain.layer.dropout import DropConnectLinear, Dropout, Dropout2d
from snntrain.layer.fold import FoldedLayer, StepLayer
from snntrain.layer.fuse import set_fuse
from snntrain.layer.linear import Flatten, Linear
from snntrain.layer.neunorm import NeuNorm
from snntrain.layer.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    SyncBatchNorm,
    convert_sync_batchnorm,
)
from snntrain.layer.online import GradwithTrace, OTTTSequential, ReplaceforGrad, SpikeTraceOp
from snntrain.layer.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
    Upsample,
)
from snntrain.layer.print_shape import PrintShapeModule
from snntrain.layer.recurrent import ElementWiseRecurrentContainer, FeedbackSum, LinearRecurrentContainer
from snntrain.layer.self_attention import QKAttention, SpikingSelfAttention
from snntrain.layer.sequential import Sequential
from snntrain.layer.spike_count import SpikeCountToBinary, TemporalBinSum
from snntrain.layer.substeps import Substeps
from snntrain.layer.synapse import Delay, SynapseFilter
from snntrain.layer.temporal_normalization import (
    BatchNormThroughTime1d,
    BatchNormThroughTime2d,
    BatchNormThroughTime3d,
    TemporalEffectiveBatchNorm1d,
    TemporalEffectiveBatchNorm2d,
    TemporalEffectiveBatchNorm3d,
    TemporalEffectiveBatchNormNd,
    ThresholdDependentBatchNorm1d,
    ThresholdDependentBatchNorm2d,
    ThresholdDependentBatchNorm3d,
)
from snntrain.layer.voting import VotingLayer
from snntrain.layer.weight_standardization import WSConv2d, WSLinear

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AxonalDelay",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormThroughTime1d",
    "BatchNormThroughTime2d",
    "BatchNormThroughTime3d",
    "Branches",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Delay",
    "DelaySettings",
    "DendriticLinear",
    "DropConnectLinear",
    "Dropout",
    "Dropout2d",
    "ElementWiseRecurrentContainer",
    "FeedbackSum",
    "Flatten",
    "FoldedLayer",
    "GradwithTrace",
    "GroupNorm",
    "Linear",
    "LinearRecurrentContainer",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MultiDimensionalAttention",
    "MultiStepContainer",
    "NeuNorm",
    "OTTTSequential",
    "PrintShapeModule",
    "QKAttention",
    "ReplaceforGrad",
    "Residual",
    "SeqToANNContainer",
    "Sequential",
    "SpikeCountToBinary",
    "SpikeTraceOp",
    "SpikingSelfAttention",
    "StepLayer",
    "StepModeContainer",
    "Substeps",
    "SynapseFilter",
    "SynapticDelay",
    "SyncBatchNorm",
    "TemporalBinSum",
    "TemporalEffectiveBatchNorm1d",
    "TemporalEffectiveBatchNorm2d",
    "TemporalEffectiveBatchNorm3d",
    "TemporalEffectiveBatchNormNd",
    "TemporalWiseAttention",
    "ThresholdDependentBatchNorm1d",
    "ThresholdDependentBatchNorm2d",
    "ThresholdDependentBatchNorm3d",
    "Upsample",
    "VotingLayer",
    "WSConv2d",
    "WSLinear",
    "convert_sync_batchnorm",
    "delay_lines",
    "interpolated",
    "set_fuse",
    "with_delay",
]
