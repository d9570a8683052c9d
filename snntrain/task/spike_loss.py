"""Losses of spike counts and of membrane potentials over time, with the values of snnTorch's.

`y_seq` holds the outputs [T, N, K]. With population coding (task.population) the outputs of each class are summed up
before a loss of spikes gets them. Where classes are weighted, a loss is the mean over the samples of weight times loss,
as in snntrain.task.loss.cross_entropy.

Source: Eshraghian et al., Proc. IEEE 2023.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from snntrain.data.target import Target
from snntrain.ranges import number, set_ranges
from snntrain.registry import register
from snntrain.task.class_weights import CLASS_WEIGHT
from snntrain.task.loss import cross_entropy
from snntrain.task.suited import suits


@register("loss")
@suits(Target.CLASS, step_by_step=False)
def ce_rate(y_seq: Tensor, target: Tensor, label_smoothing: float = 0.0, weight: CLASS_WEIGHT = None) -> Tensor:
    """Mean over time of the cross-entropy of each step's outputs: the right class is to fire at every step."""
    return cross_entropy(y_seq.flatten(0, 1), torch.cat([target] * len(y_seq)), label_smoothing, weight)


@register("loss")
@suits(Target.CLASS, step_by_step=False)
def ce_count(y_seq: Tensor, target: Tensor, label_smoothing: float = 0.0, weight: CLASS_WEIGHT = None) -> Tensor:
    """Cross-entropy of the spike counts: the right class is to fire most."""
    return cross_entropy(y_seq.sum(0), target, label_smoothing, weight)


@register("loss")
@suits(Target.CLASS, step_by_step=False, of_populations=False)
def ce_max_membrane(y_seq: Tensor, target: Tensor, label_smoothing: float = 0.0, weight: CLASS_WEIGHT = None) -> Tensor:
    """Cross-entropy of the largest potential of each output over time."""
    return cross_entropy(y_seq.amax(0), target, label_smoothing, weight)


@register("loss")
@suits(Target.CLASS, step_by_step=False)
def mse_count(
    y_seq: Tensor, target: Tensor, population: int = 1, correct_rate: float = 1.0, incorrect_rate: float = 0.0
) -> Tensor:
    """Mean squared distance of the spike counts from those wanted, divided by T.

    Args:
        y_seq: spikes [T, N, K], the sums over the neurons of each class.
        target: classes [N], or shares [N, K] where samples are mixed.
        population: neurons of a class.
        correct_rate: share of the steps in which the neurons of the right class are to fire, in [0, 1]. The count that
            is wanted of a class, rate · T · population, is rounded down.
        incorrect_rate: the same of all other classes.

    Raises: ValueError if both rates want the same count.
    """
    steps = len(y_seq)
    on, off = (int(steps * rate * population) for rate in (correct_rate, incorrect_rate))
    if on == off:
        raise ValueError(
            f"task.loss: in mse_count, correct_rate={correct_rate} and incorrect_rate={incorrect_rate} both want {on} "
            f"spikes of {population} neurons in T={steps} steps. Set rates further apart, or a larger T."
        )
    return F.mse_loss(y_seq.sum(0), _wanted(target, y_seq, on, off)) / steps


@register("loss")
@suits(Target.CLASS, step_by_step=False, of_populations=False)
def mse_membrane(y_seq: Tensor, target: Tensor, on_target: float = 1.0, off_target: float = 0.0) -> Tensor:
    """Mean squared distance of the potentials of every step from on_target, for the right class, or off_target."""
    return (y_seq - _wanted(target, y_seq, on_target, off_target)).square().mean()


def _wanted(target: Tensor, y_seq: Tensor, on: float, off: float) -> Tensor:
    """What is wanted of each output, [N, K]."""
    shares = F.one_hot(target, y_seq.shape[-1]) if target.dim() == 1 else target
    return off + (on - off) * shares.to(y_seq.dtype)


_SHARE = number(at_least=0, at_most=1)
set_ranges(mse_count, "mse_count: rates in the documentation", correct_rate=_SHARE, incorrect_rate=_SHARE)
