# %% [markdown]
# # Coming from snnTorch
#
# In snnTorch a neuron takes one step and hands its state back to you: `spk, mem = lif(cur, mem)`, in a loop over time
# that you write. In snntrain the state lives in the neuron and the loop is made for you. The equations translate one
# to one once two conventions are known, which this tutorial shows with numbers. Where snnTorch is not installed (`pip
# install snntorch`), its cells say so. It takes about a minute on one core.
#
# ## What is called what
#
# | snnTorch | snntrain | |
# |---|---|---|
# | `snn.Leaky(beta, reset_delay=False)` | `LIFNode(tau=1/(1 − beta), decay_input=False, v_reset=None)` | equal |
# | `reset_mechanism="subtract"`, `"zero"` | `v_reset=None`, `v_reset=0.0` | |
# | `learn_beta=True` | `ParametricLIFNode(init_tau=…)` | learns $1/\tau = \sigma(w)$ |
# | `snn.Synaptic(alpha, beta)` | `FloatCubaLIFNode` | current and potential leak |
# | `snn.RSynaptic`, `snn.RLeaky` | a `recurrent` entry in the layers | `model=recurrent` |
# | `surrogate.atan()`, `fast_sigmoid()` | `surrogate.ATan()`, `SuperSpike()` | |
# | `spikegen.rate`, `latency` | `encoder=poisson`, `encoder=latency` | |
# | `functional.ce_rate_loss()` … | `task.loss=ce_rate` … | the same values |
# | `utils.reset(net)` | `functional.reset_net(net)` | a training calls it before every batch |
# | `export_to_nir`, `import_from_nir` | `export.export_nir`, `export.import_nir` | nets go both ways |
#
# ## Two conventions
#
# snnTorch writes the leak as a decay, $U' = \beta U + I$, where snntrain has a time constant, $\beta = 1 - 1/\tau$,
# and lets you choose whether the input is divided by $\tau$ as well (`decay_input`). And by default snnTorch resets
# *one step later*: the threshold is subtracted in the step after the spike.

# %%
import importlib.util

import matplotlib.pyplot as plt
import torch
from torch import nn

import snntrain
from snntrain import functional, neuron, surrogate
from snntrain.registry import register

installed = importlib.util.find_spec("snntorch") is not None
print("snnTorch is", "installed" if installed else "not installed: its part of the comparison is left out")

torch.manual_seed(1)
beta, x = 0.9, torch.rand(60, 8, 20) * 0.5  # [T, N, features]


def in_snntorch(**arguments):
    import snntorch

    lif, spikes, potentials = snntorch.Leaky(beta=beta, **arguments), [], []
    mem = lif.init_leaky()
    for step in x:  # the loop that snnTorch leaves to you
        spk, mem = lif(step, mem)
        spikes.append(spk)
        potentials.append(mem)
    return torch.stack(spikes), torch.stack(potentials)


lif = neuron.LIFNode(tau=1 / (1 - beta), decay_input=False, v_reset=None, step_mode="m", store_v_seq=True)
spikes = lif(x)  # all steps at once
print("spikes here:", int(spikes.sum()))
if installed:
    theirs, potentials = in_snntorch(reset_delay=False)
    same = (theirs == spikes).float().mean()
    print(f"spikes of snnTorch without delay: {int(theirs.sum())}, {100 * same:.3f} % of all outputs equal")
    print("largest difference of a potential:", float((potentials - lif.v_seq).abs().max()))

# %% [markdown]
# With `reset_delay=False` they are the same neuron. (A potential may differ in its last bits, since $\beta U$ and $U -
# U/\tau$ round differently, and a spike could change where a potential comes that close to the threshold.)
#
# ## A neuron with the delayed reset
#
# If you need snnTorch's default to the letter, it is a neuron of four lines, and it gets kernels like any other:


# %%
@register("neuron")
class DelayedResetNode(neuron.BaseNode):
    """h = beta·v + x − v_threshold·[v > v_threshold]: the reset comes one step after the spike."""

    def __init__(self, beta: float = 0.9, **common) -> None:
        super().__init__(**common)
        self.beta = beta

    def step(self, x, v):
        reset = (v > self.v_threshold).to(v.dtype)
        h = self.beta * v + x - self.v_threshold * reset
        return self.fire(h), h


