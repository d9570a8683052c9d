"""What several test files need: the programs as functions, the shared real data."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from programs import Program
from web_server import WebServer

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
    """Run one of the programs in an empty folder to its end."""
    return lambda name, *arguments: Program(name, *arguments, cwd=tmp_path).end()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data in torchvision's layout."""
    folder = os.environ.get("SNNTRAIN_DATA")
    if not folder:
        pytest.skip("SNNTRAIN_DATA is not set: it names a folder with MNIST, FashionMNIST, NMNIST")
    return Path(folder)


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """A web server of files in this process."""
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
