"""What several test files need: the programs as functions, the shared real data."""

import functools
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from programs import ROOT, complete

import snntrain  # noqa: F401  before lightning, which some test files import first: see snntrain/__init__.py

torch.set_num_threads(1)  # the tests run side by side: more threads than cores would spend their time waiting


@pytest.fixture(scope="session", autouse=True)
def _kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kernels are compiled once for all test processes, and nothing is left in the user's cache."""
    base = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ  # whose base is a folder in the session's
    os.environ.setdefault("SNNTRAIN_CACHE", str((base.parent if is_worker else base) / "kernels"))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run train.py or eval.py in an empty folder to its end."""
    return functools.partial(complete, cwd=tmp_path)


@pytest.fixture
def forked(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """As `program`, in a fork of this process: for commands that take less time than importing torch."""
    import snntrain.run.evaluate
    import snntrain.run.run  # noqa: F401

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
        streams = [tmp_path.parent / f"{tmp_path.name}.{stream}" for stream in ("out", "err")]
        child = os.fork()
        if child == 0:
            _become(name, arguments, tmp_path, streams)
        _, status = os.waitpid(child, 0)
        texts = [stream.read_text(encoding="utf-8") for stream in streams]
        return subprocess.CompletedProcess(arguments, os.waitstatus_to_exitcode(status), *texts)

    return run


def _become(program: str, arguments: tuple[str, ...], cwd: Path, streams: list[Path]) -> NoReturn:
    """Turn a forked process into a run of the program; never returns."""
    code = 70
    try:
        os.chdir(cwd)
        os.environ["COLUMNS"] = "160"
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
        sys.argv = [program, *arguments]
        runpy.run_path(str(ROOT / program), run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data in torchvision's layout."""
    folder = os.environ.get("SNNTRAIN_DATA")
    if not folder:
        pytest.skip("SNNTRAIN_DATA is not set: it names a folder with MNIST, FashionMNIST, NMNIST")
    return Path(folder)
