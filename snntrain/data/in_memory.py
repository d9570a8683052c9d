"""Data sets made of arrays in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snntrain.arguments import choice, flag, integer, invalid, real
from snntrain.data.arrays import ArraySplit, SequenceSplit
from snntrain.data.datamodule import DataModule
from snntrain.data.split import held_out
from snntrain.data.standard import STANDARDIZE, Standard
from snntrain.data.target import Target
from snntrain.functional import real_steps

_KINDS = {
    "classification": (Target.CLASS, Target.CLASS),
    "regression": (Target.VALUES, Target.VALUES),
    "multilabel": (Target.LABELS, Target.LABELS),
    "sequence": (Target.STEP_CLASSES, Target.STEP_VALUES),
}
"""Task → kind of targets that are whole numbers or texts, and that are floats."""

Array = Any  # whatever NumPy or torch make an array of
_NAME = "from_arrays"


class Arrays(DataModule):
    """Samples in memory, see from_arrays.

    Args:
        splits: "train", "test" and perhaps "val".
        kind: of the targets.
        names: of the classes, labels or values.
        Others as in DataModule.

    Attributes:
        T: steps of a sample; None where samples have none.
        input_standard, value_standard: by which inputs and values were scaled; None: they are as they were given.
    """

    def __init__(self, splits: dict[str, ArraySplit], kind: Target, names: Sequence[str], **common: Any) -> None:
        self.TARGET, self.CLASSES = kind, tuple(names)
        self.VALIDATES_PER_CLASS = kind is Target.CLASS
        count = "num_targets" if kind.is_counted_in_values else "num_classes"
        train = splits["train"]
        super().__init__(**{"num_classes": None, count: len(names), "sample_shape": train.step_shape, **common})
        self.T = train.shape[0] if isinstance(train, SequenceSplit) else None
        self.input_standard: Standard | None = None
        self.value_standard: Standard | None = None
        self._given = splits

    def load(self) -> dict[str, ArraySplit]:
        return dict(self._given)

    def fingerprint(self) -> dict[str, str]:
        return {name: split.sha256() for name, split in self.splits.items()}


def from_arrays(
    x: Array,
    y: Array,
    *,
    task: str = "classification",
    lengths: Array | None = None,
    has_steps: bool | None = None,
    val: Sequence[Array] | None = None,
    test: Sequence[Array] | None = None,
    test_fraction: float = 0.2,
    names: Sequence[str] | None = None,
    standardize: str = "none",
    **common: Any,
) -> Arrays:
    """Make a datamodule of arrays in memory, for a Lightning Trainer and the tasks of snntrain.

        data = from_arrays(x, y, task="regression")
        task = Regression(net, DirectEncoder(), T=4, num_targets=data.num_targets, optim=optim)
        Trainer(max_epochs=10).fit(task, datamodule=data)

    Args:
        x: samples [n, *], or with steps [n, T, *]; or a list of n sequences [steps, *], which are padded.
        y: classes [n], whole numbers from 0 or texts; values [n] or [n, D]; labels [n, K], each 0 or 1; of every step
            classes [n, T], or values [n, T] as floats or [n, T, D], or a list of n arrays.
        task: 'classification', 'regression', 'multilabel' or 'sequence', which says what y is.
        lengths: real steps of each sequence, [n], from 1 to T; None: all have T, or those of the list x.
        has_steps: whether x has a dim of steps, so that the encoder is FramesEncoder and T the steps; None: if x is a
            list, there are lengths, or task is 'sequence'.
        val, test: samples of their own, (x, y) or (x, y, lengths); None: val_fraction, test_fraction of the samples,
            drawn once, the same for every seed.
        test_fraction: part that is held out for testing, in (0, 1); of each class in a classification.
        names: of the classes, labels or values; None: their numbers, or the texts in y.
        standardize: 'none', 'inputs' or 'all' (values of a regression or sequence too): mean 0 and standard deviation 1
            over the samples that are not tested, of each feature; x is [n, F] or [n, T, F].
        common: batch_size, seed and others as in DataModule.

    Raises: ValueError naming the argument.
    """
    choice(_NAME, "task", task, tuple(_KINDS))
    choice(_NAME, "standardize", standardize, STANDARDIZE)
    real(_NAME, "test_fraction", test_fraction, above=0, below=1)
    parts = {"train": (x, y, lengths), "val": val, "test": test}
    given = {name: _triple(name, part) for name, part in parts.items() if part is not None}
    if has_steps is None:
        has_steps = task == "sequence" or any(_is_list(one) or many is not None for one, _, many in given.values())
    flag(_NAME, "has_steps", has_steps)
    if task == "sequence" and not has_steps:
        raise invalid(_NAME, "has_steps", "True with task='sequence'", has_steps)
    steps = max(_steps(one) for one, _, _ in given.values()) if has_steps else None
    inputs = {name: _inputs(name, one, many, steps) for name, (one, _, many) in given.items()}
    targets, kind, names = _targets({name: two for name, (_, two, _) in given.items()}, task, steps, names)
    has_lengths = any(many is not None and bool((many != steps).any()) for _, many in inputs.values())
    splits = {}
    for name, (one, many) in inputs.items():
        if len(one) != len(targets[name]):
            place = "y" if name == "train" else name
            raise invalid(_NAME, place, f"targets of {len(one)} samples, as x has", len(targets[name]))
        if steps is None:
            splits[name] = ArraySplit(one, targets[name])
            continue
        beyond = torch.arange(steps) >= many[:, None]
        one[beyond] = 0
        if kind in (Target.STEP_CLASSES, Target.STEP_VALUES):
            _check_steps("y" if name == "train" else name, *given[name][:2])
            targets[name][beyond] = 0
        splits[name] = SequenceSplit(one, targets[name], many if has_lengths else None)
    if test is None:
        whole, per_class = splits["train"], kind is Target.CLASS
        stay, out = held_out(whole.labels, test_fraction, "test split", per_class=per_class, classes=names)
        splits |= {"train": whole.subset(stay), "test": whole.subset(out)}
    standards = _standardize(splits, standardize, kind, names)
    made = Arrays(splits, kind, names, **common)
    made.input_standard, made.value_standard = standards
    return made


def _triple(name: str, part: Any) -> tuple[Array, Array, Tensor | None]:
    if not isinstance(part, (tuple, list)) or len(part) not in (2, 3):
        raise invalid(_NAME, name, "(x, y) or (x, y, lengths)", type(part).__name__)
    x, y, lengths = (*part, None)[:3]
    return x, y, None if lengths is None else torch.as_tensor(np.asarray(lengths))


def _array(values: Array) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _check_steps(place: str, x: Array, y: Array) -> None:
    """Refuse targets of every step that are not as many as the steps."""
    for number, (steps, given) in enumerate(zip(map(len, x), map(len, y), strict=True)):
        if steps != given:
            raise invalid(_NAME, f"{place}[{number}]", f"targets of {steps} steps, as x[{number}] has", given)


def _is_list(x: Array) -> bool:
    """Whether x is a list of sequences, not of numbers."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and all(isinstance(one, (np.ndarray, Tensor)) for one in x)


