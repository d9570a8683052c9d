"""How many processes a config asks for, and what is refused with several of them."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from snntrain.config import CONF
from snntrain.config import compose as composed
from snntrain.config.check import check
from snntrain.config.schema import register_schema
from snntrain.error import UsageError
from snntrain.parallel.devices import (
    check_devices,
    check_launcher,
    group_size,
    in_group,
    is_first,
    is_sharded,
    one_device,
    processes,
    processes_per_node,
)

CPU = {"accelerator": "cpu"}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
LOCAL = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}


@pytest.fixture(autouse=True)
def started_alone(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def refused(*overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        check_devices(check(composed(list(overrides))))
    return str(error.value)


@pytest.mark.parametrize(("devices", "count"), [(1, 1), ("1", 1), (3, 3), ("2", 2), ("auto", 1)])
def test_a_cpu_has_as_many_processes_as_are_asked_for(devices, count):
    assert processes_per_node({**CPU, "devices": devices}) == count
    assert processes({**CPU, "devices": devices, "num_nodes": 4}) == 4 * count


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_are_not_there_are_refused():
    with pytest.raises(UsageError, match=r"trainer.devices=\[0, 1\] \(accelerator cuda\)"):
        processes_per_node({"accelerator": "gpu", "devices": [0, 1]})


@pytest.mark.parametrize("devices", [0, "many", -1, [0, 1]])
def test_devices_that_a_cpu_cannot_have_are_refused(devices):
    with pytest.raises(UsageError, match=r"trainer\.devices="):
        processes_per_node({**CPU, "devices": devices})


def test_several_devices_of_another_kind_are_refused():
    assert processes_per_node({"accelerator": "tpu", "devices": 1}) == 1
    with pytest.raises(UsageError, match="not tpu"):
        processes_per_node({"accelerator": "tpu", "devices": 8})


REFUSED = {
    "FSDP on a CPU": (["trainer=fsdp", "trainer.accelerator=cpu"], ["FSDP needs GPUs", "trainer=ddp"]),
    "batch statistics on a CPU": (["trainer=ddp", "trainer.sync_batchnorm=true"], ["sync_batchnorm", "on GPUs only"]),
    "several nodes": (["trainer=ddp", "trainer.num_nodes=2"], ["trainer.num_nodes=2", "launch=slurm", "torchrun"]),
    "forks": (["trainer=ddp", "trainer.strategy=ddp_fork"], ["ddp_fork", "ddp, "]),
    "clipping by norm": (["trainer=fsdp", "trainer.gradient_clip_val=1"], ["gradient_clip_algorithm=value"]),
    "FSDP online": (["trainer=fsdp", "task=online", "neuron=sltt_lif"], ["task=online", "trainer=ddp"]),
    "FSDP in chunks": (["trainer=fsdp", "task.chunk=2"], ["task.chunk"]),
    "FSDP averaged": (["trainer=fsdp", "callbacks=[default,ema]"], ["ema"]),
}


@pytest.mark.parametrize(("overrides", "named"), REFUSED.values(), ids=REFUSED)
def test_what_several_processes_cannot_do_is_refused_with_the_remedy(overrides, named):
    message = refused(*overrides)
    for text in named:
        assert text in message


@pytest.mark.parametrize("overrides", [["trainer=ddp"], ["trainer=ddp", "trainer.devices=1"], []])
def test_what_works_passes(overrides):
    check_devices(check(composed(overrides)))


def test_as_many_processes_must_have_been_started_as_there_are_devices(monkeypatch):
    assert not in_group() and is_first()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert in_group() and group_size() == 4 and not is_first()
    assert "make 2 processes, but 4 were started" in refused("trainer=ddp")
    check_devices(check(composed(["trainer=ddp", "trainer.num_nodes=2"])))


def test_slurm_tells_a_process_its_place(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    for place in (0, 5):
        monkeypatch.setenv("SLURM_PROCID", str(place))
        assert in_group() and group_size() == 8 and is_first() == (place == 0)


def test_the_settings_of_one_device_keep_all_else():
    trainer = {"accelerator": "gpu", "devices": 4, "num_nodes": 2, "strategy": "ddp", "sync_batchnorm": True}
    assert one_device({**trainer, "precision": "bf16-mixed"}) == {
        "accelerator": "gpu",
        "devices": 1,
        "precision": "bf16-mixed",
    }
    assert one_device({**trainer, "devices": [2, 3]})["devices"] == [2]


def test_shared_out_weights_are_known_by_name_and_by_class():
    assert is_sharded({"strategy": "fsdp"}) and is_sharded({"strategy": "fsdp_cpu_offload"})
    assert is_sharded({"strategy": {"_target_": "lightning.pytorch.strategies.FSDPStrategy"}})
    assert not is_sharded({"strategy": "ddp"}) and not is_sharded({})


# --- launchers of Hydra's --------------------------------------------------------------------------------------------

TWO, ONE = {**CPU, "devices": 2}, {**CPU, "devices": 1}


@pytest.mark.parametrize(
    ("launcher", "trainer"),
    [
        (BASIC, ONE),
        (JOBLIB, TWO),
        ({**SLURM, "tasks_per_node": 2, "nodes": 3}, {**TWO, "num_nodes": 3}),
        ({**SLURM, "tasks_per_node": 1, "nodes": 1}, ONE),
        ({**LOCAL, "tasks_per_node": 1, "nodes": 1}, TWO),
    ],
)
def test_launchers_that_start_what_is_needed_pass(launcher, trainer):
    check_launcher(launcher, trainer)


@pytest.mark.parametrize(
    ("launcher", "trainer", "named"),
    [
        (BASIC, TWO, ["trainer.devices=2", "launch=joblib", "launch=slurm", "trainer.devices=1"]),
        ({**SLURM, "tasks_per_node": 1, "nodes": 1}, TWO, ["tasks_per_node=1", "tasks_per_node=2"]),
        ({**SLURM, "tasks_per_node": 2, "nodes": 1}, {**TWO, "num_nodes": 2}, ["nodes=1", "launcher.nodes=2"]),
        ({**LOCAL, "tasks_per_node": 2, "nodes": 1}, TWO, ["by itself", "tasks_per_node=1"]),
    ],
)
def test_launchers_that_would_start_something_else_are_refused(launcher, trainer, named):
    with pytest.raises(UsageError) as error:
        check_launcher(launcher, trainer)
    for text in named:
        assert text in str(error.value)


def test_a_slurm_job_of_two_nodes_asks_for_a_task_per_device(tmp_path):
    """The batch script that submitit would hand to Slurm, from Hydra's own settings; nothing is submitted."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", exc_type=ImportError)
    slurm = pytest.importorskip("submitit.slurm.slurm")
    register_schema()
    overrides = ["trainer=ddp", "hydra/launcher=submitit_slurm", "++trainer.num_nodes=2", "++trainer.devices=4"]
    overrides += ["hydra.launcher.tasks_per_node=4", "hydra.launcher.nodes=2"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    check_launcher(launcher, OmegaConf.to_container(config.trainer, resolve=True))
    script = slurm._make_sbatch_string(
        command="python -m submitit.core._submit",
        folder=tmp_path,
        nodes=launcher["nodes"],
        ntasks_per_node=launcher["tasks_per_node"],
    )
    assert "#SBATCH --nodes=2" in script and "#SBATCH --ntasks-per-node=4" in script
    assert "srun" in script and "submitit.core._submit" in script
