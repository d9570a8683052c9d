"""NeuroBench's harness where its package is not installed; beside it where it is: tests/peers/test_neurobench.py."""

import importlib.util

import pytest

from snntrain.error import UsageError
from snntrain.lab.neurobench import harness_of_run


def test_a_missing_package_is_named_before_anything_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"not installed \(neurobench, snntorch\): pip install 'snntrain\[neurobench\]'"
    ):
        harness_of_run(tmp_path / "nowhere")
