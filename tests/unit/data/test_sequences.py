"""Sequences of pictures, marked bits, and a chaotic series, against their definitions."""

import numpy as np
import pytest
import torch
from refused import message_of
from scipy.integrate import solve_ivp
from small_images import mnist_files, write
from torch import Tensor

from snntrain.data import BinaryAdding, MackeyGlass, SequentialMNIST
from snntrain.data.mackey_glass import mackey_glass

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published file")


def adding(**more) -> BinaryAdding:
    arguments = {"num_classes": 10, "sample_shape": [2], "steps": 100, "samples": 200, "test_samples": 50}
    return BinaryAdding(**{**arguments, "val_samples": 30, **more})


def series(**more) -> MackeyGlass:
    data = MackeyGlass(1, [more.get("window", 1)], **{"steps": 50, **more})
    data.setup()
    return data


# --- binary adding ---------------------------------------------------------------------------------------------------


def test_the_class_is_the_sum_of_nine_marked_bits_and_every_sum_is_equally_frequent():
    data = adding()
    data.setup()
    for name, samples in (("train", 200), ("val", 30), ("test", 50)):
        x, sums = data.splits[name].x, data.splits[name].labels
        bits, marks = x.unbind(2)
        assert x.shape == (samples, 100, 2) and set(x.unique().tolist()) == {0, 1}
        assert torch.equal((bits * marks).sum(1).long(), sums)
        assert torch.equal(marks.sum(1), torch.full((samples,), 9.0))
        assert sums.bincount().tolist() == [samples // 10] * 10


def test_bits_and_marks_are_drawn_evenly():
    """Of 10,000 bits 100 standard deviations are 50; which marked bit is 1 does not depend on its place."""
    data = adding(samples=5000)
    data.setup()
    bits, marks = data.splits["train"].x.unbind(2)
    unmarked = bits[marks == 0]
    assert abs(float(unmarked.mean()) - 0.5) < 5 * 0.5 / len(unmarked) ** 0.5
    assert float((marks.mean(0) - 0.09).abs().max()) < 5 * (0.09 * 0.91 / 5000) ** 0.5
    ones = (bits * marks).sum(0) / marks.sum(0)
    assert float((ones - 0.5).abs().max()) < 5 * 0.32 / (450) ** 0.5


def test_splits_differ_and_do_not_depend_on_the_seed_of_a_run():
    first, other = adding(seed=1), adding(seed=2)
    first.setup()
    other.setup()
    assert first.fingerprint() == other.fingerprint()
    assert not torch.equal(first.splits["train"].x[:30], first.splits["val"].x)
    assert len(first.splits["train"]) == 200


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("marked", 101, "marked must be an integer ≥ 1 and ≤ 100"),
        ("num_classes", 9, "num_classes must be 10, which is what the data has"),
        ("val_samples", 0, "val_samples must be an integer ≥ 1"),
        ("sample_shape", [3], r"sample_shape must be [2]"),
    ],
)
def test_wrong_arguments_of_binary_adding_are_refused(argument, value, wanted):
    assert wanted in message_of(ValueError, adding, **{argument: value})


# --- sequential MNIST ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path / "MNIST" / "raw", mnist_files(monkeypatch))
    return str(tmp_path)


def digits(folder: str, **more) -> SequentialMNIST:
    data = SequentialMNIST(folder, num_classes=10, **{"sample_shape": [1], "steps": 784, **more})
    data.setup()
    return data


def test_pixels_come_line_by_line_rows_from_the_top(folder):
    pixels, rows = digits(folder), digits(folder, rows=True, sample_shape=[28], steps=28)
    pictures = pixels.splits["test"].pictures.images
    x, labels, index = pixels.splits["test"].__getitems__([0, 2])
    assert x.shape == (2, 784, 1) and index.tolist() == [0, 2]
    assert torch.equal(x[1, :, 0], pictures[2].flatten() / 255)
    by_row, same, _ = rows.splits["test"].__getitems__([0, 2])
    assert torch.equal(by_row[1], pictures[2, 0] / 255) and torch.equal(labels, same)
    assert pixels.fingerprint() == rows.fingerprint()


def test_the_permutation_is_that_of_its_seed_for_all_pictures_and_splits(folder):
    plain, mixed, again, other = (digits(folder, permutation=seed) for seed in (None, 3, 3, 4))
    order = mixed.order
    assert sorted(order.tolist()) == list(range(784)) and torch.equal(order, again.order)
    assert not torch.equal(order, other.order)
    for name in ("train", "val", "test"):
        places = list(range(len(plain.splits[name])))
        x, y = (data.splits[name].__getitems__(places)[0] for data in (plain, mixed))
        assert torch.equal(x[:, order], y)
    assert "seed 3 (data.permutation)" in mixed.assumed()["steps"]


def test_the_permutation_stays_what_it_is():
    """Recorded nets have learned it."""
    assert SequentialMNIST("nowhere", num_classes=10, sample_shape=[1], steps=784, permutation=1).order[
        :5
    ].tolist() == [444, 514, 465, 329, 419]


