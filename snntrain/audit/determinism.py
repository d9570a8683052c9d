"""Checks of whether the same net and the same samples give the same outputs again."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from snntrain.audit.finding import Seen, check
from snntrain.audit.gradients import Backward, backward_of
from snntrain.audit.subject import Subject
from snntrain.audit.trace import difference

_APART = 1e-4  # largest difference of outputs, relative to them, that devices may have from rounding


@check(
    "not repeatable",
    severity="error",
    remedy="Draw with torch's generators, which seeds reach; use no clock, no uninitialized memory, no set whose order "
    "changes; see torch.use_deterministic_algorithms.",
    source="github.com/uzh-rpg/rpg_event_representation_learning/issues/15",
)
def not_repeatable(subject: Subject, made: Backward) -> Iterator[Seen]:
    """Outputs or gradients that differ between two runs from the same seed."""
    found = difference(subject.base, subject.trace(subject.few))
    if found is not None:
        yield Seen(found.layer, f"From the same seed, a second run changes {found}.")
        return
    again = backward_of(subject)
    for path, gradient in made.gradients.items():
        other = again.gradients.get(path)
        if gradient is not None and other is not None and not torch.equal(gradient.nan_to_num(), other.nan_to_num()):
            apart = float((gradient - other).abs().max())
            yield Seen(
                path.rpartition(".")[0], f"From the same seed, the gradient of {path} changes by up to {apart:.3g}."
            )
            return


@check(
    "draws in evaluation",
    severity="warning",
    remedy="Let it draw in training only (self.training), or seed it with each sample as encoders are.",
    source="github.com/BindsNET/bindsnet/issues/381",
)
def draws_in_evaluation(subject: Subject) -> Iterator[Seen]:
    """Modules that draw random numbers in evaluation, so that a test is not the same twice."""
    found = difference(subject.base, subject.trace(subject.few, seed=1))
    if found is not None:
        yield Seen(found.layer, f"From another seed, evaluation changes {found}.")


@check(
    "threads",
    severity="info",
    remedy="Set OMP_NUM_THREADS, and record it with the results; sums in another order round differently, and a spike "
    "at the threshold flips.",
    source="pytorch.org/docs/stable/notes/randomness.html",
)
def threads(subject: Subject) -> Iterator[Seen]:
    """Outputs that depend on the number of threads."""
    if subject.few.device.type != "cpu":
        return
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = subject.trace(subject.few)
        torch.set_num_threads(2)
        together = subject.trace(subject.few)
    finally:
        torch.set_num_threads(before)
    found = difference(alone, together)
    if found is not None and _relative(alone.y, together.y) > _APART:
        yield Seen(found.layer, f"With two threads instead of one, {found} change.")


@check(
    "devices",
    severity="info",
    remedy="Compare results of one kind of device only, and record it; trainer.precision=64-true tells whether "
    "rounding is the cause.",
    source="pytorch.org/docs/stable/notes/randomness.html",
)
def devices(subject: Subject) -> Iterator[Seen]:
    """Outputs that differ between the CPU and the GPU of this machine by more than rounding."""
    if not torch.cuda.is_available():
        return
    on_cpu, on_gpu = (
        subject.trace(subject.few.to(name), net=copy.deepcopy(subject.origin).eval().to(name)).y.cpu()
        for name in ("cpu", "cuda")
    )
    if (apart := _relative(on_cpu, on_gpu)) > _APART:
        yield Seen("", f"The outputs on the CPU and the GPU differ by {apart:.1%} of their size.")


def _relative(a: Tensor, b: Tensor) -> float:
    size = float(a.double().norm())
    return float((a.double() - b.double()).norm()) / size if size else float(not torch.equal(a, b))
