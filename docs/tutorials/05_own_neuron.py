# %% [markdown]
# # Your own neuron, with kernels for free
#
# In snntrain a neuron is *one time step*, written once in plain torch. The loop over time, both step modes, the checks
# of inputs and states and fused kernels for CPU and GPU, forward and backward, are made from it. This tutorial writes
# down a neuron from a paper, tests it, looks at the kernel, measures it, and trains with it. It takes one to two
# minutes on one core, most of which is spent on compiling kernels.

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import snntrain
from snntrain import functional, kernel, surrogate
from snntrain.neuron import BaseNode, LIFNode
from snntrain.registry import register

# %% [markdown]
# ## If it charges, fires and resets in the usual way
#
# Then only the charge is yours: a pure function of the input and the potential. Here is a neuron whose input
# saturates, $h = v + \tanh(x) - v/\tau$.


# %%
class SaturatingNode(BaseNode):
    """h = v + tanh(x) − v/tau; fire and reset as in BaseNode."""

    def __init__(self, tau: float = 2.0, **common) -> None:
        super().__init__(**common)  # v_threshold, v_reset, surrogate_function, detach_reset, step_mode, backend …
        self.tau = tau

    def step_parameters(self, dtype):
        return (self.tau,)

    def charge(self, x, v, tau):
        return v + torch.tanh(x) - v / tau


print(SaturatingNode(step_mode="m")(torch.full((8, 1, 1), 5.0)).flatten().tolist())

# %% [markdown]
# ## A second state: a threshold that adapts
#
# The adaptive LIF neuron (ALIF; Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking
# neurons*, NeurIPS 2018) raises its threshold with every spike and lets it sink again:
#
# $h = v + (x - v)/\tau, \quad s = \Theta(h - \vartheta - \beta a), \quad a' = \rho\,a + (1 - \rho)\,s$
#
# It has a second state $a$, so it writes the whole `step`: input, states and parameters go in, the output and the new
# states come out. Constants that the step divides by, and everything that is learned, are handed over by
# `step_parameters`; other constants may be read from `self`. `@register` makes the neuron known by name, so that a
# config can choose it.


# %%
@register("neuron")
class MyALIFNode(BaseNode):
    """Adaptive LIF neuron (Bellec et al., NeurIPS 2018), with a learned strength of adaptation.

    Args:
        tau: membrane time constant in time steps, > 1.
        memory: share of the adaptation that is left after a step, in [0, 1).
        beta: how much the adaptation raises the threshold, at the start.
    """

    state_names = ("v", "a")

    def __init__(self, tau: float = 10.0, memory: float = 0.95, beta: float = 2.0, **common) -> None:
        super().__init__(**common)
        self.tau, self.memory = tau, memory
        self.beta = nn.Parameter(torch.tensor(beta))
        self.register_memory("a", 0.0)

    def step_parameters(self, dtype):
        return self.tau, self.beta.to(dtype)

    def step(self, x, v, a, tau, beta):
        h = v + (x - v) / tau
        s = self.fire(h - beta * a)  # Θ(h − v_threshold − beta·a)
        return s, self.reset_potential(h, s), self.memory * a + (1 - self.memory) * s


# %% [markdown]
# Does it do what the equations say? A step of current shows it. `store_v_seq` keeps the potential of every step;
# `node.stored_states = ("v", "a")` would keep both states that the class names, as `node.v_seq` and `node.a_seq`.

# %%
T = 200
current = torch.zeros(T, 1, 1)
current[10:] = 2.5
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 3.6), sharex=True)
for axes, node in (
    (above, LIFNode(tau=10.0, step_mode="m", store_v_seq=True)),
    (below, MyALIFNode(step_mode="m", store_v_seq=True)),
):
    spikes = node(current).flatten().detach()
    when = spikes.nonzero().flatten()
    axes.plot(node.v_seq.detach().flatten(), color="tab:blue", linewidth=1)
    axes.vlines(when, 1.9, 2.15, color="tab:red")
    axes.set(ylabel="v", title=f"{type(node).__name__}: {len(when)} spikes")
adaptation, threshold = 0.0, []
for s in spikes.tolist():
    threshold.append(1 + 2.0 * adaptation)
    adaptation = 0.95 * adaptation + 0.05 * s
below.plot(threshold, color="gray", linestyle=":")
below.text(0, 1.05, "threshold", color="gray", va="bottom")
below.set_xlabel("time step")
plt.show()

