"""The bundled digits: sizes, values, and a split that no seed changes."""

import hashlib

import pytest
import torch
from sklearn.datasets import load_digits

from snntrain.data import Digits


def digits(**more) -> Digits:
    data = Digits(num_classes=10, sample_shape=[1, 8, 8], **more)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="module")
def data() -> Digits:
    return digits()


def batches_of(data: Digits, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return data.splits[name].__getitems__(range(len(data.splits[name])))[:2]


def test_the_three_splits_have_the_documented_sizes_and_all_classes(data):
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 1294, "val": 144, "test": 359}
    assert sum(sizes.values()) == 1797
    assert all(len(split.labels.unique()) == 10 for split in data.splits.values())


def test_the_splits_are_all_pictures_of_the_source_each_once(data):
    source = load_digits()
    expected = sorted((tuple(image.ravel()), label) for image, label in zip(source.images, source.target, strict=True))
    found = []
    for name in data.splits:
        images, labels = batches_of(data, name)
        found += [(tuple((x * 16).flatten().tolist()), int(label)) for x, label in zip(images, labels, strict=True)]
    assert sorted(found) == expected  # nothing twice, nothing missing, each with its label


def test_values_lie_between_0_and_1_in_17_gray_levels(data):
    images, labels = batches_of(data, "train")
    assert images.dtype == torch.float32 and images.shape == (1294, 1, 8, 8)
    assert images.min() == 0.0 and images.max() == 1.0
    assert images.unique().tolist() == [level / 16 for level in range(17)]
    assert labels.dtype == torch.int64 and sorted(labels.unique().tolist()) == list(range(10))


def test_the_splits_are_the_same_for_every_seed(data):
    other = digits(seed=77, batch_size=5)
    for name, split in data.splits.items():
        assert torch.equal(split.images, other.splits[name].images)
        assert torch.equal(split.labels, other.splits[name].labels)


def test_the_test_split_does_not_depend_on_the_validation_split(data):
    other = digits(val_fraction=0.5)
    assert torch.equal(data.splits["test"].images, other.splits["test"].images)
    assert (len(other.splits["train"]), len(other.splits["val"])) == (719, 719)


def test_the_fingerprint_is_a_hash_of_the_pictures(data):
    found = data.fingerprint()
    assert set(found) == {"train.images", "val.images", "test.images"}
    assert found["test.images"] == hashlib.sha256(data.splits["test"].images.numpy().tobytes()).hexdigest()
    assert digits(seed=5).fingerprint() == found != digits(val_fraction=0.2).fingerprint()


def test_from_python_the_facts_need_not_be_given():
    data = Digits()
    assert (data.num_classes, data.sample_shape) == (10, (1, 8, 8))


def test_facts_that_are_not_those_of_the_data_are_refused():
    with pytest.raises(ValueError, match=r"Digits: num_classes must be 10.*got 9"):
        Digits(num_classes=9, sample_shape=[1, 8, 8])
    with pytest.raises(ValueError, match=r"Digits: sample_shape must be \[1, 8, 8\].*got \[1, 28, 28\]"):
        Digits(num_classes=10, sample_shape=[1, 28, 28])
