"""All checks of a net, one after the other; and the list of all checks that there are."""

import warnings

import torch
from torch import Tensor, nn

from snntrain.arguments import choice, real
from snntrain.audit import (
    counting,
    data,
    determinism,
    gradients,
    measuring,
    mixing,
    normalization,
    overflow,
    rates,
    state,
)
from snntrain.audit.finding import Check, Finding, in_order
from snntrain.audit.subject import Subject
from snntrain.audit.survey import Survey

_FAMILIES = (mixing, state, rates, gradients, normalization, counting, determinism, overflow, data, measuring)
CHECKS: tuple[Check, ...] = tuple(
    one for family in _FAMILIES for one in vars(family).values() if isinstance(one, Check)
)
"""Every check, by families."""

_DEFAULT_TARGETS = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64"}


def audit(
    net: nn.Module, x: Tensor, *, trained: bool = False, target: str | None = None, unit: float = 1.0
) -> list[Finding]:
    """Look for the faults that make results of spiking nets wrong, or impossible to repeat.

    A copy of the net is run forward a dozen times, and twice forward and backward; the net itself, its mode, states,
    gradients and hooks, and all random numbers to come stay as they are. Hooks of the net are called as in any forward.

    Args:
        net: any torch net that takes sequences, [T, N, *] → [T, N, K] or [N, K]; a network of this library in step mode
            'm', or an nn.Sequential of modules of others.
        x: what it gets, [T, N, *], N ≥ 2, floating point; a batch of training data shows more than random numbers do.
        trained: whether the net has been trained: then layers that are silent, or always fire, are warnings.
        target: what potentials are to be kept in, one of "float64", "float32", "bfloat16", "float16", "int8", "int16",
            "int24" (Loihi) and "int32"; None: the floating-point type of x.
        unit: > 0; of integer targets, the potential that is counted as 1.

    Returns: the findings, errors first; [] for a clean net. docs/auditing.md lists the checks.
    Raises: ValueError for another x or target, for a net that cannot be copied or cannot take x.
    """
    target = choice("audit", "target", target or _DEFAULT_TARGETS.get(x.dtype, "float32"), tuple(overflow.TARGETS))
    unit = real("audit", "unit", unit, above=0)
    with torch.inference_mode(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*needs arguments, so it is not called.*")  # a check says so
        subject = Subject(net, x, trained=trained)
        return in_order(_of_subject(subject, target, unit))


def _of_subject(subject: Subject, target: str, unit: float) -> list[Finding]:
    rows = counting.rows_of(subject)
    survey = Survey(subject, {row["path"]: row["divisor"] for row in rows})
    made = gradients.backward_of(subject)
    found = determinism.not_repeatable(subject, made)
    if not any(finding.layer or finding.severity == "error" for finding in found):
        # Of a net that never does the same twice, all comparisons would say so again.
        found += mixing.batch_mates(subject) + mixing.future_steps(subject) + state.state_left_over(subject)
        found += determinism.draws_in_evaluation(subject) + determinism.threads(subject) + determinism.devices(subject)
    found += state.never_reset(subject) + state.another_reset(subject)
    found += rates.silent_layer(survey) + rates.dead_neurons(survey) + rates.always_firing(survey)
    found += gradients.no_gradient(made) + gradients.flat_surrogate(survey)
    found += normalization.batch_norm_per_step(subject, made) + normalization.batch_norm_of_samples(subject, made)
    found += counting.no_spikes_enter(survey, rows)
    return found + overflow.not_finite(survey) + overflow.near_overflow(subject, survey, target, unit)
