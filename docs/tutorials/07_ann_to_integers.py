# %% [markdown]
# # ANN → SNN → integers
#
# There are two ways to a spiking net: train one directly, as in [tutorial 2](02_first_training.md), or train an
# ordinary network (ANN) with ReLUs and *convert* it. A conversion is cheap, because the ANN is trained in one step
# instead of T, and it can be done with a net that you already have. This tutorial converts a net, looks at what the
# number of time steps does, and goes on to a net that computes with 8-bit weights and integer potentials only, as a
# microcontroller or a chip does. It takes two minutes on one core.

# %%
import matplotlib.pyplot as plt
import torch

import snntrain
from snntrain.ann2snn import convert
from snntrain.quantize import IntegerNet

# %% [markdown]
# ## Why it works
#
# [Tutorial 1](01_spiking_neuron.md) showed the f–I curve of an integrate-and-fire neuron with soft reset: a straight
# line that begins at 0. With threshold $\vartheta$ and a constant input $x$, the number of spikes in T steps, times
# $\vartheta/T$, is
#
# $\vartheta\,\mathrm{clip}\!\left(\lfloor T x/\vartheta + 1/2 \rfloor / T,\; 0,\; 1\right),$
#
# a ReLU with T + 1 levels that saturates at $\vartheta$ (Bu et al., *Optimal ANN-SNN conversion*, ICLR 2022; the ½
# comes from potentials that begin at half the threshold). So a trained ReLU can be replaced by such a neuron, and the
# error has two parts: rounding, which falls with T, and clipping, which depends on the threshold.

# %%
x = torch.linspace(-0.5, 2.5, 301)
figure, panels = plt.subplots(1, 3, figsize=(7.5, 2.4), sharey=True)
for axes, T in zip(panels, (2, 8, 32), strict=True):
    node = snntrain.neuron.IFNode(v_threshold=2.0, v_reset=None, step_mode="m")
    node.v = torch.full((1, 301), 1.0)  # half the threshold
    axes.plot(x, torch.relu(x), color="gray", linestyle=":")
    axes.plot(x, 2.0 * node(x.expand(T, 1, -1)).mean(0)[0], color="tab:blue")
    axes.set(title=f"T = {T}", xlabel="input")
panels[0].set_ylabel("threshold · firing rate")
plt.show()

# %% [markdown]
# The firing rate (blue) becomes the ReLU (dotted) as T grows, up to the threshold, here 2, above which a neuron cannot
# fire more than once in each step. Choosing thresholds that are as low as possible without clipping what matters is
# what conversion methods differ in.
#
# ## Train, convert, quantize: one command
#
# `neuron=relu` trains the ANN twin of a model. The callbacks after `default` work at the end of the training, in their
# order, each on a copy: `ann2snn` converts the best net, `qat` fine-tunes the result in integers.

# %%
run = snntrain.train(
    "data=digits model=csnn model.channels=16 model.features=128 model.pool=AvgPool2d neuron=relu optim.lr=0.005",
    "callbacks=[default,ann2snn,qat] callbacks.ann2snn.eval_T=[1,2,4,8,16] trainer.max_epochs=8",
    T=8,
)

# %%
for name in (
    "test/acc",
    "ann2snn/acc_ann",
    "qat/acc_ptq",
    "qat/acc_qat",
    "qat/acc_int",
    "qat/size_bytes",
    "qat/mismatches",
):
    print(f"{name:18} {run.metrics[name]:10,.4g}")

# %% [markdown]
# `test/acc` is the ANN. `qat/acc_ptq` is the converted net rounded to integers, before fine-tuning, and `qat/acc_qat`
# after it; `qat/acc_int` is measured on the integer net itself, which differs from the fine-tuned one in
# `qat/mismatches` outputs, spikes and potentials: in none.
#
# How many time steps does the converted net need?

# %%
T = [1, 2, 4, 8, 16]
accuracy = [100 * run.metrics[f"ann2snn/acc_T{t}"] for t in T]
plt.figure(figsize=(5, 2.6))
plt.plot(T, accuracy, marker="o", label="converted")
plt.axhline(100 * run.metrics["ann2snn/acc_ann"], linestyle="--", color="gray", label="ANN")
plt.xticks(T)
plt.xlabel("T")
plt.ylabel("test accuracy in %")
plt.title("A converted net over the number of steps")
plt.legend()
plt.show()

