# %% [markdown]
# # What a spiking neuron does
#
# A neuron of an ordinary network turns numbers into a number, once. A spiking neuron lives in time: it adds up what
# arrives, forgets some of it, and when enough has come together it sends a *spike*, which is either there or not. This
# page looks at a single neuron until it holds no secrets: its potential, how often it fires, how it can be trained
# although a spike has no useful derivative, and what other neurons do differently. It takes half a minute and needs
# no data.

# %%
import math

import matplotlib.pyplot as plt
import torch

from snntrain import neuron, surrogate

# %% [markdown]
# ## A step of current
#
# The *leaky integrate-and-fire* neuron (LIF; Lapicque 1907; Gerstner & Kistler, *Spiking Neuron Models*, 2002, ch. 4)
# has one number that it remembers, its *membrane potential* $v$. In every time step it does three things with the
# input $x$:
#
# - **charge**: $h = v + (x - v)/\tau$. The input pulls the potential toward $x$; the *time constant* $\tau$ says how
#   slowly.
# - **fire**: the neuron sends a spike, $s = 1$, if $h$ reaches the *threshold* $\vartheta$, and $s = 0$ otherwise.
# - **reset**: after a spike the potential begins anew at 0.
#
# We switch a constant current on for a while and off again. Inputs have the shape [T, N, features], that is time
# steps, samples, neurons, and `step_mode="m"` hands all T steps to the neuron at once.

# %%
T = 200
current = torch.zeros(T, 1, 1)
current[20:150] = 1.5

lif = neuron.LIFNode(tau=20.0, v_threshold=1.0, step_mode="m", store_v_seq=True)
spikes = lif(current)
print("spikes:", int(spikes.sum()), "at the steps", spikes.flatten().nonzero().flatten().tolist())

# %%
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 3.4), sharex=True, height_ratios=[1, 2.2])
above.step(range(T), current.flatten(), color="tab:orange", where="post")
above.set(ylabel="input x", title="A LIF neuron (tau = 20) and a step of current")
below.plot(lif.v_seq.flatten(), color="tab:blue")
below.vlines(spikes.flatten().nonzero().flatten(), 1.0, 1.25, color="tab:red", label="spikes")
below.axhline(1.0, linestyle=":", color="gray")
below.text(T, 1.0, "threshold", va="bottom", ha="right", color="gray")
below.set(xlabel="time step", ylabel="potential v after the reset")
below.legend(loc="center right")
plt.show()

# %% [markdown]
# The potential climbs toward 1.5, but never gets there: each time it reaches the threshold there is a spike (red) and
# it begins anew at 0. The line stops short of the threshold because it shows the potential *after* each step: where $h$
# has reached the threshold, the reset has already taken it to 0. When the current stops, what is left of the potential
# leaks away. Between two spikes the neuron remembers; after a few times $\tau$ it has forgotten.
#
# ## The f–I curve
#
# How often does it fire for how much current? The curve of firing rate *f* over current *I* is the neuron's
# counterpart of an activation function. For a LIF neuron it can be computed: from 0, the potential after $n$ steps of
# a constant input is $x\,(1-(1-1/\tau)^n)$, so the neuron needs $n = \left\lceil \ln(1-\vartheta/x)\,/\,\ln(1-1/\tau)
# \right\rceil$ steps to a spike and fires at the rate $1/n$. For $x$ below the threshold there is no such $n$, and it
# never fires.
#
# A whole layer of neurons is one call, so we give 161 neurons a current each.

# %%
T, tau = 2000, 20.0
currents = torch.linspace(0, 4, 161)
x = currents.expand(T, 1, -1)  # [T, one sample, 161 neurons]; the same at every step

measured = neuron.LIFNode(tau=tau, step_mode="m")(x).mean(0)[0]
computed = torch.tensor([1 / math.ceil(math.log(1 - 1 / i) / math.log(1 - 1 / tau)) if i > 1 else 0 for i in currents])
soft = neuron.LIFNode(tau=tau, v_reset=None, step_mode="m")(x).mean(0)[0]
no_leak = neuron.IFNode(v_threshold=tau, v_reset=None, step_mode="m")(x).mean(0)[0]

plt.figure(figsize=(7, 3.2))
plt.plot(currents, measured, "o", markersize=3, color="tab:blue", label="LIF, measured")
plt.plot(currents, computed, color="tab:orange", label="LIF, computed")
plt.plot(currents, soft, color="tab:green", label="LIF, soft reset")
plt.plot(currents, no_leak, linestyle="--", color="gray", label="IF, no leak, soft reset")
plt.xlabel("current I")
plt.ylabel("spikes per step, f")
plt.title("f–I curve")
plt.legend()
plt.show()
print("largest difference between measured and computed rate:", f"{(measured - computed).abs().max():.4f}")

