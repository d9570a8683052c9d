"""show=model prints the layers and leaves nothing: no data is read, no folder stays."""

import re

import pytest


def test_the_model_is_shown_without_data_and_nothing_is_left(forked, tmp_path):
    done = forked("train.py", "show=model", "model=mlp", "model.features=32", "data=mnist", "paths.data=nowhere", "T=6")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["mnist_mlp_lif", "T", "=", "6,", "a", "sample", "of", "one", "step", "is", "1×28×28"]
    assert ["layers.1", "Linear", "32", f"{784 * 32 + 32:,}", f"{784 * 32:,}"] in lines
    assert ["layers.2", "LIFNode", "(a)", "32"] in lines
    assert ["total", f"{784 * 32 + 32 + 32 * 10 + 10:,}", f"{784 * 32 + 32 * 10:,}"] in lines
    assert re.search(r"^\(a\) +tau=.*, ATan$", done.stdout, re.M)
    assert list(tmp_path.iterdir()) == []


def test_the_ann_twin_takes_one_step(forked):
    done = forked("train.py", "show=model", "neuron=relu", "T=6")
    assert "T = 1," in done.stdout and "ReLU" in done.stdout


@pytest.mark.parametrize(("given", "hint"), [("modle", " Did you mean model?"), ("all", ""), ("true", "")])
def test_anything_else_is_refused(forked, tmp_path, given, hint):
    done = forked("train.py", f"show={given}")
    assert done.returncode == 2
    assert done.stderr.strip().lower() == (f"error: show must be null (train) or 'model', got '{given}'.{hint.lower()}")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_config_is_refused_as_in_training(forked, tmp_path):
    done = forked("train.py", "show=model", "model.layers=[Flatten,{name: Linear, out_features: 5}]")
    assert done.returncode == 2 and "last layer gives [5]" in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []
