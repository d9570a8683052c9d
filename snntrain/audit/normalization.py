"""Check of batch normalization: which dims its statistics are of."""

from collections.abc import Iterator

from snntrain.audit.finding import Seen, check
from snntrain.audit.gradients import Backward
from snntrain.audit.subject import Subject


@check(
    "batch norm per step",
    severity="warning",
    remedy="Normalize over time and batch together (step mode 'm', norm=bn or tdbn), or keep statistics of each step "
    "(norm=bntt): a single running mean, updated at every step, fits none of them.",
    source="github.com/fangwei123456/spikingjelly/issues/157",
)
def batch_norm_per_step(subject: Subject, made: Backward) -> Iterator[Seen]:
    """Batch normalizations that are called once for each step, so that training and evaluation differ."""
    per_step = [path for path, (calls, _) in made.batch_norms.items() if subject.T > 1 and calls == subject.T]
    others = len(made.batch_norms) - len(per_step)
    mixed = f" Of the other {others} of the net, none is." if per_step and others else ""
    for path in per_step:
        yield Seen(path, f"It is called {subject.T} times for a sequence of {subject.T} steps.{mixed}")


@check(
    "batch norm of samples",
    severity="error",
    remedy="Fold time into the batch before it: [T·N, C, *], as snntrain.functional.seq_to_ann_forward does.",
    source="github.com/fangwei123456/spikingjelly/issues/619",
)
def batch_norm_of_samples(subject: Subject, made: Backward) -> Iterator[Seen]:
    """Batch normalizations that are given sequences [T, N, *] and take the samples for channels."""
    T, N = subject.x.shape[:2]
    for path, (_, shape) in made.batch_norms.items():
        module = subject.origin.get_submodule(path)
        if type(module).__module__.startswith("torch.nn.") and shape[:2] == (T, N) and module.num_features == N:
            yield Seen(path, f"Its input {list(shape)} has {N} samples where its {N} channels are expected.")
