"""The emulators against Lava's own spikes, the equations in plain Python, and one another."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from snntrain.export import ExportError, emulate
from snntrain.export.netx_file import NetxLayer, write

RUNNERS = ("numpy", "torch")


def bits(spikes) -> list[str]:
    return ["".join(map(str, np.asarray(step).astype(int).ravel())) for step in spikes]


@pytest.mark.parametrize("runner", RUNNERS)
def test_convolutions_fire_as_in_lava(tmp_path, runner):
    """Spikes computed by lava-nc 0.10.0: groups, stride, padding, dilation, thresholds of channels, bias, decays."""
    first = np.array([[[[10, -20], [30, 6], [-14, 8]]], [[[-50, 24], [2, 40], [18, -36]]]])
    geometry = {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 2), "groups": 2}
    threshold = np.array([20, 24])
    layers = [
        NetxLayer("input", (2, 5, 4)),
        NetxLayer("conv", (2, 3, 4), first, bias=np.array([6, -4]), **geometry, v_decay=512, threshold=threshold),
        NetxLayer("conv", (1, 3, 3), np.array([[[[60, -4]], [[20, 38]]]]), i_decay=2048, v_decay=128, threshold=40),
    ]
    write(layers, tmp_path / "net.h5")
    x = (np.arange(240).reshape(6, 1, 2, 5, 4) * 7 % 11 < 5).astype(int)
    run = emulate(tmp_path / "net.h5", x, runner)
    assert run.layers == [1, 2]
    assert bits(run.spikes[0]) == [
        *("010101010110110000000000", "101000100001000000001000", "000101010111000000000010"),
        *("111000100010001000000000", "000100010101000010001000", "010001100010010000000000"),
    ]
    assert bits(run.output) == ["110010011", "101001000", "110010011", "111001011", "011010011", "110011101"]


@pytest.mark.parametrize("runner", RUNNERS)
def test_recurrent_layers_fire_as_in_lava(runner):
    """Spikes computed by lava-nc 0.10.0."""
    weight, weight_rec = np.array([[120, -64, 38], [-250, 254, 90]]), np.array([[40, -120], [60, -200]])
    layers = [
        NetxLayer("input", (3,)),
        NetxLayer("dense_rec", (2,), weight, weight_rec, i_decay=1000, v_decay=333, threshold=170),
        NetxLayer("dense", (2,), np.array([[100, -30], [-88, 206]]), v_decay=700, threshold=150),
    ]
    x = (np.arange(42).reshape(14, 1, 3) * 7 % 11 < 6).astype(int)
    run = emulate(layers, x, runner)
    assert " ".join(bits(run.spikes[0])) == "00 10 01 01 01 01 00 00 00 00 00 00 10 10"
    assert " ".join(bits(run.output)) == "00 00 00 01 01 01 00 00 00 00 00 00 00 10"


def neuron_in_plain_python(sums, i_decay, v_decay, threshold, bias):
    """The equations, for one neuron, on Python's integers."""
    u = v = 0
    spikes, us, vs = [], [0], [0]
    for total in sums:
        u = int(math.copysign(abs(u) * (4096 - i_decay) // 4096, u)) + 64 * int(total)
        v = int(math.copysign(abs(v) * (4096 - v_decay) // 4096, v)) + u + 64 * bias
        us.append(u)
        vs.append(v)
        v = min(max(v, 1 - 2**23), 2**23 - 1)
        spikes.append(v > 64 * threshold)
        v = 0 if spikes[-1] else v
    return spikes, (min(us), max(us)), (min(vs), max(vs))


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("i_decay", [0, 1, 1000, 4095, 4096])
@pytest.mark.parametrize("v_decay", [0, 1, 500, 4096])
def test_one_neuron_follows_the_equations(runner, i_decay, v_decay):
    rng = np.random.default_rng(i_decay * 10 + v_decay)
    weight, x = rng.integers(-128, 128, (1, 20)) * 2, rng.integers(0, 2, (60, 1, 20))
    bias = int(rng.integers(-50, 50)) if i_decay == 4096 else 0
    layer = NetxLayer("dense", (1,), weight, None, np.array([bias]), i_decay=i_decay, v_decay=v_decay, threshold=300)
    run = emulate([NetxLayer("input", (20,)), layer], x, runner)
    spikes, u_range, v_range = neuron_in_plain_python((x @ weight.T).ravel(), i_decay, v_decay, 300, bias)
    assert np.asarray(run.output).ravel().tolist() == spikes
    assert (run.u_range[0], run.v_range[0]) == (u_range, v_range)
    assert run.headroom == [max(map(abs, u_range + v_range)) / 2**23]


@pytest.mark.parametrize("runner", RUNNERS)
def test_potentials_are_clipped_as_lava_does_or_not_at_all(runner):
    x = np.concatenate([np.full((3, 1, 1), -500), np.full((4, 1, 1), 500)])
    layer = NetxLayer("dense", (1,), np.array([[200]]), threshold=0)
    layers = [NetxLayer("input", (1,)), layer]
    run = emulate(layers, x, runner)
    assert np.asarray(run.output).ravel().tolist() == neuron_in_plain_python(200 * x.ravel(), 4096, 0, 0, 0)[0]
    assert np.asarray(run.output).ravel().tolist() == [False] * 4 + [True] * 3
    unclipped = emulate(layers, x, runner, limits=None)
    assert np.asarray(unclipped.output).ravel().tolist() == [False] * 6 + [True]
    assert run.v_range == [(1 - 2**23 - 6_400_000, 6_400_000)] and unclipped.v_range == [(-19_200_000, 6_400_000)]


@pytest.mark.parametrize("runner", RUNNERS)
def test_sums_of_a_convolution_are_those_of_torch(runner):
    """A neuron that forgets everything fires where the convolution is above its threshold."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        groups, (stride, padding, dilation) = int(rng.choice([1, 2])), rng.integers(1, 3, (3, 2)).tolist()
        weight = rng.integers(-128, 128, (4, 4 // groups, 3, 2)) * 2
        x = rng.integers(0, 9, (3, 2, 4, 9, 8))
        settings = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
        exact = F.conv2d(torch.from_numpy(x).flatten(0, 1).double(), torch.from_numpy(weight).double(), **settings)
        shape = tuple(exact.shape[1:])
        layer = NetxLayer("conv", shape, weight, **settings, v_decay=4096, threshold=37)
        run = emulate([NetxLayer("input", (4, 9, 8)), layer], x, runner)
        assert np.array_equal(np.asarray(run.output).reshape(6, *shape), (exact > 37).numpy()), (seed, settings)


def test_large_sums_stay_exact_in_torch():
    """Sums beyond 2^24, of which float32 would lose the last bits."""
    weight = np.full((2, 3000), 254)
    weight[1, 0] = 252
    x = np.full((1, 1, 3000), 255)
    layers = [NetxLayer("input", (3000,)), NetxLayer("dense", (2,), weight, threshold=0)]
    torch_run, numpy_run = emulate(layers, x), emulate(layers, x, "numpy")
    assert torch_run.u_range == numpy_run.u_range == [(0, 64 * 254 * 255 * 3000)]
    assert torch_run.headroom[0] > 1


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_state_starts_anew_at_every_call(runner):
    layers = [NetxLayer("input", (1,)), NetxLayer("dense", (1,), np.array([[100]]), threshold=150)]
    x = np.ones((3, 2, 1))
    first, second = emulate(layers, x, runner), emulate(layers, x, runner)
    assert np.array_equal(first.output, second.output) and np.asarray(first.output)[:, 0, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("runner", RUNNERS)
def test_inputs_that_cannot_be_are_refused(runner):
    layers = [NetxLayer("input", (2, 3, 3)), NetxLayer("conv", (1, 3, 3), np.full((1, 2, 1, 1), 2))]
    with pytest.raises(ExportError, match=r"\[T, N, 2, 3, 3\] with T, N ≥ 1, got shape \[4, 1, 2, 3\]"):
        emulate(layers, torch.zeros(4, 1, 2, 3), runner)
    with pytest.raises(ExportError, match="got shape"):
        emulate(layers, torch.zeros(0, 1, 2, 3, 3), runner)
    with pytest.raises(ExportError, match=r"must hold integers .* got other values of dtype"):
        emulate(layers, torch.full((1, 1, 2, 3, 3), 0.5), runner)
    with pytest.raises(ExportError, match="no input layer"):
        emulate(layers[1:], torch.zeros(1, 1, 2, 3, 3), runner)
    for dtype in (torch.bool, torch.uint8, torch.float16, torch.int64):
        assert not np.asarray(emulate(layers, torch.zeros(2, 1, 2, 3, 3, dtype=dtype), runner).output).any()


def test_an_unknown_runner_is_refused():
    with pytest.raises(ValueError, match="runner must be one of 'torch', 'numpy', got 'lava'"):
        emulate([NetxLayer("input", (1,))], torch.zeros(1, 1, 1), "lava")
