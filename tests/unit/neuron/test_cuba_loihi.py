"""CubaLIFNode: golden numbers of lava-dl, the integers of the chip, its gradients, and what a neuron promises."""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import promises
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, random
from torch import Tensor, nn

from snntrain.neuron.cuba_loihi import CubaLIFNode
from snntrain.surrogate import ATan, Sigmoid

Loihi = partial(CubaLIFNode, backend="torch")
NODES = {
    "fixed": partial(Loihi, 0.5, 0.25),
    "learned": partial(Loihi, 0.3, 0.1, requires_grad=True, surrogate_function=ATan(), detach_reset=True),
    "odd scale": partial(Loihi, 0.1, 0.6, v_threshold=0.7, scale=37),
}
over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)
over_runs = pytest.mark.parametrize("run", [in_steps, in_chunks])


# --- golden numbers, computed by lava-dl 0.6.0's slayer.neuron.cuba.Neuron -------------------------------------------


@dataclass
class Golden:
    """Inputs, and what they lead to: spikes, currents and potentials after reset, the latter two times 64·scale."""

    arguments: dict
    x: list[float]
    s: list[int]
    u: list[int]
    v: list[int]


X = [30, 34, -40, 58, 6, 14, -22, 100, 34, -8, 12, -16]
BETWEEN = [0.71, 0.4021, -0.9333, 1.2345, 0.0777, 0.5501, -0.2021, 1.0013, 0.3337, -0.0807]


def golden(scale: int, decays: tuple[float, float], v_threshold: float, s: list, u: list, v: list) -> Golden:
    names = {"current_decay": decays[0], "voltage_decay": decays[1], "v_threshold": v_threshold, "scale": scale}
    return Golden(names, [x / scale for x in X], s, u, v)


GOLDEN = {
    "IF": golden(
        *(64, (1.0, 0.0), 1.0),
        [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
        [1920, 2176, -2560, 3712, 384, 896, -1408, 6400, 2176, -512, 768, -1024],
        [1920, 4096, 1536, 0, 384, 1280, -128, 0, 2176, 1664, 2432, 1408],
    ),
    "halves": golden(
        *(64, (0.5, 0.25), 1.0),
        [0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0],
        [1920, 3136, -992, 3216, 1992, 1892, -462, 6169, 5260, 2118, 1827, -111],
        [1920, 0, -992, 2472, 3846, 0, -462, 0, 0, 2118, 3415, 2450],
    ),
    "slow": golden(
        *(64, (0.1, 0.03), 1.7),
        [0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0],
        [1920, 3903, 952, 4568, 4494, 4940, 3037, 9133, 10394, 8841, 8724, 6826],
        [1920, 5765, 6543, 0, 4494, 0, 3037, 0, 0, 0, 0, 6826],
    ),
    "scale 16": golden(
        *(16, (0.25, 0.6), 6.3),
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0],
        [1920, 3616, 152, 3826, 3253, 3335, 1093, 7219, 7590, 5180, 4653, 2465],
        [1920, 4383, 1904, 4587, 5087, 5369, 3240, 0, 0, 5180, 0, 2465],
    ),
    "scale 128": golden(
        *(128, (0.37, 0.11), 0.4),
        [0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1],
        [1920, 3385, -428, 3443, 2552, 2503, 168, 6505, 6273, 3439, 2934, 824],
        [1920, 0, -428, 3063, 0, 2503, 2395, 0, 0, 0, 2934, 0],
    ),
    "between the integers": Golden(
        {"current_decay": 0.3, "voltage_decay": 0.2},
        BETWEEN,
        [0, 1, 0, 0, 1, 1, 0, 1, 1, 0],
        [2908, 3682, -1245, 4185, 3247, 4525, 2340, 5738, 5382, 3437],
        [2908, 0, -1245, 3189, 0, 0, 2340, 0, 0, 3437],
    ),
}


