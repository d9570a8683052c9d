"""One target per sequence, sequences of several lengths: a padded batch gives what its sequences give one by one."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import SGD
from torch import Tensor
from torch.nn import functional as F

from snntrain import functional
from snntrain.encoding import FramesEncoder
from snntrain.layer.padding import padded
from snntrain.model import build
from snntrain.task import READOUTS, Classification, MultiLabel, OnlineClassification, Regression
from snntrain.task.readout import make_readout, read_out, takes_lengths

PAGE = Path(__file__).resolve().parents[3] / "docs/tasks.md"
T, F_IN, K = 6, 2, 3
OWN = ("rate", "membrane", "last", "max")
LENGTHS = st.lists(st.integers(1, T), min_size=1, max_size=5)
TASKS = {
    Classification: {"num_classes": K},
    Regression: {"num_targets": K},
    MultiLabel: {"num_classes": K},
}


def all_steps(y_seq: Tensor) -> Tensor:
    return y_seq.sum(0)


def real_steps(y_seq: Tensor, lengths: Tensor | None = None) -> Tensor:
    mask = 1 if lengths is None else (torch.arange(len(y_seq))[:, None] < lengths)[..., None]
    return (y_seq * mask).sum(0)


def every_step(y_seq: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(y_seq.mean(0), target)


def task(kind: type = Classification, layers: tuple = ("neuron",), neuron: dict | None = None, **more):
    """Weights on a grid of 2⁻⁸, on which sums are exact."""
    torch.manual_seed(0)
    neuron = neuron or {"name": "LIFNode", "v_threshold": 0.25, "backend": "torch"}
    linear = {"name": "Linear", "out_features": 5}
    net = build([linear, *layers, {**linear, "out_features": K}], (F_IN,), neuron)
    made = kind(net=net, encoder=FramesEncoder(), T=T, optim=SGD, **{**TASKS.get(kind, {"num_classes": K}), **more})
    made.log = lambda *arguments, **named: None
    with torch.no_grad():
        for tensor in made.net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_((tensor * 256).round() / 256)
    return made


def batch(kind: type, lengths: list[int], seed: int, fill: float = 0.0) -> tuple[Tensor, ...]:
    source = torch.Generator().manual_seed(seed)
    x = torch.randint(-256, 257, (len(lengths), T, F_IN), generator=source) / 256
    target = torch.randint(2, (len(lengths), K), generator=source).float()
    for sample, length in enumerate(lengths):
        x[sample, length:] = fill
    target = target.sum(1).long() % K if kind in (Classification, OnlineClassification) else target
    return x, target, torch.arange(len(lengths)), torch.tensor(lengths)


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.integers(0, 1000), st.sampled_from(OWN))
def test_a_readout_of_a_padded_batch_is_that_of_each_sequence(lengths, seed, readout):
    y_seq = torch.randint(-256, 257, (T, len(lengths), K), generator=torch.Generator().manual_seed(seed)) / 256
    found = make_readout(readout, {"readout_tau": 2.0})(y_seq, lengths=torch.tensor(lengths))
    for sample, length in enumerate(lengths):
        assert torch.equal(found[sample], read_out(y_seq[:length, sample : sample + 1], readout)[0])


@settings(deadline=None, max_examples=25)
@given(LENGTHS, st.integers(0, 1000), st.sampled_from(list(TASKS)), st.sampled_from(OWN))
def test_a_padded_batch_equals_its_sequences(lengths, seed, kind, readout):
    module = task(kind, readout=readout).eval()
    x, target, *_ = whole = batch(kind, lengths, seed)
    with module.padded(whole), torch.no_grad():
        y_seq = module.outputs("val", x, whole)
        scores, loss = module.scores(y_seq), module.compute_loss(y_seq, target)
    losses = []
    for sample, length in enumerate(lengths):
        functional.reset_net(module.net)
        alone = module.net(x[sample : sample + 1, :length].transpose(0, 1)).detach()
        assert torch.equal(scores[sample], read_out(alone, readout)[0])
        losses.append(module.loss(alone, lambda y: read_out(y, readout), target[sample : sample + 1]))
    assert loss.item() == pytest.approx(float(torch.stack(losses).mean()), abs=1e-6)


@pytest.mark.parametrize("readout", OWN)
def test_what_stands_in_padded_steps_reaches_neither_loss_nor_gradients(readout):
    found = []
    for fill in (0.0, 9.0):
        module = task(layers=("BatchNorm1d", "neuron"), readout=readout).train()
        loss = module.training_step(batch(Classification, [2, 6, 4], 3, fill), 0)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in module.net.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert any(gradient.any() for gradient in found[0][1:])


def test_a_readout_of_a_plugin_takes_lengths_or_is_refused_by_name():
    assert [name for name in OWN if takes_lengths(READOUTS[name])] == list(OWN)
    whole = batch(Classification, [2, 3], 0)
    with pytest.raises(ValueError, match=r"task\.readout: all_steps reads all steps, .* several lengths"):
        task(readout=all_steps).training_step(whole, 0)
    module = task(readout=real_steps)
    with module.padded(whole):
        y_seq = module.outputs("val", whole[0], whole)
        assert torch.equal(module.scores(y_seq)[0], y_seq[:2, 0].sum(0))
    task(readout=all_steps).training_step(whole[:3], 0)  # of one length it may read all steps


@pytest.mark.parametrize(("loss", "name"), [("tet", "tet"), (every_step, "every_step")])
def test_a_loss_of_all_steps_is_refused_by_name(loss, name):
    with pytest.raises(ValueError, match=rf"task\.loss: {name} reads the outputs of all steps"):
        task(loss=loss).training_step(batch(Classification, [2, 3], 0), 0)


def test_online_training_and_mixing_are_refused():
    whole = batch(Classification, [2, 3], 0)
    with pytest.raises(ValueError, match=r"online training learns from every step .* Use task=classification"):
        task(OnlineClassification).training_step(whole, 0)
    with pytest.raises(ValueError, match=r"several lengths\. Set task\.mixup and task\.cutmix to 0"):
        task(mixup=0.5).training_step(whole, 0)


def test_outside_of_a_padded_batch_all_steps_count():
    y_seq = torch.rand(T, 2, K)
    module = task()
    with padded(torch.tensor([1, 2]), T):
        assert torch.equal(module.scores(y_seq)[0], y_seq[0, 0])
    torch.testing.assert_close(module.scores(y_seq), y_seq.mean(0))


def test_the_readout_of_the_docs_reads_the_last_two_real_steps():
    (example,) = re.findall(r"```python\n([^`]*def last_two.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    found, y_seq = {}, torch.rand(T, 3, K)
    exec(example.replace('@register("readout")', ""), found)
    scores = found["last_two"](y_seq, lengths=torch.tensor([1, 3, T]))
    expected = [y_seq[0, 0], y_seq[1:3, 1].mean(0), y_seq[-2:, 2].mean(0)]
    torch.testing.assert_close(scores, torch.stack(expected))
    torch.testing.assert_close(found["last_two"](y_seq), y_seq[-2:].mean(0))
