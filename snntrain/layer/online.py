"""Layers for training online (OTTT): weight gradients from the traces of spikes, without a graph through time.

In training an OTTT neuron emits a pair, the list [spikes, trace]; these layers carry it to the
next neuron. Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.hooks import carries_state
from snntrain.layer.dropout import DropConnectLinear, Dropout
from snntrain.module_settings import path_in_running_model
from snntrain.neuron.online import OTTTLIFNode

# Stateful, but what they keep from step to step is a mask, which a second call within the step leaves as it is.
_MASK_KEEPING = (Dropout, DropConnectLinear)
_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


class ReplaceforGrad(torch.autograd.Function):
    """`ReplaceforGrad.apply(x, x_r)`: the value is x_r; the incoming gradient goes unchanged to both x and x_r.

    Raises: ValueError if the shapes differ.
    """

    @staticmethod
    def forward(x: Tensor, x_r: Tensor) -> Tensor:
        if x.shape != x_r.shape:
            raise ValueError(
                f"ReplaceforGrad: x and x_r must have the same shape, got {list(x.shape)} and {list(x_r.shape)}."
            )
        return x_r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad


def is_pair(x: Any) -> bool:
    """Whether x is [spikes, trace], as an OTTT neuron emits it in training.

    Raises: ValueError for any other list.
    """
    if not isinstance(x, list):
        return False
    if len(x) == 2 and all(isinstance(part, Tensor) for part in x) and x[0].shape == x[1].shape:
        return True
    parts = ", ".join(str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in x)
    raise ValueError(
        f"OTTT layers take a tensor, or as a list the pair [spikes, trace] of tensors of one shape, got [{parts}]."
    )


def apply_online(module: nn.Module, x: Any) -> Any:
    """module(x), where x may be a pair: see OTTTSequential."""
    if not is_pair(x) or getattr(module, "takes_pairs", False):
        return module(x)
    has_weights = next(module.parameters(), None) is not None
    check_for_pairs(module, is_operation=not has_weights)
    return _with_trace_gradient(module, *x) if has_weights else _spike_and_trace(module, *x)


def check_for_pairs(module: nn.Module, is_operation: bool) -> None:
    """Look for what cannot be called twice within a step, on the spikes and on the trace.

    Args:
        is_operation: whether both outputs go to the next layer, so that their random numbers must be the same.

    Raises: ValueError naming the module.
    """
    reason = _reason_against_pairs(module, is_operation)
    if reason:
        raise ValueError(reason)


def _reason_against_pairs(module: nn.Module, is_operation: bool) -> str:
    for path, inner in module.named_modules():
        if carries_state(inner) and not isinstance(inner, _MASK_KEEPING):
            return (
                f"{_place(module, inner, path)} is stateful and cannot take a pair [spikes, trace] of an OTTT neuron: "
                "put a weight layer between the two, and use OTTTSequential for layers with neurons among them."
            )
        if is_operation and isinstance(inner, _RANDOM):
            return (
                f"{_place(module, inner, path)} would draw different random numbers for the spikes and the trace of an "
                "OTTT neuron; use snntrain's Dropout, which keeps its mask."
            )
    return ""


class _PairLayer(nn.Module):
    """A layer that runs its module on the spikes and on the trace of a pair, and on a tensor as it is."""

    takes_pairs = True
    is_operation: bool

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        check_for_pairs(module, is_operation=self.is_operation)
        warn_of_second_call(type(self).__name__, module)
        self.module = module

    def forward(self, x: Tensor | list[Tensor]) -> Any:
        if not is_pair(x):
            return self.module(x)
        return _spike_and_trace(self.module, *x) if self.is_operation else _with_trace_gradient(self.module, *x)


class GradwithTrace(_PairLayer):
    """Let a weight layer learn from the traces of its input spikes.

    On a pair [spike, trace] the value is module(spike); the weight gradient is as if the input had been trace; the
    gradient that spike gets is that of module's input. A tensor: module(x).

    Args:
        module: a layer that can be called twice in a step; batch normalization and random layers draw a warning.

    Shapes: pair of [N, *], or a tensor → what module gives.
    Raises: ValueError for a list that is no pair, and if module contains a stateful module other than a dropout.
    Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
    """

    is_operation = False


class SpikeTraceOp(_PairLayer):
    """Apply an operation without weights, such as pooling or flattening, to spikes and trace alike.

    [spike, trace] → [module(spike), module(trace) without gradient]. A tensor: module(x).

    Args:
        module: operation that treats both alike: of the dropouts only those that keep their mask.

    Shapes: pair of [N, *] → pair of what module gives, or a tensor → a tensor.
    Raises: ValueError for a list that is no pair, if module contains a dropout of torch or a stateful module other than
    a dropout.
    Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
    """

    is_operation = True


class OTTTSequential(nn.Sequential):
    """nn.Sequential for OTTT neurons and the layers between them.

    While the value is a pair [spike, trace], a module without parameters acts as in SpikeTraceOp, one with parameters
    as in GradwithTrace, which ends the pair; modules made for pairs (those two, OTTTSequential, Residual, Branches)
    take it as it is. Tensors pass as in nn.Sequential.

    Args:
        modules: as in nn.Sequential.

    Shapes: those of the modules; a pair comes out if the last neuron is an OTTT neuron in training, with no weight
    layer after it.
    Raises: ValueError if a pair reaches a neuron or a dropout of torch.
    Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
    """

    takes_pairs = True

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        for module in self._modules_that_may_meet_a_pair():
            warn_of_second_call("OTTTSequential", module)

    def forward(self, x: Tensor | list[Tensor]) -> Any:
        for module in self:
            x = apply_online(module, x)
        return x

    def _modules_that_may_meet_a_pair(self) -> Iterator[nn.Module]:
        may_be_pair = True  # this sequence may stand inside another one
        for module in self:
            has_weights = next(module.parameters(), None) is not None
            takes_pairs = getattr(module, "takes_pairs", False)
            if may_be_pair and not takes_pairs and not _reason_against_pairs(module, is_operation=not has_weights):
                yield module
            emits_pairs = any(isinstance(inner, OTTTLIFNode) for inner in module.modules())
            ends_pairs = isinstance(module, GradwithTrace) or (has_weights and not takes_pairs)
            may_be_pair = emits_pairs or (may_be_pair and not ends_pairs)


def warn_of_second_call(owner: str, module: nn.Module) -> None:
    """Warn if calling module twice within a step is more than calling it once."""
    for path, inner in module.named_modules():
        if isinstance(inner, nn.modules.batchnorm._NormBase) and inner.track_running_stats:
            what = "its running statistics will be updated twice"
        elif isinstance(inner, _RANDOM) or (isinstance(inner, DropConnectLinear) and not inner.invariant):
            what = "its random numbers will be drawn twice"
        else:
            continue
        place = f"{path} ({type(inner).__name__})" if path else type(inner).__name__
        warnings.warn(
            f"{owner}: {place} runs twice in a step on a pair [spikes, trace], and {what}; use WSConv2d or WSLinear "
            "instead of normalization, and snntrain's Dropout, which keeps its mask.",
            stacklevel=3,
        )
        return


def _with_trace_gradient(module: nn.Module, spike: Tensor, trace: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return module(spike)
    # The run with gradient comes first: autocast caches the weights it casts, and casts made without gradient would
    # have none for this run.
    out_g = module(ReplaceforGrad.apply(spike, trace))
    with torch.no_grad():
        out = module(spike)
    return ReplaceforGrad.apply(out_g, out)


def _spike_and_trace(module: nn.Module, spike: Tensor, trace: Tensor) -> list[Tensor]:
    out = module(spike)
    with torch.no_grad():
        return [out, module(trace)]


def _place(module: nn.Module, inner: nn.Module, path: str) -> str:
    path = ".".join(filter(None, (path_in_running_model(module), path)))
    return f"{path} ({type(inner).__name__})" if path else type(inner).__name__