@pytest.mark.parametrize("case", GOLDEN.values(), ids=GOLDEN)
def test_neuron_gives_the_numbers_of_lava_dl(case):
    """Among them: at the threshold it does not fire (IF, second step)."""
    node = CubaLIFNode(**case.arguments, step_mode="m", store_v_seq=True, store_i_seq=True)
    out = node(torch.tensor(case.x).unsqueeze(1))
    assert out.flatten().tolist() == case.s
    assert (node.i_seq * node.s_scale).flatten().tolist() == case.u
    assert (node.v_seq * node.s_scale).flatten().tolist() == case.v


@pytest.mark.slow
def test_a_fused_neuron_gives_the_numbers_of_lava_dl():
    case = GOLDEN["slow"]
    node = CubaLIFNode(**case.arguments, step_mode="m", backend="fused", store_v_seq=True)
    assert node(torch.tensor(case.x).unsqueeze(1)).flatten().tolist() == case.s
    assert (node.v_seq * node.s_scale).flatten().tolist() == case.v


# --- the integers of the chip ----------------------------------------------------------------------------------------


def toward_zero(value: int, bits: int) -> int:
    return (abs(value) >> bits) * (1 if value >= 0 else -1)


def chip(x: list[int], i_decay: int, v_decay: int, threshold: int) -> tuple[list[int], list[int], list[int]]:
    """Spikes, u and v of one neuron; x are weighted spikes, before the shift by 6."""
    u, v, history = 0, 0, []
    for weighted in x:
        u = toward_zero(u * (4096 - i_decay), 12) + (weighted << 6)
        v = toward_zero(v * (4096 - v_decay), 12) + u
        s = int(v > threshold << 6)
        v = 0 if s else v
        history.append((s, u, v))
    return tuple(map(list, zip(*history, strict=True)))


decays = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))


@settings(deadline=None)
@given(
    data=st.data(),
    current_decay=decays,
    voltage_decay=decays,
    scale=st.sampled_from([1, 5, 37, 64, 85, 100, 128, 255, 256]),
    threshold=st.integers(0, 300),
)
def test_on_the_grid_of_the_weights_it_computes_what_the_chip_does(
    data, current_decay, voltage_decay, scale, threshold
):
    """Also with scales that are no power of two, where inputs k/scale are rounded."""
    x = data.draw(st.lists(st.integers(-256, 400), min_size=1, max_size=25))
    node = CubaLIFNode(
        *(current_decay, voltage_decay, (threshold + 0.5) / scale),
        scale=scale,
        step_mode="m",
        store_v_seq=True,
        store_i_seq=True,
    )
    told = node.chip_parameters()
    assert told == {
        "iDecay": round(current_decay * 4096),
        "vDecay": round(voltage_decay * 4096),
        "vThMant": threshold,
    }
    s, u, v = chip(x, *told.values())
    assert node(torch.tensor(x)[:, None] / scale).flatten().tolist() == s
    for sequence, expected in ((node.i_seq, u), (node.v_seq, v)):
        assert (sequence * node.s_scale).round().flatten().tolist() == expected


@pytest.mark.parametrize("scale", [64, 37])
@pytest.mark.parametrize("steps, fires", [(-1, 0), (0, 0), (1, 1)])
def test_it_fires_above_the_threshold_and_not_at_it(scale, steps, fires):
    node = CubaLIFNode(1.0, 0.0, v_threshold=80 / scale, scale=scale)
    # One step of a state below, at and above the threshold.
    node.v = torch.tensor([(80 * 64 + steps) / (64 * scale)])
    assert node(torch.zeros(1)).item() == fires


def test_the_threshold_is_truncated_to_the_grid():
    assert Loihi(1.0, 0.0, v_threshold=1.7).threshold_mantissa == 108
    x = torch.tensor([108, 108 + 1 / 64]) / 64
    assert Loihi(1.0, 0.0, v_threshold=1.7)(x).tolist() == [0, 1]


def test_the_scales_are_those_of_lava_dl_and_cannot_be_set():
    node = Loihi(0.5, 0.25, scale=32)
    assert (node.scale, node.s_scale, node.p_scale) == (32, 2048, 4096)
    for name in ("scale", "s_scale", "p_scale"):
        with pytest.raises(AttributeError):
            setattr(node, name, 1)


