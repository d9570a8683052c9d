"""Batches: the same from 0 and 2 workers, in an order that changes from epoch to epoch, and complete."""

import lightning.pytorch as pl
import pytest
import torch
from small_training import Patches, small_task, trainer
from torch.utils.data import DataLoader

from snntrain.data import EpochSampler, Split


def ready(**more) -> Patches:
    data = Patches(**more)
    data.setup()
    return data


def read(loader: DataLoader, epoch: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    if epoch is not None:
        loader.sampler.set_epoch(epoch)
    return list(loader)


def same(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        torch.equal(x, other_x) and torch.equal(y, other_y)
        for (x, y), (other_x, other_y) in zip(left, right, strict=True)
    )


def test_a_split_gives_floats_and_labels_one_by_one_or_many_at_once():
    images = torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2)
    split = Split(images, torch.arange(6), scale=23.0)
    x, y = split[5]
    assert len(split) == 6 and y == 5 and x.dtype == torch.float32
    assert torch.equal(x, torch.tensor([[[20.0, 21], [22, 23]]]) / 23)
    many, labels = split.__getitems__([5, 0, 5])
    assert torch.equal(many[0], x) and torch.equal(many[2], x) and labels.tolist() == [5, 0, 5]
    part = split.subset(torch.tensor([4, 2]))
    assert part.labels.tolist() == [4, 2] and part.scale == 23.0
    assert torch.equal(part[1][0], split[2][0])


def test_a_batch_is_what_the_sampler_names():
    data = ready(batch_size=32, seed=9)
    batches = read(data.train_dataloader(), epoch=3)
    sampler = EpochSampler(90, 9)
    sampler.set_epoch(3)
    order = list(sampler)
    assert [len(y) for _, y in batches] == [32, 32, 26]
    split = data.splits["train"]
    for number, (x, y) in enumerate(batches):
        indices = order[32 * number : 32 * (number + 1)]
        assert torch.equal(x, split.images[indices] / 255) and torch.equal(y, split.labels[indices])


def test_two_workers_give_the_same_batches_in_the_same_order_epoch_after_epoch():
    alone, helped = ready(num_workers=0).train_dataloader(), ready(num_workers=2).train_dataloader()
    assert helped.num_workers == 2 and helped.persistent_workers and not alone.persistent_workers
    for epoch in (0, 1, 5):
        assert same(read(alone, epoch), read(helped, epoch))
    assert same(read(ready().val_dataloader()), read(ready(num_workers=2).val_dataloader()))


def test_the_order_changes_from_epoch_to_epoch_and_returns_with_the_epoch():
    loader = ready().train_dataloader()
    epochs = [read(loader, epoch) for epoch in (0, 1, 2, 0)]
    assert same(epochs[0], epochs[3])
    assert not same(epochs[0], epochs[1]) and not same(epochs[1], epochs[2])
    images = [torch.cat([x for x, _ in epoch]).flatten(1).tolist() for epoch in epochs]
    assert sorted(images[0]) == sorted(images[1])


def test_another_seed_is_another_order_of_the_same_pictures():
    one, two = ready(seed=1), ready(seed=2)
    assert torch.equal(one.splits["train"].images, two.splits["train"].images)
    assert not same(read(one.train_dataloader()), read(two.train_dataloader()))
    assert same(read(one.test_dataloader()), read(two.test_dataloader()))


def test_evaluation_reads_every_picture_once_in_its_own_order():
    data = ready(batch_size=7)
    for loader, name in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        for _ in range(2):
            assert torch.equal(torch.cat([y for _, y in loader]), data.splits[name].labels)
    assert same(read(data.predict_dataloader()), read(data.test_dataloader()))


def test_the_splits_share_no_picture_and_miss_none():
    data = ready()
    images = torch.cat([split.images for split in data.splits.values()]).flatten(1)
    assert len(images) == 124 and len(images.unique(dim=0)) == 124
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "val": 10, "test": 24}


def test_setting_up_again_keeps_the_splits():
    data = ready()
    before = data.splits["train"]
    data.setup("fit")
    assert data.splits["train"] is before


@pytest.mark.parametrize(("fraction", "held_out"), [(0.25, 25), (1e-9, 1), (1 - 1e-9, 99)])
def test_neither_training_nor_validation_is_ever_empty(fraction, held_out):
    data = ready(val_fraction=fraction)
    assert (len(data.splits["val"]), len(data.splits["train"])) == (held_out, 100 - held_out)


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("batch_size", 0, "an integer ≥ 1"),
        ("batch_size", 2.0, "an integer ≥ 1"),
        ("num_workers", -1, "an integer ≥ 0"),
        ("val_fraction", 0.0, "> 0"),
        ("val_fraction", 1.0, "< 1"),
        ("seed", -1, "an integer ≥ 0"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, value, wanted):
    with pytest.raises(ValueError, match=rf"Patches: {argument} must be .*{wanted}.*got {value}"):
        Patches(**{argument: value})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_in_the_order_of_its_epoch(tmp_path, workers):
    """Workers begin to fetch before Lightning tells the sampler the epoch."""
    before, after = Recorder(), Recorder()
    run = trainer(tmp_path, before, max_epochs=2)
    run.fit(small_task(), datamodule=Patches(num_workers=workers))
    run.save_checkpoint(tmp_path / "x.ckpt")
    data = Patches(num_workers=workers)
    trainer(tmp_path, after, max_epochs=4).fit(
        small_task(), datamodule=data, ckpt_path=tmp_path / "x.ckpt", weights_only=True
    )
    assert len(after.epochs) == 2
    for epoch, batches in enumerate(after.epochs, start=2):
        sampler = EpochSampler(90, 1)
        sampler.set_epoch(epoch)
        assert torch.equal(torch.cat(batches), data.splits["train"].images[list(sampler)] / 255)


class Recorder(pl.Callback):
    """First pixel row of every training batch, per epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[torch.Tensor]] = []

    def on_train_epoch_start(self, *args) -> None:
        self.epochs.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, idx) -> None:
        self.epochs[-1].append(batch[0].clone())


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_trains_in_the_order_of_seed_and_epoch(tmp_path, workers):
    recorder = Recorder()
    data = Patches(num_workers=workers, seed=4)
    trainer(tmp_path, recorder, max_epochs=3).fit(small_task(), datamodule=data)
    assert len(recorder.epochs) == 3
    for epoch, batches in enumerate(recorder.epochs):
        sampler = EpochSampler(90, 4)
        sampler.set_epoch(epoch)
        assert torch.equal(torch.cat(batches), data.splits["train"].images[list(sampler)] / 255)
