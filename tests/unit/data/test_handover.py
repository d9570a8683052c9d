"""Batches from a worker: the bits of those made without one, in as few bytes as the stored values take."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from snntrain.data import DataModule, FrameSplit
from snntrain.data.handover import Parcel, most_inside, narrowed, widened

SHAPE = (3, 2, 5, 4)  # [T, C, H, W]
#: Kind of frames → (type in which they are stored, type in which they leave a worker).
KINDS = {
    "binary": (np.uint8, torch.uint8),
    "counts": (np.uint16, torch.uint8),
    "busy": (np.uint16, torch.uint16),
    "surfaces": (np.float16, torch.float32),
    "voxels": (np.float32, torch.float32),
}


def frames(kind: str, number: int) -> np.ndarray:
    source = np.random.default_rng(number)
    if kind == "binary":
        return source.integers(0, 2, SHAPE).astype(np.uint8)
    if kind in ("counts", "busy"):
        return source.integers(0, 256 if kind == "counts" else 65_536, SHAPE).astype(np.uint16)
    values = source.normal(size=SHAPE)
    values[0, 0, 0, :2] = -0.0, 5e-8  # the sign of zero, and a number that is denormal in 16 bits
    return values.astype(KINDS[kind][0])


class Recordings(DataModule):
    """40 made-up recordings."""

    CLASSES, SAMPLE_SHAPE = ("a", "b"), SHAPE[1:]

    def __init__(self, kind: str, **common) -> None:
        super().__init__(**common)
        self.kind = kind

    def load(self) -> dict[str, FrameSplit]:
        labels = torch.arange(40) % 2
        split = FrameSplit(range(40), labels, lambda number: frames(self.kind, number), shape=SHAPE)
        return {"train": split.subset(torch.arange(30)), "test": split.subset(torch.arange(30, 40))}

    def fingerprint(self) -> dict[str, str]:
        return {}


def loader(kind: str, workers: int, augment=None, gives_index: bool = True) -> DataLoader:
    data = Recordings(kind, batch_size=8, num_workers=workers)
    data.augment, data.gives_index = augment, gives_index
    data.setup()
    return data.train_dataloader()


def halved(sample: torch.Tensor, seed: int) -> torch.Tensor:
    return sample / 2


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int32) if x.is_floating_point() else x


@pytest.mark.parametrize("gives_index", [True, False])
@pytest.mark.parametrize("augment", [None, halved])
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_s_batches_have_the_bits_of_those_made_without_one(kind, augment, gives_index):
    alone, helped = (list(loader(kind, workers, augment, gives_index)) for workers in (0, 1))
    assert len(alone) == len(helped) == 4
    for batch, other in zip(alone, helped, strict=True):
        assert len(batch) == len(other) == 2 + gives_index and batch[0].dtype == torch.float32
        for part, same in zip(batch, other, strict=True):
            assert part.dtype == same.dtype and torch.equal(bits(part), bits(same))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_leave_a_worker_in_the_smallest_type_that_holds_them(kind):
    helped = loader(kind, 1)
    parcel = next(DataLoader.__iter__(helped))
    x, *others = parcel.parts
    assert torch.as_tensor(x).dtype == KINDS[kind][1]
    assert all(isinstance(part, np.ndarray) for part in others)
    assert not helped.dataset.is_compact and helped.dataset[0][0].dtype == torch.float32  # in this process


def test_a_batch_with_statistics_is_normalized_before_it_leaves_the_worker():
    alone, helped = loader("counts", 0), loader("counts", 1)
    for made in (alone, helped):
        made.dataset.normalize([3.0, 5.0], [7.0, 11.0])
    for (x, *_), (other, *_) in zip(alone, helped, strict=True):
        assert torch.equal(x, other) and x.dtype == other.dtype == torch.float32


def test_large_parts_go_through_shared_memory_and_small_ones_inside_the_message():
    large, small = torch.ones(2049, dtype=torch.uint8), torch.ones(2048, dtype=torch.uint8)
    parcel = Parcel.of((large, small, torch.arange(3)))
    assert [type(part) for part in parcel.parts] == [torch.Tensor, np.ndarray, np.ndarray]
    x, *others = parcel.opened()
    assert x.dtype == torch.float32 and torch.equal(x, large.float())
    assert torch.equal(others[0], small) and torch.equal(others[1], torch.arange(3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_float32_holds_every_value_that_is_handed_over_as_an_integer(kind):
    every = np.arange(np.iinfo(kind).max + 1).astype(kind)
    assert np.array_equal(widened(narrowed(every)).numpy().astype(np.int64), every.astype(np.int64))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for a GPU")
def test_a_parcel_is_opened_before_it_is_pinned():
    x, y = Parcel.of((torch.ones(4, dtype=torch.uint8), torch.arange(4))).pin_memory()
    assert x.is_pinned() and y.is_pinned() and x.dtype == torch.float32


@pytest.mark.parametrize("messages", [0, 1, 8, 64, 1000])
def test_all_messages_on_their_way_fit_into_a_pipe(messages):
    assert 3 * most_inside(messages) * messages <= 48 * 1024
    assert most_inside(1) == 2048