def _steps(x: Array) -> int:
    if _is_list(x):
        return max(one.shape[0] if one.ndim else 0 for one in x)
    shape = np.shape(x)
    if len(shape) < 3:
        raise invalid(_NAME, "x", "[n, T, *] with steps, or a list of sequences [steps, *]", list(shape))
    return shape[1]


def _inputs(name: str, x: Array, lengths: Tensor | None, steps: int | None) -> tuple[Tensor, Tensor | None]:
    """Samples as float32, a copy, padded to the steps of the longest one, and their lengths."""
    place = "x" if name == "train" else name
    if steps is not None and _is_list(x):
        if lengths is not None:
            raise invalid(_NAME, "lengths", "None for a list of sequences, which have their own", lengths.tolist())
        return _padded(place, [_numbers(place, one) for one in x], steps), torch.tensor([len(one) for one in x])
    found = _numbers(place, x)
    if found.dim() < 2:
        raise invalid(_NAME, place, "[n, *]", list(found.shape))
    if steps is None:
        return found, None
    if lengths is None:
        lengths = torch.full((len(found),), found.shape[1])
    if lengths.shape != (len(found),) or lengths.is_floating_point():
        raise invalid(_NAME, "lengths", f"{len(found)} whole numbers, one for each sample", list(lengths.shape))
    for length in lengths.tolist():
        integer(_NAME, "lengths", length, at_least=1, at_most=found.shape[1])
    return _padded(place, list(found), steps), lengths.long()


