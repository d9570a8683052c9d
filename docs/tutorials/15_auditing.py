# %% [markdown]
# # Auditing a net
#
# A net can train, reach a good accuracy, and still be wrong. In 2025 a reader of the published code of QKFormer found
# that one of its neurons was given `[T·B, C, N]` where it takes `[T, B, C, N]`: it ran over the samples of a batch as
# if they were time steps. With a batch of one, the accuracy fell by 4.5 points
# ([issue 14](https://github.com/zhouchenlin2096/QKFormer/issues/14)). No error was raised.
#
# This tutorial puts that fault and two others into a small net, and lets `snntrain.audit` find them. It takes half a
# minute on one core.

# %%
import torch
from torch import nn

from snntrain.audit import audit, audit_data
from snntrain.functional import reset_net
from snntrain.neuron import LIFNode

torch.manual_seed(1)
T, N = 4, 16
x = torch.rand(T, N, 20)


def show(findings):
    for one in findings or ["no findings"]:
        print(
            one if isinstance(one, str) else f"{one.severity}: {one.check} in {one.layer or 'the net'}. {one.evidence}"
        )


# %% [markdown]
# ## A clean net
#
# Any torch net will do that takes sequences `[T, N, …]`. The audit runs copies of it, so the net stays as it is.


# %%
def layers(*between):
    return nn.Sequential(nn.Linear(20, 32), LIFNode(v_threshold=0.2, step_mode="m"), *between, nn.Linear(32, 10))


show(audit(layers(), x))

# %% [markdown]
# ## Time and batch mixed
#
# Now a neuron behind a layer that folds time into the batch and does not unfold it.


# %%
class Fold(nn.Module):
    def forward(self, x_seq):
        return x_seq.flatten(0, 1)


class Unfold(nn.Module):
    def forward(self, x):
        return x.unflatten(0, (T, -1))


mixed = layers(Fold(), nn.Linear(32, 32), LIFNode(v_threshold=0.2, step_mode="m"), Unfold())
found = audit(mixed, x)
show(found)

# %% [markdown]
# Layer 4 is named: the first one whose output for a sample changed when its *mates* in the batch changed. A finding
# also says what to do, and where such a fault was reported.

# %%
print(found[0].remedy)
print(found[0].source)

# %% [markdown]
# What it means: the same sample, alone and in a batch.

# %%
mixed.eval()
with torch.no_grad():
    reset_net(mixed)
    together = mixed(x)[:, -1]
    reset_net(mixed)
    alone = mixed(x[:, -1:])[:, 0]
print("largest difference of its outputs:", float((together - alone).abs().max()))

# %% [markdown]
# ## A state that survives its batch
#
# A neuron of one's own keeps its potential in an attribute, and has no method `reset()`.


# %%
class OwnNeuron(nn.Module):
    v = 0.0

    def forward(self, x_seq):
        spikes = []
        for x in x_seq:
            self.v = 0.5 * self.v + x
            spikes.append((self.v >= 0.3).float())
            self.v = self.v * (1 - spikes[-1])
        return torch.stack(spikes)


show(audit(nn.Sequential(nn.Linear(20, 32), OwnNeuron(), nn.Linear(32, 10)), x))

# %% [markdown]
# Two faults at once: the state is left over, and because it fires by a comparison, no gradient reaches the layer before
# it. Both are gone with a `reset()` and a surrogate, or with a neuron that has them.
#
# ## The data
#
# The best way to a high accuracy is a test set that was trained on. `audit_data` compares the splits, value for value,
# and looks for near duplicates.

# %%
pictures = torch.rand(300, 1, 8, 8)
labels = torch.arange(300) % 10
samples = list(zip(pictures, labels, strict=True))
show(audit_data({"train": samples[:200], "test": samples[180:]}))

# %% [markdown]
# ## In a run
#
# `python train.py show=audit …` audits net, encoder and data before training, `callbacks=[default,audit]` after it, and
# `python eval.py run=… mode=audit` at any time later; the report of the run shows the table.

# %%
import snntrain

run = snntrain.train("callbacks=[default,audit] model=mlp model.features=64", trainer={"max_epochs": 2})
print({name: value for name, value in run.metrics.items() if name.startswith("audit/")})

# %% [markdown]
# All checks, and what an audit cannot see: [Audit a net and its data](../auditing.md).
