"""Versions and hardware: what decides whether bits can be equal."""

import os
from importlib import metadata

import pytest
import torch

from snntrain.lab.experiment.environment import (
    compared_hardware,
    compared_versions,
    computing,
    hardware_class,
    imported_packages,
    is_same,
    lock_text,
    match_threads,
    read_lock,
)
from snntrain.run.provenance import hardware


def test_the_lock_names_what_is_imported_with_its_version_and_reads_back():
    import lightning.pytorch  # noqa: F401  as every run does

    packages = imported_packages()
    assert {"torch", "lightning", "numpy", "hydra-core"} <= packages.keys() and "snntrain" not in packages
    assert packages["torch"] == metadata.version("torch")
    assert read_lock(lock_text(packages)) == packages
    assert is_same(compared_versions(packages))
    assert "scikit-image" not in packages  # installed or not, nothing here imports it


def test_only_what_computes_decides():
    rows = compared_versions({"torch": "0.1", "tqdm": "0.1", "python": "2.7", "no-such-package": "1", "": "x"})
    assert [row[0] for row in rows] == ["torch", "tqdm", "no-such-package", ""]
    assert rows[2] == ("no-such-package", "1", None)
    assert [row[0] for row in computing(rows)] == ["torch"]
    assert not is_same(computing(rows)) and is_same(computing(rows[1:]))


def test_the_class_of_the_hardware_names_processor_and_threads_and_no_host():
    facts = {**hardware(), "gpus": ["H200"]}
    assert hardware_class(facts, "cpu").keys() == {"processor", "model", "instructions", "torch_threads"}
    assert hardware_class(facts, "gpu")["gpus"] == ["H200"]
    assert os.uname().nodename not in str(hardware_class(facts, "gpu"))
    assert is_same(compared_hardware(hardware_class(hardware()), "cpu"))
    assert not is_same(compared_hardware({"processor": "8086"}, "cpu"))


@pytest.mark.parametrize("threads", [0, -1, 10**6, "2", True, None])
def test_threads_that_this_machine_does_not_have_are_not_asked_for(threads):
    before = torch.get_num_threads()
    match_threads({"torch_threads": threads})
    assert torch.get_num_threads() == before


def test_threads_are_those_of_the_record():
    before, available = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        for threads in (available, 1):
            match_threads({"torch_threads": threads})
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
