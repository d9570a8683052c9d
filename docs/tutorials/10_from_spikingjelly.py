# %% [markdown]
# # Coming from SpikingJelly
#
# The neurons, surrogates and layers of snntrain have the names, arguments and equations that SpikingJelly 2.0.0
# documents, so most code moves by changing imports, and `load_state_dict` takes its weights. This tutorial trains the
# same net in both and compares, and then a class of your own; where SpikingJelly is not installed
# (`pip install spikingjelly==2.0.0`), those cells say so. It takes about two minutes on one core.
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
# the last bit, and a report. Exports to Loihi and NIR want a chain of layers: no residual sums, and `AvgPool2d` where
# this net has `MaxPool2d`. Integers (`callbacks=[default,qat]`) take both.
#
# ## Your own class, as it stands
#
# A net that you have as a class need not become a list. `@register("model")` gives it a name; of `sample_shape`,
# `num_classes` and `neuron` (a function that makes one of the chosen neurons) its constructor gets those that it names,
# and its other arguments are keys of the config.

# %%
from pathlib import Path

from snntrain.registry import register


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = snntrain.layer.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm = snntrain.layer.BatchNorm2d(channels)
        self.spike = snntrain.neuron.LIFNode(tau=2.0, detach_reset=True)

    def forward(self, x):
        return x + self.spike(self.norm(self.conv(x)))


@register("model")
class MyNet(nn.Sequential):
    def __init__(self, channels=16, num_classes=10):
        super().__init__(
            snntrain.layer.Conv2d(1, channels, kernel_size=3, padding=1, bias=False),
            snntrain.layer.BatchNorm2d(channels),
            snntrain.neuron.LIFNode(tau=2.0, detach_reset=True),
            Block(channels),
            snntrain.layer.MaxPool2d(4),
            snntrain.layer.Flatten(),
            snntrain.layer.Linear(4 * channels, num_classes),
        )
        snntrain.functional.set_step_mode(self, "m")


Path("my_conf/model").mkdir(parents=True)
Path("my_conf/model/my_net.yaml").write_text("name: MyNet\nchannels: 16\n", encoding="utf-8")
run = snntrain.train(
    "data=digits model=my_net hydra.searchpath=[my_conf] name=my_net optim.lr=0.005",
    "callbacks=[default,qat] logger=tensorboard trainer.precision=bf16-mixed",
    T=4,
    trainer={"max_epochs": 4},
)
print("test accuracy", round(run.metrics["test/acc"], 4), "and in integers", round(run.metrics["qat/acc_int"], 4))

# %% [markdown]
# In a terminal the class stands in a module, `my_net.py`, and the same run is
#
# ```
# python train.py --config-dir my_conf plugins=[my_net] model=my_net data=digits callbacks=[default,qat]
# ```
#
# The chosen neuron has no place in a net that brings its own, so `neuron=plif` would be refused here. To start from
# weights that `torch.save` wrote, call `load_state_dict` at the end of the constructor.
#
# | your habit | here |
# |---|---|
# | a `Dataset` with items (picture, class) | `data=custom data.train._target_=mine.Train …`, see [Data](../data.md) |
# | a folder of pictures | `data=image_folder`, [tutorial 3](03_own_pictures.md) |
# | a schedule of the learning rate | `optim/schedule=cosine`, `step`, … |
# | `autocast` and `GradScaler` | `trainer.precision=bf16-mixed`, or `16-mixed` on a GPU |
# | `SummaryWriter` | `logger=tensorboard`, then `tensorboard --logdir runs` |
# | a checkpoint of every epoch | `callbacks.best_checkpoint.save_top_k=-1`; the default keeps the best and the last |
#
# ## And back into a plain script
#
# `run.net` is your class with the weights of the best epoch, so its state dict loads into another one of it, without
# Lightning and without a config. What comes out is what the run predicts.

# %%
torch.save(run.net.state_dict(), "my_net.pth")
plain = MyNet().eval()
plain.load_state_dict(torch.load("my_net.pth", weights_only=True))
x, labels, _ = next(iter(run.data.test_dataloader()))
with torch.no_grad():
    scores = plain(x.repeat(4, 1, 1, 1, 1)).mean(0)
print("right:", int((scores.argmax(1) == labels).sum()), "of", len(labels))
print("largest difference from run.predict:", (scores - run.predict(x)).abs().max().item())

# %% [markdown]
# In another process `snntrain.load("runs/…", trust=True)` does the same: a checkpoint that needs your module imports
# it, which is code, so it asks for your trust. The integer net is `snntrain.quantize.IntegerNet`, and its `arrays` are
# numpy:

# %%
integers = snntrain.quantize.IntegerNet.load(run.folder / "artifacts/qat/net.safetensors")
for name, array in integers.arrays.items():
    print(f"{name:20} {array.dtype!s:8} {array.shape}")

# %% [markdown]
# **Where to go from here.** [Tutorial 5](05_own_neuron.md) for a neuron of yours, [tutorial 7](07_ann_to_integers.md)
# for conversion, [tutorial 8](08_to_loihi_and_nir.md) in the place of `lava_exchange`. Next: [coming from
# snnTorch](11_from_snntorch.md).
