"""Exported files in Lava 0.10.0's simulator: every spike of every layer is the emulator's.

python scripts/install_lava.py ~/lava, then pytest tests/peers/test_lava_runs.py with SNNTRAIN_LAVA=~/lava; about five
seconds for each net.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exportable_nets import random_case
from torch import nn

from snntrain import functional, layer, neuron
from snntrain.export import emulate, export, run_in_lava
from snntrain.export.netx_file import NetxLayer, write
from snntrain.lava_exchange.lava_shim import installed_lava
from snntrain.quantize import observe, prepare, preset

pytestmark = [
    pytest.mark.optional,
    pytest.mark.skipif(installed_lava() is None, reason="Lava is not installed: python scripts/install_lava.py FOLDER"),
]


def compare(exported, x: torch.Tensor) -> None:
    """Raises: AssertionError where Lava and the emulator differ."""
    integers = exported.input.encode(x)
    emulated = exported.run(x)
    run = run_in_lava(exported.path, integers, timeout=300)
    assert [spikes.shape for spikes in run.spikes] == [tuple(spikes.shape) for spikes in emulated.spikes]
    assert run.mismatches(emulated) == [0] * len(run.spikes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2030))
def test_random_nets(tmp_path, seed):
    """Convolutions, dense and recurrent layers, several samples in one run, graded inputs; see exportable_nets."""
    case = random_case(seed)
    compare(export(case.net, tmp_path / "net.h5", case.x), case.x)


@pytest.mark.slow
def test_a_quantized_net_that_sees_pictures(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.LIFNode(tau=1.7, v_threshold=0.3)),
        *(layer.MaxPool2d(2), layer.Conv2d(4, 6, 3), neuron.IFNode(v_threshold=0.2), layer.AvgPool2d(2)),
        *(layer.Flatten(), layer.Linear(24, 10), neuron.LIFNode(v_threshold=0.1), layer.Linear(10, 3)),
    )
    functional.set_step_mode(net, "m")
    x = torch.rand(1, 3, 1, 12, 12).expand(8, -1, -1, -1, -1)
    prepared = prepare(net, {**preset("loihi"), "input": {"bits": 5}}, x)
    observe(prepared, [x])
    compare(export(prepared, tmp_path / "net.h5", x, max_pool="neurons"), x)


@pytest.mark.slow
def test_delays_of_inputs(tmp_path):
    """Several samples, so that what is on its way at the end of one must not reach the next."""
    rng = np.random.default_rng(1)
    x = (rng.random((9, 3, 12)) < 0.4).astype(int)
    layers = [NetxLayer("input", (12,))]
    for outputs, i_decay, most in ((12, 4096, 8), (12, 1500, 5), (5, 4096, 1)):  # 12 of 12: a square matrix
        weight = rng.integers(-40, 41, (outputs, layers[-1].shape[0])) * 2
        delay = rng.integers(0, most + 1, layers[-1].shape[0])
        delay[3] = 62
        fc = NetxLayer("dense", (outputs,), weight, i_decay=i_decay, v_decay=100, delay=delay)
        layers.append(with_half_of_them_firing([*layers, fc], x))
    write(layers, tmp_path / "net.h5")
    emulated = emulate(layers, x)
    assert all(0.05 < float(spikes.float().mean()) < 0.95 for spikes in emulated.spikes)
    assert run_in_lava(tmp_path / "net.h5", x).mismatches(emulated) == [0] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "sign", ["mixed", *(pytest.param(sign, marks=pytest.mark.slow) for sign in ("positive", "negative"))]
)
def test_weights_of_every_size_and_sign(tmp_path, sign):
    """Lava's reader shifts the weights of dense layers by their size, and treats matrices of one sign apart."""
    rng = np.random.default_rng(0)
    x = (rng.random((10, 2, 12)) < 0.4).astype(int)
    layers, sizes = [NetxLayer("input", (12,))], [2, 4, 6, 14, 62, 126, 128, 130, 190, 254]
    for largest in sizes if sign != "negative" else [6, 14, 62, 126, 130, 190, 254]:  # others: netx_file.is_misread
        low, high = {"mixed": (-largest, largest), "positive": (0, largest), "negative": (-largest, 0)}[sign]
        weight = rng.integers(low // 2, high // 2 + 1, (12, 12)) * 2
        weight[0, 0] = low if sign == "negative" else high
        bias = np.full(12, 5 * largest) if sign == "negative" else None
        fc = NetxLayer("dense", (12,), weight, bias=bias, v_decay=100)
        layers.append(with_half_of_them_firing([*layers, fc], x))
    write(layers, tmp_path / "net.h5")
    emulated = emulate(layers, x)
    assert all(0.1 < spikes.float().mean() < 0.9 for spikes in emulated.spikes)
    assert run_in_lava(tmp_path / "net.h5", x).mismatches(emulated) == [0] * len(layers[1:])


def with_half_of_them_firing(layers: list[NetxLayer], x: np.ndarray) -> NetxLayer:
    """The last layer with the threshold, of many, that lets about half of the spikes pass."""
    choices = [replace(layers[-1], threshold=2**power) for power in range(13)]
    rates = [float(emulate([*layers[:-1], choice], x).output.float().mean()) for choice in choices]
    return choices[int(np.argmin(np.abs(np.array(rates) - 0.5)))]


@pytest.mark.slow
def test_large_sums_and_thresholds_for_each_neuron(tmp_path):
    """Sums far beyond 16 bits, close to the 24 bits of u and v."""
    rng = np.random.default_rng(1)
    fc = NetxLayer("dense", (8,), np.full((8, 400), 254), i_decay=4096, threshold=rng.integers(0, 131071, 8))
    write([NetxLayer("input", (400,)), fc], tmp_path / "net.h5")
    x = (rng.random((12, 2, 400)) < 0.9).astype(int)
    emulated = emulate(tmp_path / "net.h5", x)
    assert emulated.headroom[0] > 0.6 and 0 < emulated.output.float().mean() < 1
    assert run_in_lava(tmp_path / "net.h5", x).mismatches(emulated) == [0]


def test_potentials_beyond_24_bits_are_clipped_as_in_the_emulator(tmp_path):
    """Pushed down in the first steps and up in the others: how far down they went decides when they fire."""
    rng = np.random.default_rng(2)
    weight = np.concatenate([np.full((8, 200), -256), np.full((8, 200), 254)], 1)
    fc = NetxLayer("dense", (8,), weight, threshold=rng.integers(0, 60000, 8), v_decay=0)
    write([NetxLayer("input", (400,)), fc], tmp_path / "net.h5")
    x = (rng.random((12, 2, 400)) < 0.9).astype(int)
    x[:5, :, 200:], x[5:, :, :200] = 0, 0
    emulated, unclipped = emulate(tmp_path / "net.h5", x), emulate(tmp_path / "net.h5", x, limits=None)
    assert emulated.headroom[0] > 1 and not torch.equal(emulated.output, unclipped.output)
    assert run_in_lava(tmp_path / "net.h5", x).mismatches(emulated) == [0]
