# %% [markdown]
# # A first training, and a look inside
#
# We train a small spiking network to read digits, then open it: which neuron fires when, what the potentials of a
# layer do, and what the number of time steps T costs and brings. If you have not met a spiking neuron yet, begin with
# [what a spiking neuron does](01_spiking_neuron.md). The data come with scikit-learn, nothing is downloaded, and all
# of it takes less than a minute on one quiet core.

# %%
import matplotlib.pyplot as plt
import torch

import snntrain
from snntrain import monitor

# %% [markdown]
# ## Train
#
# `snntrain.train` takes what you would type behind `python train.py`: every part is chosen by name, every number set
# by its path. Here the model `csnn` (two convolutions, two dense layers) with LIF neurons sees each picture for T = 4
# time steps, in four passes through the 1,294 training pictures.

# %%
run = snntrain.train("data=digits model=csnn neuron=lif", T=4, trainer={"max_epochs": 4})

# %% [markdown]
# The table at the top lists the layers and what each computes in a step. Then there is one line for each epoch: loss
# and accuracy on the training pictures, the same on pictures that are held out for validation, and `firing`, the share
# of neurons that fire in a step. The last lines are the test, with the weights of the best epoch. `report.html` in the
# run folder shows all of it as a page.
#
# ## Which neuron fires when
#
# A *raster* is the classic picture of a spiking network: a row for each neuron, a column for each time step, and a dot
# where the neuron fires. `monitor.recording` keeps what every layer of neurons does inside its block. We take the
# first picture of the test; any other one does as well.

# %%
x, labels, _ = next(iter(run.data.test_dataloader()))  # samples as the data set gives them
number = 0  # of the picture
with monitor.recording(run.net) as seen:
    scores = run.predict(x[number : number + 1])
print({name: list(layer["spikes"].shape) for name, layer in seen.items()})

figure, columns = plt.subplots(1, 1 + len(seen), figsize=(7.5, 3.6), width_ratios=[1.2, *[1] * len(seen)])
columns[0].imshow(x[number, 0], cmap="gray")
columns[0].set_title(f"a {labels[number]}, read as {scores.argmax()}", fontsize=9)
columns[0].axis("off")
for axes, (name, layer) in zip(columns[1:], seen.items(), strict=True):
    spikes = layer["spikes"][:, 0].flatten(1)  # [T, neurons]
    step, which = spikes.nonzero().T
    axes.scatter(step + 1, which, s=2, color="tab:blue", linewidths=0)
    axes.set(title=f"{name}: {100 * spikes.mean():.0f} %", xlabel="time step", xlim=(0.5, 4.5), xticks=range(1, 5))
    axes.title.set_fontsize(9)
    axes.invert_yaxis()
columns[1].set_ylabel("neuron")
plt.show()

# %% [markdown]
# Each dot is a spike, and most of every panel is empty: the title of a panel says which share of its neurons is active
# in an average step. This *sparsity* is what spiking hardware lives on, since a neuron that does not fire costs
# nothing downstream. Only few neurons of the first layer fire at once, and none of the last: they first have to
# charge. In the second step many of them have got there; they fire, begin anew, and fire again in the fourth.
#
# ## What the potentials do
#
# A neuron's spikes are only its answer; the way there is its potential $v$, which was recorded, too. The layers have
# the names of the table that the training printed; `layers.10` is the last one with neurons.

# %%
v = seen["layers.10"]["v"][:, 0]  # [T, neurons], after each step
spikes = seen["layers.10"]["spikes"][:, 0]

most = spikes.sum(0).argsort(descending=True)
shown = {
    "fires most": most[0],
    "fires now and then": most[int((spikes.sum(0) > 1).sum())],
    "charges, but does not fire": None,
}
silent = (spikes.sum(0) == 0).nonzero().flatten()
shown["charges, but does not fire"] = silent[v[-1, silent].argmax()]
shown["is pushed down"] = v[-1].argmin()

plt.figure(figsize=(7.5, 2.8))
for what, number in shown.items():
    (line,) = plt.plot([0, 1, 2, 3, 4], [0, *v[:, number].tolist()], marker="o", label=what)
    for step in spikes[:, number].nonzero().flatten().tolist():
        plt.plot(step + 1, 1.1, marker="|", markersize=14, color=line.get_color())
