"""The integer engine: beside plain loops over Python integers, beside Loihi's equations, and what it reports."""

import copy

import numpy as np
import pytest
import torch
from prepared_nets import prepared
from random_nets import in_integers
from seeded_inputs import spikes
from torch import nn

from snntrain import layer, neuron
from snntrain.functional import repeat, set_step_mode
from snntrain.quantize import IntegerNet, prepare, preset, to_integer
from snntrain.quantize.numpy_runner import run


def dense_net(kind: type[nn.Module] = neuron.LIFNode, **arguments: object) -> nn.Sequential:
    torch.manual_seed(0)
    arguments = {"backend": "torch", **arguments}
    net = nn.Sequential(
        layer.Linear(20, 16), kind(**arguments), layer.Linear(16, 12), kind(**arguments), layer.Linear(12, 4)
    )
    set_step_mode(net, "m")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4)
    return net


def test_a_dense_net_is_what_its_description_says():
    """Run from its operations and arrays alone, in Python integers: nothing of either runner is used."""
    x = spikes(6, 2, 20)
    net = prepared(dense_net(v_reset=None), {"bits": 6, "quantype": "fake"}, x)
    integers = to_integer(net)
    found = integers.run(x, record=True)
    kinds = [operation["op"] for operation in integers.operations]
    assert kinds == ["input", "linear", "neuron", "linear", "neuron", "linear", "output"]
    linears = [operation["name"] for operation in integers.operations if operation["op"] == "linear"]
    neurons = [operation for operation in integers.operations if operation["op"] == "neuron"]
    fired = 0
    for sample in range(2):
        u = [[0] * 16, [0] * 12]
        for t in range(6):
            a = [int(value) for value in x[t, sample]]
            for index, operation in enumerate(neurons):
                sums = _affine(integers, linears[index], a)
                a = []
                for i, total in enumerate(sums):
                    threshold = integers.arrays[f"{operation['name']}.threshold"]
                    theta = int(threshold[i if len(threshold) > 1 else 0])
                    kept = (u[index][i] * operation["leak"]["factor"] + 2048) // 4096
                    shift = operation["shift"]
                    current = (total + (1 << shift - 1)) >> shift if shift > 0 else total << -shift
                    h = max(-32, min(31, kept + current))
                    a.append(int(h >= theta))
                    u[index][i] = h - theta * a[-1]
                fired += sum(a)
                assert found.spikes[operation["name"]][t, sample].tolist() == a
                assert found.potentials[operation["name"]][t, sample].tolist() == u[index]
            sums = torch.tensor(_affine(integers, linears[2], a)).float()
            assert torch.equal(sums * torch.from_numpy(integers.arrays["readout.scale"]), found.logits[t, sample])
    assert fired > 10


