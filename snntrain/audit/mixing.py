"""Checks of what an output may depend on: its own sample, up to its own step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snntrain.audit.finding import Seen, check
from snntrain.audit.subject import Subject
from snntrain.audit.trace import Difference, difference
from snntrain.hooks import keeps_children_in_s, step_mode_of, supported_step_modes


@check(
    "batch mates",
    severity="error",
    remedy="Keep the dims of time and batch apart: a layer with a state takes [T, N, *], and only layers without one "
    "may be given [T·N, *]; a normalization must use its running statistics in evaluation.",
    source="github.com/zhouchenlin2096/QKFormer/issues/14",
)
def batch_mates(subject: Subject) -> Iterator[Seen]:
    """Outputs of a sample depend on the other samples of its batch, in evaluation."""

    def compare(mates: Tensor) -> Difference | None:
        mates[:, subject.probes] = subject.few[:, subject.probes]
        return difference(subject.base, subject.trace(mates), columns=subject.probes)

    found = subject.with_others(compare)
    if found is not None:
        yield Seen(found.layer, f"With other samples beside it in the batch, a sample changes {found}.")


@check(
    "future steps",
    severity="error",
    remedy="Let a step use what came before it only: pad convolutions over time at the front, mask attention, and do "
    "not run the sequence backward.",
    source="github.com/locuslab/TCN/issues/8",
)
def future_steps(subject: Subject) -> Iterator[Seen]:
    """Outputs of a step depend on later steps, in evaluation."""
    if subject.T < 2 or not subject.has_steps:
        return
    cut = subject.T // 2

    def compare(other: Tensor) -> Difference | None:
        return difference(subject.base, subject.trace(torch.cat([subject.few[:cut], other[cut:]])), until=cut)

    found = subject.with_others(compare)
    if found is None:
        return
    evidence = f"With other inputs from step {cut} on, the steps before it change {found}."
    module = subject.origin.get_submodule(found.layer)
    if step_mode_of(module) and "s" not in supported_step_modes(module) and not keeps_children_in_s(module):
        yield Seen(
            found.layer,
            f"{evidence} {type(module).__name__} says that it takes whole sequences only.",
            severity="info",
            remedy="Such a net cannot run step by step, on a chip or on a stream. Where it has to, choose a causal "
            "neuron or layer, such as neuron=sliding_psn.",
        )
    else:
        yield Seen(found.layer, evidence)
