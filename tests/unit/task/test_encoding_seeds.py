"""What a random encoder draws for a sample in training, validation, test and prediction."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from small_training import SGD, small_task, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from snntrain import functional
from snntrain.callback import ResumePoint, Seeding
from snntrain.encoding import DirectEncoder, PoissonEncoder
from snntrain.layer import Flatten, Linear
from snntrain.neuron import SLTTLIFNode
from snntrain.randomness import derived_seed
from snntrain.task import Classification, OnlineClassification

SIZE = 10
IMAGES = torch.rand(SIZE, 1, 4, 4, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(SIZE) % 3
INDEX = 100 + torch.arange(SIZE)
WITH_INDEX = TensorDataset(IMAGES, LABELS, INDEX)


class Watched(PoissonEncoder):
    """Keeps (seeds, spikes) of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[list[int] | None, Tensor]] = []

    def forward(self, x: Tensor, T: int, seeds: list[int] | None = None) -> Tensor:
        spikes = super().forward(x, T, seeds)
        self.calls.append((seeds, spikes))
        return spikes

    def taken(self) -> dict[int, Tensor]:
        """Seed → spikes of each sample since the last call of this."""
        found = {s: spikes[:, n] for seeds, spikes in self.calls for n, s in enumerate(seeds)}
        assert len(found) == sum(spikes.shape[1] for _, spikes in self.calls)
        self.calls = []
        return found


def whole(encoder: nn.Module, **more: object) -> Classification:
    task = small_task(**more)
    task.encoder = encoder
    return task


def online(encoder: nn.Module, seed: int = 0, **more: object) -> OnlineClassification:
    net = nn.Sequential(Flatten(), Linear(16, 8), SLTTLIFNode(v_threshold=0.3, backend="torch"), Linear(8, 3))
    return OnlineClassification(net, encoder, 3, 3, SGD, seed=seed, **more)


TASKS = pytest.mark.parametrize("make", [whole, online])


def loader(batch_size: int = 4, shuffle: bool = False, data: TensorDataset = WITH_INDEX) -> DataLoader:
    return DataLoader(data, batch_size, shuffle=shuffle)


class Epochs(pl.Callback):
    """What the encoder gave in each epoch of training, and in each validation."""

    def __init__(self) -> None:
        self.train: list[dict[int, Tensor]] = []
        self.val: list[dict[int, Tensor]] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.train.append(pl_module.encoder.taken())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.val.append(pl_module.encoder.taken())


def fit(folder: Path, task: pl.LightningModule, train: DataLoader, epochs: int = 2, **more: object) -> Epochs:
    seen = Epochs()
    run = trainer(folder, seen, Seeding(3), ResumePoint(folder, {}), max_epochs=epochs)
    run.fit(task, train, loader(5), **more)
    return seen


def equal(first: dict[int, Tensor], second: dict[int, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def seeds_of(seed: int, epoch: int | str) -> list[int]:
    return [derived_seed(seed, "encode", epoch, index) for index in INDEX.tolist()]


@TASKS
@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_seeds_come_from_the_runs_seed_the_epoch_or_stage_and_the_index(tmp_path, make, mixup):
    task = make(Watched(), seed=7, mixup=mixup)
    seen = fit(tmp_path, task, loader(shuffle=True))
    for epoch in range(2):
        assert sorted(seen.train[epoch]) == sorted(seeds_of(7, epoch))
        assert list(seen.val[epoch]) == seeds_of(7, "val")
    run = trainer(tmp_path)
    for evaluate in (run.test, run.predict):
        evaluate(task, loader())
        assert list(task.encoder.taken()) == seeds_of(7, "test")


@TASKS
def test_a_samples_spikes_do_not_depend_on_batches_and_order_but_on_the_epoch(tmp_path, make):
    found = []
    for number, batches in enumerate([loader(4), loader(3, shuffle=True), loader(10)]):
        found.append(fit(tmp_path / str(number), make(Watched(), seed=1), batches))
    for other in found[1:]:
        for stage in ("train", "val"):
            assert all(map(equal, getattr(other, stage), getattr(found[0], stage)))
    first, second = found[0].train
    assert not first.keys() & second.keys()
    spikes = [torch.stack([epoch[seed] for seed in seeds_of(1, n)]) for n, epoch in enumerate((first, second))]
    assert not torch.equal(*spikes) and equal(*found[0].val)


def test_a_resumed_run_draws_what_the_interrupted_one_would_have(tmp_path):
    whole_run = fit(tmp_path / "whole", whole(Watched(), seed=1), loader(), epochs=3)
    fit(tmp_path / "part", whole(Watched(), seed=1), loader(), epochs=1)
    resumed = fit(tmp_path / "on", whole(Watched(), seed=1), loader(), 3, ckpt_path=tmp_path / "part" / "last.ckpt")
    assert len(resumed.train) == 2 and all(map(equal, resumed.train, whole_run.train[1:]))


@TASKS
def test_a_batch_without_index_is_encoded_with_torchs_generator(tmp_path, make):
    task = make(Watched())
    run = trainer(tmp_path, max_epochs=1)
    run.fit(task, loader(data=TensorDataset(IMAGES, LABELS)), loader(data=TensorDataset(IMAGES, LABELS)))
    assert len(task.encoder.calls) == 6 and all(seeds is None for seeds, _ in task.encoder.calls)
    torch.manual_seed(0)
    outputs = task(IMAGES)
    torch.manual_seed(0)
    assert torch.equal(task(IMAGES), outputs) and not torch.equal(task(IMAGES), outputs)
    assert torch.equal(task(IMAGES, range(SIZE)), task(IMAGES, range(SIZE)))


@TASKS
def test_an_encoder_that_knows_no_seeds_gets_none(tmp_path, make):
    class Plain(nn.Module):
        def forward(self, x: Tensor, T: int) -> Tensor:
            return x.expand(T, *x.shape)

    run = trainer(tmp_path, max_epochs=1)
    run.fit(make(Plain()), loader(), loader())
    assert run.callback_metrics["val/loss"].isfinite()


def test_predictions_are_those_that_were_tested_with_random_spikes_too(tmp_path):
    task = whole(PoissonEncoder(), seed=5)
    run = trainer(tmp_path)
    (tested,) = run.test(task, loader(4), verbose=False)
    batches = run.predict(task, loader(3))
    right = sum(int((batch["predicted"] == batch["label"]).sum()) for batch in batches)
    assert tested["test/acc"] == pytest.approx(right / SIZE)
    scores = torch.cat([batch["scores"] for batch in batches])
    assert tested["test/loss"] == pytest.approx(nn.functional.cross_entropy(scores, LABELS).item(), rel=1e-5)


def test_a_repeated_step_reaches_the_net_as_one():
    task, seen = whole(DirectEncoder()), []
    task.net.register_forward_pre_hook(lambda module, inputs: seen.append(functional.repeated_step(inputs[0])))
    task(IMAGES)
    assert seen[0] is IMAGES


@TASKS
def test_a_seed_that_is_no_integer_is_refused(make):
    with pytest.raises(ValueError, match=r"Classification: seed must be an integer, got 0\.5"):
        make(PoissonEncoder(), seed=0.5)