def _numbers(place: str, values: Array) -> Tensor:
    """The values as float32, a copy. Raises: ValueError for what is not finite or no number."""
    array = _array(values)
    if array.dtype.kind not in "buif":
        raise invalid(_NAME, place, "numbers", str(array.dtype))
    found = torch.from_numpy(array.astype(np.float32))
    if not bool(found.isfinite().all()):
        first = tuple((~found.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"{_NAME}: {place}{list(first)} is {array[first]}, which is no finite float32.")
    return found


def _padded(place: str, parts: Sequence[Tensor], steps: int) -> Tensor:
    """Sequences of several lengths as one array, 0 after their ends."""
    first = parts[0]
    made = first.new_zeros(len(parts), steps, *first.shape[1:])
    for number, part in enumerate(parts):
        if part.dim() != first.dim() or part.shape[1:] != first.shape[1:] or not 1 <= len(part) <= steps:
            wanted = f"sequences [1 to {steps} steps, {', '.join(map(str, first.shape[1:]))}]"
            raise invalid(_NAME, f"{place}[{number}]", wanted, list(part.shape))
        made[number, : len(part)] = part
    return made


def _targets(
    given: dict[str, Array], task: str, steps: int | None, names: Sequence[str] | None
) -> tuple[dict[str, Tensor], Target, Sequence[str]]:
    """Targets of each split, their kind, and the names of what they count."""
    arrays = {
        name: [_array(one) for one in y] if task == "sequence" and _is_list(y) else _array(y)
        for name, y in given.items()
    }
    sample = arrays["train"][0] if isinstance(arrays["train"], list) else arrays["train"]
    kind = _KINDS[task][sample.dtype.kind == "f"]
    if kind is Target.CLASS and sample.dtype.kind in "UO":
        names = tuple(map(str, np.unique(sample))) if names is None else tuple(names)
        places = {text: number for number, text in enumerate(names)}
        for name, array in arrays.items():
            unknown = [text for text in array.ravel().tolist() if str(text) not in places]
            if unknown:
                raise invalid(_NAME, "y" if name == "train" else name, f"one of {', '.join(names)}", unknown[0])
            arrays[name] = np.array([places[str(text)] for text in array.ravel().tolist()]).reshape(array.shape)
    targets = {name: _form("y" if name == "train" else name, array, kind, steps) for name, array in arrays.items()}
    if names is None:
        is_class = kind in (Target.CLASS, Target.STEP_CLASSES)
        count = max(int(y.max()) for y in targets.values()) + 1 if is_class else targets["train"].shape[-1]
        names = tuple(map(str, range(count)))
    return targets, kind, tuple(map(str, names))


def _form(place: str, y: Any, kind: Target, steps: int | None) -> Tensor:
    """Targets in the form of their kind; a value of its own becomes one of a list."""
    is_class = kind in (Target.CLASS, Target.STEP_CLASSES)
    parts = y if isinstance(y, list) else [y]
    if is_class and any(part.dtype.kind not in "bui" for part in parts):
        raise invalid(_NAME, place, "whole numbers from 0, one for each class", str(parts[0].dtype))
    made = [torch.from_numpy(part.astype(np.int64)) if is_class else _numbers(place, part) for part in parts]
    if kind in (Target.STEP_CLASSES, Target.STEP_VALUES):
        made = _padded(place, made if isinstance(y, list) else list(made[0]), steps)
        return made if is_class or made.dim() > 2 else made[..., None]
    (made,) = made
    return made[:, None] if kind is Target.VALUES and made.dim() == 1 else made


def _standardize(
    splits: dict[str, ArraySplit], standardize: str, kind: Target, names: Sequence[str]
) -> tuple[Standard | None, Standard | None]:
    """Scale inputs and values of the splits in place; by what they were scaled."""
    if standardize == "none":
        return None, None
    train = splits["train"]
    if len(train.step_shape) != 1:
        raise invalid(_NAME, "standardize", f"'none' for samples of shape {list(train.step_shape)}", standardize)
    features = [f"x[…, {place}]" for place in range(train.step_shape[0])]
    inputs = Standard.of(train.x[_real(train, train.x)], features, "Take it out of x.")
    values = None
    if standardize == "all" and kind.is_counted_in_values:
        values = Standard.of(train.labels[_real(train, train.labels)], names, "Take it out of y.")
    for split in splits.values():
        for standard, name in ((inputs, "x"), (values, "labels")):
            if standard is not None:
                held = getattr(split, name)
                mask = _real(split, held)
                held[mask] = standard(held[mask])
    return inputs, values


def _real(split: ArraySplit, values: Tensor) -> Tensor:
    """Which rows of values [n, D] or [n, T, D] are no padding: bool [n] or [n, T]."""
    lengths = getattr(split, "lengths", None)
    if values.dim() < 3 or lengths is None:
        return torch.ones(values.shape[:-1], dtype=torch.bool)
    return real_steps(lengths, values.shape[1]).T
