"""What a user's data module, task and model have to give is looked at before any training."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from checked import checked
from refused import message_of
from small_training import SGD, Patches
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, TensorDataset

from snntrain import registry
from snntrain.data.custom import DatasetSplit
from snntrain.encoding import DirectEncoder
from snntrain.error import UsageError
from snntrain.layer import Linear
from snntrain.model import build
from snntrain.run.build import build_task, match
from snntrain.run.data_check import check_with_data
from snntrain.run.plain_data import PlainData
from snntrain.task import Classification
from snntrain.task.contract import lacks_for_fit_end, lacks_for_scores, resets_net, wants_index

X, Y = torch.rand(20, 1, 4, 4), torch.arange(20) % 3


class Given(pl.LightningDataModule):
    """Gives the data set it is made with, in training only or always."""

    def __init__(self, dataset: Any, **loading: Any) -> None:
        super().__init__()
        self.dataset, self.loading = dataset, {"batch_size": 8, **loading}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.dataset, **self.loading)

    val_dataloader = test_dataloader = train_dataloader


def read(dataset: Any, of_classes: bool = True, **loading: Any) -> PlainData:
    data = PlainData(Given(dataset, **loading), 3)
    data.setup()
    data.check_first_batches([1, 4, 4], of_classes=of_classes, of_doubles=False)
    return data


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)], "gives a dict for a batch. Let it give (x, y)"),
        (TensorDataset(X), "gives a list of 1 for a batch"),
        (TensorDataset(X[:, :, :3], Y), "gives torch.float32 [8, 1, 3, 4] as x, which must be"),
        (TensorDataset((255 * X).byte(), Y), "gives torch.uint8 [8, 1, 4, 4] as x, but weights are float32"),
        (TensorDataset(X.double(), Y), "gives torch.float64 [8, 1, 4, 4] as x"),
        (TensorDataset(X, Y.float()), "gives torch.float32 [8] as y for 8 samples. A classification takes"),
        (TensorDataset(X, Y + 1), "gives labels from 1 to 3, but with data.num_classes=3 they are 0 to 2"),
        (TensorDataset(X[:0], Y[:0]), "has a data set of 0 samples"),
        ([(torch.rand(1, 4, 4 + i), 0) for i in range(3)], "cannot be made: RuntimeError: stack expects each tensor"),
    ],
)
def test_a_batch_that_no_run_can_use_is_refused(dataset, said):
    message = message_of(UsageError, read, dataset)
    assert message.startswith("data: ") and "Given.train_dataloader()" in message and said in message


def test_what_a_task_of_the_users_may_take_passes_and_nothing_is_drawn():
    read(TensorDataset(X, Y.float()), of_classes=False)
    assert read(TensorDataset(X, Y, Y)).batch_size == 8
    sampler = BatchSampler(SequentialSampler(range(20)), 5, False)
    assert read(TensorDataset(X, Y), batch_size=1, batch_sampler=sampler).batch_size == 5
    assert "has no batch_size" in message_of(UsageError, read, TensorDataset(X, Y), batch_size=None)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read(Drawing())
    assert torch.equal(torch.rand(3), expected)


class Stream(IterableDataset):
    """Samples that come one after the other."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(X, Y, strict=True))


class Counted(Stream):
    """The same, and how many there are."""

    def __len__(self) -> int:
        return len(X)


def test_a_stream_needs_a_length():
    assert "that has a length, got a DataLoader over Stream." in message_of(UsageError, read, Stream())
    assert read(Counted()).batch_size == 8


def test_processes_would_share_nothing_out():
    config = checked("trainer=ddp", "data.num_classes=3", "data.sample_shape=[1,4,4]")
    said = message_of(UsageError, check_with_data, Plain(nn.Identity()), read(TensorDataset(X, Y)), config)
    assert "a plain LightningDataModule, would give all 2 processes the same samples" in said


class Drawing:
    """A data set whose samples are random."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 4, 4), 0


class Sometimes:
    """A data set one of whose samples is larger."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 4 + (index == 7)), 0


def test_a_sample_of_another_shape_in_a_data_set_is_named():
    said = message_of(ValueError, DatasetSplit, Sometimes(), "val")
    assert said.startswith("data.val: sample 7 has the shape [1, 5], the first one [1, 4].")


# --- tasks -----------------------------------------------------------------------------------------------------------


class Plain(pl.LightningModule):
    """Says nothing of itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


class Offering(Plain):
    """Says what it wants and has."""

    wants_index = resets_net = True

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[None])

    def scores(self, y: Tensor) -> Tensor:
        return y.mean(0)


def test_a_task_is_known_by_what_it_says():
    plain, offering = Plain(nn.Identity()), Offering(nn.Identity())
    assert not (wants_index(plain) or resets_net(plain)) and wants_index(offering) and resets_net(offering)
    assert lacks_for_scores(plain) == "forward, scores" and lacks_for_scores(offering) == ""
    assert lacks_for_fit_end(offering) == "encoder, encoded, encoding_seeds"
    net = build(["Flatten", {"name": "Linear", "out_features": 3}], (1, 4, 4))
    ours = Classification(net, DirectEncoder(), 1, 3, SGD)
    assert wants_index(ours) and resets_net(ours) and not (lacks_for_scores(ours) or lacks_for_fit_end(ours))


def test_the_data_give_what_the_task_wants():
    data, plain = Patches(), PlainData(Given(TensorDataset(X, Y)), 3)
    match(Plain(nn.Identity()), data)
    assert data.gives_index is False
    match(Offering(nn.Identity()), data)
    assert data.gives_index is True
    assert "says wants_index = True, but the batches of Given" in message_of(
        UsageError, match, Offering(nn.Identity()), plain
    )


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (lambda y: y.mean(0), "gives [3, 10] for an input of"),
        (lambda y: y[..., :7], "gives [2, 3, 7] for an input of"),
        (lambda y: (y, y), "gives a tuple for an input of"),
        (lambda y: y, ""),
    ],
    ids=["a mean", "too few", "two", "right"],
)
def test_outputs_that_the_task_cannot_read_are_refused(outputs, said, monkeypatch):
    registry.names("model")
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})

    @registry.register("model")
    class Whole(nn.Module):
        """A linear layer and a neuron."""

        def __init__(self, sample_shape: tuple[int, ...], num_classes: int, neuron: Any) -> None:
            super().__init__()
            self.linear, self.neuron = Linear(64, num_classes, step_mode="m"), neuron()
            self.neuron.step_mode = "m"

        def forward(self, x: Tensor) -> Any:
            return outputs(self.neuron(self.linear(x.flatten(2))))

    config = checked("T=2", "neuron.backend=torch") | {"model": {"name": "Whole"}}
    if not said:
        task = build_task(config)
        assert task.training and isinstance(task.net.neuron.v, float)
        return
    message = message_of(UsageError, build_task, config)
    assert message.startswith(f"model: Whole {said} [2, 3, 1, 8, 8]") and "[2, 3, 10]" in message