def _affine(net: IntegerNet, name: str, a: list[int]) -> list[int]:
    weight, bias = net.arrays[f"{name}.weight"].tolist(), net.arrays[f"{name}.bias"].tolist()
    return [sum(w * value for w, value in zip(row, a, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


@pytest.mark.parametrize("kind, tau", [(neuron.IFNode, None), (neuron.LIFNode, 3.0)])
def test_the_preset_loihi_obeys_lavas_equations(kind, tau):
    """v ← trunc(v·(4096 − vDecay)/4096) + (Σ w·s + bias)·64 in 24 bits, spike v > vThMant·64; even weights w = 2·W."""
    x = spikes(12, 3, 20)
    net = prepared(dense_net(kind, **({"tau": tau} if tau else {})), preset("loihi"), x)
    integers = to_integer(net)
    found, a = integers.run(x, record=True), x.numpy().astype(np.int64)
    for name, neurons in (("0", "1"), ("2", "3")):
        w, bias = (2 * integers.arrays[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias"))
        mantissa, rest = np.divmod(integers.arrays[f"{neurons}.threshold"].astype(np.int64) - 1, 64)
        assert not rest.any() and (mantissa <= 131071).all() and (np.abs(bias) <= 4095).all()
        assert w.min() >= -256 and w.max() <= 254 and np.abs(w).max() > 200
        decay = 0 if tau is None else round(4096 / tau)
        v, out = np.zeros(a.shape[1:2] + w.shape[:1], np.int64), []
        for t in range(len(a)):
            kept = np.sign(v) * (np.abs(v) * (4096 - decay) >> 12)
            v = np.clip(kept + ((a[t] @ w.T + bias) << 6), -(2**23), 2**23 - 1)
            out.append(v > mantissa << 6)
            v = np.where(out[-1], 0, v)
        a = np.stack(out).astype(np.int64)
        assert (found.spikes[neurons].numpy() == a).all() and 0.02 < a.mean() < 0.9


def test_weights_take_a_byte_and_everything_an_integer():
    x = spikes(2, 1, 20)
    for bits, dtype in ((2, np.int8), (8, np.int8), (9, np.int16)):
        integers = to_integer(prepared(dense_net(), {"bits": 8, "w": {"bits": bits}}, x))
        for name, array in integers.arrays.items():
            kind = name.rpartition(".")[2]
            wanted = {"weight": dtype, "bias": np.int32, "threshold": np.int32}.get(kind, np.float32)
            assert array.dtype == wanted, name
        largest = max(np.abs(integers.arrays[f"{name}.weight"]).max() for name in "024")
        assert largest <= 2 ** (bits - 1)
    weights = 16 * 20 + 12 * 16 + 4 * 12
    integers = to_integer(prepared(dense_net(), {"bits": 8}, x))
    assert weights < integers.size_in_bytes < weights + 400
    assert "7 operations" in repr(integers)


def test_headroom_says_how_far_potentials_went():
    x = spikes(8, 4, 20)
    net = prepared(dense_net(neuron.IFNode, v_reset=None), {"bits": 8, "quantype": "fake", "margin": 1.0}, x)
    integers = to_integer(net)
    for runner in ("torch", "numpy"):
        found = integers.run(x, runner=runner)
        assert found.spikes == found.potentials == {}
        assert set(found.headroom) == {"1", "3"}
        assert all(room["range"] == 128 < room["largest"] for room in found.headroom.values())  # it saturated
    wide = to_integer(prepared(dense_net(neuron.IFNode), {"bits": 8, "v": {"bits": 24}}, x)).run(x)
    assert all(room["largest"] > 0 for room in wide.headroom.values())


def test_predictions_are_means_over_time_of_a_static_input():
    x = spikes(1, 5, 20)[0]
    net = prepared(dense_net(), {"bits": 8}, repeat(x, 6))
    integers = to_integer(net)
    mean = integers(x.expand(6, *x.shape)).mean(0)
    assert torch.equal(integers.predict(x, 6), mean) and torch.equal(net.predict(x, 6), mean)
    net.readout_start = 2
    late = to_integer(net).predict(x, 6)
    assert torch.equal(late, integers(x.expand(6, *x.shape))[2:].mean(0)) and torch.equal(net.predict(x, 6), late)


def test_a_repeated_step_gives_the_same_in_both_runners():
    x = spikes(1, 5, 20)[0]
    integers = to_integer(prepared(dense_net(), {"bits": 8}, repeat(x, 4)))
    whole = integers.run(x.expand(4, *x.shape), record=True)
    for runner in ("torch", "numpy"):
        found = integers.run(repeat(x, 4), record=True, runner=runner)
        assert torch.equal(found.logits, whole.logits)
        assert all(torch.equal(found.spikes[name], whole.spikes[name]) for name in whole.spikes)


@pytest.mark.slow
def test_fused_kernels_give_the_integers_too():
    x = spikes(9, 40, 20)
    net = dense_net(backend="auto")
    quantized = prepared(net, {"bits": 5, "quantype": "fake"}, x)
    assert all(node.backend == "auto" for node in quantized.neurons.values())
    for node in quantized.neurons.values():
        node.backend = "fused"
    assert not in_integers(quantized, x)[0]


def test_a_difference_would_be_found():
    """The comparison that other tests rely on: any number that is changed shows."""
    x = spikes(6, 8, 20)
    quantized = prepared(dense_net(), {"bits": 5}, x)
    reference = to_integer(quantized).run(x, record=True)
    for name, change in (("0.weight", 1), ("2.bias", 1), ("1.threshold", 1)):
        integers = to_integer(quantized)
        integers.arrays[name] = integers.arrays[name].copy()
        integers.arrays[name].flat[:3] += change
        found = integers.run(x, record=True)
        assert any((found.potentials[key] != reference.potentials[key]).any() for key in ("1", "3")), name
    for key, value in (("shift", 1), ("bits", -1), ("rounding", "floor"), ("reset", "soft")):
        integers = to_integer(quantized)
        integers.operations = copy.deepcopy(integers.operations)
        operation = next(operation for operation in integers.operations if operation["op"] == "neuron")
        operation[key] = operation[key] + value if isinstance(value, int) else value
        for runner in ("torch", "numpy"):
            found = integers.run(x, record=True, runner=runner)
            assert (found.potentials["1"] != reference.potentials["1"]).any(), (key, runner)


def test_a_net_that_was_not_observed_has_no_integers():
    with pytest.raises(RuntimeError, match="call observe"):
        to_integer(prepare(dense_net(), {"bits": 8}))
    x = spikes(2, 1, 20)
    with pytest.raises(ValueError, match="runner must be one of 'torch', 'numpy'"):
        to_integer(prepared(dense_net(), {"bits": 8}, x)).run(x, runner="jax")


def test_the_numpy_runner_takes_numpy():
    x = spikes(3, 2, 20)
    integers = to_integer(prepared(dense_net(), {"bits": 8}, x))
    found = run(integers.operations, integers.arrays, x.numpy())
    assert found["logits"].dtype == np.float32 and (found["logits"] == integers(x).numpy()).all()
