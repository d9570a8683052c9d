"""Random changes of training pictures: torchvision's transforms by name, reproducible by seed."""

import enum
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from snntrain.binding import check_call
from snntrain.data import transform_ranges  # noqa: F401  states the ranges that check_call reads
from snntrain.error import one_line
from snntrain.randomness import seeded
from snntrain.registry import did_you_mean

#: Transforms that move, cut and blur. They take pictures and event frames with any channels and values.
GEOMETRIC = (
    "CenterCrop",
    "ElasticTransform",
    "GaussianBlur",
    "Pad",
    "RandomAffine",
    "RandomChannelPermutation",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
)
#: Transforms of brightness and color, which are only defined for gray and RGB values in [0, 1].
PHOTOMETRIC = (
    "AugMix",
    "AutoAugment",
    "ColorJitter",
    "GaussianNoise",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
    "TrivialAugmentWide",
)
#: Transforms whose argument `transforms` is a list of entries like the outer one.
CONTAINERS = ("RandomApply", "RandomChoice", "RandomOrder")
#: Transforms that draw anew for each frame of a sequence, whose frames would no longer match.
_PER_FRAME = ("AugMix", "GaussianNoise")
#: Transforms that belong elsewhere → where.
_PER_BATCH = {
    "CutMix": "mixes the samples of a batch; use task.cutmix instead",
    "MixUp": "mixes the samples of a batch; use task.mixup instead",
}


class Augmentation:
    """Applies a chain of transforms of torchvision.transforms.v2, drawn anew for each sample and epoch.

    Args:
        transforms: entries in their order: a name, such as RandomHorizontalFlip, or a name with arguments, such as
            {name: RandomCrop, size: 32, padding: 4}.

    Shapes: [C, H, W], or [T, C, H, W] whose frames are all changed in the same way → the same. Values float in [0, 1]
    or uint8; a chain of geometric transforms takes any.
    Raises: ValueError for an unknown name or argument, with the nearest one; for a sample that the transforms cannot
    take or whose shape they change.
    """

    def __init__(self, transforms: Sequence[str | Mapping[str, Any]]) -> None:
        self.names: list[str] = []
        self._entries = transforms
        self._chain = self._built(transforms, "data.augment.transforms")
        #: Whether the first transform crops a picture of any size to the right one.
        self.takes_any_size = bool(self._chain) and isinstance(self._chain[0], v2.RandomResizedCrop)
        self._photometric = [name for name in self.names if name in PHOTOMETRIC]

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Transform a sample with random numbers from the seed. Global generators stay as they are."""
        self._check_sample(x)
        with seeded(seed):
            y = x
            for transform in self._chain:
                try:
                    y = transform(y)
                except (TypeError, ValueError, RuntimeError) as error:
                    name, shape = type(transform).__name__, list(y.shape)
                    raise ValueError(
                        f"data.augment: {name} fails on samples of shape {shape}: {one_line(error)}"
                    ) from error
        if y.shape != x.shape and not self.takes_any_size:
            raise self._wrong_shape(x.shape, y.shape)
        return y

    def __len__(self) -> int:
        return len(self._chain)

    def __repr__(self) -> str:
        return ", ".join(map(_written, self._entries))

    def check(self, shape: Sequence[int]) -> None:
        """Refuse transforms that cannot take samples of this shape, or change it."""
        y = self(torch.zeros(tuple(shape)), 0)
        if y.shape != tuple(shape):
            raise self._wrong_shape(shape, y.shape)

    def _built(self, entries: Any, path: str) -> list[Any]:
        known = sorted((*GEOMETRIC, *PHOTOMETRIC, *CONTAINERS))
        return [self._build(*entry) for entry in named_entries(entries, path, known, "transform", unfit=_PER_BATCH)]

    def _build(self, path: str, name: str, arguments: dict[str, Any]) -> Any:
        target = getattr(v2, name)
        check_call(target, {key: value for key, value in arguments.items() if not _is_special(key, value)}, path)
        if name in CONTAINERS:
            arguments["transforms"] = self._built(arguments["transforms"], f"{path}.transforms")
        self.names.append(name)
        try:
            return target(**{key: _converted(target, key, value) for key, value in arguments.items()})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name}: {one_line(error)}") from error

    def _check_sample(self, x: Tensor) -> None:
        shape = list(x.shape)
        if x.dim() not in (3, 4):
            raise ValueError(f"data.augment: samples must be of shape [C, H, W] or [T, C, H, W], got {shape}.")
        if self._photometric:
            low, high = (float(value) for value in x.aminmax())
            if shape[-3] not in (1, 3) or not (x.dtype == torch.uint8 or (low >= 0 and high <= 1)):
                raise ValueError(
                    f"data.augment: {self._photometric[0]} changes colors; it takes samples of 1 or 3 channels with "
                    f"values in [0, 1], got {shape} with values in [{low:g}, {high:g}]. Geometric transforms take any: "
                    f"{', '.join(GEOMETRIC)}."
                )
        if x.dim() == 4:
            for name in self.names:
                if name in _PER_FRAME:
                    raise ValueError(f"data.augment: {name} would change each frame of a sequence differently.")

    def _wrong_shape(self, before: Sequence[int], after: Sequence[int]) -> ValueError:
        return ValueError(
            f"data.augment: {', '.join(self.names)} would turn samples of shape {list(before)} into {list(after)}. Set "
            f"their size to {list(before[-2:])}."
        )


def named_entries(
    entries: Any, path: str, known: Sequence[str], kind: str, *, unfit: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, name, arguments) of each entry of a list: a name, or a mapping of a name and arguments.

    Args:
        path: of the list in the config, for errors.
        known: names that an entry may have.
        kind: what they are the names of, for errors.
        unfit: names that are refused for a reason of their own → the reason.
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise ValueError(f"{path} must be a list of {kind}s, got {entries!r}.")
    for number, entry in enumerate(entries):
        arguments = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
        name, place = arguments.pop("name", None), f"{path}[{number}]"
        if isinstance(name, str) and name in (unfit or {}):
            raise ValueError(f"{place}: {name} {unfit[name]}.")
        if name not in known:
            near = did_you_mean(name, known) if isinstance(name, str) else ""
            article = "an" if kind[0] in "aeiou" else "a"
            raise ValueError(f"{place} must name {article} {kind}, got {entry!r}.{near} Known: {', '.join(known)}.")
        yield place, name, arguments


def _written(entry: str | Mapping[str, Any]) -> str:
    if isinstance(entry, str):
        return entry
    inner = (f"{key}={value}" for key, value in entry.items() if key != "name")
    return f"{entry['name']}({', '.join(inner)})"


def _is_special(key: str, value: Any) -> bool:
    """Whether a value is right despite its annotation: an enum by its name, RandomErasing's 'random'."""
    return isinstance(value, str) and (key == "policy" or (key == "value" and value == "random"))


def _converted(target: type, key: str, value: Any) -> Any:
    default = inspect.signature(target).parameters[key].default
    kind = InterpolationMode if key == "interpolation" else type(default) if isinstance(default, enum.Enum) else None
    if kind is None or not isinstance(value, str):
        return value
    allowed = [member.value for member in kind]
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value!r}.{did_you_mean(value, allowed)}")
    return kind(value)
