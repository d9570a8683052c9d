"""The firing rates that a loss gets: of real steps, through which gradients flow to every layer."""

import pytest
import torch
from small_training import SGD, TWO, Patches, small_task, trainer
from torch import nn

from snntrain import functional
from snntrain.encoding import FramesEncoder
from snntrain.hooks import spiking_layers, watching
from snntrain.layer.padding import padded
from snntrain.model import build
from snntrain.task import OnlineClassification, SequencePrediction

LOSS = {"name": "rate_regularized", "loss": "cross_entropy", "strength": 3.0, "highest": 0.1}
X, Y = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])


T = 6
HIDDEN = [{"name": "Linear", "out_features": 5}, "neuron"]


def task(**more) -> SequencePrediction:
    torch.manual_seed(0)
    net = build([*HIDDEN, {"name": "Linear", "out_features": 2}], (2,), {"name": "LIFNode", "v_threshold": 0.25})
    return SequencePrediction(net, FramesEncoder(), T, SGD, num_classes=2, **more)


def batch(lengths: list[int]) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(4)
    x = torch.rand(len(lengths), T, 2, generator=source) * 2 - 1
    target = torch.randint(2, (len(lengths), T), generator=source)
    return x, target, torch.arange(len(lengths)), torch.tensor(lengths)


def quiet(module):
    module.log = lambda *arguments, **more: None
    return module


def gradients(module, *, step: tuple) -> list[torch.Tensor]:
    loss = quiet(module).training_step(step, 0)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in module.net.parameters())]


def test_the_penalty_and_its_gradient_are_those_of_the_spikes_by_hand():
    module = small_task(layers=TWO, loss=LOSS)
    found = gradients(module, step=(X, Y))
    by_hand, spikes = small_task(layers=TWO), []
    with watching(spiking_layers(by_hand.net), lambda path, layer, y: spikes.append(y)):
        y_seq = by_hand(X)
    assert len(spikes) == 2 and all(0 < s.mean() < 1 for s in spikes)
    penalty = sum((s.mean() - 0.1).clamp_min(0) ** 2 for s in spikes) / 2
    loss = nn.functional.cross_entropy(y_seq.mean(0), Y) + 3.0 * penalty
    loss.backward()
    expected = [loss.detach(), *(parameter.grad for parameter in by_hand.net.parameters())]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_chunks_have_the_rates_of_the_whole_sequence(gradient):
    whole = gradients(small_task(layers=TWO, loss=LOSS, T=6), step=(X, Y))
    chunked = gradients(small_task(layers=TWO, loss=LOSS, T=6, chunk=4, chunk_gradient=gradient), step=(X, Y))
    torch.testing.assert_close(chunked[0], whole[0])
    for ours, theirs in zip(chunked[1:], whole[1:], strict=True):
        assert gradient == "truncated" or torch.allclose(ours, theirs, atol=1e-6)


def test_padded_steps_stay_out_of_the_rates():
    """The rate over the real steps of a batch, beside the spikes of each sequence alone."""
    module = task(loss={**LOSS, "highest": 0.0}).train()
    lengths, spikes = [2, 6, 3], []
    x, target, index, many = batch(lengths)
    for sample, length in enumerate(lengths):
        functional.reset_net(module.net)
        with watching(spiking_layers(module.net), lambda path, layer, y: spikes.append(y)), torch.no_grad():
            module.net(x[sample : sample + 1, :length].transpose(0, 1))
    fired = sum(int(alone.sum()) for alone in spikes)
    rate = fired / (5 * sum(lengths))
    found = gradients(module, step=(x, target, index, many))
    plain = gradients(task().train(), step=(x, target, index, many))
    assert 0 < rate < 1 and found[0].item() == pytest.approx(plain[0].item() + 3.0 * rate**2, rel=1e-5)
    x[torch.arange(T) >= many[:, None]] = 9.0
    refilled = gradients(task(loss={**LOSS, "highest": 0.0}).train(), step=(x, target, index, many))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(refilled, found, strict=True))


def test_a_net_that_is_called_step_by_step_has_the_same_rates():
    """A hook that is called at every step tells the mask of that step, also beside other callers that count."""
    module = task(loss={**LOSS, "highest": 0.0})
    x, _, _, many = whole = batch([2, 6, 3])
    with module.padded(whole), module.watched():
        module.outputs("train", x, whole)
        at_once = module._rates.means()
    functional.reset_net(module.net)
    functional.set_step_mode(module.net, "s")
    with padded(many, T), module.watched():
        for x_t in x.transpose(0, 1):
            module.net(x_t)
        torch.testing.assert_close(module._rates.means(), at_once)


def test_a_penalized_net_fires_less(tmp_path):
    rates = {}
    for strength in (0.0, 30.0):
        module = small_task(layers=TWO, loss={**LOSS, "strength": strength, "highest": 0.02})
        trainer(tmp_path / str(strength), max_epochs=6).fit(module, datamodule=Patches())
        with torch.no_grad(), module.eval()._rates.watched(module.net):
            module(X)
            rates[strength] = module._rates.means().mean().item()
    assert rates[30.0] < 0.6 * rates[0.0]


def test_what_cannot_tell_firing_rates_is_refused_by_name():
    with pytest.raises(ValueError, match="compile cannot serve a loss of firing rates"):
        small_task(loss=LOSS, compile=True)
    with pytest.raises(ValueError, match=r"no layer of spiking neurons was called\. Use a spiking neuron"):
        gradients(small_task(neuron="ReLU", T=1, loss=LOSS), step=(X, Y))
    with pytest.raises(ValueError, match="rate_regularized needs the firing rates of a forward"):
        module = small_task(loss=LOSS)
        module.loss(module(X), module.scores, Y)
    plain = small_task()
    with pytest.raises(ValueError, match=r"loss 'rate_regularized' looks at all steps.*Use cross_entropy, focal, mse"):
        OnlineClassification(net=plain.net, encoder=plain.encoder, T=3, num_classes=3, optim=SGD, loss=LOSS)
