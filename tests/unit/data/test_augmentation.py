"""Augmentations: the same seed gives the same pixels, all frames of a sequence move together, typos are refused."""

import random

import numpy as np
import pytest
import torch
import yaml
from torchvision.transforms import v2

from snntrain.config import CONF, compose
from snntrain.config.check import check
from snntrain.data import Digits
from snntrain.data.augmentation import CONTAINERS, GEOMETRIC, PHOTOMETRIC, Augmentation
from snntrain.error import UsageError
from snntrain.run.build import build_data

SIZE = 12
# Arguments that make each transform keep the size and change something.
ARGUMENTS = {
    "CenterCrop": {"size": SIZE},
    "ElasticTransform": {"alpha": 90.0, "sigma": 1.0},
    "GaussianBlur": {"kernel_size": 3},
    "Pad": {"padding": 0},
    "RandomAffine": {"degrees": 40, "translate": [0.3, 0.3], "scale": [0.5, 1.5], "shear": 20},
    "RandomCrop": {"size": SIZE, "padding": 4},
    "RandomPosterize": {"bits": 2},
    "RandomSolarize": {"threshold": 0.5},
    "RandomAdjustSharpness": {"sharpness_factor": 3.0},
    "RandomResizedCrop": {"size": SIZE},
    "RandomRotation": {"degrees": 90},
    "Resize": {"size": SIZE},
    "ColorJitter": {"brightness": 0.9, "contrast": 0.9, "saturation": 0.9, "hue": 0.4},
}
KEEPS_SIZE = [name for name in (*GEOMETRIC, *PHOTOMETRIC) if name != "RandomZoomOut"]


def augmentation(name: str, **more) -> Augmentation:
    return Augmentation([{"name": name, **ARGUMENTS.get(name, {}), **more}])


def picture(channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KEEPS_SIZE)
def test_a_seed_decides_and_the_global_generators_go_on_as_they_were(name):
    change, x = augmentation(name), picture()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    first = change(x, 2**62 + 1)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    assert torch.equal(change(x, 2**62 + 1), first)
    assert first.shape == x.shape and first.dtype == x.dtype and first.min() >= 0 and first.max() <= 1
    assert torch.equal(x, picture()), "the sample itself was changed"
    results = {change(x, seed).numpy().tobytes() for seed in range(40)}
    assert (len(results) > 1) == (name not in ("CenterCrop", "Pad", "Resize"))


@pytest.mark.parametrize("name", [name for name in KEEPS_SIZE if name not in ("AugMix", "GaussianNoise")])
def test_all_frames_of_a_sequence_are_changed_alike(name):
    change, x = augmentation(name), picture()
    sequence = x.expand(5, -1, -1, -1).contiguous()
    for seed in range(15):
        y = change(sequence, seed)
        assert torch.equal(y, y[:1].expand_as(y)), f"seed {seed}"


@pytest.mark.parametrize("name", sorted(set(GEOMETRIC) - {"RandomZoomOut"}))
def test_geometric_transforms_take_event_counts_of_two_polarities(name):
    x = torch.poisson(torch.full((4, 2, SIZE, SIZE), 3.0), generator=torch.Generator().manual_seed(1))
    assert augmentation(name)(x, 5).shape == x.shape


def test_the_chain_is_torchvisions_in_the_order_given():
    chain = ["RandomHorizontalFlip", {"name": "RandomCrop", "size": SIZE, "padding": 2}, "RandomVerticalFlip"]
    ours, theirs = (
        Augmentation(chain),
        v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(SIZE, padding=2), v2.RandomVerticalFlip()]),
    )
    for seed in range(20):
        torch.manual_seed(seed)
        assert torch.equal(ours(picture(), seed), theirs(picture()))


def test_a_flip_happens_to_half_of_the_samples_and_a_shift_reaches_every_place():
    x = torch.arange(SIZE).repeat(1, SIZE, 1).float() / SIZE
    flip = Augmentation(["RandomHorizontalFlip"])
    flipped = sum(bool((flip(x, seed) == x.flip(-1)).all()) for seed in range(400))
    assert 150 < flipped < 250  # binomial(400, 1/2): five standard deviations
    dot = torch.zeros(1, SIZE, SIZE)
    dot[0, 6, 6] = 1
    shift = Augmentation([{"name": "RandomCrop", "size": SIZE, "padding": 1}])
    places = {tuple(shift(dot, seed).nonzero()[0, 1:].tolist()) for seed in range(200)}
    assert places == {(row, column) for row in (5, 6, 7) for column in (5, 6, 7)}


def test_containers_hold_entries_like_the_outer_list():
    often = Augmentation([{"name": "RandomApply", "p": 1.0, "transforms": ["RandomHorizontalFlip", "RandomInvert"]}])
    assert often.names == ["RandomHorizontalFlip", "RandomInvert", "RandomApply"]
    one = Augmentation([{"name": "RandomChoice", "transforms": [{"name": "RandomVerticalFlip", "p": 1.0}]}])
    assert torch.equal(one(picture(), 1), picture().flip(-2))
    with pytest.raises(ValueError, match=r"transforms\[0\]\.transforms\[0\] must name a transform.*RandomInvert\?"):
        Augmentation([{"name": "RandomOrder", "transforms": ["RandomInvrt"]}])
    assert set(CONTAINERS) == {"RandomApply", "RandomChoice", "RandomOrder"}


