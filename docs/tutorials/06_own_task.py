# %% [markdown]
# # Your own loss, metric and task
#
# What a net is trained for is yours to say: the loss it minimizes, how its outputs over time become one answer, and by
# what it is judged. Each of these is a small function or class with one decorator, after which a config can name it
# and its arguments are keys like any other. This tutorial writes one of each; it takes two minutes on one core.

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

import snntrain
from snntrain.data import Target
from snntrain.registry import register
from snntrain.task import Classification, suits

# %% [markdown]
# ## A loss that makes spikes expensive
#
# A loss is a function that takes *by name* what it needs: `scores` [N, K] and `target`, the outputs of all steps
# `y_seq` [T, N, K], and also `firing_rates`, the mean output of each spiking layer, through which gradients flow.
# Every further argument becomes a key. We add the number of spikes to the cross-entropy, so that the net looks for a
# solution with few of them.


# %%
@register("loss")
@suits(Target.CLASS)  # for data whose target is one class; others are refused before training
def costly_spikes(scores, target, firing_rates, price: float = 1.0):
    """Cross-entropy plus price · the mean firing rate of the layers."""
    return F.cross_entropy(scores, target) + price * firing_rates.mean()


# %% [markdown]
# In a config a loss with arguments is written `{name: costly_spikes, price: 0.5}`. `snntrain.sweep` trains one net for
# each price.

# %%
prices = [0, 0.3, 1, 1.5, 2, 3]
swept = snntrain.sweep(
    {"task.loss": [{"name": "costly_spikes", "price": price} for price in prices]},
    "data=digits model=mlp optim.lr=0.005 trainer.max_epochs=6",
)

# %%
rates = [100 * job.metrics["test/firing_rate"] for job in swept.jobs]
accuracy = [100 * job.metrics["test/acc"] for job in swept.jobs]
error = [100 * (a / 100 * (1 - a / 100) / 359) ** 0.5 for a in accuracy]  # binomial, of 359 test pictures
plt.figure(figsize=(6, 3))
plt.errorbar(rates, accuracy, error, marker="o", capsize=3)
for rate, a, price in zip(rates, accuracy, prices, strict=True):
    plt.annotate(f"price {price}", (rate, a), xytext=(-4, -14), textcoords="offset points", fontsize=8)
plt.xlabel("firing rate in %")
plt.ylabel("test accuracy in %")
plt.title("What spikes are worth")
plt.show()

# %% [markdown]
# From right to left spikes get more expensive. Up to a price of 1 the net gives up two thirds of its spikes and stays
# as good, apart from one net that lies below its neighbors, which is what a single seed can look like. From there on
# the price is higher than what a spike contributes, and the accuracy goes down. The knee between the two is where you
# want a net for a chip to be.
#
# ## A readout
#
# The last layer has an output in each step; a *readout* makes scores of them. `rate`, the default, is their mean. For
# a net that needs a few steps to charge, it is reasonable not to count the first ones.


# %%
@register("readout")
def without_first(y_seq, skip: int = 1):
    """Mean of the outputs after the first steps."""
    return y_seq[skip:].mean(0)


# %% [markdown]
# ## A metric
#
# A metric is a `torchmetrics.Metric`, or a function that returns one. It is measured on validation and test and logged
# as `val/…` and `test/…` under its name.


# %%
from torchmetrics.classification import MulticlassAccuracy


@register("metric")
def top_two(num_classes: int):
    """Whether the right class is among the two with the highest scores."""
    return MulticlassAccuracy(num_classes, top_k=2, average="micro")


run = snntrain.train(
    "data=digits model=mlp trainer.max_epochs=4 task.readout=without_first task.metrics=[{name:top_two,num_classes:10}]"
)
print(f"right: {run.metrics['test/acc']:.4f}   among the two highest: {run.metrics['test/top_two']:.4f}")

# %% [markdown]
# ## A task: classes that have an order
#
# A *task* is the LightningModule: it says what the targets are, by which metric the best epoch is chosen, and what
# happens in a batch. Suppose that a 3 taken for a 4 is a small mistake and a 3 taken for a 9 a large one, as with
# ages, grades or stages of a disease. Then the distance is the better headline than the accuracy, and a loss that
# knows about distances should do better by it. We derive the task from `Classification`, and take the earth mover's
# distance as loss (Hou, Yu & Samaras, *Squared earth mover's distance-based loss for training deep neural networks*,
# 2016), the squared difference of the cumulated probabilities.


# %%
from torchmetrics import MeanAbsoluteError


@register("task")
class Ordinal(Classification):
    """Classes in an order; a net is judged by how far its answers are from the right ones."""

    HEADLINE = ("distance", "min")  # logged as val/distance and test/distance; small is good

    def new_headline(self):
        return MeanAbsoluteError()

    def measurable(self, scores, target):
        """What the metrics get."""
        scores, target = super().measurable(scores, target)
        return scores.argmax(1).float(), target.float()


@register("loss")
@suits(Target.CLASS)
def earth_mover(scores, target):
    """Squared distance of the cumulated probabilities from those of the right class."""
    wanted = F.one_hot(target, scores.shape[1]).cumsum(1)
    return (scores.softmax(1).cumsum(1) - wanted).square().sum(1).mean()


overrides = (
    "data=digits model=mlp optim.lr=0.005 trainer.max_epochs=15 task.name=Ordinal task.label_smoothing=0 "
    "monitor.metric=val/distance monitor.mode=min trust=true"
)
runs = {loss: snntrain.train(overrides, f"task.loss={loss}") for loss in ("cross_entropy", "earth_mover")}

# %% [markdown]
# A task may be any class, so a config that names one runs its code. snntrain therefore wants to know that you trust
# it: with the name of the module in `plugins`, or, in a notebook, which is no module, with `trust=true`.
# `monitor.metric` is what the best checkpoint is chosen by, on the validation set. Here are the two nets by their
# mistakes:

# %%
figure, panels = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
for axes, (loss, run) in zip(panels, runs.items(), strict=True):
    confusion = snntrain.RunFolder(run.folder).read(snntrain.RunFolder.test)["confusion"]
    classes = torch.arange(10)
    distance = (classes[:, None] - classes).abs()
    counts = [int(confusion[(distance == off).numpy()].sum()) for off in range(1, 10)]
    axes.bar(range(1, 10), counts, color="tab:blue")
    axes.set(
        title=f"{loss}: mean distance {run.metrics['test/distance']:.3f}", xlabel="classes off", xticks=range(1, 10)
    )
    axes.title.set_fontsize(9)
panels[0].set_ylabel("test pictures of 359")
plt.show()

# %% [markdown]
# Each bar counts the mistakes of one size; pictures that are read rightly are left out. The mean distance in the
# titles is what the nets are compared by. Here the plain cross-entropy wins: digits have no order that their shapes
# would follow, so there is nothing for the other loss to use. With so few mistakes, do not read more than the method
# into the two panels; a comparison takes several seeds (`seed=[1, 2, 3]` in a sweep) and classes that have an order.
#
# ## Where the pieces live
#
# In a notebook the decorated function is known as soon as its cell has run. For the terminal, put it into a file and
# name the module; the check of names and arguments, with its suggestions, is the same:
#
# ```
# python train.py plugins=[my_losses] "task.loss={name: costly_spikes, price: 4}" model=mlp
# ```
#
# Sections of the report, data sets, callbacks and conversion methods are registered in the same way. **Where to go
# from here.** [Tasks, losses, metrics](../tasks.md) lists what is there already. Next: [ANN → SNN →
# integers](07_ann_to_integers.md).
