"""Batches: the same from 0, 1 and 2 workers, in an order that changes from epoch to epoch, and complete."""

import hashlib
import inspect
import sys
import threading
from collections.abc import Callable
from dataclasses import fields

import lightning.pytorch as pl
import pytest
import torch
from small_training import Patches, small_task, trainer
from torch.utils.data import DataLoader

from snntrain import data as data_package
from snntrain.data import DataModule, Digits, EpochSampler
from snntrain.data.datamodule import Loading, _silence_disconnects
from snntrain.data.split import ImageSplit
from snntrain.data.target import Target
from snntrain.randomness import derived_seed


def noisy(sample: torch.Tensor, seed: int) -> torch.Tensor:
    return sample + torch.rand(sample.shape, generator=torch.Generator().manual_seed(seed))


def ready(augment=None, **more) -> Patches:
    data = Patches(**more)
    data.augment = augment
    data.setup()
    return data


def changed(change: Callable[[dict[str, ImageSplit]], dict[str, ImageSplit]]) -> Patches:
    """The data set with other splits."""

    class Changed(Patches):
        def load(self) -> dict[str, ImageSplit]:
            return change(super().load())

    return Changed()


def order(data: Patches, epoch: int) -> list[int]:
    sampler = EpochSampler(90, data.seed)
    sampler.set_epoch(epoch)
    return [position for _, position in sampler]


def read(loader: DataLoader, epoch: int | None = None) -> list[tuple[torch.Tensor, ...]]:
    if epoch is not None:
        loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def same(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        all(map(torch.equal, batch, other)) for batch, other in zip(left, right, strict=True)
    )


def data_sets() -> list[type[DataModule]]:
    classes = [getattr(data_package, name) for name in data_package.__all__]
    return [kind for kind in classes if isinstance(kind, type) and issubclass(kind, DataModule)]


@pytest.mark.parametrize("kind", data_sets(), ids=lambda kind: kind.__name__)
def test_a_signature_names_all_arguments_and_at_most_three_are_given_by_position(kind):
    parameters = inspect.signature(kind).parameters.values()
    by_kind = {p.kind: [other.name for other in parameters if other.kind is p.kind] for p in parameters}
    assert len(by_kind.pop(inspect.Parameter.POSITIONAL_OR_KEYWORD, [])) <= 3
    assert set(by_kind) == {inspect.Parameter.KEYWORD_ONLY}
    count = "num_targets" if kind.TARGET in (Target.VALUES, Target.STEP_VALUES) else "num_classes"
    common = {count, "sample_shape", "val_fraction", "seed", *(field.name for field in fields(Loading))}
    assert common <= {p.name for p in parameters}


def test_a_misspelled_argument_is_named_with_the_data_set():
    with pytest.raises(TypeError, match="Digits: got an unexpected keyword argument 'batchsize'"):
        Digits(num_classes=10, sample_shape=[1, 8, 8], batchsize=32)


def test_the_batch_size_can_be_changed_as_lightning_does_it():
    data = ready(batch_size=32)
    data.batch_size = 30
    assert [len(y) for _, y, _ in data.val_dataloader()] == [len(data.splits["val"])]
    assert len(next(iter(data.train_dataloader()))[0]) == 30


def test_a_batch_is_what_the_sampler_names():
    data = ready(batch_size=32, seed=9)
    batches = read(data.train_dataloader(), epoch=3)
    assert [len(y) for _, y, _ in batches] == [32, 32, 26]
    split = data.splits["train"]
    for number, (x, y, index) in enumerate(batches):
        positions = order(data, 3)[32 * number : 32 * (number + 1)]
        assert torch.equal(x, split.images[positions] / 255) and torch.equal(y, split.labels[positions])
        assert torch.equal(index, split.index[positions])


@pytest.mark.parametrize("label", [-100, -1, 3, 200])
def test_a_label_that_is_no_class_is_named_with_its_place(label):
    def mislabel(splits: dict[str, ImageSplit]) -> dict[str, ImageSplit]:
        splits["test"].labels[7] = label
        return splits

    with pytest.raises(ValueError, match=rf"sample 7 of the test split has the label {label}; .* must be from 0 to 2"):
        changed(mislabel).setup()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_named_with_its_place(value):
    class Floats(ImageSplit):
        def read(self, positions):
            return self.images[torch.as_tensor(positions)]

    images = torch.rand(20, 1, 4, 4)
    images[11, 0, 2, 3] = value
    split = Floats(images, torch.zeros(20, dtype=torch.int64)).subset(torch.arange(10, 20))
    with pytest.raises(ValueError, match=rf"data: sample 11 holds {value}, which is no finite number"):
        split.__getitems__(list(range(10)))
    assert split.__getitems__([0, 2, 9])[0].isfinite().all()