# %% [markdown]
# With the default method (thresholds per channel by Li et al., *A free lunch from ANN*, ICML 2021, and biases
# calibrated) the converted net is close to its ANN with few steps. Where it is not, `callbacks.ann2snn.method=qcfs`
# fine-tunes the ANN with activations that have levels.
#
# ## The integer net
#
# The file holds integers; a float appears only at the end, where the last sums are scaled to logits. We run it on a
# few test pictures and look at what its neurons hold.

# %%
path = run.folder / "artifacts/qat/net.safetensors"
integers = IntegerNet.load(path)
x, labels, _ = next(iter(run.data.test_dataloader()))
result = integers.run(x.repeat(8, 1, 1, 1, 1), record=True)
print("right:", (result.logits.mean(0).argmax(1) == labels).float().mean().item(), "of", len(labels))
for name, v in result.potentials.items():
    print(f"{name:12} potentials are {v.dtype}, from {int(v.min())} to {int(v.max())}")
parameters = sum(p.numel() for p in run.net.parameters())
print(f"{path.stat().st_size:,} bytes; its weights in 32-bit floats alone would take {4 * parameters:,}")

# %% [markdown]
# ## How few bits?
#
# `callbacks.qat.quant` is a preset or a dictionary of bits. We train one spiking net directly, with LIF neurons, in
# each of four precisions.

# %%
presets = ["int8", "w4v8", "w4v4", "w2v4"]
swept = snntrain.sweep(
    {"callbacks.qat.quant": presets},
    "data=digits model=mlp optim.lr=0.005 trainer.max_epochs=12",
    "callbacks=[default,qat] callbacks.qat.sensitivity_batches=0",
)

# %%
plt.figure(figsize=(6, 2.8))
for metric, label in (("test/acc", "float"), ("qat/acc_ptq", "rounded"), ("qat/acc_int", "integers, fine-tuned")):
    plt.plot(presets, [100 * job.metrics[metric] for job in swept.jobs], marker="o", label=label)
plt.xlabel("bits of weights (w) and potentials (v)")
plt.ylabel("test accuracy in %")
plt.title("Precision")
plt.legend()
plt.show()

# %% [markdown]
# At 8 and 4 bits, rounding alone (orange) changes the accuracy by no more than chance does; weights of 2 bits cost
# more. Two epochs of fine-tuning in the integers' own arithmetic (green) win it back, because the net learns with the
# rounding that it will have. That the green line can lie above the float net (blue) is no gain from fewer bits: the
# fine-tuned nets have been trained for two epochs more.
#
# ## As a library, on a net of your own
#
# `convert` takes any `nn.Module` of convolutions, linear layers, normalization, ReLU, pooling and sums, and some of
# its training data; no config, no run.

# %%
torch.manual_seed(1)
ann = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
batches = [(x, y) for x, y, _ in run.data.train_dataloader()]
optimizer = torch.optim.Adam(ann.parameters(), lr=0.005)
for _ in range(10):
    for x, y in batches:
        loss = torch.nn.functional.cross_entropy(ann(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
snn = convert(ann, [x for x, _ in batches], T=8)
test = [(x, y) for x, y, _ in run.data.test_dataloader()]
for name, answer in (("ANN", ann), ("SNN, T = 8", lambda x: snn.predict(x, T=8))):
    print(
        name, sum(int((answer(x).argmax(1) == y).sum()) for x, y in test), "of", sum(len(y) for _, y in test), "right"
    )
print(snn.report)

# %% [markdown]
# The report says what became of every layer. A layer that cannot be converted (softmax, GELU, LayerNorm …) is refused
# by its name, and so is control flow that depends on data.
#
# **Where to go from here.** All methods and keys: [conversion](../conversion.md) and
# [quantization](../quantization.md). Next: [to Loihi and NIR](08_to_loihi_and_nir.md).
