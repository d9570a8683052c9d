# %% [markdown]
# # Coming from SpikingJelly
#
# The neurons, surrogates and layers of snntrain have the names, arguments and equations that SpikingJelly 2.0.0
# documents, so most code moves by changing imports, and checkpoints load as they are. This tutorial trains the same
# net in both and compares; where SpikingJelly is not installed (`pip install spikingjelly==2.0.0`), those cells say
# so. It takes about a minute on one core.
#
# ## What is called what
#
# | SpikingJelly (`spikingjelly.activation_based`) | snntrain | |
# |---|---|---|
# | `neuron.LIFNode(tau=2.0, …)` | `neuron.LIFNode(tau=2.0, …)` | also by position, up to `step_mode` |
# | `surrogate.ATan()` | `surrogate.ATan()` | |
# | `layer.Conv2d(…, step_mode="m")` | `layer.Conv2d(…, step_mode="m")` | plain torch layers work too, in a config |
# | `layer.SeqToANNContainer`, `layer.MultiStepContainer` | the same names | |
# | `functional.reset_net(net)` | `functional.reset_net(net)` | a training of snntrain calls it before every batch |
# | `functional.set_step_mode(net, "m")` | the same | |
# | `functional.set_backend(net, "cupy")` | `backend="auto"`, the default | kernels for CPU and GPU |
# | `encoding.PoissonEncoder()` | `encoder=poisson` | |
# | `ann2snn.Converter(loader)(ann)` | `ann2snn.Converter(loader)(ann)`, `ann2snn.convert(…)` | |
# | a `neuronal_charge` of your own | runs as it is; `charge(x, v)` gets kernels | [tutorial 5](05_own_neuron.md) |
# | your training loop | works; or `snntrain.train(…)` | |
#
# The differences that remain, each with its reason, are in the table on top of
# `tests/peers/test_spikingjelly_differences.py`. Two meet everybody: an input of another shape than the state is an
# error here, where SpikingJelly silently starts again; and with float16 the potential is float32 here.
#
# ## The same net

# %%
import importlib.util
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import snntrain

installed = importlib.util.find_spec("spikingjelly") is not None
print("SpikingJelly is", "installed" if installed else "not installed: its part of the comparison is left out")


def build(layer, neuron, surrogate, functional):
    net = nn.Sequential(
        layer.Conv2d(1, 16, kernel_size=3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(256, 64),
        neuron.ParametricLIFNode(init_tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True),
        layer.Linear(64, 10),
    )
    functional.set_step_mode(net, "m")
    return net


ours = build(snntrain.layer, snntrain.neuron, snntrain.surrogate, snntrain.functional)
nets, reset = {"snntrain": ours}, {"snntrain": snntrain.functional.reset_net}
if installed:
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    theirs = build(layer, neuron, surrogate, functional)
    ours.load_state_dict(theirs.state_dict())  # the same names, so a checkpoint moves over
    nets["SpikingJelly"], reset["SpikingJelly"] = theirs, functional.reset_net

# %% [markdown]
# `build` is the same function for both: only the modules that it gets differ. The state dict has the same names, too,
# so the weights of one load into the other.
#
# ## The same numbers
#
# We run both in a plain loop of torch, as you would have written it, on the same batches in the same order.

# %%
data = snntrain.data.Digits(num_classes=10, sample_shape=[1, 8, 8], batch_size=64)
data.setup("fit")
batches = [(batch[0], batch[1]) for batch in data.train_dataloader()]
losses, seconds = {}, {}
for name, net in nets.items():
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses[name], started = [], time.perf_counter()
    for _ in range(4):
        for x, y in batches:
            reset[name](net)
            loss = nn.functional.cross_entropy(net(x.repeat(4, 1, 1, 1, 1)).mean(0), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
    seconds[name] = time.perf_counter() - started

plt.figure(figsize=(6, 2.8))
for (name, values), style in zip(losses.items(), ("-", ":"), strict=False):
    plt.plot(values, style, linewidth=1.5 if style == "-" else 3, label=f"{name}, {seconds[name]:.1f} s")
plt.xlabel("step of the training")
plt.ylabel("loss")
plt.title("The same net, the same batches")
plt.legend()
plt.show()
if installed:
    apart = [abs(a - b) for a, b in zip(*losses.values(), strict=True)]
    print(f"difference of the losses: {apart[0]:.1e} in the first step, at most {max(apart):.1e} in {len(apart)} steps")

# %% [markdown]
# The two curves lie on each other. The seconds in the legend contain the compiling of the kernels on first use;
# measured figures, with the script that measures them, are on the page *Measured results* under *Speed*.
#
# ## The same net as a config
#
# The loop above is where most of the errors of a project are made: a forgotten reset, a wrong average over time, a
# test set that chose the epoch. The config says only what is special:

# %%
layers = [
    {"name": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1, "bias": False},
    "norm",
    "neuron",
    {"name": "MaxPool2d", "kernel_size": 2},
    "Flatten",
    {"name": "Linear", "out_features": 64},
    {"name": "neuron", "tau": 3.0},
    {"name": "Linear", "out_features": 10},
]
run = snntrain.train("data=digits model=csnn", {"model.layers": layers}, T=4, trainer={"max_epochs": 4})
print("test accuracy", round(run.metrics["test/acc"], 4))

# %% [markdown]
# Input sizes are inferred, `norm` and `neuron` stand for what `norm=` and `neuron=` choose, and a list like this is
# usually kept in `conf/model/mine.yaml`. You get checkpoints, a resumed training that equals an uninterrupted one to
# the last bit, a report, and every export.
#
# **Where to go from here.** [Tutorial 5](05_own_neuron.md) for a neuron of yours, [tutorial 7](07_ann_to_integers.md)
# for conversion, [tutorial 8](08_to_loihi_and_nir.md) in the place of `lava_exchange`. Next: [coming from
# snnTorch](11_from_snntorch.md).
