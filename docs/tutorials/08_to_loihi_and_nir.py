# %% [markdown]
# # To Loihi and NIR
#
# A trained spiking net should not have to stay in Python. This tutorial takes one to two formats: *netx*, which
# Intel's Lava runs on the chip Loihi 2 or in a simulator, and *NIR*, which other libraries read (Pedersen et al.,
# *Neuromorphic intermediate representation*, Nature Communications 2024). In both cases the question that matters is
# answered: does the file compute what the net computes? It takes about two minutes on one core.

# %%
import matplotlib.pyplot as plt
import torch

import snntrain
from snntrain.export import Exported, export_nir, import_nir

# %% [markdown]
# ## What the chip can do
#
# Loihi's neurons compute in integers: weights of 8 bits, currents and potentials of 24, leaks by multiples of 1/4096,
# a hard reset to 0. It has no maximum, so we pool by averages, and no batch normalization, which is folded into the
# weights. A net that was trained in floats would become a *somewhat similar* net by being rounded; so the callback
# `qat` with `quant=loihi` goes on training a copy in the chip's own arithmetic, and the callback `lava` writes that
# copy to a file.

# %%
run = snntrain.train(
    "data=digits model=csnn model.pool=AvgPool2d model.channels=8 model.features=64 neuron=lif optim.lr=0.005",
    "callbacks=[default,qat,lava] callbacks.qat.quant=loihi callbacks.lava.samples=100 callbacks.lava.lava_samples=5",
    T=4,
    trainer={"max_epochs": 6},
)

# %% [markdown]
# What became of each layer is in `plan.txt` of the run folder. The metrics say how it went:

# %%
folder = run.folder / "artifacts/lava"
print((folder / "plan.txt").read_text(encoding="utf-8"))
for name in (
    "test/acc",
    "qat/acc_qat",
    "lava/acc",
    "lava/mismatches",
    "lava/lava_mismatches",
    "lava/spikes",
    "lava/sops",
):
    print(
        f"{name:22}", f"{run.metrics[name]:,.4g}" if name in run.metrics else "not measured: Lava is not installed here"
    )

# %% [markdown]
# `lava/mismatches` is the number of spikes, over all layers and steps of 100 test pictures, in which the file differs
# from the net. It is measured in an emulator of the chip's arithmetic that comes with snntrain. Where Lava is
# installed (`make lava`), its own fixed-point simulator runs a few of the pictures as well, and `lava/lava_mismatches`
# counts the differences there. One different spike would fail the callback. A simulator takes a net of any size; that
# it fits on a chip is not shown by this.
#
# ## Look into the file
#
# The export can be loaded and run without Lava. Here are the spikes of each layer for one digit, as the chip would
# send them:

# %%
exported = Exported.load(folder / "net.h5")
x, labels, _ = next(iter(run.data.test_dataloader()))
emulation = exported.run(x[:1].repeat(4, 1, 1, 1, 1))
logits = exported.logits(x.repeat(4, 1, 1, 1, 1))
print("right:", int((logits.mean(0).argmax(1) == labels).sum()), "of", len(labels))
print("largest share of the 24-bit range used:", f"{max(exported.headroom.values()):.2f}")

figure, panels = plt.subplots(1, len(emulation.spikes), figsize=(7, 2.8))
for axes, number, spikes in zip(panels, emulation.layers, emulation.spikes, strict=True):
    step, which = torch.as_tensor(spikes).flatten(1).nonzero().T
    axes.scatter(step + 1, which, s=3, color="tab:blue", linewidths=0)
    axes.set(title=f"layer {number} of the file", xlabel="time step", xlim=(0.5, 4.5), xticks=range(1, 5))
    axes.title.set_fontsize(9)
panels[0].set_ylabel("neuron")
plt.show()

# %% [markdown]
# Each dot is a spike that one layer of the file sends. The last layer, which has no neurons, is not on the chip: the
# host computes it from the spikes (`net.readout.npz`).
#
# ## Where the energy goes
#
# On a chip like this each spike costs as many synaptic operations as it has targets. The report lists them layer by
# layer; `lava/sops` is their mean over samples. Fewer spikes, fewer operations: the price on spikes of [tutorial
# 6](06_own_task.md) and a small T are what you can turn.
#
# ## NIR, for everything else
#
# NIR describes a net by differential equations and leaves the time step to the reader. The export folds the
# normalizations and writes a graph of layers and CubaLIF neurons; snnTorch and Norse read it. It needs the package
# `nir` (`pip install 'snntrain[nir]'`), not a run:

# %%
snntrain.functional.reset_net(run.net)
x_seq = x.repeat(4, 1, 1, 1, 1)
graph = export_nir(run.net, x_seq[:, :1], "net.nir")
for name, node in graph.nodes.items():
    print(f"{name:12} {type(node).__name__}")

# %% [markdown]
# Reading it back gives a net of snntrain, which we compare with the original on a batch. Folding a normalization
# rounds its weights anew, by a unit in the last place of float32; a spike could change only where a potential came
# that close to the threshold.

# %%
again = import_nir("net.nir")
with torch.no_grad():
    snntrain.functional.reset_net(run.net)
    difference = (again(x_seq) - run.net(x_seq)).abs().max().item()
print("largest difference of an output:", difference)

# %% [markdown]
# In a run the callback does both and counts the spikes that differ:
#
# ```
# python train.py model.pool=AvgPool2d callbacks=[default,nir]
# ```
#
# ## What is refused
#
# A net that the format cannot hold is refused before its training, with the layer's name and what to do instead:

# %%
try:
    snntrain.train("data=digits model=csnn callbacks=[default,qat,lava] callbacks.qat.quant=loihi")
except Exception as error:
    print(error)

# %% [markdown]
# **Where to go from here.** [Loihi, Lava and NIR](../lava.md) has all keys, what a file holds, and training with
# Loihi's own neuron from the first step (`neuron=cuba_lif`). Next: [sweeps, search and reproducing a
# record](09_sweeps_and_records.md).
