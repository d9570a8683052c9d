"""Arrays in memory become splits, and train with Lightning's Trainer and snntrain's tasks."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import SGD, trainer

from snntrain.data import Target, from_arrays
from snntrain.encoding import DirectEncoder, FramesEncoder
from snntrain.model import build
from snntrain.task import Classification, MultiLabel, Regression, SequencePrediction

PAGE = Path(__file__).resolve().parents[3] / "docs/data.md"
SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(40, 3))
STEPS = SOURCE.normal(size=(40, 5, 3))
LENGTHS = SOURCE.integers(1, 6, 40)
LISTED = [one[:length] for one, length in zip(STEPS, LENGTHS, strict=True)]
CLASSES, VALUES, LABELS = SOURCE.integers(0, 3, 40), SOURCE.normal(size=40), SOURCE.integers(0, 2, (40, 4))
STEP_CLASSES, STEP_VALUES = SOURCE.integers(0, 3, (40, 5)), SOURCE.normal(size=(40, 5, 2))

CASES = {
    "classification": (Classification, X, CLASSES, {}, Target.CLASS, 3),
    "regression": (Regression, X, VALUES, {}, Target.VALUES, 1),
    "multilabel": (MultiLabel, X, LABELS, {}, Target.LABELS, 4),
    "classes of sequences": (Classification, STEPS, CLASSES, {"lengths": LENGTHS}, Target.CLASS, 3),
    "values of a list": (Regression, LISTED, VALUES, {}, Target.VALUES, 1),
    "classes of every step": (SequencePrediction, STEPS, STEP_CLASSES, {}, Target.STEP_CLASSES, 3),
    "values of every step": (SequencePrediction, STEPS, STEP_VALUES, {"lengths": LENGTHS}, Target.STEP_VALUES, 2),
}
NAMES = {
    Classification: "classification",
    Regression: "regression",
    MultiLabel: "multilabel",
    SequencePrediction: "sequence",
}


@pytest.mark.parametrize(("task", "x", "y", "more", "kind", "count"), CASES.values(), ids=CASES)
def test_they_train_and_are_tested_with_a_plain_trainer(tmp_path, task, x, y, more, kind, count):
    data = from_arrays(x, y, task=NAMES[task], batch_size=8, **more)
    assert data.TARGET is kind and (data.num_targets if kind.is_counted_in_values else data.num_classes) == count
    outputs = {"num_targets": count} if kind.is_counted_in_values else {"num_classes": count}
    net = build([{"name": "Linear", "out_features": count}], data.sample_shape, {"name": "LIFNode"})
    encoder = DirectEncoder() if data.T is None else FramesEncoder()
    module = task(net, encoder, data.T or 2, optim=SGD, **outputs)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, datamodule=data)
    tested = run.test(module, datamodule=data, verbose=False)[0]
    assert np.isfinite(tested["test/loss"]) and f"test/{module.HEADLINE[0]}" in tested
    assert sum(len(split) for split in data.splits.values()) == 40


def test_the_samples_are_those_that_were_given():
    data = from_arrays(X, VALUES, task="regression", test=(X[:7] + 1, VALUES[:7]), val=(X[:5], VALUES[:5]))
    data.setup()
    for name, x, y in (("train", X, VALUES), ("val", X[:5], VALUES[:5]), ("test", X[:7] + 1, VALUES[:7])):
        split = data.splits[name]
        assert torch.equal(split.x, torch.tensor(x, dtype=torch.float32))
        assert torch.equal(split.labels, torch.tensor(y, dtype=torch.float32)[:, None])


def test_a_list_of_sequences_is_what_an_array_with_lengths_is():
    listed, padded = from_arrays(LISTED, CLASSES), from_arrays(STEPS, CLASSES, lengths=LENGTHS)
    for data in (listed, padded):
        data.setup()
        assert data.T == 5 and data.sample_shape == (3,)
    for name, split in listed.splits.items():
        other = padded.splits[name]
        assert torch.equal(split.x, other.x) and torch.equal(split.lengths, other.lengths)
        assert split.x[torch.arange(5) >= split.lengths[:, None]].eq(0).all()
        where = split.index.tolist()
        assert torch.equal(split.lengths, torch.tensor(LENGTHS)[where])


def test_a_third_of_each_class_is_tested_the_same_for_every_seed():
    y = np.array([0] * 30 + [1] * 6 + [2] * 3)
    drawn = [from_arrays(np.arange(39.0)[:, None], y, test_fraction=1 / 3, seed=seed) for seed in (1, 2)]
    for data in drawn:
        data.setup()
    assert torch.bincount(drawn[0].splits["test"].labels).tolist() == [10, 2, 1]
    assert torch.equal(drawn[0].splits["test"].index, drawn[1].splits["test"].index)


def test_the_arrays_that_were_given_stay_as_they_are():
    x, y, lengths = STEPS.astype(np.float32), STEP_VALUES.astype(np.float32), LENGTHS.copy()
    copies = x.copy(), y.copy(), lengths.copy()
    from_arrays(torch.from_numpy(x), y, task="sequence", lengths=lengths, standardize="all").setup()
    assert all(np.array_equal(one, other) for one, other in zip((x, y, lengths), copies, strict=True))


def test_texts_are_classes_in_the_order_of_the_alphabet():
    y = np.array(["up", "down", "left", "up"] * 10)
    data = from_arrays(X, y)
    data.setup()
    assert data.CLASSES == ("down", "left", "up")
    split = data.splits["train"]
    assert [data.CLASSES[label] for label in split.labels] == y[split.index].tolist()
    assert from_arrays(X, CLASSES, names=["a", "b", "c"]).CLASSES == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"from_arrays: test must be one of down, left, up, got 'right'"):
        from_arrays(X, y, test=(X[:1], ["right"]))


def test_numbers_are_standardized_only_when_asked_and_by_what_is_not_tested():
    lengths = torch.tensor(LENGTHS)
    plain, data = (
        from_arrays(STEPS, STEP_VALUES, task="sequence", lengths=LENGTHS, standardize=how) for how in ("none", "all")
    )
    stay, _ = plain._given["train"].index, plain.setup()
    data.setup()
    mask = torch.arange(5) < lengths[stay][:, None]
    for values, standard in ((STEPS, data.input_standard), (STEP_VALUES, data.value_standard)):
        rows = torch.tensor(values)[stay][mask].float().double()
        torch.testing.assert_close(standard.mean, rows.mean(0))
        torch.testing.assert_close(standard.std, rows.std(0))
    for name, split in data.splits.items():
        real = torch.arange(5) < split.lengths[:, None]
        before = plain.splits[name]
        assert torch.equal(split.x[real], data.input_standard(before.x[real])) and split.x[~real].eq(0).all()
        assert torch.equal(split.labels[real], data.value_standard(before.labels[real]))
        assert split.labels[~real].eq(0).all()
    assert plain.input_standard is None and plain.value_standard is None


NAN = X.copy()
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "more", "named"),
    [
        (NAN, CLASSES, {}, r"x\[3, 1\] is nan, which is no finite float32"),
        (X, CLASSES[:39], {}, r"y must be targets of 40 samples, as x has, got 39"),
        (X, CLASSES, {"task": "clasification"}, r"task must be one of 'classification', 'regression'"),
        (X, VALUES, {}, r"y must be whole numbers from 0, one for each class, got 'float64'"),
        (X, CLASSES, {"test": X}, r"test must be \(x, y\) or \(x, y, lengths\), got 'ndarray'"),
        (STEPS, STEP_CLASSES[:, :4], {"task": "sequence"}, r"y\[0\] must be targets of 5 steps, as x\[0\] has, got 4"),
        (STEPS, CLASSES, {"lengths": LENGTHS + 5}, r"lengths must be an integer ≥ 1 and ≤ 5"),
        (STEPS, CLASSES, {"lengths": LENGTHS[:3]}, r"lengths must be 40 whole numbers, one for each sample, got \[3\]"),
        (LISTED, CLASSES, {"lengths": LENGTHS}, r"lengths must be None for a list of sequences"),
        (X, CLASSES, {"has_steps": True}, r"x must be \[n, T, \*\] with steps"),
        (STEPS, STEP_CLASSES, {"task": "sequence", "has_steps": False}, r"has_steps must be True with task='sequence'"),
        ([*LISTED[:39], X[0]], CLASSES, {}, r"x\[39\] must be sequences \[1 to 5 steps, 3\], got \[3\]"),
        (X * 0, CLASSES, {"standardize": "inputs"}, r"column x\[…, 0\] holds 0 in all training samples"),
        (X[:, None, None], CLASSES, {"standardize": "inputs"}, r"standardize must be 'none' for samples of shape"),
        (np.array([["a"]] * 40), CLASSES, {}, r"x must be numbers, got '<U1'"),
    ],
)
def test_what_does_not_fit_is_named(x, y, more, named):
    with pytest.raises(ValueError, match=f"{named}"):
        from_arrays(x, y, **more)


def test_labels_that_are_none_are_named_when_the_data_are_set_up():
    with pytest.raises(ValueError, match=r"has the label 2\.0; labels must be 0 or 1"):
        from_arrays(X, LABELS * 2, task="multilabel").setup()
    with pytest.raises(ValueError, match=r"has the label 2; labels must be from 0 to 1, as data\.num_classes is 2"):
        from_arrays(X, CLASSES, names=["a", "b"]).setup()


def test_the_example_of_the_docs_learns(tmp_path, monkeypatch):
    """The sum of sequences of 2 to 8 steps, in standard deviations: a constant would be off by 1."""
    (example,) = re.findall(r"## Arrays in memory\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    source, found = np.random.default_rng(2), {}
    x = [source.normal(size=(int(steps), 2)) for steps in source.integers(2, 9, 300)]
    quiet = "logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator='cpu'"
    exec(
        example.replace("max_epochs=20", f"max_epochs=20, {quiet}").replace(
            '"LIFNode"', '"IFNode", "backend": "torch"'
        ),
        found,
    )
    assert found["fit"](x, [one.sum() for one in x])[0]["test/rmse"] < 0.75
