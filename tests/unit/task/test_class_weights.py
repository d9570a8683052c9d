"""Classes that count alike: weights from the training labels, and where they are kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from small_training import Patches, small_task, trainer
from torch.utils.data import DataLoader, TensorDataset

from snntrain.data.target import Target
from snntrain.error import UsageError
from snntrain.task.class_weights import ClassWeights
from snntrain.task.loss import cross_entropy

BALANCED = {"name": "cross_entropy", "weight": "balanced"}
LABELS = torch.tensor([0] * 5 + [1] * 2 + [2] * 13)


def data(labels: torch.Tensor, **more) -> SimpleNamespace:
    names = {"CLASSES": ("circle", "square", "star")}
    return SimpleNamespace(splits={"train": SimpleNamespace(labels=labels, **more)}, **names)


def counted(kind: Target, labels: torch.Tensor, **more) -> torch.Tensor:
    weights = ClassWeights("balanced", kind, 3, "task.loss.weight")
    weights.count(data(labels, **more))
    return weights().double()


def test_balanced_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    torch.testing.assert_close(counted(Target.CLASS, LABELS), torch.tensor(expected), atol=1e-6, rtol=0)


def test_steps_beyond_the_end_of_a_sequence_are_not_counted():
    steps = torch.zeros(3, 4, dtype=torch.int64)
    steps[0, :3], steps[1], steps[2, :1] = torch.tensor([1, 2, 0]), torch.tensor([2, 2, 2, 1]), 1
    real = [1, 2, 0, 2, 2, 2, 1, 1]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=real)
    found = counted(Target.STEP_CLASSES, steps, lengths=torch.tensor([3, 4, 1]))
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


def test_labels_that_hold_weigh_as_much_as_those_that_do_not():
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
    found = counted(Target.LABELS, labels)
    torch.testing.assert_close(found * labels.sum(0), (1 - labels).sum(0).double())


@pytest.mark.parametrize(
    ("kind", "labels", "said"),
    [
        (Target.CLASS, torch.tensor([0, 2, 2]), "task.loss.weight=balanced: no training sample is of class square. Gi"),
        (Target.LABELS, torch.tensor([[1.0, 1, 0], [0, 1, 1]]), "label square holds for all training samples, or for"),
    ],
)
def test_a_class_without_a_sample_is_refused_by_name(kind, labels, said):
    with pytest.raises(UsageError) as error:
        counted(kind, labels)
    assert said in str(error.value)


def test_a_run_counts_its_training_split_and_its_checkpoint_keeps_the_weights(tmp_path):
    task, patches = small_task(loss=BALANCED), Patches()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(task, datamodule=patches)
    labels = patches.splits["train"].labels
    expected = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())).float()
    torch.testing.assert_close(task.loss.class_weights.values, expected)
    again = small_task(loss=BALANCED).eval()
    again.load_state_dict(task.state_dict())
    scores, target = torch.randn(1, 4, 3), torch.tensor([0, 1, 2, 2])
    found = again.compute_loss(scores, target)
    torch.testing.assert_close(found, cross_entropy(scores[0], target, 0.0, expected))
    assert not torch.allclose(found, cross_entropy(scores[0], target))


def test_loaders_without_known_labels_are_refused(tmp_path):
    loader = DataLoader(TensorDataset(torch.rand(6, 1, 4, 4), torch.arange(6) % 3), batch_size=3)
    with pytest.raises(UsageError, match=r"weight=balanced counts the labels .* got loaders\. Give a list of weights"):
        trainer(tmp_path, max_epochs=1).fit(small_task(loss=BALANCED), loader, loader)


def test_a_training_without_counted_labels_is_refused():
    task = small_task(loss=BALANCED)
    with pytest.raises(ValueError, match=r"were not counted\. A task with a method setup"):
        task.compute_loss(torch.randn(1, 4, 3), torch.tensor([0, 1, 2, 2]))
