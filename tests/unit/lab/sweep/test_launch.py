"""What jobs in other processes need: an installed launcher, a GPU each, a file for their output."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from programs import Program

from snntrain.error import UsageError
from snntrain.lab.sweep import launch


@pytest.mark.parametrize(("choice", "package"), [(name, entry[1]) for name, entry in launch.PACKAGES.items()])
def test_a_missing_launcher_is_named_with_the_pip_command(monkeypatch, choice, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"launch={choice} needs .*pip install {package}"):
        launch.check_launchers(["seed=1,2", f"launch={choice}"])
    launch.check_launchers(["seed=1,2"])


def test_launchers_are_not_swept():
    with pytest.raises(UsageError, match="one launcher"):
        launch.check_launchers(["launch=basic,joblib"])
    launch.check_launchers(["launch=basic"])


def chosen_gpu(folder: Path, accelerator: str, barrier: object) -> tuple[str | None, str | None]:
    config = OmegaConf.create({"trainer": {"accelerator": accelerator, "devices": 1}})
    first, again = launch.take_gpu(config, folder), launch.take_gpu(config, folder)
    assert first == again  # a worker keeps its GPU for all its jobs
    barrier.wait(60)  # all hold theirs at the same time
    return first, os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("accelerator", "expected"), [("gpu", ["3", "3", "7"]), ("cpu", [None] * 3)])
def test_each_process_gets_its_own_gpu_until_they_have_to_share(tmp_path, monkeypatch, accelerator, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    launch.announce_gpus()
    context = get_context("fork")
    with context.Manager() as manager, ProcessPoolExecutor(3, mp_context=context) as pool:
        barrier = manager.Barrier(3)
        found = list(pool.map(chosen_gpu, [tmp_path] * 3, [accelerator] * 3, [barrier] * 3))
    monkeypatch.delenv("SNNTRAIN_GPUS")
    assert sorted(gpu for gpu, _ in found if gpu) == [gpu for gpu in expected if gpu]
    assert all(visible == (gpu or "3,7") for gpu, visible in found)


def test_the_output_of_a_job_goes_into_its_file_and_afterwards_to_the_terminal(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom snntrain.lab.sweep.launch import output_in\nprint('before')\n"
        "with output_in(Path(sys.argv[1])):\n    print('inside')\n    os.system('echo of a child')\nprint('after')"
    )
    path = tmp_path / "jobs/0.txt"
    (tmp_path / "program.py").write_text(program)
    done = Program(str(tmp_path / "program.py"), str(path), cwd=tmp_path).end()
    assert done.stdout.split() == ["before", "after"], done.stderr
    assert sorted(path.read_text().split()) == sorted(["inside", "of", "a", "child"])
