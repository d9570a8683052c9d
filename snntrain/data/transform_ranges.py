"""Allowed values of numeric arguments of torchvision's transforms."""

from torchvision.transforms import v2

from snntrain.ranges import number, set_ranges, whole

_COUNT = whole(1)
_COUNT_OR_NONE = whole(1, None)
_SHARE = number(at_least=0, at_most=1)
_CHANCE = {"p": _SHARE}
_FILL = {"fill": number(also=(None,))}
_RESAMPLING = {"interpolation": number(at_least=0, at_most=5, any_text=True)}  # a name, or Pillow's number of it
for _transform in (v2.RandomHorizontalFlip, v2.RandomVerticalFlip, v2.RandomGrayscale, v2.RandomInvert):
    set_ranges(_transform, f"torchvision.transforms.v2.{_transform.__name__}: '`p` should be in [0.0, 1.0]'", **_CHANCE)
set_ranges(
    v2.RandomCrop,
    "torchvision.transforms.v2.RandomCrop",
    size=_COUNT,
    padding=whole(0, None),
    **_FILL,
)
set_ranges(
    v2.RandomResizedCrop,
    "torchvision.transforms.v2.RandomResizedCrop: 'Scale should be a sequence' of a lower and an upper bound",
    size=_COUNT,
    **_RESAMPLING,
    scale=number(above=0, at_most=1, rising=True),
    ratio=number(above=0, rising=True),
)
set_ranges(
    v2.RandomErasing,
    "torchvision.transforms.v2.RandomErasing: 'Scale should be between 0 and 1' and others",
    **_CHANCE,
    scale=number(at_least=0, at_most=1, rising=True),
    ratio=number(above=0, rising=True),
    value=number(also=(None,), any_text=True),
)
set_ranges(v2.AutoAugment, "torchvision.transforms.v2.AutoAugment", **_FILL, **_RESAMPLING)
set_ranges(
    v2.RandAugment,
    "torchvision.transforms.v2.RandAugment",
    num_ops=_COUNT,
    magnitude=whole(0, at_most=30),
    **_FILL,
    **_RESAMPLING,
)
set_ranges(
    v2.TrivialAugmentWide,
    "torchvision.transforms.v2.TrivialAugmentWide",
    num_magnitude_bins=whole(2),
    **_FILL,
    **_RESAMPLING,
)
set_ranges(v2.CenterCrop, "torchvision.transforms.v2.CenterCrop", size=_COUNT)
set_ranges(v2.Resize, "torchvision.transforms.v2.Resize", size=_COUNT_OR_NONE, max_size=_COUNT_OR_NONE, **_RESAMPLING)
