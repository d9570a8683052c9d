"""What is made of Slurm's answers, which are given by scripts in the place of its programs."""

import pytest
from refused import message_of

from snntrain.error import UsageError
from snntrain.lab.sweep.jobs import Job, begin, write_job, write_sweep
from snntrain.lab.sweep.progress import Progress
from snntrain.lab.sweep.slurm import NEVER, Queue, _minutes, check_slurm, still_queued

LAUNCHER = {
    "_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    **{"submitit_folder": "x", "partition": None, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 4},
    **{"timeout_min": 240, "signal_delay_s": 120, "max_num_timeout": 20, "array_parallelism": 64, "name": "train"},
}


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """Let a program of Slurm's print a text, or fail with it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def answer(program: str, text: str = "", code: int = 0) -> None:
        (programs / f"{program}.txt").write_text(text)
        script = f"#!/bin/sh\n/bin/cat {programs}/{program}.txt >&{1 if code == 0 else 2}\nexit {code}\n"
        (programs / program).write_text(script)
        (programs / program).chmod(0o755)

    return answer


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1:00:00", 60), ("30:00", 30), ("2-00:00:00", 2880), ("1-12:30:30", 2190.5), ("infinite", float("inf"))],
)
def test_a_time_limit_of_sinfo_in_minutes(limit, minutes):
    """The forms in which sinfo(1) shows it."""
    assert _minutes(limit) == minutes


def test_jobs_that_slurm_would_never_start_are_refused(answers):
    pytest.importorskip("submitit")
    for program in ("srun", "squeue"):
        answers(program)
    answers("sbatch", "allocation failure: Requested node configuration is not available\n", code=1)
    answers("sinfo", "gpu|4|64|gpu:8|1-00:00:00\nmain*|1|2|(null)|1:00:00\n")
    message = message_of(UsageError, check_slurm, LAUNCHER)
    for text in ("Requested node configuration is not available", "cpus_per_task=4", "partition main: 1 node with 2 "):
        assert text in message
    assert "gpu" not in message
    answers("sbatch", "sbatch: Job 3 to start at 2026-01-31T12:00:00\n")
    assert "the time limit of the partition is 60 minutes" in message_of(UsageError, check_slurm, LAUNCHER)
    check_slurm(LAUNCHER | {"timeout_min": 60})


def test_without_slurm_its_programs_are_named(answers):
    assert "sbatch, srun, squeue cannot be found" in message_of(UsageError, check_slurm, LAUNCHER)


def test_the_queue_follows_the_jobs_of_an_array_to_their_ends(answers):
    queue = Queue()
    for job in ("7", "7_0", "7_1"):
        queue.register_job(job)
    answers("squeue", "7_0|RUNNING|None\n7_1|PENDING|Resources\n")
    queue.update()
    assert queue.states["7_0"] == "RUNNING" and queue.reasons == {"7_0": "", "7_1": "Resources"}
    assert queue.of(1, 2) == "7_1" and queue.of(2, 3) is None and queue.submitted() == ["7"]
    answers("squeue", "7_0|CANCELLED|None\n7_1|COMPLETING|None\n")
    queue.update()
    assert queue.is_done("7_0", "cache") and not queue.is_done("7_1", "cache")
    answers("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    queue.update()
    assert "Unable to contact" in queue.trouble and not queue.is_done("7_1", "cache")
    answers("squeue", "slurm_load_jobs error: Invalid job id specified\n", code=1)
    answers("sacct", "Slurm accounting storage is disabled\n", code=1)
    queue.update()
    assert not queue.trouble and not queue.is_done("7_1", "cache")  # it may be missing just once
    queue.update()
    assert queue.states["7_1"] == "COMPLETED" and queue.states["7_0"] == "CANCELLED"


def test_how_a_job_ended_that_squeue_has_forgotten_is_asked_of_the_accounts(answers):
    queue = Queue()
    queue.register_job("7")
    answers("squeue")
    answers("sacct", "TIMEOUT\n")
    for _ in range(2):
        queue.update()
    assert queue.states["7"] == "TIMEOUT"


def test_jobs_of_an_earlier_command_that_still_wait_are_found(answers, tmp_path):
    for name in ("7_0", "7_1", ".submission_file_x.sh"):
        (tmp_path / ".submitit" / name).mkdir(parents=True)
    answers("squeue", "7_0|COMPLETED|None\n7_1|PENDING|Resources\n")
    assert still_queued(tmp_path) == ["7_1"] and still_queued(tmp_path / "other") == []


def test_progress_counts_the_jobs_that_ended_and_says_why_the_others_wait(tmp_path, capsys):
    jobs = [Job(number, [f"seed={number}"]) for number in range(4)]
    write_sweep(tmp_path, [], jobs, {})
    queue = Queue({f"7_{number}": "PENDING" for number in range(4)})
    progress = Progress(tmp_path, jobs, total=4, done=0, queue=queue)

    def said() -> list[str]:
        progress.look()
        return capsys.readouterr().out.splitlines()

    queue.reasons = {"7_2": "Resources", "7_3": "Resources"}
    assert said() == ["jobs 2, 3 wait in Slurm's queue: Resources"] and said() == []
    first, _ = begin(tmp_path, 0, ["seed=0"])
    assert said() == ["job 0: seed=0"]
    first.status = "finished"
    write_job(tmp_path, first)
    assert said() == ["job 0 finished   (1 of 4 done)"]

    second, _ = begin(tmp_path, 1, ["seed=1"])
    second.status, second.error = "interrupted", "SIGTERM"
    write_job(tmp_path, second)
    queue.states["7_1"] = "COMPLETING"
    assert said() == ["job 1: seed=1"]  # whether it was requeued or canceled is not known yet
    queue.states["7_1"] = "PENDING"
    assert said() == ["job 1 was stopped, and Slurm will start it again"]
    begin(tmp_path, 1, ["seed=1"])
    assert said() == ["job 1 continues"]
    write_job(tmp_path, second)
    queue.states["7_1"] = "CANCELLED"
    assert said() == ["job 1 interrupted: SIGTERM   (2 of 4 done)"]
    queue.reasons = {"7_3": "PartitionTimeLimit"}
    (line,) = said()
    assert line.startswith("warning: job 3 waits without end") and NEVER["PartitionTimeLimit"] in line
    assert line.endswith("scancel 7")
