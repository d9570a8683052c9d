"""show=model and show=kernels print and leave nothing; show=data prints the classes and leaves one figure."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def test_the_model_is_shown_without_data_and_nothing_is_left(program, tmp_path):
    done = program(
        "train.py", "show=model", "model=mlp", "model.features=32", "data=mnist", "paths.data=nowhere", "T=6"
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["mnist_mlp_lif", "T", "=", "6,", "a", "sample", "of", "one", "step", "is", "1×28×28"]
    assert ["layers.1", "Linear", "32", f"{784 * 32 + 32:,}", f"{784 * 32:,}"] in lines
    assert ["layers.2", "LIFNode", "(a)", "32"] in lines
    assert ["total", f"{784 * 32 + 32 + 32 * 10 + 10:,}", f"{784 * 32 + 32 * 10:,}"] in lines
    assert re.search(r"^\(a\) +tau=.*, ATan$", done.stdout, re.M)
    assert list(tmp_path.iterdir()) == []


def test_the_ann_twin_takes_one_step(program):
    done = program("train.py", "show=model", "neuron=relu", "T=6")
    assert "T = 1," in done.stdout and "ReLU" in done.stdout


def test_what_runs_fused_is_shown_for_each_device_and_nothing_is_left(program, tmp_path):
    done = program("train.py", "show=kernels", "model=mlp", "neuron=plif", "model.features=32")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert re.search(r"cpu \S+ numba \d", said)
    assert re.search(r"cuda none: this torch is built without CUDA; install|cuda:0 ", said)
    assert "digits_mlp_plif T = 4, trainer.precision=32-true" in said
    assert re.search(r"layers\.2 ParametricLIFNode fused", said)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_fused_says_why(program, tmp_path):
    layers = "[Flatten,{name: Linear, out_features: 6},{name: neuron, backend: torch},{name: Linear, out_features: 10}]"
    done = program("train.py", "show=kernels", f"model.layers={layers}", "trainer.precision=bf16-mixed")
    assert done.returncode == 0, done.stderr
    assert "loop over torch's operators: its backend is torch" in " ".join(done.stdout.split())
    done = program("train.py", "show=kernels", "neuron=psn")
    assert "PSN torch's operators: there are no kernels for it" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("given", "hint"), [("modle", " Did you mean model?"), ("dta", " Did you mean data?"), ("all", "")]
)
def test_anything_else_is_refused(program, tmp_path, given, hint):
    done = program("train.py", f"show={given}")
    assert done.returncode == 2
    assert done.stderr.strip().lower() == (
        f"error: show must be null (train) or 'model' or 'data' or 'kernels' or 'audit', got '{given}'.{hint.lower()}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_config_is_refused_as_in_training(program, tmp_path):
    done = program("train.py", "show=model", "model.layers=[Flatten,{name: Linear, out_features: 5}]")
    assert done.returncode == 2 and "last layer gives [5]" in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def cells(path: Path, columns: int) -> list[np.ndarray]:
    """The columns of a figure's samples, below its title and right of the names."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    return np.array_split(pixels[170:, 140:-40], columns, axis=1)


def test_the_data_are_counted_and_drawn_and_nothing_is_trained(program, tmp_path):
    done = program("train.py", "show=data", "data/augment=shift", "paths.runs=out")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["Digits", "pictures", "1×8×8"]
    counts = {line[0]: [int(number.replace(",", "")) for number in line[1:]] for line in lines[2:13]}
    assert [sum(counts[str(digit)]) for digit in range(10)] == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert counts["all"] == [1294, 144, 359]
    assert "train [0, 1], val [0, 1], test [0, 1]" in done.stdout
    assert "changed at random by RandomCrop(size=[8, 8], padding=2)" in " ".join(done.stdout.split())
    assert "assumed values v/16 of 17 gray levels test 20% of all samples" in " ".join(done.stdout.split())
    for fact in ("Creative Commons Attribution 4.0", "Alpaydin & Kaynak", "https://archive.ics.uci.edu"):
        assert fact in done.stdout
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "out/show_data_Digits.png"
    ]
    drawn = cells(tmp_path / "out/show_data_Digits.png", 10)
    assert all(50 < cell.mean() < 205 for cell in drawn)  # every column has black ground and white ink


