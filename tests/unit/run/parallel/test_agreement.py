"""Processes that Slurm started learn what the first one decided."""

import os
import socket
from multiprocessing import get_context
from typing import Any

import pytest

from snntrain.error import UsageError
from snntrain.run.parallel.agreement import agree


def decide(rank: int) -> dict[str, Any]:
    if rank:
        raise AssertionError("only the first process decides")
    return {"folder": "runs/a", "checkpoint": None}


def refuse(rank: int) -> dict[str, Any]:
    raise UsageError(f"process {rank} refuses")


def task_of_a_job(rank: int, port: int, how: Any) -> Any:
    os.environ |= {"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": str(rank), "SLURM_JOB_ID": "7"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        return agree(lambda: how(rank))
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize(
    ("how", "expected"), [(decide, {"folder": "runs/a", "checkpoint": None}), (refuse, "process 0 refuses")]
)
def test_all_processes_of_a_job_follow_the_first_one(how, expected):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with get_context("fork").Pool(3) as pool:
        asked = [pool.apply_async(task_of_a_job, (rank, port, how)) for rank in (2, 1, 0)]
        assert [answer.get(60) for answer in asked] == [expected] * 3


def test_a_process_of_its_own_asks_nobody():
    assert agree(lambda: 3) == 3
