"""What the test shows beside its metrics: small arrays for the report, added up batch by batch over all processes.

Each is a torchmetrics.Metric that is updated with (scores, targets) as the task's `for_evidence` gives them, or is one
OfOutputs, and computes one array.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from snntrain.layer.padding import padding

MOST_PAIRS = 4000
"""So many samples at most are kept with target and prediction."""
MOST_NUMBERS = 400_000
"""Numbers that these may have together, which leaves fewer samples where each has many values."""
MOST_LABELS = 1000
"""Above it, labels are counted one by one only."""
MOST_STEPS = 32
"""So many numbers of time steps at most are read out."""
MOST_MISTAKES = 12
"""So many samples are kept that the net got most wrong."""
VALUES_OF_EXAMPLE = 6
"""So many values of a step are kept in the example of a sequence."""


class _Evidence(Metric):
    """Base: a batch is added to the state without computing anything of the batch alone."""

    full_state_update = False

    def _add_sum(self, name: str, *shape: int, dtype: torch.dtype = torch.long) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")


class OfOutputs(_Evidence):
    """Base of the evidence that sees more of a batch of classes than the scores.

    Its update takes the task, outputs y_seq [T, N, *], scores [N, K], targets [N], and index [N], the samples' places
    in their data set, or None.
    """


class AccuracyOverTime(OfOutputs):
    """Accuracy if the outputs are read out after t steps, for up to MOST_STEPS numbers t: [m, 2], t and share.

    Sequences of several lengths are left out.

    Args:
        T: steps.
    """

    def __init__(self, T: int) -> None:
        super().__init__()
        count = min(T, MOST_STEPS)
        self.steps = sorted({round(1 + place * (T - 1) / max(1, count - 1)) for place in range(count)})
        self._add_sum("right", len(self.steps))
        self._add_sum("count")

    def update(self, task: Any, y_seq: Tensor, scores: Tensor, target: Tensor, index: Tensor | None) -> None:
        if padding() is not None:
            return
        over_time = task.scores_over_time(y_seq)[[t - 1 for t in self.steps[:-1]]]
        found = torch.cat([over_time, scores[None]])  # of all steps, what the test counts, to the last bit
        self.right = self.right + (found.argmax(2) == target).sum(1)
        self.count = self.count + len(target)

    def compute(self) -> Tensor:
        if not self.count:
            return torch.empty(0, 2, device=self.right.device)
        steps = torch.tensor(self.steps, device=self.right.device).float()
        return torch.stack([steps, self.right.float() / self.count], 1)


class Mistakes(OfOutputs):
    """The wrongly classified samples with the highest score for a wrong class: [m, 5], m ≤ MOST_MISTAKES.

    A row is index, class, predicted class, score of the predicted class, score of the true one. There are none where
    batches do not tell the index of their samples.
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_state("known", torch.zeros(MOST_MISTAKES, 3, dtype=torch.long), dist_reduce_fx="cat")
        self.add_state("scored", torch.full((MOST_MISTAKES, 2), -torch.inf), dist_reduce_fx="cat")

    def update(self, task: Any, y_seq: Tensor, scores: Tensor, target: Tensor, index: Tensor | None) -> None:
        if index is None:
            return
        highest, predicted = scores.max(1)
        highest = highest.float().where((predicted != target) & highest.isfinite(), -torch.inf)  # right ones come last
        scored = torch.stack([highest, scores.gather(1, target[:, None])[:, 0].float()], 1)
        known = torch.stack([index.to(target.device), target, predicted], 1)
        scored, known = torch.cat([self.scored, scored]), torch.cat([self.known, known])
        best = scored[:, 0].topk(MOST_MISTAKES).indices
        self.scored, self.known = scored[best], known[best]

    def compute(self) -> Tensor:
        rows = torch.cat([self.known.reshape(-1, 3).cpu().double(), self.scored.reshape(-1, 2).cpu().double()], 1)
        rows = rows[rows[:, 3] > -torch.inf].unique(dim=0)  # in the order of their index, whatever the batches were
        return rows[rows[:, 3].sort(descending=True, stable=True).indices[:MOST_MISTAKES]]


class ValueErrors(_Evidence):
    """Count, RMSE, MAE and R² of each of D values: [D, 4]; R² is NaN where all targets are equal.

    Args:
        values: D.
    """

    def __init__(self, values: int) -> None:
        super().__init__()
        self._add_sum("count")
        self._add_sum("sums", values, 4, dtype=torch.float32)

    def reset(self) -> None:
        super().reset()
        if self.sums.device.type != "mps":  # which has no double precision
            self.sums = self.sums.double()

    def update(self, scores: Tensor, target: Tensor) -> None:
        target = target.to(self.sums.dtype).reshape(len(target), -1)
        errors = scores.to(self.sums.dtype).reshape(target.shape) - target
        parts = [each.sum(0) for each in (target, target.square(), errors.abs(), errors.square())]
        self.sums = self.sums + torch.stack(parts, 1)
        self.count = self.count + len(target)

    def compute(self) -> Tensor:
        total, squares, absolute, squared = self.sums.unbind(1)
        count = self.count.to(self.sums.dtype)
        spread = squares - total.square() / count
        is_constant = spread <= 1e-9 * squares
        r2 = torch.where(is_constant, torch.nan, 1 - squared / spread)
        return torch.stack([count.expand_as(total), (squared / count).sqrt(), absolute / count, r2], 1)