def test_the_index_is_the_place_in_the_source():
    data = ready()
    source = data.load()
    for loader, name in ((data.train_dataloader(), "train"), (data.val_dataloader(), "train")):
        for x, y, index in loader:
            assert torch.equal(x, source[name].images[index] / 255) and torch.equal(y, source[name].labels[index])
    assert torch.cat([index for *_, index in data.test_dataloader()]).tolist() == list(range(24))


@pytest.mark.parametrize("augment", [None, noisy])
@pytest.mark.parametrize(("workers", "persistent"), [(1, True), (2, True), (2, False)])
def test_workers_give_the_same_batches_in_the_same_order_epoch_after_epoch(augment, workers, persistent):
    alone = ready(augment).train_dataloader()
    helped = ready(augment, num_workers=workers, persistent_workers=persistent).train_dataloader()
    assert (helped.num_workers, helped.persistent_workers) == (workers, persistent) and not alone.persistent_workers
    for epoch in (0, 1, 5):
        assert same(read(alone, epoch), read(helped, epoch))


def test_workers_give_the_same_evaluation():
    assert same(read(ready().val_dataloader()), read(ready(num_workers=2, prefetch=5).val_dataloader()))


def test_a_sample_is_augmented_by_seed_epoch_and_place_whatever_its_batch():
    def samples(**more) -> dict[int, torch.Tensor]:
        batches = read(ready(noisy, **more).train_dataloader(), epoch=2)
        return {int(place): sample for x, _, index in batches for place, sample in zip(index, x, strict=True)}

    small, large = samples(batch_size=7), samples(batch_size=90)
    assert len(small) == 90 and all(torch.equal(small[place], large[place]) for place in large)
    other = samples(seed=8)
    assert not any(torch.equal(small[place], other[place]) for place in small)


def test_only_training_is_augmented():
    assert same(read(ready(noisy).val_dataloader()), read(ready().val_dataloader()))
    assert same(read(ready(noisy).test_dataloader()), read(ready().test_dataloader()))


def test_the_order_changes_from_epoch_to_epoch_and_returns_with_the_epoch():
    loader = ready().train_dataloader()
    epochs = [read(loader, epoch) for epoch in (0, 1, 2, 0)]
    assert same(epochs[0], epochs[3])
    assert not same(epochs[0], epochs[1]) and not same(epochs[1], epochs[2])
    images = [torch.cat([x for x, *_ in epoch]).flatten(1).tolist() for epoch in epochs]
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
            assert torch.equal(torch.cat([y for _, y, _ in loader]), data.splits[name].labels)
    assert same(read(data.predict_dataloader()), read(data.test_dataloader()))


def test_the_splits_share_no_picture_and_miss_none():
    data = ready()
    images = torch.cat([split.images for split in data.splits.values()]).flatten(1)
    assert len(images) == 124 and len(images.unique(dim=0)) == 124
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "val": 10, "test": 24}
    before = data.splits["train"]
    data.setup("fit")
    assert data.splits["train"] is before


@pytest.mark.parametrize(("fraction", "held_out"), [(0.25, 25), (1e-9, 1), (1 - 1e-9, 99)])
def test_neither_training_nor_validation_is_ever_empty(fraction, held_out):
    data = ready(val_fraction=fraction)
    assert (len(data.splits["val"]), len(data.splits["train"])) == (held_out, 100 - held_out)


def test_each_fold_of_a_cross_validation_validates_on_other_samples():
    parts = [ready(folds=4, fold=fold, seed=fold).splits["val"].index for fold in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [25] * 4 and len(torch.cat(parts).unique()) == 100
    assert "part 2 of 4" in ready(folds=4, fold=2).assumed()["validation"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fold": 1}, "folds must be an integer where fold is given"),
        ({"folds": 5}, "fold must be an integer where folds is given"),
        ({"folds": 1, "fold": 1}, "folds must be an integer ≥ 2"),
        ({"folds": 3, "fold": 4}, "fold must be an integer ≥ 1 and ≤ 3"),
    ],
)
def test_folds_that_contradict_each_other_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Patches(**arguments)


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("batch_size", 0, "an integer ≥ 1"),
        ("batch_size", 2.0, "an integer ≥ 1"),
        *(("num_workers", number, "an integer ≥ 0 and ≤ ") for number in (-1, 100_000, 1.0, True)),
        ("val_fraction", 0.0, "> 0"),
        ("val_fraction", 1.0, "< 1"),
        ("seed", -1, "an integer ≥ 0"),
        ("prefetch", 0, "an integer ≥ 1"),
        ("persistent_workers", 1, "True or False"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, value, wanted):
    with pytest.raises(ValueError, match=rf"Patches: {argument} must be .*{wanted}.*got {value}"):
        Patches(**{argument: value})