# %% [markdown]
# The measured rates lie on the computed curve. Three things are worth seeing:
#
# - Below the threshold the neuron is silent: the leak takes away as much as the current brings. An
#   *integrate-and-fire* neuron (IF, dashed) has no leak and answers to any current. Its straight line that begins at 0
#   is a ReLU, which is why trained ReLU networks can be converted to IF neurons ([tutorial 7](07_ann_to_integers.md)).
# - The curve of the *hard reset*, which throws away what exceeds the threshold, has steps, because a rate can only be
#   1/n.
# - With the *soft reset* (`v_reset=None`), which subtracts the threshold, the surplus counts toward the next spike,
#   and the steps disappear.
#
# ## How one trains through a spike
#
# A spike is a step function of the potential: $s = \Theta(h - \vartheta)$. Its derivative is 0 wherever it exists, so
# nothing would ever be learned. The way out is a *surrogate gradient* (Neftci et al., IEEE Signal Processing Magazine
# 2019): the forward pass sends real spikes, and the backward pass behaves as if the step had been a smooth function.

# %%
distance = torch.linspace(-2, 2, 401, requires_grad=True)
candidates = {
    "ATan(2)": surrogate.ATan(2.0),
    "PiecewiseQuadratic(1)": surrogate.PiecewiseQuadratic(1.0),
    "Sigmoid(4)": surrogate.Sigmoid(4.0),
    "Sigmoid(10)": surrogate.Sigmoid(10.0),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9))
for name, function in candidates.items():
    out = function(distance)
    (gradient,) = torch.autograd.grad(out.sum(), distance)
    right.plot(distance.detach(), gradient, label=name)
left.plot(distance.detach(), out.detach(), color="tab:red")
left.set(title="Forward: the spike", xlabel="h − threshold", ylabel="s")
right.set(title="Backward: the surrogate", xlabel="h − threshold", ylabel="ds/dh")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# On the left is the spike that all of them send; on the right the derivative that each of them uses instead. A
# surrogate is high near the threshold, where a small change would have made or prevented a spike, and low far away.
# Narrow ones (Sigmoid(10)) say precisely where it matters but leave most neurons without a gradient; wide ones (ATan)
# reach more neurons. `python train.py surrogate=…` chooses one of seventeen.
#
# With that, a spiking neuron is trained like anything else in torch:

# %%
x = torch.full((20, 1, 1), 0.9, requires_grad=True)
node = neuron.LIFNode(tau=5.0, v_threshold=1.0, surrogate_function=surrogate.ATan(), step_mode="m")
node(x).sum().backward()
print("spikes for an input of 0.9:", int(node(x.detach()).sum()))
print(
    "d(number of spikes)/dx, first three steps and last:",
    [f"{g:.4f}" for g in x.grad.flatten()[[0, 1, 2, -1]].tolist()],
)

# %% [markdown]
# There was no spike, and yet every step of the input knows in which direction it has to move for one. (The neuron kept
# its potential between the two calls: a state lives until `snntrain.functional.reset_net` resets it. In a training
# snntrain does that before every batch.)
#
# ## PLIF: the time constant is learned
#
# In a *parametric* LIF neuron (PLIF; Fang et al., ICCV 2021) the time constant is a parameter like a weight: $1/\tau =
# \sigma(w)$. Here a PLIF neuron listens to random input, and has to find the time constant of a LIF neuron from that
# one's potential alone.

# %%
torch.manual_seed(1)
x = torch.rand(100, 16, 1)
teacher = neuron.LIFNode(
    tau=8.0, v_threshold=100.0, step_mode="m", store_v_seq=True
)  # too high to fire: v is all there is
teacher(x)

student = neuron.ParametricLIFNode(init_tau=2.0, v_threshold=100.0, step_mode="m", backend="torch", store_v_seq=True)
optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
taus = [student.tau]
for _ in range(150):
    student.reset()
    student(x)
    loss = (student.v_seq - teacher.v_seq).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    taus.append(student.tau)

plt.figure(figsize=(7, 2.4))
plt.plot(taus, color="tab:green")
plt.axhline(8.0, linestyle=":", color="gray")
plt.text(0, 8.1, "the teacher's", color="gray", va="bottom")
plt.xlabel("update")
plt.ylabel("tau of the PLIF neuron")
plt.title("A time constant is learned")
plt.show()

# %% [markdown]
# The student's $\tau$ leaves 2, overshoots a little, because Adam has momentum, and settles at that of its teacher. In
# a network each layer of PLIF neurons finds a time constant of its own in this way.
#
# ## Izhikevich: a neuron with two states
#
# Real neurons tire. Izhikevich's neuron (IEEE Trans. Neural Networks 2003) has a second state, an adaptation current
# $w$ that every spike raises by $b$, that decays with a time constant $\tau_w$, and that works against the input; and
# its potential does not simply leak, it runs away upwards once it is past a critical value $v_c$:
#
# - $h = v + \left(x + a_0\,(v-v_\mathrm{rest})(v-v_c) - w\right)/\tau$,
# - $w' = w - w/\tau_w + b\,s$.
#
# The paper counts in mV and ms and names the numbers otherwise: its $a$ is $1/\tau_w$ here, its $c$ is `v_reset`, its
# $d$ is `b`, and its $b$, which lets the potential drive $w$, is `a`, 0 unless it is set. We give the same step of
# current to four neurons. `stored_states` names the states that a neuron keeps of every step.

