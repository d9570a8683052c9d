# %% [markdown]
# # From a laptop to Slurm
#
# The command that trains on a laptop is the one that trains on a cluster; what changes is where its jobs run. This
# tutorial goes from one process to several, then to Slurm, and shows how a run survives being stopped. What can run
# here runs here, in about two minutes on one core; what needs a cluster is shown with its commands, which
# `tests/runs/test_slurm.py` runs on a Slurm cluster of one node that it starts itself.

# %%
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt

import snntrain


def snntrain_command(line: str) -> str:
    command = [sys.executable, "-m", "snntrain", *shlex.split(line)]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


# %% [markdown]
# ## One process: does it run at all?
#
# Before anything is sent anywhere, `debug=fast` takes two batches of everything: training, validation, test, report,
# and every callback after the training. Most mistakes show in these seconds.

# %%
print(snntrain_command("train model=mlp neuron=plif debug=fast").splitlines()[-1])

# %% [markdown]
# ## Stop, and go on
#
# On a shared machine a run is stopped sooner or later: by you, by a time limit, by a power cut. After every epoch a
# run folder holds all that the next one needs, the state of every random generator included. Here a run is interrupted
# in the middle, as Ctrl-C would, and continued.

# %%
words = "train model=mlp trainer.max_epochs=6 hydra.run.dir=runs/interrupted"
process = subprocess.Popen(
    [sys.executable, "-u", "-m", "snntrain", *shlex.split(words)], stdout=subprocess.PIPE, text=True
)
for line in process.stdout:
    if line.startswith("epoch   3/6"):
        process.send_signal(signal.SIGINT)
    if line.startswith(("epoch", "interrupted", "resume")):
        print(line.rstrip())
print("exit code", process.wait())

# %%
print(snntrain_command("train resume=runs/interrupted"))
whole = snntrain.train("model=mlp trainer.max_epochs=6")
same = snntrain.load("runs/interrupted").metrics == whole.metrics
print("every metric equals that of a run that was never interrupted:", same)

# %% [markdown]
# `resume=auto` finds the newest unfinished run of the same config, so the command can be repeated as it is.
#
# ## Several processes on one machine
#
# A sweep runs its jobs one after the other unless a launcher is chosen. `launch=joblib` (`pip install
# 'snntrain[joblib]'`) runs `hydra.launcher.n_jobs` of them at a time and divides the cores among them.

# %%
started = time.perf_counter()
print(snntrain_command("train -m model=mlp trainer.max_epochs=3 seed=1,2,3,4 launch=joblib hydra.launcher.n_jobs=2"))
print(f"four jobs, two at a time: {time.perf_counter() - started:.0f} s, on {os.cpu_count()} cores")

# %%
sweep = sorted(Path("runs").glob("*/*_sweep"))[-1]
runs = [snntrain.RunFolder(folder) for folder in sorted(sweep.glob("[0-9]"))]
plt.figure(figsize=(5, 2.6))
for run in runs:
    epochs = run.read(snntrain.RunFolder.metrics)
    plt.plot([row["epoch"] for row in epochs], [100 * row["val/acc"] for row in epochs], marker="o")
plt.xticks([1, 2, 3])
plt.xlabel("epoch")
plt.ylabel("validation accuracy in %")
plt.title("Four jobs of one sweep")
plt.show()

# %% [markdown]
# Each line is one job with its seed. The jobs do not know of each other, so the figure is the same whichever launcher
# ran them.
#
# ## Slurm
#
# `launch=slurm` hands each job to `sbatch` through submitit. The folder in which you call it has to be visible from
# the nodes, and so has the environment. What you would write into the head of a batch script are keys of
# `hydra.launcher`:
#
# ```
# python train.py -m seed=1,2,3 launch=slurm hydra.launcher.cpus_per_task=2 hydra.launcher.partition=short \
#     hydra.launcher.timeout_min=120
# ```
#
# The command waits and prints a line when a job starts or ends, and the table of the sweep in the end; Ctrl-C ends the
# command and leaves the jobs in the queue. When Slurm ends a job at its time limit, or takes the node for something
# more important, the job is requeued and resumes by itself from its last epoch, with the same result as above: equal
# to the last bit. `sweep.resume=true` runs again only what failed.
#
# To try the launcher without a cluster, `launch=submitit_local` (`pip install 'snntrain[slurm]'`) runs the same jobs
# as processes of this machine.
#
# ## One run on several devices
#
# A sweep is the better use of many devices, since its jobs do not wait for each other. When one run is too large or
# too slow, one process for each device trains it together (DDP), on one host or several:
#
# ```
# python train.py trainer=ddp trainer.accelerator=gpu trainer.devices=auto trainer.sync_batchnorm=true
# torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint host1 train.py trainer=ddp_nodes   # both
# ```
#
# `data.batch_size` is for each process: two of them end with the metrics of one with twice the batch size.
#
# ## A search with many workers
#
# Workers of one study may run anywhere, as long as they reach the same storage. On one machine that is a file, on
# several hosts a PostgreSQL server:
#
# ```
# python scripts/tune.py search=lif_tau workers=4
# python scripts/tune.py search=lif_tau storage=postgresql://user@host/studies       # on each host
# ```
#
# **Where to go from here.** [Use a cluster](../cluster.md) says what was tried, what happens when a host is lost, and
# how to install on a node without a network.