class Pairs(_Evidence):
    """Targets and predictions of evenly spread samples: [m, 2, D], m ≤ MOST_PAIRS.

    Args:
        values: D.
    """

    def __init__(self, values: int) -> None:
        super().__init__()
        self.most = max(1, min(MOST_PAIRS, MOST_NUMBERS // (2 * values)))
        self.stride = 1
        self.seen = 0
        self.add_state("kept", [], dist_reduce_fx="cat")

    def reset(self) -> None:
        super().reset()
        self.stride, self.seen = 1, 0

    def update(self, scores: Tensor, target: Tensor) -> None:
        pairs = torch.stack([each.float().reshape(len(each), -1) for each in (target, scores)], 1)
        due = -self.seen % self.stride  # of the first sample of the batch that is to be kept
        self.seen += len(pairs)
        self.kept = [torch.cat([*self.kept, pairs[due :: self.stride]])]
        while len(self.kept[0]) > self.most:
            self.kept, self.stride = [self.kept[0][::2]], 2 * self.stride

    def compute(self) -> Tensor:
        kept = torch.cat(self.kept) if isinstance(self.kept, list) else self.kept
        return kept[:: -(-len(kept) // self.most)]  # of all processes together


class Instead(_Evidence):
    """How many samples lack label i, which they have, and get label j, which they have not: [K, K].

    Args:
        labels: K.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self._add_sum("counts", labels, labels)

    def update(self, scores: Tensor, target: Tensor) -> None:
        said, true = scores > 0.5, target > 0
        missed, added = (true & ~said).float(), (said & ~true).float()
        self.counts = self.counts + (missed.T @ added).round().long()  # in floats: CUDA multiplies no integers

    def compute(self) -> Tensor:
        return self.counts


class Steps(_Evidence):
    """For each step, how many sequences have it, and their accuracy, or RMSE over all values: [T, 2].

    Args:
        T: steps.
        of_classes: whether a step has a class, else values.
    """

    def __init__(self, T: int, *, of_classes: bool) -> None:
        super().__init__()
        self.T, self.of_classes = T, of_classes
        self._add_sum("count", T)
        self._add_sum("sums", T, dtype=torch.float32)

    def update(self, scores: Tensor, target: Tensor) -> None:
        step = _step_of_each(len(target), self.T, target.device)
        if self.of_classes:
            found = (scores.argmax(1) == target).float()
        else:
            found = (scores.float() - target.float()).square().mean(1)
        self.sums = self.sums.index_add(0, step, found)
        self.count = self.count + torch.bincount(step, minlength=self.T)

    def compute(self) -> Tensor:
        mean = self.sums / self.count
        return torch.stack([self.count.float(), mean if self.of_classes else mean.sqrt()], 1)


class Example(_Evidence):
    """Target and prediction of the first sequence at each of its steps: [L, 2, D]; D = 1 for classes.

    Args:
        T: steps.
        of_classes: whether a step has a class, else values, of which VALUES_OF_EXAMPLE are kept.
    """

    def __init__(self, T: int, *, of_classes: bool) -> None:
        super().__init__()
        self.T, self.of_classes = T, of_classes
        self.add_state("first", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, target: Tensor) -> None:
        if self.first:
            return
        now = padding()
        length = self.T if now is None else int(now.lengths[0])
        if self.of_classes:
            target, scores = target[:, None], scores.argmax(1)[:, None]
        pair = torch.stack([each[:length, :VALUES_OF_EXAMPLE].float() for each in (target, scores)], 1)
        beyond = pair.new_full((self.T - length, *pair.shape[1:]), torch.nan)
        self.first = [torch.cat([pair, beyond])[None]]  # of one size, to be gathered over processes

    def compute(self) -> Tensor:
        first = (self.first if isinstance(self.first, Tensor) else torch.cat(self.first))[0]
        return first[~first[:, 0, 0].isnan()]


def _step_of_each(count: int, T: int, device: torch.device) -> Tensor:
    """The step of each row that `for_evidence` of a sequence task gives: those of a sample after one another."""
    now = padding()
    return torch.arange(T, device=device).repeat(count // T) if now is None else now.mask.T.nonzero()[:, 1]