class Recorder(pl.Callback):
    """First pixel row of every training batch, per epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[torch.Tensor]] = []

    def on_train_epoch_start(self, *args) -> None:
        self.epochs.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, idx) -> None:
        self.epochs[-1].append(batch[0].clone())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_and_the_one_that_resumes_it_follow_seed_and_epoch_in_order_and_augmentation(tmp_path, workers):
    """Workers begin to fetch before Lightning tells the sampler the epoch."""
    recorder, data = Recorder(), ready(noisy, seed=4, num_workers=workers)
    run = trainer(tmp_path, recorder, max_epochs=2)
    run.fit(small_task(), datamodule=data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    trainer(tmp_path, recorder, max_epochs=3).fit(
        small_task(),
        datamodule=ready(noisy, seed=4, num_workers=workers),
        ckpt_path=tmp_path / "x.ckpt",
        weights_only=True,
    )
    assert len(recorder.epochs) == 3
    split = data.splits["train"]
    for epoch, batches in enumerate(recorder.epochs):
        places = order(data, epoch)
        seeds = [derived_seed(4, "augment", epoch, place) for place in split.index[places].tolist()]
        expected = [noisy(split.images[place] / 255, seed) for place, seed in zip(places, seeds, strict=True)]
        assert torch.equal(torch.cat(batches), torch.stack(expected))


def test_overfitting_sees_the_same_batches_in_each_epoch(tmp_path):
    recorder, data = Recorder(), Patches(batch_size=8)
    trainer(tmp_path, recorder, max_epochs=2, overfit_batches=2).fit(small_task(), datamodule=data)
    first, second = (torch.cat(batches) for batches in recorder.epochs)
    assert torch.equal(first, second) and torch.equal(first, data.splits["train"].images[:16] / 255)


def test_the_record_of_the_splits_gives_them_back():
    data = ready()
    record = data.splits_record()
    assert {name: entry["count"] for name, entry in record.items()} == {"train": 90, "val": 10, "test": 24}
    assert sorted(record["train"]["index"] + record["val"]["index"]) == list(range(100))
    assert record["val"]["index"] == data.splits["val"].index.tolist()
    assert record["test"]["index"] == {"first": 0, "last": 23}
    expected = b"".join(place.to_bytes(8, "little") for place in record["val"]["index"])
    assert record["val"]["sha256"] == hashlib.sha256(expected).hexdigest()
    assert record == ready(seed=5).splits_record() != ready(val_fraction=0.2).splits_record()


def test_a_data_set_with_a_validation_split_of_its_own_keeps_it():
    data = changed(lambda splits: splits | {"val": splits["train"].subset(torch.arange(3))})
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 100, "val": 3, "test": 24}


def test_an_empty_split_and_data_of_another_shape_than_the_yaml_says_are_refused():
    with pytest.raises(ValueError, match="the test split is empty"):
        changed(lambda splits: splits | {"test": splits["test"].subset(torch.arange(0))}).setup()
    wide = ImageSplit(torch.zeros(24, 1, 4, 8, dtype=torch.uint8), torch.zeros(24, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Changed: sample_shape must be \[1, 4, 8\].*got \[1, 4, 4\]"):
        changed(lambda splits: splits | {"test": wide}).setup()


def test_a_worker_is_silent_about_closed_connections_and_nothing_else(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: printed.append(kind))
    _silence_disconnects(0)
    # As the thread that hands out the batches does with every error.
    errors = (ConnectionResetError(), BrokenPipeError(), EOFError(), ValueError())
    threads = [threading.Thread(target=sys.excepthook, args=(type(error), error, None)) for error in errors]
    for thread in threads:
        thread.start()
        thread.join()
    sys.excepthook(ConnectionResetError, ConnectionResetError(), None)
    assert printed == [ValueError, ConnectionResetError]


def test_a_last_training_batch_that_is_not_full_is_left_out_on_request():
    data = ready(drop_last=True)
    assert [len(batch[1]) for batch in read(data.train_dataloader(), 0)] == [32, 32]
    assert [len(batch[1]) for batch in read(data.test_dataloader())] == [24]
    assert [len(batch[1]) for batch in read(ready().train_dataloader(), 0)] == [32, 32, 26]
