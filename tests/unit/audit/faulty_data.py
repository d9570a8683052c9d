"""Small data sets, encoders and measurements with one fault each, made after reports of real ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snntrain.audit import Finding, audit_data, chosen_by_test, one_seed, padded_steps_count
from snntrain.functional import real_steps

Pairs = list[tuple[Tensor, int]]


def pictures(count: int, seed: int, classes: int = 3) -> Pairs:
    drawn = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return [(x, number % classes) for number, x in enumerate(drawn)]


def splits() -> dict[str, Pairs]:
    return {"train": pictures(60, 1), "val": pictures(12, 2), "test": pictures(30, 3)}


def scaled(parts: dict[str, Pairs], by: Sequence[str]) -> dict[str, Pairs]:
    """All splits shifted and scaled by the statistics of some of them."""
    values = torch.stack([x for name in by for x, _ in parts[name]])
    return {
        name: [((x - values.mean()) / values.std(correction=0), y) for x, y in part] for name, part in parts.items()
    }


def brighter(part: Pairs) -> Pairs:
    return [(2 * x + 1, y) for x, y in part]


def shared() -> list[Finding]:
    parts = splits()
    return audit_data(parts | {"test": parts["test"][:20] + parts["train"][:10]})


def nearly_shared() -> list[Finding]:
    parts, noise = splits(), torch.Generator().manual_seed(9)
    copies = [(x + 0.01 * torch.rand(x.shape, generator=noise), y) for x, y in parts["train"][:10]]
    return audit_data(parts | {"test": parts["test"][:20] + copies})


def without_a_class() -> list[Finding]:
    parts = splits()
    return audit_data(parts | {"train": [pair for pair in parts["train"] if pair[1] != 2]}, classes=3)


def scaled_by_all() -> list[Finding]:
    parts = splits()
    return audit_data(scaled(parts | {"test": brighter(parts["test"])}, ("train", "val", "test")))


def scaled_by_itself() -> list[Finding]:
    parts = splits()
    one, other = (scaled({"train": part}, ("train",))["train"] for part in (parts["train"], brighter(parts["test"])))
    return audit_data({"train": one, "test": other})


class Rate:
    """Rate coding; the numbers are drawn as a subclass says."""

    is_random = True

    def drawn(self, shape: torch.Size, T: int) -> Tensor:
        return torch.rand(T, *shape)

    def __call__(self, x: Tensor, T: int) -> Tensor:
        return (self.drawn(x.shape, T) < x).float()


class OneForAll(Rate):
    def drawn(self, shape: torch.Size, T: int) -> Tensor:
        return torch.rand(T, 1, *shape[1:]).expand(T, *shape)


class Reseeding(Rate):
    def drawn(self, shape: torch.Size, T: int) -> Tensor:
        torch.manual_seed(0)
        return super().drawn(shape, T)


GRAY = torch.full((3, 6), 0.5)


def measured(measure: Callable[[Tensor, Tensor], Tensor]) -> list[Finding]:
    y_seq, lengths = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(5)), torch.tensor([5, 3, 2, 4])
    return padded_steps_count({"task.metrics": lambda y: measure(y, lengths)}, y_seq, lengths)


def mean_of_real(y_seq: Tensor, lengths: Tensor) -> Tensor:
    return (y_seq * real_steps(lengths, len(y_seq))[..., None]).sum(0) / lengths[:, None]


FAULTS: dict[str, tuple[Callable[[], list[Finding]], str, str, str]] = {
    # name: (what finds it, its check, its layer, its severity)
    # fangwei123456/spikingjelly issue 390: CIFAR10-DVS has no test set of its own, and the training set is tested.
    "samples in two splits": (shared, "shared samples", "data.test", "error"),
    # fangwei123456/spikingjelly issue 297: neighboring frames of one recording lie in both.
    "near duplicates": (nearly_shared, "near duplicates", "data.test", "warning"),
    # alteryx/evalml issue 760: a random split leaves a class out.
    "a class that is not trained": (without_a_class, "missing classes", "data.train", "error"),
    # laiguokun/LSTNet issue 18: scaled by the whole data set.
    "scaled by all samples": (scaled_by_all, "statistics of the test", "data", "warning"),
    # deepchem/deepchem issue 51: train and test scaled each by itself.
    "scaled each by itself": (scaled_by_itself, "statistics of the test", "data.test", "warning"),
    # pytorch/pytorch issue 5059: the same random numbers for each batch.
    "a seed for every batch": (
        lambda: one_seed(Reseeding(), GRAY, 8),
        "one seed for all samples",
        "encoder",
        "error",
    ),
    # norse/norse issue 75: encoders whose generator cannot be chosen.
    "a draw for all samples": (lambda: one_seed(OneForAll(), GRAY, 8), "one seed for all samples", "encoder", "error"),
    "a seed for all samples": (
        lambda: one_seed(Rate(), GRAY, 8, seeds=[7, 7, 7]),
        "one seed for all samples",
        "encoder",
        "error",
    ),
    # lisiqi19971013/EventStream-SR issue 7, titu1994/LSTM-FCN issue 7: the test set chooses the epoch.
    "the test chooses": (
        lambda: chosen_by_test({"monitor.metric": "test/acc"}),
        "test set chooses",
        "monitor.metric",
        "error",
    ),
    # cs230-stanford/cs230-code-examples issue 13, keras-team/keras issue 4752: accuracy over padding.
    "padding is measured": (lambda: measured(lambda y, n: y.mean(0)), "padded steps count", "task.metrics", "error"),
}
CLEAN: dict[str, Callable[[], list[Finding]]] = {
    "splits": lambda: audit_data(splits(), classes=3),
    "scaled by the training samples": lambda: audit_data(scaled(splits(), ("train",))),
    "encoder": lambda: one_seed(Rate(), GRAY, 8),
    "encoder with seeds": lambda: one_seed(Rate(), GRAY, 8, seeds=[1, 2, 3]),
    "encoder that draws nothing": lambda: one_seed(lambda x, T: x.expand(T, *x.shape), GRAY, 8),
    "validation chooses": lambda: chosen_by_test({"monitor.metric": "val/acc"}),
    "padding left out": lambda: measured(mean_of_real),
}