@pytest.mark.parametrize(
    ("data", "row", "license"),
    [
        (("task=regression", "data=diabetes"), r"value +\S+ ± \S+ +\S+ ± \S+ +\S+ ± \S+", "none stated by the"),
        (
            ("task=sequence", "data=parity", "data.shortest=2", "T=5", "data.samples=50"),
            r"even +\d+ +\d+ +[\d,]+",
            "none: these data are made up by a formula",
        ),
    ],
)
def test_values_and_sequences_are_counted_and_drawn(program, tmp_path, data, row, license):
    done = program("train.py", "show=data", *data, "paths.runs=out")
    assert done.returncode == 0, done.stderr
    assert re.search(f"^{row}$", done.stdout, re.M) and re.search(r"^samples +\d+ ", done.stdout, re.M), done.stdout
    assert re.search(f"^license +{license}", done.stdout, re.M), done.stdout
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_names_with_brackets_and_colons_are_shown_as_they_are(program, tmp_path):
    for name in ("a[b]", "[bold]c", ":bug:"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pictures" / name / f"{number}.png")
    data = ("data=image_folder", "data.folder=pictures", "data.num_classes=3", "data.size=8", "data.num_workers=0")
    done = program("train.py", "show=data", *data, "paths.runs='r[/x]'")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[2:5]} == {"a[b]", "[bold]c", ":bug:"}
    assert "samples: r[/x]/show_data_ImageFolder.png" in done.stdout


def nmnist_file(path: Path, polarity: int) -> None:
    """50 events of one polarity, 1 ms apart, in the 40-bit format: x, y, polarity and time in 5 bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events = b"".join(
        struct.pack(">BB", 5 + number % 20, 10) + ((polarity << 23) | (1000 * number)).to_bytes(3, "big")
        for number in range(50)
    )
    path.write_bytes(events)


def test_event_frames_are_drawn_over_time_in_blue_and_red(program, tmp_path):
    for split in ("Train", "Test"):
        for digit in range(10):
            for number in range(3):
                nmnist_file(tmp_path / "data/NMNIST" / split / str(digit) / f"{number}.bin", polarity=digit % 2)
    done = program("train.py", "show=data", "data=nmnist", "data.partial=true", "data.cache=off", "T=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("NMNIST   frames 4×2×34×34 (time, channels, height, width)")
    pixels = np.asarray(Image.open(tmp_path / "runs/show_data_NMNIST.png").convert("RGB")).astype(int)
    rows = np.array_split(pixels[150:-32, 80:], 10)  # a digit each: even ones have OFF events only, odd ones ON
    for digit, row in enumerate(rows):
        red, blue = (int((row[..., one] - row[..., other] > 60).sum()) for one, other in ((0, 2), (2, 0)))
        assert (blue > 50 * (red + 1)) if digit % 2 else (red > 50 * (blue + 1)), (digit, red, blue)


def test_a_missing_data_set_cannot_be_shown(program, tmp_path):
    done = program("train.py", "show=data", "data=cifar10")
    assert done.returncode == 2 and "cifar-10-batches-py/data_batch_1 is not in data" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_faults_are_shown_and_nothing_is_left(program, tmp_path):
    done = program(
        "train.py", "show=audit", "model=mlp", "model.features=32", "data.val_fraction=0.2", "encoder=poisson"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("digits_mlp_lif   T = 4\n")
    assert re.search(r"^audit: (no findings|0 errors, \d+ warnings?, \d+ infos?)$", done.stdout, re.M), done.stdout
    assert list(tmp_path.iterdir()) == []
