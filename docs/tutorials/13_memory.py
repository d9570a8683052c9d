# %% [markdown]
# # Memory by recurrence and delays
#
# A leaky neuron forgets within a few time constants. Where the answer depends on something that happened earlier, a net
# needs another memory. This tutorial gives one small task to three nets: one without memory, one with a recurrent
# connection, and one with learned delays. Then it reads off what the delays have learned. It takes about a minute on
# one core.

# %%
import matplotlib.pyplot as plt

import snntrain

# %% [markdown]
# ## A task in time
#
# `data=copy` shows one of eight symbols in each of the first three steps and nothing in the next three. In the last
# three steps, the net must name the symbols in their order. So there is a class to name at every step, and two thirds
# of the time that is 0, "silence": a net that never remembers anything is right in 67 % of the steps.

# %%
TASK = "task=sequence data=copy T=9 data.length=3 data.samples=4000 neuron=lif neuron.tau=1.2 neuron.v_threshold=0.3"


def trained(name, layers):
    """A net of these layers, trained for eight epochs."""
    return snntrain.train(
        TASK, name=name, model={"layers": layers}, optim={"lr": 0.005}, trainer={"max_epochs": 8}, logger="csv"
    )


def dense(size, **more):
    return {"name": "Linear", "out_features": size, **more}


OUTPUT = dense("${task.outputs}")
plain = trained("plain", ["Flatten", dense(128), "neuron", OUTPUT])

x, targets, index = next(iter(plain.data.test_dataloader()))
print("a batch of sequences:", tuple(x.shape), "and what to tell at each step:", tuple(targets.shape))

# %%
figure, (above, below) = plt.subplots(2, 1, figsize=(6, 3.6), sharex=True)
above.imshow(x[0].T, cmap="Blues", aspect="auto", origin="lower", extent=(0.5, 9.5, -0.5, 8.5))
above.set(ylabel="channel", title="one sequence, and its targets")
below.step(range(1, 10), targets[0], where="mid")
below.set(xlabel="time step", ylabel="class", yticks=range(0, 9, 2))
plt.show()

# %% [markdown]
# With $\tau = 1.2$ a potential has lost five sixths of what it held after one step. Six steps later nothing is left of
# a symbol, and the accuracy is that of silence.
#
# ## A recurrent connection
#
# `recurrent: [neuron]` feeds the spikes of a layer back to it: $i[t] = x[t] + V s[t-1]$. What a neuron cannot keep, the
# layer can pass around. The whole sequence runs as one function with generated kernels, see
# [Generated kernels](../kernels.md); `backend: torch` would take the loop over time instead.

# %%
feedback = {"recurrent": ["neuron"], "feedback": [dense(128, bias=False)]}
recurrent = trained("recurrent", ["Flatten", dense(128), feedback, OUTPUT])

# %% [markdown]
# Learning what to pass around takes time: eight epochs bring a little. With neurons that do not leak and 15 epochs, the
# record `experiment=copy_rnn` reaches 96.6 ± 2.0 %.
#
# ## Learned delays
#
# What is needed here is simply that an input arrives six steps later. Any layer with weights may have the key `delay`
# (see [Delays](../delays.md)): `axonal` gives each input channel one delay, `synaptic` gives each weight its own. In
# training they are real numbers, interpolated over a window that shrinks; in evaluation they are whole steps.

# %%
HOW = {"max": 8, "lr_factor": 30, "until": 0.6}
axonal = trained("axonal", ["Flatten", dense(128, delay={**HOW, "kind": "axonal"}), "neuron", OUTPUT])

# %%
synaptic = trained("synaptic", ["Flatten", dense(128, delay={**HOW, "kind": "synaptic"}), "neuron", OUTPUT])

# %%
print(f"{'':12}{'test':>8}{'interpolated':>14}{'parameters':>12}")
for name, run in {"plain": plain, "recurrent": recurrent, "axonal": axonal, "synaptic": synaptic}.items():
    weights = sum(parameter.numel() for parameter in run.net.parameters())
    interpolated = f"{run.metrics['test/acc_interpolated']:.1%}" if "test/acc_interpolated" in run.metrics else ""
    print(f"{name:12}{run.metrics['test/acc']:8.1%}{interpolated:>14}{weights:12,}")

# %% [markdown]
# `test/acc` is computed with whole steps, as a chip would; `test/acc_interpolated` is what the same net reaches with
# the window of training. Their difference is what rounding costs.
#
# ## What the delays have learned

# %%
delays = axonal.net.layers[1].delay
print("delay of each input channel, in steps:", delays.steps().tolist())

figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
left.stem(range(9), delays.steps())
left.set(xlabel="input channel", ylabel="delay in steps", title="axonal", ylim=(-0.5, 7.5))
learned = synaptic.net.layers[1].steps().flatten()
right.hist(learned, bins=[edge - 0.5 for edge in range(9)], rwidth=0.9)
right.set(xlabel="delay in steps", ylabel="weights", title="synaptic")
plt.show()

# %% [markdown]
# Most symbols come six steps later, which is where the task asks for them: the net has found the length of the pause
# by itself. The channels of an axonal layer have one delay each, so a channel that settled elsewhere costs accuracy; of
# the synaptic delays it is enough that some of a channel's 128 weights are right.
#
# ## Where to go from here
#
# - Neurons that remember longer by themselves, such as `neuron=adlif` or `neuron=celif`:
#   [Neurons for sequences](../temporal_neurons.md).
# - Sequences of several lengths, values instead of classes, and series that go on by themselves: [Tasks](../tasks.md).
# - Axonal delays run on chips: [Export to Lava and NIR](../lava.md).