def test_its_weights_are_those_of_its_scale():
    weight = torch.tensor([0.1, 9.0])
    assert Loihi(0.5, 0.25, scale=32).quantize_8bit(weight).tolist() == [4 / 32, 254 / 32]
    assert Loihi(0.5, 0.25, scale=32).quantize_8bit(weight, descale=True).tolist() == [4, 254]


# --- gradients -------------------------------------------------------------------------------------------------------


def straight_through(value: Tensor, linear: Tensor) -> Tensor:
    return linear + (value - linear).detach()


def by_autograd(x: Tensor, decays: Tensor, scale: int, threshold: float, detach: bool, surrogate: nn.Module):
    """Spikes and final states in float64, where rounding and truncation have the gradient of the identity."""
    s_scale = 64 * scale
    parts = straight_through((decays * 4096).round() / 4096, decays)
    u = v = torch.zeros_like(x[0])
    out = []
    for x_t in x:
        leaked = ((state * s_scale * (1 - part)).trunc() / s_scale for state, part in zip((u, v), parts, strict=True))
        u_kept, v_kept = leaked
        u = straight_through(u_kept, u * (1 - parts[0])) + straight_through((x_t * s_scale).trunc() / s_scale, x_t)
        h = straight_through(v_kept, v * (1 - parts[1])) + u
        s = straight_through((h > threshold).to(h), surrogate.primitive(h - threshold))
        gate = s.detach() if detach else s
        v = (1 - gate) * h
        out.append(s)
    return torch.stack(out), u, v


