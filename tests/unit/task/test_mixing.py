"""MixUp and CutMix: what they do to samples and labels, and to what is learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import Patches, small_task, trainer, weights
from torch.nn import functional as F

from snntrain.data.target import Target
from snntrain.task.mixing import Mixing, dominant
from snntrain.task.suited import suited

LABELS = torch.tensor([0, 2, 1, 1])
# The one that adds to another loss gets the same targets as that.
LOSSES = [name for name in suited("loss", Target.CLASS) if name != "rate_regularized"]


def distinct(*shape: int) -> torch.Tensor:
    """Samples of which every value says where it came from: n + 1 everywhere in sample n."""
    return (torch.arange(1.0, 5.0).view(4, *[1] * len(shape))).expand(4, *shape).contiguous()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(), (7,), (1, 4, 4), (3, 2, 4, 4)]), st.integers(0, 1000))
def test_mixup_mixes_samples_and_labels_in_one_proportion(shape, seed):
    torch.manual_seed(seed)
    x, target = Mixing(mixup=0.5, cutmix=0.0, num_classes=3)(distinct(5, *shape), LABELS)
    assert x.shape == (4, 5, *shape) and target.shape == (4, 3)
    partner = [3, 0, 1, 2]
    kept = (float(x[1].flatten()[0]) - 1) / (2 - 1)  # sample 1, of twos, is mixed with sample 0, of ones
    expected = kept * distinct(5, *shape) + (1 - kept) * distinct(5, *shape)[partner]
    torch.testing.assert_close(x, expected)
    hot = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(target, kept * hot + (1 - kept) * hot[partner])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(1,), (3,), (6, 2)]), st.integers(0, 1000))
def test_cutmix_exchanges_a_rectangle_and_weighs_labels_by_area(before, seed):
    """With time before the channels: the same rectangle at every step."""
    torch.manual_seed(seed)
    x, target = Mixing(mixup=0.0, cutmix=1.0, num_classes=3)(distinct(*before, 8, 6), LABELS)
    planes = x.flatten(1, -3)
    assert x.shape == (4, *before, 8, 6) and torch.equal(planes, planes[:, :1].expand_as(planes))
    foreign = planes[:, 0] != torch.arange(1.0, 5.0).view(4, 1, 1)
    assert torch.equal(foreign, foreign[:1].expand_as(foreign))
    rows, columns = foreign[0].any(1), foreign[0].any(0)
    assert torch.equal(foreign[0], rows[:, None] & columns)  # a rectangle
    hot = F.one_hot(LABELS, 3).float()
    share = foreign[0].float().mean()
    torch.testing.assert_close(target, (1 - share) * hot + share * hot.roll(1, 0))


def test_with_both_each_batch_gets_one_of_the_two():
    torch.manual_seed(0)
    mixing, x, kinds = Mixing(1.0, 1.0, 3), distinct(1, 8, 8), []
    for _ in range(40):
        values = mixing(x, LABELS)[0].unique()
        kinds.append("cutmix" if set(values.tolist()) <= {1.0, 2.0, 3.0, 4.0} else "mixup")
    assert 10 < kinds.count("mixup") < 30


def test_draws_follow_torchs_generator():
    drawn = []
    for _ in range(2):
        torch.manual_seed(11)
        mixing = Mixing(0.4, 0.7, 3)
        drawn.append(torch.cat([mixing(distinct(1, 8, 8), LABELS)[0] for _ in range(6)]))
    assert torch.equal(*drawn) and drawn[0].unique().numel() > 4


def test_cutmix_of_data_without_height_and_width_is_refused():
    with pytest.raises(ValueError, match=r"cutmix: .* images \[N, C, H, W\], but the data has shape \[4, 3, 9\]"):
        Mixing(0.0, 1.0, 3)(distinct(3, 9), LABELS)


def test_the_dominant_label_has_the_largest_share():
    assert dominant(torch.tensor([[0.3, 0.0, 0.7], [0.6, 0.4, 0.0]])).tolist() == [2, 0]
    assert dominant(LABELS) is LABELS


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("T", [1, 3])
def test_every_loss_takes_shares_of_the_classes(loss, T):
    """Shares of 0 and 1 are labels. Between them the cross-entropies are linear in the target."""
    task = small_task(loss=loss, T=T, label_smoothing=0.1)
    y_seq = torch.randn(T, 4, 3, generator=torch.Generator().manual_seed(2))
    hot, other = F.one_hot(LABELS, 3).float(), F.one_hot(LABELS.roll(1), 3).float()
    of_labels = task.compute_loss(y_seq, LABELS)
    torch.testing.assert_close(task.compute_loss(y_seq, hot), of_labels)
    between = task.compute_loss(y_seq, 0.3 * hot + 0.7 * other)
    if loss.startswith("mse"):
        shares = 0.3 * hot + 0.7 * other
        y, wanted, scale = {
            "mse": (y_seq.mean(0), shares, 1),
            "mse_count": (y_seq.sum(0), T * shares, T),
            "mse_membrane": (y_seq, shares.expand(T, -1, -1), 1),
        }[loss]
        torch.testing.assert_close(between, (y - wanted).square().mean() / scale)
    else:
        torch.testing.assert_close(between, 0.3 * of_labels + 0.7 * task.compute_loss(y_seq, LABELS.roll(1)))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "mse", "tet", "mse_count"])
@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}], ids=str)
def test_mixing_changes_training_and_nothing_else(tmp_path, loss, alphas):
    data, task = Patches(), small_task(loss=loss, **alphas)
    run = trainer(tmp_path, max_epochs=1)
    before = run.validate(task, datamodule=data, verbose=False)
    assert before == run.validate(small_task(loss=loss), datamodule=data, verbose=False)
    run.fit(task, datamodule=data)
    assert 0 <= float(run.callback_metrics["train/acc"]) <= 1
    plain = small_task(loss=loss)
    trainer(tmp_path, max_epochs=1).fit(plain, datamodule=data)
    name = "layers.1.weight"
    assert not torch.equal(weights(task)[name], weights(plain)[name])


def test_training_accuracy_counts_the_dominant_label():
    task = small_task(mixup=1.0)
    task.log = lambda *arguments, **more: None
    torch.manual_seed(4)
    task.training_step((torch.rand(4, 1, 4, 4), LABELS), 0)
    torch.manual_seed(4)
    x, target = task.mixing(torch.rand(4, 1, 4, 4), LABELS)
    right = (task(x).mean(0).argmax(1) == target.argmax(1)).float().mean()
    assert task.headline["train_acc"].compute() == right


@pytest.mark.parametrize("argument", ["mixup", "cutmix"])
def test_a_negative_alpha_is_refused(argument):
    with pytest.raises(ValueError, match=rf"Classification: {argument} must be a finite number ≥ 0, got -1"):
        small_task(**{argument: -1})
