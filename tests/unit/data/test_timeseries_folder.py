"""A folder of time series: what the net gets of a file, what it is to predict, what is refused by file and line."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from snntrain.data import Target, TimeseriesFolder

PARQUET = importlib.util.find_spec("pyarrow") is not None


def write(path: Path, columns: dict[str, list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [list(columns), *rows]) + "\n")


def series(steps: int, shift: float) -> dict[str, list]:
    t = np.arange(steps)
    return {"a": (t + shift).tolist(), "b": (t**2 - shift).tolist(), "y": (10 * t + shift).tolist()}


@pytest.fixture
def folder(tmp_path):
    """Eight files for training, two for testing, of 3 to 6 steps."""
    for number in range(8):
        write(tmp_path / "train" / f"{number}.csv", series(3 + number % 4, number))
    for number in range(2):
        write(tmp_path / "test" / f"{number}.csv", series(4 + number, number))
    return tmp_path


def made(folder: Path, kind: Target = Target.VALUES, **more) -> TimeseriesFolder:
    counts = {"num_targets": 1} if kind.is_counted_in_values else {"num_classes": 2}
    settings = {"target": "y", "steps": 6, "sample_shape": [2], "batch_size": 4, **counts, **more}
    data = TimeseriesFolder(str(folder), kind=kind, **{"num_classes": None, **settings})
    data.setup()
    return data


def test_values_are_those_of_the_last_row_and_the_other_columns_are_the_input(folder):
    data = made(folder, standardize="none")
    x, y, index, lengths = next(iter(data.test_dataloader()))
    assert data.CLASSES == ("y",) and data.inputs == ("a", "b")
    assert lengths.tolist() == [4, 5] and y.tolist() == [[30.0], [41.0]] and index.tolist() == [0, 1]
    assert x[1, :5].tolist() == [[t + 1, t**2 - 1] for t in range(5)] and x.shape == (2, 6, 2)
    assert x[0, 4:].eq(0).all() and x[1, 5:].eq(0).all()


def test_values_of_every_step(folder):
    data = made(folder, Target.STEP_VALUES, standardize="none")
    _, y, _, lengths = next(iter(data.test_dataloader()))
    assert y[0, :, 0].tolist() == [0, 10, 20, 30, 0, 0] and lengths.tolist() == [4, 5]


def test_several_columns_are_predicted(folder):
    data = made(folder, target=["b", "y"], num_targets=2, sample_shape=[1], standardize="none")
    assert next(iter(data.test_dataloader()))[1].tolist() == [[9, 30], [15, 41]] and data.inputs == ("a",)


@pytest.mark.parametrize("kind", [Target.VALUES, Target.STEP_VALUES])
def test_standardized_numbers_have_mean_0_and_deviation_1_over_the_real_steps_of_the_training_files(folder, kind):
    plain, data = made(folder, kind, standardize="none"), made(folder, kind)
    rows = torch.cat([torch.tensor(list(zip(*series(3 + n % 4, n).values(), strict=True))) for n in range(8)]).double()
    ends = torch.tensor([[10.0 * (2 + n % 4) + n] for n in range(8)]).double()
    mean, std = rows.mean(0), rows.std(0)
    of_y = (mean[2], std[2]) if kind is Target.STEP_VALUES else (ends.mean(), ends.std())
    for name in ("train", "val", "test"):
        before, after = plain.splits[name], data.splits[name]
        mask = torch.arange(6) < before.lengths[:, None]
        torch.testing.assert_close(after.x[mask], ((before.x[mask].double() - mean[:2]) / std[:2]).float())
        assert after.x[~mask].eq(0).all()
        expected = ((before.labels.double() - of_y[0]) / of_y[1]).float()
        if kind is Target.STEP_VALUES:
            expected[~mask] = 0
        torch.testing.assert_close(after.labels, expected)
    inputs_only = made(folder, kind, standardize="inputs")
    assert torch.equal(inputs_only.splits["test"].labels, plain.splits["test"].labels)
    assert torch.equal(inputs_only.splits["test"].x, data.splits["test"].x)
    torch.testing.assert_close(data.value_standard.inverse(data.value_standard(ends)), ends.float())
    assert f"mean {of_y[0]:.6g} and deviation {of_y[1]:.6g}" in data.assumed()["scale of values"]


def test_a_class_is_that_of_a_column_or_of_a_folder(tmp_path):
    for part in ("train", "test"):
        for number in range(6):
            columns = series(3, number) | {"y": [("up", "down")[number % 2]] * 3}
            write(tmp_path / "column" / part / f"{number}.csv", columns)
            del columns["y"]
            write(tmp_path / "folders" / part / ("up", "down")[number % 2] / f"{number}.csv", columns)
    by_column = made(tmp_path / "column", Target.CLASS)
    by_folder = made(tmp_path / "folders", Target.CLASS, target=None)
    for data in (by_column, by_folder):
        assert data.CLASSES == ("down", "up")
    assert by_column.splits["test"].labels.tolist() == [1, 0] * 3
    assert by_folder.splits["test"].labels.tolist() == [0] * 3 + [1] * 3
    write(tmp_path / "folders/test/6.csv", series(3, 0))
    with pytest.raises(ValueError, match=r"6\.csv lies in no folder of a class"):
        made(tmp_path / "folders", Target.CLASS, target=None, inputs=["a", "b"])


def test_classes_of_every_step_are_numbered_by_size(tmp_path):
    for part in ("train", "test"):
        for number in range(3):
            write(tmp_path / part / f"{number}.csv", {"a": [1, 2, number], "y": [10, 9, "-1" if number else "9.0"]})
    data = made(tmp_path, Target.STEP_CLASSES, num_classes=3, sample_shape=[1], steps=3)
    assert data.CLASSES == ("-1", "9", "10") and data.splits["test"].labels.tolist() == [
        [2, 1, 1],
        [2, 1, 0],
        [2, 1, 0],
    ]


def test_labels_are_those_of_the_last_row(tmp_path):
    for part in ("train", "test"):
        for number in range(3):
            write(tmp_path / part / f"{number}.csv", {"a": [number, 2], "p": [7, number % 2], "q": [7, 1]})
    data = made(tmp_path, Target.LABELS, target=["p", "q"], num_classes=2, sample_shape=[1], steps=2)
    assert data.splits["test"].labels.tolist() == [[0, 1], [1, 1], [0, 1]] and data.CLASSES == ("p", "q")
    write(tmp_path / "test/1.csv", {"a": [1, 2], "p": [0, 5], "q": [0, 0]})
    with pytest.raises(ValueError, match=r"test/1\.csv of the test split has the label 5.*0 or 1"):
        made(tmp_path, Target.LABELS, target=["p", "q"], num_classes=2, sample_shape=[1], steps=2)


def test_a_part_of_the_files_is_drawn_for_testing_and_the_same_for_every_seed(folder):
    for path in [*(folder / "train").iterdir(), *(folder / "test").iterdir()]:
        path.rename(folder / f"{path.parent.name}_{path.name}")
    drawn = [made(folder, split=0.3, seed=seed) for seed in (1, 2)]
    assert [len(drawn[0].splits[name]) for name in ("train", "val", "test")] == [6, 1, 3]
    named = [[data.splits["test"].where(place) for place in range(3)] for data in drawn]
    assert named[0] == named[1]
    every = {split.where(place) for split in drawn[0].splits.values() for place in range(len(split))}
    assert every == set(map(str, folder.glob("*.csv")))


def test_an_array_and_a_structured_one_hold_what_a_csv_holds(folder):
    expected = made(folder).splits["test"]
    for number in range(2):
        columns = series(4 + number, number)
        (folder / "test" / f"{number}.csv").unlink()
        named = np.zeros(4 + number, [(name, "f8") for name in columns])
        for name, values in columns.items():
            named[name] = values
        np.save(folder / "test" / f"{number}.npy", named)
    found = made(folder).splits["test"]
    assert torch.equal(found.x, expected.x) and torch.equal(found.labels, expected.labels)
    for part, count in (("train", 8), ("test", 2)):
        for number in range(count):
            columns = series((3 + number % 4) if part == "train" else 4 + number, number)
            for old in (folder / part).glob(f"{number}.*"):
                old.unlink()
            np.save(folder / part / f"{number}.npy", np.array(list(columns.values())).T)
    plain = made(folder, target=2).splits["test"]
    assert torch.equal(plain.x, expected.x) and torch.equal(plain.labels, expected.labels)


@pytest.mark.skipif(not PARQUET, reason="pyarrow is not installed")
def test_parquet_holds_what_a_csv_holds_and_a_longer_file_is_refused_unread(folder):
    import pyarrow
    from pyarrow import parquet

    expected = made(folder).splits["test"]
    for number in range(2):
        (folder / "test" / f"{number}.csv").unlink()
        parquet.write_table(pyarrow.table(series(4 + number, number)), folder / "test" / f"{number}.parquet")
    found = made(folder).splits["test"]
    assert torch.equal(found.x, expected.x) and torch.equal(found.labels, expected.labels)
    columns = series(4, 0) | {"b": [1.0, None, 2.0, 3.0]}
    parquet.write_table(pyarrow.table(columns), folder / "test/0.parquet")
    with pytest.raises(ValueError, match=r"0\.parquet, row 1: column b holds 'nan'"):
        made(folder)
    parquet.write_table(pyarrow.table(series(7, 0)), folder / "test/0.parquet")
    with pytest.raises(ValueError, match=r"0\.parquet has 7 rows, but T=6\. Set T"):
        made(folder)
    (folder / "test/0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"0\.parquet cannot be read"):
        made(folder)


@pytest.mark.skipif(PARQUET, reason="pyarrow is installed")
def test_parquet_needs_pyarrow_by_name(folder):
    (folder / "test/9.parquet").write_bytes(b"")
    with pytest.raises(ImportError, match=r"9\.parquet needs the package pyarrow.*snntrain\[parquet\]"):
        made(folder)


def test_files_without_targets_are_read_as_the_samples_are(folder, tmp_path):
    new = tmp_path / "new"
    for number in range(2):
        columns = series(4 + number, number)
        write(new / f"{number}.csv", {"more": [0] * (4 + number), "b": columns["b"], "a": columns["a"]})
    for standardize in ("all", "none"):
        data = made(folder, standardize=standardize)
        fresh = TimeseriesFolder(
            str(folder), None, [2], num_targets=1, target="y", steps=6, kind=Target.VALUES, standardize=standardize
        )
        split = fresh.unlabeled(new)
        assert torch.equal(split.x, data.splits["test"].x) and split.lengths.tolist() == [4, 5]
        assert [split.where(place) for place in range(2)] == [str(new / "0.csv"), str(new / "1.csv")]
    write(new / "2.csv", {"a": [1, 2]})
    with pytest.raises(ValueError, match=r"new/2\.csv, line 1 has no column b"):
        fresh.unlabeled(new)


def test_the_fingerprint_follows_the_contents(folder):
    before = made(folder).fingerprint()
    assert made(folder).fingerprint() == before and len(before[str(folder)]) == len(hashlib.sha256().hexdigest())
    write(folder / "test/0.csv", series(4, 0.5))
    assert made(folder).fingerprint() != before


def text(folder: Path, content: str | bytes, name: str = "test/0.csv") -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


BAD_FILES = {
    "a,b,y\n1,2,3\n1,nan,3\n": r"test/0\.csv, line 3: column b holds 'nan', but a finite number",
    "a,b,y\n1,2,3\n1,,3\n": r"test/0\.csv, line 3: column b is empty",
    'a,b,y\n1,"2\n",3\n1,x,3\n': r"test/0\.csv, line 4: column b holds 'x'",
    "a,b,y\n1,2,3\n1,2,inf\n": r"test/0\.csv, line 3: column y holds 'inf'",
    "a,b,y\n1,2,3\n1,2\n1,2,3\n": r"test/0\.csv, line 3 has 2 cells, but the header has 3",
    "a,b,y\n1,2,3\n\n1,2,3\n": r"test/0\.csv, line 3 has 0 cells",
    "a,y\n1,3\n": r"test/0\.csv, line 1 has no column b\. It has a, y",
    "a,b\n1,3\n": r"test/0\.csv, line 1 has no column y",
    "a,b,c,y\n1,2,3,4\n": r"test/0\.csv, line 1 has the column c, which .*train/0\.csv does not have",
    "a;b;y\n1;2;3\n": r"test/0\.csv, line 1: its columns are not separated by commas",
    "1,2,3\n1,2,3\n": r"test/0\.csv, line 1: it holds numbers, not names",
    ",a,b,y\n0,1,2,3\n": r"test/0\.csv, line 1: column 1 has no name",
    "a,a,y\n1,2,3\n": r"test/0\.csv, line 1: two columns are called a",
    "a,b,y\n": r"test/0\.csv holds no steps",
    "": r"test/0\.csv is empty",
    'a,b,y\n1,2,"3\n': r"test/0\.csv, line 2: unexpected end of data",
    b"a,b,y\n1,2,\xff\n": r"test/0\.csv is damaged: byte 10 is not UTF-8",
    "a,b,y\n" + "1,2,3\n" * 7: r"test/0\.csv has 7 rows, but T=6\. Set T=7",
}


@pytest.mark.parametrize(("content", "named"), BAD_FILES.items(), ids=[named[:40] for named in BAD_FILES.values()])
def test_what_cannot_be_used_is_named_with_file_and_line(folder, content, named):
    text(folder, content)
    with pytest.raises(ValueError, match=named):
        made(folder)


def test_a_byte_order_mark_and_blank_lines_at_the_end_are_read_over(folder):
    expected = made(folder).splits["test"].x
    text(folder, "\ufeff" + (folder / "test/0.csv").read_text() + "\n\n")
    assert torch.equal(made(folder).splits["test"].x, expected)


def test_arrays_that_hold_something_else_are_named(folder):
    np.save(folder / "test/1.npy", np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"test/1\.npy: its array must be \[steps, columns\]"):
        made(folder)
    np.save(folder / "test/1.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"test/1\.npy cannot be read .*pickle"):
        made(folder)


def test_a_constant_column_and_another_length_are_named(folder):
    for number in range(8):
        write(folder / "train" / f"{number}.csv", series(3, number) | {"b": [4] * 3})
    with pytest.raises(ValueError, match=r"column b holds 4 in all training samples.*data\.inputs=\[…\]"):
        made(folder)
    assert made(folder, inputs=["a"], sample_shape=[1]).inputs == ("a",)
    with pytest.raises(ValueError, match=r"has 3 rows, but T=6, and data\.shortest is null"):
        made(folder, standardize="none", shortest=None)


def test_a_class_that_changes_or_is_unknown_is_named(tmp_path):
    for part, last in (("train", "up"), ("test", "up")):
        write(tmp_path / part / "0.csv", {"a": [1, 2], "y": ["up", last]})
        write(tmp_path / part / "1.csv", {"a": [1, 3], "y": ["down", "down"]})
        write(tmp_path / part / "2.csv", {"a": [1, 3], "y": ["down", "down"]})
        write(tmp_path / part / "3.csv", {"a": [1, 3], "y": ["up", "up"]})
    write(tmp_path / "test/0.csv", {"a": [1, 2], "y": ["up", "down"]})
    settings = {"kind": Target.CLASS, "sample_shape": [1]}
    with pytest.raises(ValueError, match=r"test/0\.csv, line 3: column y changes from up to down.*task=sequence"):
        made(tmp_path, **settings)
    write(tmp_path / "test/0.csv", {"a": [1, 2], "y": ["left", "left"]})
    with pytest.raises(
        ValueError, match=r"test/0\.csv, line 2: class left is in no training file\. They have down, up"
    ):
        made(tmp_path, **settings)
    write(tmp_path / "test/0.csv", {"a": [1, 2], "y": ["0.5", "0.5"]})
    with pytest.raises(ValueError, match=r"test/0\.csv, line 2: column y holds 0\.5, but a class is a text or a whole"):
        made(tmp_path, **settings)
    write(tmp_path / "test/0.csv", {"a": [1, 2], "y": ["up", "up"]})
    with pytest.raises(ValueError, match=r"num_classes must be 2, which is what the data has, got 5"):
        made(tmp_path, num_classes=5, **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"target": None}, r"target must be a column, as the task learns values, got None"),
        ({"kind": Target.CLASS, "target": ["y", "a"]}, r"target must be one column, as the task learns a class"),
        ({"target": 1.5}, r"target must be a column, a list of columns, or None, got 1\.5"),
        ({"inputs": ["a", "a"]}, r"inputs must be columns that differ"),
        ({"standardize": "yes"}, r"standardize must be one of 'none', 'inputs', 'all'"),
        ({"split": 1.5}, r"split must be a finite number > 0 and < 1, or 'folder', got 1\.5"),
        ({"shortest": 7}, r"shortest must be an integer ≥ 1 and ≤ 6, got 7"),
        ({"sample_shape": [5]}, r"sample_shape must be \[2\], which is what the data has, got \[5\]"),
        ({"num_targets": 2}, r"num_targets must be 1, which is what the data has, got 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, settings, named):
    with pytest.raises(ValueError, match=named):
        made(folder, **settings)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder\. Set data\.folder"):
        made(tmp_path / "nowhere")
    write(tmp_path / "train/0.csv", series(3, 0))
    with pytest.raises(FileNotFoundError, match=r"has no folder test\. Add it, .*data\.split=0\.2"):
        made(tmp_path)