delayed = DelayedResetNode(step_mode="m", backend="fused")
spikes_delayed = delayed(x)
figure, axes = plt.subplots(figsize=(7, 2.4))
for row, (name, given) in enumerate((("reset at once", spikes), ("reset delayed", spikes_delayed))):
    axes.eventplot(given[:, 0, 0].nonzero().flatten(), lineoffsets=row, linelengths=0.7, label=name)
axes.set(
    yticks=[0, 1], yticklabels=["at once", "delayed"], xlabel="time step", title="One neuron with two kinds of reset"
)
plt.show()
if installed:
    theirs, _ = in_snntorch()
    print(f"equal to snnTorch's default: {100 * (theirs == spikes_delayed).float().mean():.3f} % of all outputs")

# %% [markdown]
# Each stroke is a spike of the same neuron with the same input. With the delayed reset the whole threshold is
# subtracted one step later instead of having leaked by one step already, so the neuron fires a little less.
#
# ## The same net
#
# A net of snnTorch, with its loop in `forward`, beside the one of snntrain: the same start weights, the same batches.


# %%
def ours():
    lif = {"tau": 10.0, "decay_input": False, "v_reset": None, "detach_reset": True, "step_mode": "m"}
    return nn.Sequential(
        snntrain.layer.Flatten(step_mode="m"),
        snntrain.layer.Linear(64, 128, step_mode="m"),
        neuron.LIFNode(surrogate_function=surrogate.ATan(), **lif),
        snntrain.layer.Linear(128, 10, step_mode="m"),
    )


nets = {"snntrain": ours()}
if installed:
    import snntorch

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(64, 128), nn.Linear(128, 10)
            self.lif = snntorch.Leaky(beta=beta, reset_delay=False, spike_grad=snntorch.surrogate.atan(alpha=2.0))

        def forward(self, x_seq):
            mem, outputs = self.lif.init_leaky(), []
            for step in x_seq:
                spk, mem = self.lif(self.fc1(step.flatten(1)), mem)
                outputs.append(self.fc2(spk))
            return torch.stack(outputs)

    nets["snnTorch"] = Theirs()
    for mine, yours in ((nets["snntrain"][1], nets["snnTorch"].fc1), (nets["snntrain"][3], nets["snnTorch"].fc2)):
        mine.load_state_dict(yours.state_dict())

data = snntrain.data.Digits(num_classes=10, sample_shape=[1, 8, 8], batch_size=64)
data.setup("fit")
batches = [(batch[0], batch[1]) for batch in data.train_dataloader()]
losses = {name: [] for name in nets}
for name, net in nets.items():
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(4):
        for images, labels in batches:
            functional.reset_net(net)
            loss = nn.functional.cross_entropy(net(images.repeat(4, 1, 1, 1, 1)).mean(0), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())

plt.figure(figsize=(6, 2.6))
for (name, values), style in zip(losses.items(), ("-", ":"), strict=False):
    plt.plot(values, style, linewidth=1.5 if style == "-" else 3, label=name)
plt.xlabel("step of the training")
plt.ylabel("loss")
plt.title("The same net, the same batches")
plt.legend()
plt.show()

# %% [markdown]
# The curves lie on each other, up to the order in which the leak is rounded. `detach_reset=True` keeps the gradient of
# the spike out of the reset, as snnTorch always does; the configs of snntrain set it, the constructors of neurons do
# not, as in SpikingJelly.
#
# ## The same net as a config
#
# `membrane` readouts, count losses and populations of snnTorch are keys:

# %%
run = snntrain.train(
    "data=digits model=mlp model.features=128 task.loss=ce_rate",
    "neuron.tau=10 neuron.decay_input=false neuron.v_reset=null",
    trainer={"max_epochs": 4},
)
print("test accuracy", round(run.metrics["test/acc"], 4))

# %% [markdown]
# A net that you have trained in snnTorch comes over as a NIR graph, `snntrain.export.import_nir(export_to_nir(net,
# sample))`; `tests/peers/test_nir.py` does that with a net of `Synaptic` neurons.
#
# **Where to go from here.** [Losses and tasks](../tasks.md), and [your own neuron](05_own_neuron.md). Next: [from a
# laptop to Slurm](12_laptop_to_slurm.md).