plt.axhline(1.0, linestyle=":", color="gray")
plt.text(0, 1.02, "threshold", color="gray")
plt.xticks(range(5))
plt.xlabel("time step")
plt.ylabel("potential v after the reset")
plt.title("Four of the 512 neurons of layers.10, one picture")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# A stroke at the top is a spike, after which the potential is 0 again, so the neuron that fires most stays on the zero
# line from its first spike on. Others collect over the steps and fire late or not at all; and those whose weights say
# "not this digit" are pushed below zero, where they would need a long time to come back from.
#
# ## An answer that gets better with every step
#
# The last layer has no neurons. Its outputs are averaged over the steps, and the largest mean is the answer. Nothing
# forbids to stop earlier, so we compute the accuracy of the answer after 1, 2, … steps. The net is a torch module that
# takes a sequence [T, N, C, H, W]; since the picture is the same at every step, that is a repetition.

# %%
x, labels = zip(*[(x, y) for x, y, _ in run.data.test_dataloader()], strict=True)
x, labels = torch.cat(x), torch.cat(labels)

snntrain.functional.reset_net(run.net)
with torch.no_grad():
    outputs = run.net(x.repeat(12, 1, 1, 1, 1))  # [12 steps, N, 10]
so_far = outputs.cumsum(0) / torch.arange(1, 13).reshape(-1, 1, 1)
accuracy = (so_far.argmax(2) == labels).float().mean(1)
print("accuracy after each step:", [f"{100 * a:.1f} %" for a in accuracy.tolist()])

# %% [markdown]
# After one step the answer is hardly better than a guess, because no neuron of the last layer has fired. From the
# second step on it is right for most pictures. The net was trained to answer after 4 steps; further ones still correct
# a mistake here and there. A system that may answer early uses that: it stops as soon as it is sure.
#
# ## T against accuracy and energy
#
# Is a net that is *trained* with fewer steps as good? `snntrain.sweep` trains one for each value in a list; with 16
# channels the model is small enough to do that in half a minute.

# %%
swept = snntrain.sweep(
    "data=digits model=csnn model.channels=16 model.features=128 optim.lr=0.005",
    T=[1, 2, 4, 8],
    trainer={"max_epochs": 5},
)

# %%
steps = [1, 2, 4, 8]
accuracy = [100 * job.metrics["test/acc"] for job in swept.jobs]
energy = [1000 * job.metrics["test/energy_uJ"] for job in swept.jobs]
ann = 1000 * swept.jobs[0].metrics["test/energy_ann_uJ"]
n = 359  # test pictures
error = [100 * (a / 100 * (1 - a / 100) / n) ** 0.5 for a in accuracy]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.9))
left.errorbar(steps, accuracy, error, marker="o", capsize=3)
left.set(title="Accuracy", xlabel="T", ylabel="test accuracy in %", xticks=steps)
right.plot(steps, energy, marker="o", color="tab:red")
right.axhline(ann, linestyle="--", color="gray")
right.text(8, 0.96 * ann, "an ANN of this size", color="gray", va="top", ha="right")
right.set(title="Energy of one picture", xlabel="T", ylabel="estimate in nJ", xticks=steps, ylim=(0, None))
plt.show()

# %% [markdown]
# On the left, accuracy with its binomial error, $\sqrt{q(1-q)/n}$: the nets do not differ by more than the error bars,
# so one or two steps are enough for a task as easy as this. On the right, what a picture costs. The estimate counts
# arithmetic alone: 4.6 pJ for each multiply-accumulate of the first layer, which sees real numbers and has to be
# computed only once because its input does not change, and 0.9 pJ for each *synaptic operation*, the addition of a
# weight that a spike causes (Horowitz, ISSCC 2014). More steps mean more spikes and more energy, in proportion; the
# dashed line is the same net with ReLU, which computes every product once. Whether a spiking net pays off is thus a
# question of T and of sparsity, and the two figures belong together.
#
# **Where to go from here.** Everything you saw is in the run folder. `python eval.py run=…` tests it again, and
# `snntrain.load(…)` brings the net back. Next: [your own pictures](03_own_pictures.md).
