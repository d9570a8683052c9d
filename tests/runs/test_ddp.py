"""Runs on several devices: the metrics of one process with larger batches, files once, no process left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy
import pytest
import torch
from programs import ROOT, SMALL, Program, complete, last_of_each, results, succeed

# Neurons that fire. 1,294 training samples: neither the batches of 50 nor those of 100 come out even.
pytestmark = pytest.mark.slow  # every run takes two processes, each of which imports Lightning

CONFIG = (*SMALL, "neuron.v_threshold=0.3", "optim.lr=0.02")
TOGETHER, ALONE = ("trainer=ddp", "trainer.max_epochs=2", "data.batch_size=50"), ("data.batch_size=100",)

PLACES = """
import lightning.pytorch as pl

class Places(pl.Callback):
    '''Writes down the index of every sample that this process gets.'''
    def note(self, trainer, stage, batch):
        with open(f"{stage}_{trainer.current_epoch}_{trainer.global_rank}", "a") as file:
            print(*batch[2].tolist(), file=file)
    def on_train_batch_start(self, trainer, pl_module, batch, idx):
        self.note(trainer, "train", batch)
    def on_validation_batch_start(self, trainer, pl_module, batch, *args):
        self.note(trainer, "val", batch)
    def on_test_batch_start(self, trainer, pl_module, batch, *args):
        self.note(trainer, "test", batch)