def test_wrong_arguments_of_sequences_of_pictures_are_refused(folder):
    assert "steps must be 784, the pixels of a picture; set T to it, got 4" in message_of(
        ValueError, digits, folder, steps=4
    )
    assert "permutation must be None where a step is a row" in message_of(
        ValueError, digits, folder, rows=True, sample_shape=[28], steps=28, permutation=1
    )
    assert "sample_shape must be [28]" in message_of(ValueError, digits, folder, rows=True, steps=28)


# --- Mackey-Glass ----------------------------------------------------------------------------------------------------


def by_scipy(points: int) -> Tensor:
    """The same series by the method of steps: over each delay, an ordinary differential equation with a known input."""
    times, found, value = np.arange(points) * 197 / 75, [], 0.7206597
    earlier = lambda t: [0.7206597]  # noqa: E731
    for begin in np.arange(0, times[-1] + 1e-9, 17):

        def slope(t: float, x: np.ndarray, earlier=earlier) -> list[float]:
            delayed = earlier(t - 17)[0]
            return [0.2 * delayed / (1 + delayed**10) - 0.1 * x[0]]

        solved = solve_ivp(slope, (begin, begin + 17), [value], "DOP853", rtol=1e-10, atol=1e-12, dense_output=True)
        within = times[(times >= begin) & (times < begin + 17)]
        found.extend(solved.sol(within)[0])
        earlier, value = solved.sol, solved.y[0, -1]
    return torch.tensor(found[:points])


def test_the_series_is_that_of_scipys_solver():
    """Until the errors of both, 1e-10 at first, have grown in the four Lyapunov times of 300 points."""
    torch.testing.assert_close(mackey_glass(300), by_scipy(300), rtol=0, atol=1e-6)


def test_the_series_stays_what_it_is():
    """Sums, products and quotients are rounded alike everywhere, so the last of 2,588 points is the same, too."""
    assert [value.hex() for value in mackey_glass(2588)[[1, -1]].tolist()] == [
        "0x1.c0018149ce05bp-1",
        "0x1.42bb55531fc7fp+0",
    ]


def test_stretches_are_750_points_to_learn_and_750_to_predict():
    data = series(window=3, stride=7, offset=1)
    points = data.value_standard(mackey_glass(2 * 750 + 1 + 37)[:, None])[:, 0]
    begin = 37  # half a Lyapunov time of 75 points
    train, val, test = (data.splits[name] for name in ("train", "val", "test"))
    assert torch.equal(train.x[0, :, -1], points[begin + 700 : begin + 750])  # the last learned input …
    assert torch.equal(train.labels[0, :, 0], points[begin + 701 : begin + 751])  # … and its target
    assert torch.equal(train.x[0, 5], points[begin + 703 : begin + 706])
    assert torch.equal(train.x[1, 0, -1:], points[begin + 693 : begin + 694])
    assert len(train) == len(range(700, 1, -7))
    assert torch.equal(test.x[0, :, -1], points[begin + 701 : begin + 751])
    assert torch.equal(test.labels[0, :, 0], points[begin + 751 : begin + 1501])
    assert torch.equal(val.x[0, -1, -1:], points[begin + 675 : begin + 676])
    learned = mackey_glass(788)[37:]
    torch.testing.assert_close(data.value_standard.mean, learned.mean()[None])
    torch.testing.assert_close(data.value_standard.std, learned.std()[None])
    assert torch.equal(val.labels[0, :, 0], points[begin + 676 : begin + 751])  # nothing but learned points


def test_all_stretches_are_tested_after_the_first_was_learned():
    data = series(tested="all")
    points = data.value_standard(mackey_glass(2588)[:, None])[:, 0]
    test = data.splits["test"]
    assert test.x.shape == (30, 50, 1) and test.labels.shape == (30, 750, 1)
    assert torch.equal(test.labels[29, :, 0], points[1087 + 751 : 1087 + 1501])
    assert len(series().splits["test"]) == 1
    assert "tested must be 'own' where offset is not 0" in message_of(ValueError, series, offset=2, tested="all")


def test_noise_comes_into_training_only_and_from_the_seed():
    plain, noisy = series(), series(noise=0.01)
    x, same = (data.splits["train"].__getitems__([(0, 1), (0, 2)])[0] for data in (plain, noisy))
    assert 0.008 < float((x - same).std()) < 0.012
    assert torch.equal(noisy.splits["train"].__getitems__([(0, 1), (0, 2)])[0], same)
    assert not torch.equal(noisy.splits["train"].__getitems__([(1, 1), (1, 2)])[0], same)
    assert torch.equal(noisy.splits["test"].__getitems__([0])[0], plain.splits["test"].__getitems__([0])[0])


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"steps": 700}, "steps must be an integer ≥ 1 and ≤ 674"),
        ({"offset": 30}, "offset must be an integer ≥ 0 and ≤ 29"),
        ({"noise": -1.0}, "noise must be"),
        ({"stride": 0}, "stride must be an integer ≥ 1"),
    ],
)
def test_wrong_arguments_of_the_series_are_refused(more, wanted):
    assert wanted in message_of(ValueError, series, **more)
