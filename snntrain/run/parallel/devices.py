"""In how many processes a run trains, what several of them exclude, and which of them this process is."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from snntrain.error import UsageError

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp", "fsdp_cpu_offload")


# --- which process this is -------------------------------------------------------------------------------------------


def in_group() -> bool:
    """Whether this process was started as one of several: by this program, torchrun, or Slurm's srun."""
    return group_size() > 1


def group_size() -> int:
    """Number of processes in this one's group, on all nodes; 1 if it was started alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes files and reports."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return os.environ["RANK"] == "0"
    return not in_group() or os.environ.get("SLURM_PROCID", "0") == "0"


def leave_group() -> None:
    """Wait for the other processes, then continue without them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


# --- what a config asks for ------------------------------------------------------------------------------------------


def processes_per_node(trainer: Mapping[str, Any]) -> int:
    """Number of devices of one node, each of which gets a process.

    Args:
        trainer: that section of a config.

    Raises: UsageError for devices that do not exist or of which several cannot be used.
    """
    devices = trainer.get("devices", "auto")
    if devices in (1, "1"):
        return 1
    kind = _accelerator(trainer)
    try:
        if kind == "cpu":
            return 1 if devices == "auto" else CPUAccelerator.parse_devices(devices)
        if kind == "cuda":
            parsed = (
                CUDAAccelerator.auto_device_count() if devices == "auto" else CUDAAccelerator.parse_devices(devices)
            )
            return parsed if isinstance(parsed, int) else len(parsed or ())
    except (MisconfigurationException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"trainer.devices={devices} (accelerator {kind}): {reason}") from error
    if devices == "auto":
        return 1
    raise UsageError(
        f"trainer.devices={devices}: several devices must be GPUs of NVIDIA or AMD, or CPU processes, not {kind}. Use "
        "trainer.devices=1."
    )


def processes(trainer: Mapping[str, Any]) -> int:
    """Number of processes on all nodes. Raises: as processes_per_node."""
    return processes_per_node(trainer) * trainer.get("num_nodes", 1)


def one_device(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer section changed for a single process, on the first of its devices."""
    kept = {key: value for key, value in trainer.items() if key not in ("strategy", "num_nodes", "sync_batchnorm")}
    devices = trainer.get("devices", 1)
    return {**kept, "devices": devices[:1] if isinstance(devices, list) else 1}


def check_devices(config: Mapping[str, Any]) -> None:
    """Refuse what several processes cannot do, before any data are read."""
    trainer = config["trainer"]
    on_cpu = _accelerator(trainer) == "cpu"
    if on_cpu and trainer.get("sync_batchnorm"):
        raise UsageError(
            "trainer.sync_batchnorm=true: torch's synchronized batch normalization runs on GPUs only. On a CPU use "
            "trainer.sync_batchnorm=false, or a norm without batch statistics."
        )
    if is_sharded(trainer):
        _check_sharded(config, on_cpu)
    count = processes(trainer)
    if count == 1:
        return
    if not hasattr(os, "register_at_fork"):
        raise UsageError(
            f"trainer.devices={trainer.get('devices')} starts {count} processes, which end together by signals that "
            "this system does not have. Use trainer.devices=1."
        )
    strategy = trainer.get("strategy", "auto")
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        raise UsageError(
            f"trainer.strategy={strategy} with {count} processes: allowed are {', '.join(STRATEGIES)}. The processes "
            "are programs of their own, which forks and spawned copies are not."
        )
    if in_group() and group_size() != count:
        raise UsageError(
            f"trainer.devices={trainer.get('devices')} and trainer.num_nodes={trainer.get('num_nodes', 1)} make "
            f"{count} processes, but {group_size()} were started. Let the launcher start as many, one for each device."
        )
    if not in_group() and trainer.get("num_nodes", 1) != 1:
        raise UsageError(
            f"trainer.num_nodes={trainer['num_nodes']}: on several nodes something must start the processes on each, "
            "one for each device: launch=slurm, srun or torchrun. On one node use trainer.num_nodes=1."
        )


def is_on_cuda(trainer: Mapping[str, Any]) -> bool:
    """Whether a run trains on GPUs and this machine has one."""
    return _accelerator(trainer) == "cuda" and torch.cuda.is_available()


def is_sharded(trainer: Mapping[str, Any]) -> bool:
    """Whether each process holds only a part of the weights."""
    strategy = trainer.get("strategy", "auto")
    name = strategy.get("_target_", "") if isinstance(strategy, Mapping) else strategy
    return "fsdp" in str(name).lower()


def _check_sharded(config: Mapping[str, Any], on_cpu: bool) -> None:
    trainer = config["trainer"]
    if on_cpu:
        raise UsageError(
            "trainer.strategy=fsdp: Lightning's FSDP needs GPUs. Use trainer=fsdp trainer.accelerator=gpu, or "
            "trainer=ddp, which runs on a CPU as well."
        )
    if trainer.get("gradient_clip_val") and trainer.get("gradient_clip_algorithm", "norm") == "norm":
        raise UsageError(
            f"trainer.gradient_clip_val={trainer['gradient_clip_val']}: no process of FSDP knows the norm of all "
            "gradients. Use trainer.gradient_clip_algorithm=value, trainer.gradient_clip_val=null, or trainer=ddp."
        )
    refused = {
        "task=online": str(config["task"].get("_target_")).endswith("OnlineClassification"),
        "task.chunk": config["task"].get("chunk") is not None,
        "callbacks ema": any("WeightAveraging" in str(c.get("_target_")) for c in config["callbacks"].values()),
    }
    for name, is_asked_for in refused.items():
        if is_asked_for:
            raise UsageError(
                f"{name} needs the whole of the weights in each process, and FSDP shards them. Use trainer=ddp."
            )


def check_launcher(launcher: Mapping[str, Any], trainer: Mapping[str, Any]) -> None:
    """Refuse a launcher of a sweep's jobs that would not start one process for each device.

    Args:
        launcher: Hydra's section hydra.launcher.
        trainer: that section of the config.
    """
    target, count = str(launcher.get("_target_")), processes(trainer)
    if target.endswith("BasicLauncher") and count > 1:
        raise UsageError(
            f"trainer.devices={trainer.get('devices')} in a sweep: Hydra's basic launcher runs the jobs inside one "
            "process. Use launch=joblib or launch=slurm, or trainer.devices=1."
        )
    if "submitit" not in target:
        return
    per_node, nodes = launcher.get("tasks_per_node") or 1, launcher.get("nodes") or 1
    is_local = "Local" in target
    expected = (1, 1) if is_local else (processes_per_node(trainer), trainer.get("num_nodes", 1))
    if (per_node, nodes) != expected:
        why = (
            "the run starts its processes by itself"
            if is_local
            else f"trainer.devices={trainer.get('devices')} and trainer.num_nodes={trainer.get('num_nodes', 1)} need a "
            "task for each device"
        )
        raise UsageError(
            f"hydra.launcher.tasks_per_node={per_node} and hydra.launcher.nodes={nodes}: {why}. Use "
            f"hydra.launcher.tasks_per_node={expected[0]} hydra.launcher.nodes={expected[1]}."
        )


def _accelerator(trainer: Mapping[str, Any]) -> str:
    """The accelerator that a run uses: cpu, cuda, mps or another that was named."""
    name = trainer.get("accelerator", "auto")
    if name in ("auto", "gpu"):
        if torch.cuda.is_available():
            return "cuda"
        if torch.backends.mps.is_available():
            return "mps"
        return "cpu" if name == "auto" else "cuda"
    return name
