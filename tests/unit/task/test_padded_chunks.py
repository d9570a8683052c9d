"""Sequences of several lengths in chunks: what the whole sequences give, and memory that does not grow with T."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import SGD
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.callback.spike_statistics import watching
from snntrain.encoding import FramesEncoder
from snntrain.layer.padding import padded, padding
from snntrain.model import build
from snntrain.task import Classification, SequencePrediction

T, F_IN, K = 7, 3, 2
RECURRENT = {
    "recurrent": ["neuron"],
    "feedback": [{"name": "Linear", "out_features": 6, "bias": False}],
}
LENGTHS = st.lists(st.integers(1, T), min_size=2, max_size=5)


def task(kind: type = SequencePrediction, layers: tuple = ("neuron",), **more):
    torch.manual_seed(0)
    neuron = {"name": "LIFNode", "v_threshold": 0.2, "backend": "torch"}
    net = build(
        [{"name": "Linear", "out_features": 6}, *layers, {"name": "Linear", "out_features": K}], (F_IN,), neuron
    )
    made = kind(net=net, encoder=FramesEncoder(), T=T, optim=SGD, num_classes=K, **more)
    made.log = lambda *arguments, **named: None
    return made


def batch(lengths: list[int], kind: type = SequencePrediction, seed: int = 0) -> tuple[Tensor, ...]:
    source = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(len(lengths), T, F_IN, generator=source)
    target = torch.randint(K, (len(lengths), T), generator=source)
    for sample, length in enumerate(lengths):
        x[sample, length:], target[sample, length:] = 0, 0
    if kind is Classification:
        target = target[:, 0]
    return x, target, torch.arange(len(lengths)), torch.tensor(lengths)


def learned(module, whole: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of a training step."""
    module.zero_grad()
    loss = module.training_step(whole, 0)
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in module.parameters()]


@settings(deadline=None, max_examples=20)
@given(LENGTHS, st.integers(1, T), st.sampled_from([SequencePrediction, Classification]), st.booleans())
def test_exact_chunks_of_padded_sequences_give_the_gradients_of_the_whole(lengths, chunk, kind, is_recurrent):
    layers = ("BatchNorm1d", RECURRENT if is_recurrent else "neuron")
    whole, found = batch(lengths, kind), []
    for size in (None, chunk):
        module = task(kind, layers, chunk=size)
        module.net.eval()  # statistics of training are those of a chunk, see below
        found.append(learned(module, whole))
    assert_close(found[1], found[0], rtol=0, atol=1e-6)
    assert found[0][1][0].count_nonzero() > 0


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_truncated_chunks_of_padded_sequences_are_the_loop_that_detaches(chunk):
    lengths = [7, 2, 5]
    whole = batch(lengths)
    by_hand, chunked = task(), task(chunk=chunk, chunk_gradient="truncated")
    x_seq = whole[0].transpose(0, 1)
    functional.reset_net(by_hand.net)
    functional.set_step_mode(by_hand.net, "s")
    outputs = []
    for t, x in enumerate(x_seq):
        if t % chunk == 0:
            functional.detach_net(by_hand.net)
        outputs.append(by_hand.net(x))
    losses = [
        nn.functional.cross_entropy(torch.stack(outputs)[:length, sample], whole[1][sample, :length], reduction="sum")
        for sample, length in enumerate(lengths)
    ]
    (sum(losses) / sum(lengths)).backward()
    expected = [parameter.grad for parameter in by_hand.parameters()]
    assert_close(learned(chunked, whole)[1], expected, rtol=0, atol=1e-6)
    assert not torch.allclose(learned(task(), whole)[1][0], expected[0], atol=1e-4)


@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_normalization_takes_the_real_steps_of_each_chunk_once(gradient):
    """Also of a chunk in which a sequence, or every one, has ended; the repetition in backward has the same masks."""
    chunk, whole = 2, batch([3, 4, 2])
    module = task(layers=("BatchNorm1d", "neuron"), chunk=chunk, chunk_gradient=gradient)
    reference, h = nn.BatchNorm1d(6), module.net.layers[0](whole[0].transpose(0, 1)).detach()
    mask = torch.arange(T)[:, None] < whole[3]
    for first in range(0, 4, chunk):
        reference(h[first : first + chunk][mask[first : first + chunk]])
    learned(module, whole)
    found = module.net.layers[1]
    assert_close(found.running_mean, reference.running_mean)
    assert_close(found.running_var, reference.running_var)
    assert int(found.num_batches_tracked) == 2


def test_modules_are_told_the_real_steps_of_their_chunk():
    whole, seen = batch([7, 2, 5]), []
    module = task(chunk=3)
    module.net.layers[1].register_forward_hook(lambda *_: seen.append(padding().mask.clone()))
    learned(module, whole)
    mask = torch.arange(T)[:, None] < whole[3]
    parts = list(mask.split(3))
    assert len(seen) == 6 and all(map(torch.equal, seen, [*parts, *reversed(parts)]))  # forward, then backward


def test_firing_rates_are_those_of_the_real_steps():
    lengths = [7, 2, 5]
    whole, found = batch(lengths), []
    for chunk in (None, 3):
        module, fired = task(chunk=chunk), []

        def count(name: str, layer: nn.Module, output: Tensor, fired: list = fired) -> None:
            fired.append(output[padding().of(layer, output)].sum())

        with torch.no_grad(), padded(whole[3], T), watching({"lif": module.net.layers[1]}, count):
            module(whole[0])
        found.append(sum(fired))
    assert found[0] == found[1] > 0


PEAK = """
import resource, sys, torch
from snntrain.layer import Linear
from snntrain.neuron import LIFNode
from snntrain import functional
from snntrain.layer.padding import padded
from snntrain.task.chunk import run_in_chunks

steps, gradient = int(sys.argv[1]), sys.argv[2]
net = torch.nn.Sequential(Linear(2, 256), LIFNode(), Linear(256, 256), LIFNode(), Linear(256, 2))
functional.set_step_mode(net, "m")

def learn(T):
    x_seq = torch.rand(T, 64, 2)
    functional.reset_net(net)
    with padded(torch.full((64,), T).index_fill(0, torch.arange(32), T // 2), T):
        y_seq = run_in_chunks(net, x_seq, 100, gradient)
    y_seq.square().mean().backward()

torch.set_num_threads(1)
learn(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
learn(steps)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak(steps: int, gradient: str) -> int:
    """KiB that a training step of two layers of 256 neurons adds to a process, with chunks of 100 steps."""
    command = [sys.executable, "-c", PEAK, str(steps), gradient]
    # So that glibc gives freed memory back to the system, which would else be counted.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to give freed memory back")
@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_memory_of_chunks_is_flat_from_100_to_1600_steps(gradient):
    """A sixteenth of the sequence costs 32 MB; the whole adds its inputs, outputs, and sixteen states, 6 MB."""
    short, long = peak(100, gradient), peak(1600, gradient)
    assert long < 1.4 * short, (short, long)
