# %% [markdown]
# # Sweeps, search, and reproducing a record
#
# One number from one seed says little. This tutorial trains every combination of a few settings over seeds, looks at
# the spread, lets Optuna search, and repeats a run bit for bit. It takes about three minutes on one core.

# %%
import csv
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import matplotlib.pyplot as plt

import snntrain

# %% [markdown]
# ## A sweep
#
# Lists of values make a grid. In a terminal the same is `python train.py -m neuron=if,lif,plif seed=1,2,3 …`;
# `range(1,4)` and `choice(…)` work there, too.

# %%
swept = snntrain.sweep("data=digits model=mlp", neuron=["if", "lif", "plif"], seed=[1, 2, 3], trainer={"max_epochs": 4})

# %% [markdown]
# The folder of a sweep holds a run folder for each job, `sweep.html` with a sortable table and a plot for each
# parameter, and `sweep.csv`. Here is what nine numbers say:

# %%
with open(swept.folder / "sweep.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
by_neuron = defaultdict(list)
for row in rows:
    by_neuron[row["neuron"]].append(100 * float(row["test/acc"]))

plt.figure(figsize=(5, 2.8))
for place, (name, values) in enumerate(by_neuron.items()):
    plt.plot([place] * 3, values, "o", color="tab:blue")
    plt.errorbar(place + 0.15, mean(values), stdev(values), fmt="_", capsize=4, color="tab:orange")
    binomial = 100 * (mean(values) / 100 * (1 - mean(values) / 100) / 359) ** 0.5
    print(f"{name:5} {mean(values):.2f} ± {stdev(values):.2f} % over seeds, ± {binomial:.2f} binomial")
plt.xticks(range(3), by_neuron)
plt.ylabel("test accuracy in %")
plt.title("Three neurons, three seeds each")
plt.show()

# %% [markdown]
# Blue dots are runs, orange bars mean ± standard deviation over the seeds. There are two different errors: the
# spread over seeds says how much the training depends on chance, and the *binomial* error, $\sqrt{q(1-q)/n}$, how much
# another test set of $n$ samples would change an accuracy $q$. A difference between two neurons that is smaller than
# either is no finding.
#
# `best` loads the run that is best on the *validation* set; choosing by the test set would make the test accuracy too
# good to be true.

# %%
best = swept.best("val/acc")
print(best.settings["name"], "seed", best.settings["seed"], "test accuracy", round(best.metrics["test/acc"], 4))

# %% [markdown]
# A sweep that was interrupted goes on with `sweep.resume=true` and runs only the jobs that failed or were cut off.
# `launch=joblib` runs several at a time, `launch=slurm` on a cluster ([tutorial 12](12_laptop_to_slurm.md)).
#
# ## A search
#
# With more than two or three settings a grid gets too large, and a search that learns from its trials does better. A
# file in the group `search` names the settings, their ranges and the goal. We write one into a folder `conf` beside
# us; searches that come with snntrain are listed by `tune` without arguments.

# %%
Path("conf/search").mkdir(parents=True)
Path("conf/search/tau_and_threshold.yaml").write_text(
    """\
study: tau_and_threshold
n_trials: 8
overrides: [data=digits, model=mlp, neuron=lif, trainer.max_epochs=3]
parameters:
  neuron.tau: {type: float, low: 1.1, high: 8.0, log: true}
  neuron.v_threshold: {type: float, low: 0.2, high: 2.0}
objectives:
  - {metric: val/acc, direction: maximize}
sampler: {type: tpe, seed: 1, n_startup_trials: 4}
pruner: {type: median, n_startup_trials: 4, n_warmup_steps: 1}
""",
    encoding="utf-8",
)


def snntrain_command(line: str) -> str:
    command = [sys.executable, "-m", "snntrain", *shlex.split(line)]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


print(snntrain_command("tune search=tau_and_threshold --config-dir conf"))

# %% [markdown]
# A trial that does worse than the median of the others after its first epoch is stopped, which is what "pruned" means.
# The page of the study, `study.html`, shows every trial over each setting. The same command again goes on with the
# study; `workers=4` runs four trials at a time, and with `storage=postgresql://…` workers of several hosts share one.
# Two objectives, such as accuracy and energy, give a Pareto front (`search=tau_lr_energy`).
#
# ## Repeat a run, bit for bit
#
# A run folder holds what is needed to repeat it: the resolved config, the commit, versions, the SHA-256 of the data.
# `reproduce` trains again and compares every metric exactly.

# %%
print(snntrain_command(f"reproduce --from {best.folder}"))

# %% [markdown]
# On the same class of hardware with the same versions nothing may differ, not in the last bit. The results that are
# published with snntrain, in `experiments/`, are repeated in the same way, by name; elsewhere they have to agree
# within tolerances that come from the spread over their seeds:
#
# ```
# python scripts/reproduce.py digits_lif                # seed 1; --seed 2 another one
# python scripts/record.py mine --seeds 1,2,3           # your own conf/experiment/mine.yaml becomes such a record
# ```
#
# To compare with a paper's table, mind by which epoch it was chosen. Published accuracies of PLIF nets, for one, are
# those of the best *test* epoch; the records here choose by validation, as one has to without a view of the test.
#
# **Where to go from here.** Next: [coming from SpikingJelly](10_from_spikingjelly.md) or [from
# snnTorch](11_from_snntorch.md), or [from a laptop to Slurm](12_laptop_to_slurm.md).