# %%
T = 250
current = torch.zeros(T, 1, 1)
current[20:200] = 1.5
izhikevich = {"tau": 12.0, "v_c": 0.5, "v_rest": 0.0, "a0": 4.0, "tau_w": 60.0, "step_mode": "m"}
neurons = {
    "LIF, tau = 20": neuron.LIFNode(tau=20.0, step_mode="m"),
    "PLIF, tau = 6.5, as it might have been learned": neuron.ParametricLIFNode(init_tau=6.5, step_mode="m"),
    "Izhikevich without adaptation, b = 0": neuron.IzhikevichNode(b=0.0, **izhikevich),
    "Izhikevich with adaptation, b = 0.2": neuron.IzhikevichNode(b=0.2, **izhikevich),
}
figure, rows = plt.subplots(len(neurons), 1, figsize=(7, 6.4), sharex=True)
for axes, (name, node) in zip(rows, neurons.items(), strict=True):
    node.stored_states = node.state_names  # ("v",), and ("v", "w") of Izhikevich's neuron
    when = node(current).flatten().nonzero().flatten()
    axes.plot(node.v_seq.detach().flatten(), color="tab:blue", linewidth=1)
    if "w" in node.state_names:
        axes.plot(node.w_seq.flatten(), color="tab:orange", linewidth=1, label="w")
        axes.legend(loc="upper right")
    axes.vlines(when, 1.0, 1.3, color="tab:red")
    axes.set_title(f"{name}: {len(when)} spikes", fontsize=9, loc="left")
    axes.set_ylabel("v")
    gaps = when.diff().tolist()
    print(f"{name}: steps between spikes {gaps[:4]} … {gaps[-2:]}")
rows[-1].set_xlabel("time step")
plt.show()

# %% [markdown]
# LIF and PLIF tick like clocks, PLIF faster because its $\tau$ is smaller. Without adaptation so does Izhikevich's
# neuron, though its potential has another shape: it hurries toward the threshold at the end. With adaptation the first
# spikes come in quick succession and the gaps grow, until the adaptation that a spike brings and the decay between two
# spikes are in balance: the neuron reports that something has *changed*. The orange line is what it tires by.
#
# ## Your turn
#
# A neuron that differs from these in how it charges is one function: the input $x$ and the potential $v$ go in, the
# charged potential $h$ comes out. Fire and reset are inherited. This one is the LIF neuron with another leak, which
# grows with the square of the potential. **Predict** before you run it: where does its f–I curve begin, and is it above
# or below that of the LIF neuron?


# %%
class MyNode(neuron.BaseNode):
    def charge(self, x, v):
        return v + (x - v * v.abs()) / 20  # the line to change; LIF: v + (x - v) / 20


currents = torch.linspace(0, 4, 161)
x = currents.expand(2000, 1, -1)
plt.figure(figsize=(7, 2.6))
for name, node in {"LIF, tau = 20": neuron.LIFNode(tau=20.0, step_mode="m"), "mine": MyNode(step_mode="m")}.items():
    plt.plot(currents, node(x).mean(0)[0], label=name)
plt.xlabel("current I")
plt.ylabel("spikes per step, f")
plt.title("A neuron of your own")
plt.legend()
plt.show()

# %% [markdown]
# It begins at the same current, because both leaks are equal where $v$ is 1, the threshold. Above that it fires
# faster: on the way up, $v$ is below 1, and its square is smaller still, so less leaks away. Three more to try, each a
# change of that one line:
#
# 1. Leave the leak out. Which neuron is it, and what happens to the threshold of the current?
# 2. Let the neuron leak by a fixed amount in each step, `0.02 * v.sign()`. Where does the curve begin now?
# 3. Let large inputs count less, `torch.tanh(x)` for `x`. What is the highest rate that it can reach?
#
# ??? success "Answers"
#     1. The integrate-and-fire neuron: any positive current makes it fire sooner or later, and the curve begins at 0.
#     2. At 0.4, where a step brings as much as it loses: $I/20 = 0.02$.
#     3. `tanh` is below 1, which is where the curve of the LIF neuron begins: it never fires. With a threshold of 0.5,
#        `MyNode(v_threshold=0.5, …)`, it does, and never more often than for an input of 1.
#
# **Where to go from here.** snntrain has two dozen neurons; the [gallery](../gallery.md) shows the answer of each of
# them to a step of current. Next: [a first training, and a look inside it](02_first_training.md). To write down a
# neuron of your own: [tutorial 5](05_own_neuron.md).