# %% [markdown]
# The LIF neuron keeps its pace. The ALIF neuron begins as fast, but its threshold (dotted, computed from the paper's
# equation in four lines that do not use our class) rises with each spike, and the gaps grow.
#
# ## Tests that every neuron deserves
#
# Two claims are worth a test of a line each: that the gradient is right, and that the kernel computes the same as
# torch. For the first, a surrogate with `spiking=False` lets the smooth function itself out, which makes the whole
# step differentiable, so torch can compare our gradient with finite differences.

# %%
smooth = MyALIFNode(
    tau=3.0, surrogate_function=surrogate.Sigmoid(4.0, spiking=False), step_mode="m", backend="torch"
).double()


def run_smooth(x):
    functional.reset_net(smooth)
    return smooth(x)


print(
    "gradient agrees with finite differences:",
    torch.autograd.gradcheck(run_smooth, torch.rand(6, 2, 3).double().requires_grad_()),
)

torch.manual_seed(1)
x, outputs, gradients = 3 * torch.rand(32, 16, 100), {}, {}
for backend in ("torch", "fused"):
    node = MyALIFNode(surrogate_function=surrogate.ATan(), step_mode="m", backend=backend)
    inputs = x.clone().requires_grad_()
    outputs[backend] = node(inputs)
    outputs[backend].sum().backward()
    gradients[backend] = inputs.grad
print(
    "spikes:", int(outputs["torch"].sum()), "  equal on both backends:", torch.equal(outputs["torch"], outputs["fused"])
)
print("largest difference of the gradients:", float((gradients["torch"] - gradients["fused"]).abs().max()))

# %% [markdown]
# ## The kernel
#
# `backend="auto"`, the default, uses a kernel wherever there is one. It was traced from `step`, and one can read it:
# this is the part for one time step on a CPU. `kernel.cuda_source` gives the same for a GPU, on any machine.

# %%
plan = kernel.plan_for(MyALIFNode(step_mode="m"), torch.zeros(4, 2))
source = kernel.numba_source.source(plan)
start = source.index("def advance")
print(source[start : source.index("\n\n", start)])

# %% [markdown]
# Every line of `step` is there, as arithmetic on single numbers. The loop around it keeps the states of a block of
# neurons in the cache over all time steps, instead of writing each intermediate tensor to memory as torch does. What
# that brings, forward and backward:


# %%
def milliseconds(node, x, rounds=5):
    times = []
    for _ in range(rounds):
        functional.reset_net(node)
        started = time.perf_counter()
        node(x).sum().backward()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[rounds // 2]


x = torch.rand(16, 64, 1024, requires_grad=True)
loop, fused = (milliseconds(MyALIFNode(step_mode="m", backend=backend), x) for backend in ("torch", "fused"))
print(f"forward and backward: {loop:.0f} ms in torch, {fused:.0f} ms fused, {loop / fused:.1f} times as fast")

# %% [markdown]
# ## What cannot be fused
#
# A kernel computes each neuron on its own. A step that mixes neurons runs as a loop in torch, and `backend="fused"`
# says why:


# %%
class CrowdedNode(BaseNode):
    """Each neuron is inhibited by the mean potential of its layer."""

    def charge(self, x, v):
        return v + x - 0.1 * v.mean()


try:
    CrowdedNode(step_mode="m", backend="fused")(torch.rand(4, 2, 10))
except ValueError as error:
    print(error)
print("as a loop:", CrowdedNode(step_mode="m")(torch.rand(4, 2, 10)).shape)

# %% [markdown]
# ## Train with it
#
# The name under which it is registered is all that a config needs. The keys of `neuron=if`, such as the surrogate,
# suit every neuron; yours come on top.

# %%
run = snntrain.train(
    "data=digits model=mlp name=digits_mlp_alif neuron=if neuron.name=MyALIFNode neuron.tau=2.0 neuron.beta=0.5",
    trainer={"max_epochs": 5},
)
print("beta after the training:", round(run.net.layers[2].beta.item(), 3))

# %% [markdown]
# An argument with a typo is refused before any data is read, as for the neurons that come with snntrain:

# %%
try:
    snntrain.train("model=mlp neuron=if neuron.name=MyALIFNode neuron.betta=0.5")
except Exception as error:
    print(error)

# %% [markdown]
# In a terminal, save the class as `my_neurons.py` in the folder where you work, and name the module:
#
# ```
# python train.py plugins=[my_neurons] neuron=if neuron.name=MyALIFNode neuron.beta=0.5
# ```
#
# The run's record then holds the plugin's name, and `eval.py` and `snntrain.load` ask for `trust=true` before they
# import it, because loading it runs its code.
#
# **Where to go from here.** A neuron whose step is linear between spikes can say so in `linear_form()`, and is then
# quantized and exported to chips, see [Build on it](../extending.md). More about [generated kernels](../kernels.md).
# Next: [your own loss, metric and task](06_own_task.md).