"""


def done(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return succeed("train.py", *CONFIG, *arguments, cwd=cwd)


def compare(run: Path, other: Path, tolerance: float = 1e-4) -> None:
    found, expected = results(run)["metrics"], results(other)["metrics"]
    assert found.keys() == expected.keys()
    assert found == {name: pytest.approx(value, abs=tolerance) for name, value in expected.items()}


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder in which two processes ran, in run/, and what they said."""
    cwd = tmp_path_factory.mktemp("together")
    (cwd / "places.py").write_text(PLACES)
    noting = ("plugins=[places]", "callbacks.places._target_=places.Places")
    return cwd, done(*TOGETHER, *noting, "hydra.run.dir=run", cwd=cwd)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The run of one process with twice the batch size."""
    cwd = tmp_path_factory.mktemp("alone")
    done(*ALONE, "hydra.run.dir=run", cwd=cwd)
    return cwd / "run"


def test_two_processes_end_with_the_metrics_of_one_with_twice_the_batch(together, alone):
    run = together[0] / "run"
    compare(run, alone)
    assert results(run)["metrics"]["test/firing_rate"] > 0.1 and results(run)["metrics"]["test/acc"] > 0.5
    for name in ("test.npz", "raster.npz"):
        here, there = (numpy.load(folder / "artifacts" / name) for folder in (run, alone))
        assert here.files == there.files
        for array in here.files:
            if here[array].dtype.kind == "f":  # batches of another size round differently
                numpy.testing.assert_allclose(here[array], there[array], rtol=1e-3, atol=1e-4)
            else:
                assert (here[array] == there[array]).all()
    assert numpy.load(run / "artifacts/test.npz")["confusion"].sum() == 359


def test_every_sample_is_seen_once_by_one_process(together):
    cwd, _ = together
    stages = {("train", 0): 1294, ("train", 1): 1294, ("val", 0): 144, ("val", 1): 144, ("test", 2): 359}
    seen = {}
    for (stage, epoch), count in stages.items():
        lines = [(cwd / f"{stage}_{epoch}_{rank}").read_text().splitlines() for rank in (0, 1)]
        assert len(lines[0]) == len(lines[1]) == -(-count // 100)
        seen[stage, epoch] = [int(place) for own in lines for line in own for place in line.split()]
        assert len(seen[stage, epoch]) == len(set(seen[stage, epoch])) == count
    assert set(seen["train", 0]) == set(seen["train", 1]) and seen["train", 0] != seen["train", 1]
    assert not set(seen["train", 0]) & set(seen["val", 0])


def test_files_and_messages_are_written_once(together, alone):
    cwd, process = together
    assert process.stderr == ""
    assert {path.name for path in cwd.iterdir() if path.is_dir()} - {"__pycache__"} == {"run"}
    files = [{p.relative_to(run).as_posix() for p in run.rglob("*")} for run in (cwd / "run", alone)]
    assert files[0] == files[1]
    lines = process.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert sum("2 processes, batches of 2 × 50 = 100 samples" in line for line in lines) == 1
    assert sum(line.startswith("report: ") for line in lines) == 1
    assert len((cwd / "run/metrics.csv").read_text().splitlines()) == 3


# --- other ways to train ---------------------------------------------------------------------------------------------

WAYS = {
    "online": ("neuron=sltt_lif", "task=online"),
    "online, a step each time": ("neuron=sltt_lif", "task=online", "task.online_step=true"),
    "chunks": ("T=4", "task.chunk=2"),
    "averaged weights": ("callbacks=[default,ema]",),
    "clipped and accumulated": ("trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2"),
    "two batches by heart": ("debug=overfit",),
    "random spikes": ("encoder=poisson", "data.num_workers=1"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_other_ways_to_train_give_the_metrics_of_one_process(tmp_path, way):
    for name, devices in (("two", TOGETHER), ("one", ALONE)):
        done(*way, *devices, "trainer.max_epochs=2", f"hydra.run.dir={name}", cwd=tmp_path)
    compare(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize("stages", [("callbacks=[default,qat]",), ("neuron=relu", "callbacks=[default,ann2snn]")])
def test_stages_run_once_on_what_was_trained_together(tmp_path, stages):
    config = [argument for argument in CONFIG if not ("relu" in stages[0] and argument.startswith("neuron."))]
    for name, devices in (("two", TOGETHER), ("one", ALONE)):
        arguments = (*config, *stages, *devices, f"hydra.run.dir={name}")
        succeed("train.py", *arguments, cwd=tmp_path)
    found, expected = (results(tmp_path / name)["metrics"] for name in ("two", "one"))
    assert found.keys() == expected.keys() and any(name.startswith(("qat/", "ann2snn/")) for name in found)
    for name in expected:
        if name.startswith("test/"):
            assert found[name] == pytest.approx(expected[name], abs=1e-4)
    batches = (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    assert "finished" in batches


# --- when a process ends ---------------------------------------------------------------------------------------------


def processes_of(parent: int) -> dict[int, int]:
    """Rank → process id of those that a program started."""
    found = {}
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks = [int(variable.removeprefix(b"RANK=")) for variable in variables if variable.startswith(b"RANK=")]
        found |= {rank: int(pid) for rank in ranks}
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def end(folder: Path, whom: int | None, number: signal.Signals, *more: str) -> tuple[int, str, float]:
    """Send a signal after the first epoch to a rank, or to the program; exit code, output, seconds until the end."""
    words = (*CONFIG, *TOGETHER, "trainer.max_epochs=40", *more, "hydra.run.dir=run")
    process = Program("train.py", *last_of_each(words), cwd=folder)
    process.wait_for("epoch 1/40")
    ranks = processes_of(process.pid)
    assert set(ranks) == {0, 1}
    began = time.monotonic()
    os.kill(process.pid if whom is None else ranks[whom], number)
    done = process.end(timeout=60)
    seconds = time.monotonic() - began
    time.sleep(0.2)
    assert not any(map(is_running, ranks.values()))
    return done.returncode, done.stdout + done.stderr, seconds


ENDS = {
    "SIGTERM to the program": (None, signal.SIGTERM, 143, "interrupted", "Interrupted (SIGTERM)"),
    "Ctrl-C": (None, signal.SIGINT, 130, "interrupted", "Interrupted (SIGINT)"),
    "SIGTERM to the first": (0, signal.SIGTERM, 143, "interrupted", "Interrupted (SIGTERM to process 0"),
    "SIGTERM to the other": (1, signal.SIGTERM, 143, "interrupted", "Interrupted (SIGTERM to process 1"),
    "kill -9 of the first": (0, signal.SIGKILL, 1, "failed", "Process 0 of 0 to 1 was killed (SIGKILL)"),
    "kill -9 of the other": (1, signal.SIGKILL, 1, "failed", "Process 1 of 0 to 1 was killed (SIGKILL)"),
}


@pytest.mark.parametrize(("whom", "number", "code", "status", "message"), ENDS.values(), ids=ENDS)
def test_when_one_process_ends_all_do_and_say_how_to_continue(tmp_path, whom, number, code, status, message):
    ended, output, seconds = end(tmp_path, whom, number)
    assert ended == code, output
    assert seconds < 30
    assert "Traceback" not in output
    run, words = tmp_path / "run", " ".join(output.split())
    assert message in words and f"resume={run}" in words and words.count("Continue with the same command") == 1
    assert results(run)["status"] == status and message in results(run)["message"]
    assert "val/acc" in results(run)["metrics"]
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] >= 0
    assert message in (run / "report.html").read_text(encoding="utf-8")


def test_when_the_program_is_killed_its_processes_end(tmp_path):
    code, _, _ = end(tmp_path, None, signal.SIGKILL)
    assert code == -signal.SIGKILL


def test_a_resumed_run_ends_with_the_metrics_of_an_uninterrupted_one(tmp_path):
    more = ("encoder=poisson", "neuron=plif", "trainer.max_epochs=6")
    done(*TOGETHER, *more, "hydra.run.dir=whole", cwd=tmp_path)
    process = Program("train.py", *last_of_each((*CONFIG, *TOGETHER, *more, "hydra.run.dir=run")), cwd=tmp_path)
    process.wait_for("epoch 2/6")
    os.kill(processes_of(process.pid)[1], signal.SIGTERM)
    ended = process.end(timeout=60)
    assert ended.returncode == 143, ended.stdout + ended.stderr
    done(*TOGETHER, *more, "resume=run", cwd=tmp_path)
    assert results(tmp_path / "run")["status"] == "finished"
    assert results(tmp_path / "run")["hex"] == results(tmp_path / "whole")["hex"]
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 7
    assert not (tmp_path / "runs").exists()


def test_what_a_process_refuses_is_printed_once(tmp_path):
    config = [argument for argument in CONFIG if "features" not in argument]
    layers = "model.layers=[Flatten,neuron]"
    process = complete("train.py", *config, *TOGETHER, layers, cwd=tmp_path)
    assert process.returncode == 2 and len(process.stderr.strip().splitlines()) == 1, process.stderr
    assert "10 classes" in process.stderr and not list(tmp_path.rglob("config.yaml"))


def test_processes_that_torchrun_started_are_used(tmp_path):
    """Each of them runs the whole program; the first one writes."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "train.py")]
    process = subprocess.run(
        [os.sys.executable, *command, *last_of_each((*CONFIG, *TOGETHER)), "hydra.run.dir=run"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count("epoch   2/2") == 1
    done(*ALONE, "hydra.run.dir=one", cwd=tmp_path)
    compare(tmp_path / "run", tmp_path / "one")


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_gpus_end_with_the_metrics_of_one_with_the_whole_batch(tmp_path, strategy):
    count = torch.cuda.device_count()
    if not count:
        pytest.skip("no GPU")
    on_gpus = (f"trainer={strategy}", "trainer.accelerator=gpu", "trainer.devices=auto", "trainer.max_epochs=2")
    done(*on_gpus, f"data.batch_size={128 // count}", "hydra.run.dir=all", cwd=tmp_path)
    done(
        "trainer=gpu",
        "trainer.max_epochs=2",
        f"data.batch_size={128 // count * count}",
        "hydra.run.dir=one",
        cwd=tmp_path,
    )
    compare(tmp_path / "all", tmp_path / "one", tolerance=1e-3)