WRONG = {
    "RandmCrop": "Did you mean RandomCrop?",
    "Normalize": "must name a transform",
    "MixUp": "use task.mixup instead",
    7: "must name a transform, got 7",
    ("RandomCrop",): "RandomCrop needs the argument size",
    ("RandomCrop", ("size", 4), ("pading", 2)): r"transforms[0].pading is not an argument of RandomCrop. Did you mean",
    ("RandomCrop", ("size", "big")): "size must be",
    ("RandomHorizontalFlip", ("p", 2.0)): "a finite number ≥ 0 and ≤ 1",
    ("AutoAugment", ("policy", "cifr10")): "policy must be one of imagenet, cifar10, svhn, got 'cifr10'. Did you mean",
    ("RandomRotation", ("degrees", 5), ("interpolation", "liner")): "interpolation must be one of",
}


@pytest.mark.parametrize(("entry", "said"), WRONG.items(), ids=map(str, WRONG))
def test_what_is_wrong_is_refused_by_name(entry, said):
    if isinstance(entry, tuple):
        entry = {"name": entry[0], **dict(entry[1:])}
    with pytest.raises(ValueError) as refused:
        Augmentation([entry])
    assert said in str(refused.value) and "data.augment.transforms[0]" in str(refused.value)


def test_a_bare_name_is_not_a_list():
    with pytest.raises(ValueError, match=r"data\.augment\.transforms must be a list"):
        Augmentation("RandomCrop")


def test_a_sample_that_a_transform_cannot_take_is_refused():
    with pytest.raises(ValueError, match=r"ColorJitter changes colors.*\[2, 12, 12\]"):
        augmentation("ColorJitter")(picture(2), 0)
    with pytest.raises(ValueError, match=r"AutoAugment changes colors.*in \[0, 7\]"):
        augmentation("AutoAugment")(torch.arange(8.0).repeat(3, SIZE, 1), 0)
    with pytest.raises(ValueError, match="AugMix would change each frame"):
        augmentation("AugMix")(picture().expand(2, -1, -1, -1), 0)
    with pytest.raises(ValueError, match=r"\[C, H, W\] or \[T, C, H, W\], got \[20, 700\]"):
        augmentation("RandomInvert")(torch.zeros(20, 700), 0)
    with pytest.raises(ValueError, match=r"ElasticTransform fails on samples of shape \[3, 12, 12\]: .*Padding"):
        Augmentation(["ElasticTransform"])(picture(), 0)
    crop = Augmentation([{"name": "RandomCrop", "size": 8}])
    for refuse in (lambda: crop(picture(), 0), lambda: crop.check((3, SIZE, SIZE))):
        with pytest.raises(
            ValueError, match=r"RandomCrop would turn.*\[3, 12, 12\] into \[3, 8, 8\].*size to \[12, 12\]"
        ):
            refuse()


def test_bytes_are_changed_as_bytes():
    x = (picture() * 255).to(torch.uint8)
    y = Augmentation(["RandomHorizontalFlip", {"name": "AutoAugment", "policy": "cifar10"}])(x, 8)
    assert y.dtype == torch.uint8 and y.shape == x.shape


PRESETS = sorted(file.stem for file in (CONF / "data/augment").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_fits_the_data_it_is_used_with(preset):
    config = check(compose([f"data/augment={preset}", "data=mnist"]))
    written = yaml.safe_load((CONF / f"data/augment/{preset}.yaml").read_text(encoding="utf-8"))
    assert len(config["data"]["augment"]["transforms"]) == len(written["transforms"])
    change = Augmentation(config["data"]["augment"]["transforms"])
    change.check((1, 28, 28))
    x = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(change(x, 1), x) == (preset == "none")


def test_cutout_blacks_out_a_square_half_as_wide_as_the_picture():
    entries = yaml.safe_load((CONF / "data/augment/cifar_autoaugment.yaml").read_text(encoding="utf-8"))["transforms"]
    cutout = Augmentation(entries[-1:])
    for seed in range(20):
        gone = (cutout(torch.ones(3, 32, 32), seed) == 0).all(0)
        rows, columns = gone.any(1), gone.any(0)
        assert int(gone.sum()) == 256 and int(rows.sum()) == 16 and int(columns.sum()) == 16


def batches(**more: int) -> dict[int, torch.Tensor]:
    """Index of the sample → its pixels in the second epoch."""
    shift = augmentation("RandomCrop", size=8, padding=2)
    data = Digits(10, [1, 8, 8], augment=shift, **{"batch_size": 100, **more})
    data.setup()
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(1)
    return {int(i): x for xs, _, index in loader for x, i in zip(xs, index, strict=True)}


def test_pixels_depend_on_seed_epoch_and_index_whatever_the_workers():
    alone, kept, other = batches(), batches(num_workers=2, batch_size=33), batches(seed=2)
    assert kept.keys() == alone.keys() and all(torch.equal(kept[i], alone[i]) for i in alone)
    differ = sum(not torch.equal(other[i], alone[i]) for i in alone)
    assert differ > 0.9 * len(alone)  # the same of 25 shifts is drawn for one in 25, or half if the picture is blank


def test_an_augmentation_of_the_config_is_that_of_training_alone():
    data = build_data(check(compose(["data=digits", "data/augment=shift"])))
    assert [split.augment is not None for split in data.splits.values()] == [True, False, False]


def test_a_mistyped_augmentation_is_refused_before_data_are_looked_for(tmp_path):
    overrides = ["data=cifar10", f"paths.data={tmp_path / 'nowhere'}"]
    for wrong, said in (("[RandmCrop]", "RandomCrop"), ("[{name: RandomCrop, size: 24}]", r"into \[3, 24, 24\]")):
        with pytest.raises(UsageError, match=f"data.augment.*{said}"):
            build_data(check(compose([*overrides, f"data.augment.transforms={wrong}"])))
