"""What several test files need: the programs as subprocesses, small runs, the shared real data."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import snntrain  # noqa: F401  before lightning, which some test files import first: see snntrain/__init__.py

torch.set_num_threads(1)  # the tests run side by side: more threads than cores would spend their time waiting

ROOT = Path(__file__).resolve().parents[1]
# A run that takes a second of training.
SMALL = ("model=mlp", "model.features=32", "T=2", "trainer.max_epochs=2", "data.batch_size=128")


def start(program: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    """Start train.py or eval.py; output is collected as text."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    command = [sys.executable, str(ROOT / program), *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run train.py or eval.py in an empty folder to its end."""

    def run(name: str, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess:
        process = start(name, *arguments, cwd=tmp_path)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data in torchvision's layout."""
    folder = os.environ.get("SNNTRAIN_DATA")
    if not folder:
        pytest.skip("SNNTRAIN_DATA is not set: it names a folder with MNIST, FashionMNIST, NMNIST")
    return Path(folder)


def results(folder: Path) -> dict:
    """results.json of a run folder."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))