@over_runs
@pytest.mark.parametrize("detach", [False, True])
def test_gradients_are_those_without_rounding_and_truncation(run, detach):
    """For input, both decays, and through the states; the surrogate is taken at h − θ."""
    surrogate = Sigmoid(3.0)
    x = random(8, 6, dtype=torch.float64).requires_grad_()
    decays = torch.tensor([0.3, 0.1], dtype=torch.float64, requires_grad=True)
    s, u, v = by_autograd(x, decays, 64, 1.0, detach, surrogate)
    weights = random(8, 6, seed=1, dtype=torch.float64)
    of_x, of_decays = torch.autograd.grad((s * weights).sum() + (u * weights[0] + v * weights[1]).sum(), [x, decays])

    node = Loihi(0.3, 0.1, requires_grad=True, surrogate_function=surrogate, detach_reset=detach).double()
    with torch.no_grad():
        node.current_decay.fill_(0.3), node.voltage_decay.fill_(0.1)
    out = run(node, x)
    loss = (out * weights).sum() + (node.current_state * weights[0] + node.voltage_state * weights[1]).sum()
    found = torch.autograd.grad(loss, [x, node.current_decay, node.voltage_decay])
    assert torch.equal(out, s) and torch.equal(node.v, v) and out.any() and not out.all()
    torch.testing.assert_close(found[0], of_x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(torch.stack(found[1:]), of_decays, rtol=1e-6, atol=1e-9)


def test_a_learned_decay_beyond_its_range_acts_as_the_bound():
    node, bound = (Loihi(0.5, 0.5, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        node.current_decay.fill_(1.5), node.voltage_decay.fill_(-0.5)
        bound.current_decay.fill_(1.0), bound.voltage_decay.fill_(0.0)
    x = random(6, 4)
    assert torch.equal(in_chunks(node, x), in_chunks(bound, x)) and torch.equal(node.v, bound.v)
    assert node.chip_parameters() == {"iDecay": 4096, "vDecay": 0, "vThMant": 64}


def test_both_decays_are_learned_from_what_the_neuron_does():
    """Gradient descent finds the decays of another neuron from its currents and potentials."""
    wanted = Loihi(0.3, 0.15, v_threshold=100.0, step_mode="m", store_v_seq=True, store_i_seq=True)
    node = Loihi(0.6, 0.5, v_threshold=100.0, requires_grad=True, step_mode="m")
    node.store_v_seq = node.store_i_seq = True
    optimizer = torch.optim.Adam(node.parameters(), lr=0.02)
    x = random(10, 200)
    wanted(x)
    for _ in range(80):
        node.reset(), optimizer.zero_grad()
        node(x)
        loss = (node.i_seq - wanted.i_seq).square().mean() + (node.v_seq - wanted.v_seq).square().mean()
        loss.backward()
        optimizer.step()
    assert node.current_decay.item() == pytest.approx(0.3, abs=0.02)
    assert node.voltage_decay.item() == pytest.approx(0.15, abs=0.02)


# --- norm ------------------------------------------------------------------------------------------------------------


class Halved(nn.Module):
    """Stands for a normalization; it has seen what pre_hook_fx makes of 0.03."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_hook_fx = None

    def forward(self, x: Tensor) -> Tensor:
        return x / 2 + self.pre_hook_fx(torch.tensor(0.03))


@over_runs
def test_a_norm_acts_on_the_current_that_reaches_the_potential_and_not_on_the_one_kept(run):
    node = CubaLIFNode(0.5, 0.0, v_threshold=100.0, norm=Halved())
    run(node, torch.tensor([[1.0], [1.0]]))
    assert node.i.item() == 1.5
    assert node.v.item() == 0.5 + 0.75 + 2 * 2 / 64
    assert node.supported_backends == ("torch",)


def test_a_norm_cannot_be_fused():
    node, early = CubaLIFNode(0.5, 0.0, norm=Halved()), CubaLIFNode(0.5, 0.0, norm=Halved(), backend="fused")
    for use in (lambda: setattr(node, "backend", "fused"), lambda: early(torch.zeros(1))):
        with pytest.raises(ValueError, match=r"^CubaLIFNode: backend 'fused' cannot serve .*: its norm mixes neurons"):
            use()
    with pytest.raises(ValueError, match=r"^CubaLIFNode: norm must be a module .*, once, got Halved\(\)"):
        node.attach_norm(Halved())


# --- what every neuron promises --------------------------------------------------------------------------------------


def test_the_repr_prints_the_present_decays():
    node = Loihi(0.375, 0.6875, requires_grad=True)
    with torch.no_grad():
        node.current_decay.fill_(0.25)
    assert "current_decay=0.25, voltage_decay=0.6875" in repr(node)
    assert f"current_decay={math.nan}" in repr(node.to("meta"))


def test_the_states_have_the_names_of_lava_dl_too():
    node = CubaLIFNode(0.5, 0.25)
    assert dict(node.named_memories()) == {"v": 0.0, "i": 0.0}
    node(torch.tensor([0.5]))
    assert node.current_state is node.i and node.voltage_state is node.v
    node.current_state, node.voltage_state = torch.tensor([1.0]), torch.tensor([0.25])
    assert (node.i.item(), node.v.item()) == (1.0, 0.25)
    node.reset()
    assert (node.current_state, node.voltage_state) == (0.0, 0.0)


@pytest.mark.slow
@over_nodes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_give_the_bits_of_the_loop(make, dtype):
    x = random(12, 50, dtype=dtype)
    looped = promises.outcome(make(), x, in_chunks)
    fused = promises.outcome(make(backend="fused"), x, in_chunks)
    promises.assert_same({**fused, "x.grad": looped["x.grad"]}, looped)
    torch.testing.assert_close(fused["x.grad"], looped["x.grad"], rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@over_nodes
@pytest.mark.parametrize("backend", ["torch", "fused"])
def test_cpu_and_cuda_have_the_same_spikes_and_states(make, backend):
    x = random(12, 4, 50)
    on_cpu = promises.outcome(make(), x, in_chunks)
    on_gpu = promises.outcome(make(backend=backend).cuda(), x.cuda(), in_chunks)
    for key, value in on_cpu.items():
        close = {"rtol": 0.0, "atol": 0.0} if key in ("out", "v", "i") else {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(on_gpu[key].cpu(), value, **close)


def test_a_subclass_that_replaces_a_hook_is_followed():
    class Doubled(CubaLIFNode):
        def neuronal_charge(self, x: Tensor) -> None:
            super().neuronal_charge(2.0 * x)

    x = torch.round(random(5, 3) * 32) / 32
    for step_mode, backend in itertools.product("sm", ("torch", "auto")):
        kinds = (kind(0.5, 0.25, step_mode=step_mode, backend=backend) for kind in (Doubled, CubaLIFNode))
        node, plain = kinds
        assert torch.equal(node(x), plain(2.0 * x)) and torch.equal(node.v, plain.v)
