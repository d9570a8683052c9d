"""Running Lava in a process of its own: data in its order, and programs that fail, hang or are no Lava at all."""

import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from snntrain.export import Emulation, ExportError, LavaError, LavaRun, run_in_lava
from snntrain.export.lava_worker import _from_lava, _to_lava
from snntrain.export.netx_file import NetxLayer, write


@pytest.fixture
def net(tmp_path) -> Path:
    layers = [NetxLayer("input", (3,)), NetxLayer("dense", (2,), np.full((2, 3), 40), threshold=30, name="fc")]
    write(layers, tmp_path / "net.h5")
    return tmp_path / "net.h5"


def fake_python(folder: Path, program: str) -> Path:
    """A program that is started instead of Python, with the arguments WORKER REQUEST RESULT."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_simulator_that_hangs_is_killed_with_all_it_started(tmp_path, net):
    pids = tmp_path / "pids"
    python = fake_python(tmp_path, f"echo compiling; sleep 60 & echo $! > {pids}; echo $$ >> {pids}; sleep 60")
    start = time.monotonic()
    with pytest.raises(LavaError, match=r"did not end within 1 seconds and was killed; .*\. It said last:\ncompiling"):
        run_in_lava(net, torch.zeros(2, 1, 3), timeout=1, python=python)
    assert time.monotonic() - start < 10
    assert all(wait_until_gone(int(pid)) for pid in pids.read_text().split())


def test_what_a_program_leaves_behind_is_killed_too(tmp_path, net):
    pids = tmp_path / "pids"
    python = fake_python(tmp_path, f"sleep 60 & echo $! > {pids}; echo the reason >&2; exit 7")
    with pytest.raises(LavaError, match=r"ended with code 7\. It said last:\nthe reason"):
        run_in_lava(net, torch.zeros(2, 1, 3), python=python)
    assert wait_until_gone(int(pids.read_text()))


def test_a_program_without_a_result_is_reported(tmp_path, net):
    with pytest.raises(LavaError, match="ended without a result"):
        run_in_lava(net, torch.zeros(2, 1, 3), python=fake_python(tmp_path, "exit 0"))
    with pytest.raises(LavaError, match="cannot be started"):
        run_in_lava(net, torch.zeros(2, 1, 3), python=tmp_path / "none")


def test_without_lava_the_error_says_how_to_install_it(tmp_path, net, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "lava.py").write_text("raise ModuleNotFoundError('No module named lava')")
    with pytest.raises(LavaError, match=r"python scripts/install_lava\.py FOLDER"):
        run_in_lava(net, torch.zeros(2, 1, 3))


def test_inputs_that_cannot_be_are_refused_before_anything_starts(tmp_path, net):
    python = fake_python(tmp_path, f"touch {tmp_path / 'started'}")
    for x, text in (
        (torch.zeros(2, 1, 4), r"must be \[T, N, 3\]"),
        (torch.full((2, 1, 3), 0.5), "must hold integers"),
    ):
        with pytest.raises(ExportError, match=text):
            run_in_lava(net, x, python=python)
    with pytest.raises(ValueError, match="timeout must be a finite number > 0, got 0"):
        run_in_lava(net, torch.zeros(2, 1, 3), timeout=0, python=python)
    with pytest.raises(ExportError, match=r"none\.h5 does not exist"):
        run_in_lava(tmp_path / "none.h5", torch.zeros(2, 1, 3), python=python)
    assert not (tmp_path / "started").exists()


def test_the_program_is_told_what_to_run(tmp_path, net):
    """Path, integers, and the bits of their messages."""
    python = fake_python(tmp_path, f"cp $2 {tmp_path / 'asked.npz'}; echo $SNNTRAIN_LAVA; exit 1")
    for x, bits in (([[[0, 1, 1]]], 0), ([[[0, 2, 0]]], 3), ([[[0, -1, 0]]], 2), ([[[255, 0, 0]]], 9)):
        with pytest.raises(LavaError, match="/of/lava"):
            run_in_lava(net, np.array(x), python=python, folder="/of/lava")
        asked = np.load(tmp_path / "asked.npz")
        assert asked["x"].tolist() == x and asked["x"].dtype == np.int32
        assert str(asked["path"]) == str(net) and int(asked["message_bits"]) == bits


def test_pictures_travel_as_width_height_channels():
    """spec: W, H, C, one sample after the other, zeros at the end, each layer one step later."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (4, 3, 2, 5, 6))
    data = _to_lava(x, (6, 5, 2), 15)
    assert data.shape == (6, 5, 2, 15) and not data[..., 12:].any()
    for t, n in ((0, 0), (3, 1), (2, 2)):
        assert np.array_equal(data[..., 4 * n + t], x[t, n].transpose(2, 1, 0))
    later = np.concatenate([np.ones_like(data[..., :2]), data[..., :12]], -1)
    assert np.array_equal(_from_lava(later, 4, 3, 2), x)


def test_vectors_travel_flat():
    x = np.random.default_rng(0).integers(0, 9, (4, 3, 2, 5, 6))
    data = _to_lava(x, (60,), 12)
    assert np.array_equal(data[:, 4 * 2 + 1], x[1, 2].ravel())
    assert np.array_equal(_from_lava(data, 4, 3, 0), x.reshape(4, 3, 60) > 0)


def test_mismatches_are_counted_for_each_layer():
    lava = LavaRun([np.array([[[True, False]]]), np.array([[[True]]])], 1.0)
    emulated = [torch.tensor([[[True, True]]]), torch.tensor([[[True]]])]
    assert lava.mismatches(Emulation([1, 2], emulated, [], [])) == [1, 0]
    assert lava.output is lava.spikes[-1]
