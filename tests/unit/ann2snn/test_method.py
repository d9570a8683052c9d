"""Thresholds, beside torch's quantiles, a search over all values and plain loops; and data that is only streamed."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from live_memory import LiveBytes
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain import registry
from snntrain.ann2snn import METHODS, Method, Setting, convert, make_method, prepare, rectifiers
from snntrain.ann2snn.method import BINS, LTB, ChannelMSE, MaxNorm, RobustNorm, mean_outputs

ALL = ["channel_mse", "ltb", "max_norm", "robust_norm"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def heavy_tailed(*shape: int, seed: int = 0) -> Tensor:
    """Inputs [N, C, *] of both signs, a few of them large, and channels of different size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(shape[1], generator=generator) + 0.2
    return torch.randn(shape, generator=generator) ** 3 * sizes.view(1, -1, *[1] * (len(shape) - 2))


def fit(method: Method, batches: list[Tensor], T: int = 4, activation: nn.Module | None = None) -> Setting:
    """What the method chooses for one activation that receives the batches themselves."""
    gm = prepare(nn.Sequential(activation or nn.ReLU()), batches[0])
    (setting,) = method.fit(gm, batches, T).values()
    return setting


def two_layers(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain(*layers)).eval()


def channels(z: Tensor) -> Tensor:
    """[N, C, *] → [C, values]."""
    return z.movedim(1, 0).reshape(z.shape[1], -1)


# --- maxima and percentiles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_init, share", [("zero", 0.0), ("half", 0.5)])
def test_max_norm_is_the_largest_activation_of_all_batches(v_init, share):
    z = heavy_tailed(30, 3, 2, 2)
    one = fit(MaxNorm(v_init=v_init), z.split(8))
    each = fit(MaxNorm(channel_wise=True, v_init=v_init), z.split(8))
    assert torch.equal(one.theta, z.max()) and torch.equal(one.v_init, share * z.max())
    assert torch.equal(each.theta, channels(z).max(1).values) and torch.equal(each.v_init, share * each.theta)
    dead = fit(MaxNorm(channel_wise=True, v_init=v_init), [torch.cat([z, -z.abs()], 1)])
    assert torch.equal(dead.theta[3:], torch.zeros(3)) and torch.equal(dead.v_init[3:], torch.zeros(3))


def test_every_activation_of_a_net_has_its_own_setting():
    net, x = two_layers(4, 5, 6), torch.randn(20, 4)
    gm = prepare(net, x)
    found = MaxNorm().fit(gm, [x], T=1)
    assert list(found) == list(rectifiers(gm)) == ["1", "3"]
    with torch.no_grad():
        assert found["1"].theta == net[:2](x).max() and found["3"].theta == net(x).max()


@settings(deadline=None, max_examples=20)
@given(
    shape=st.sampled_from([(5, 2), (40, 3), (9, 2, 4), (6, 3, 5, 5)]),
    percentage=st.sampled_from([1.0, 50.0, 75.0, 90.0, 99.0, 99.9, 100.0]),
    channel_wise=st.booleans(),
    seed=st.integers(0, 999),
)
def test_robust_norm_is_torchs_quantile_to_a_bin(shape, percentage, channel_wise, seed):
    z = heavy_tailed(*shape, seed=seed)
    found = fit(RobustNorm(percentage, channel_wise), z.split(4))
    values = z.clamp_min(0).double()
    values = channels(values) if channel_wise else values.reshape(1, -1)
    wanted = torch.quantile(values, percentage / 100, dim=1)
    top = values.max(1).values
    rank = math.floor(percentage / 100 * (values.shape[1] - 1))
    lower = values.sort(1).values[:, rank]
    wanted = torch.where(lower > 0, wanted, top)  # a threshold of 0, or next to it, would be of no use
    difference = (found.theta.reshape(-1).double() - wanted).abs()
    assert (difference <= top / BINS + 1e-6 * top).all(), (difference / top, wanted)
    assert torch.equal(found.v_init, torch.zeros_like(found.theta))


def test_robust_norm_with_half_the_threshold_and_dead_channels():
    z = torch.cat([heavy_tailed(50, 2), torch.zeros(50, 1)], 1)
    found = fit(RobustNorm(channel_wise=True, v_init="half"), [z])
    assert torch.equal(found.v_init, found.theta / 2) and found.theta[2] == 0 and (found.theta[:2] > 0).all()


# --- the smallest squared error --------------------------------------------------------------------------------------


def rate_error(z: Tensor, theta: float, T: int) -> float:
    """√mean (θ/T·clip(floor(z·T/θ + ½), 0, T) − relu(z))² of values [n]."""
    rate = theta / T * (z * T / theta + 0.5).floor().clamp(0, T)
    return (rate - z.clamp_min(0)).square().mean().sqrt().item()


@settings(deadline=None, max_examples=12)
@given(
    shape=st.sampled_from([(60, 2), (12, 3, 3, 3)]),
    T=st.integers(1, 32),
    grid=st.integers(50, 120),
    lowest=st.sampled_from([0.05, 0.1, 0.5]),
    seed=st.integers(0, 999),
)
def test_no_factor_of_the_grid_has_a_smaller_error(shape, T, grid, lowest, seed):
    """|θ/T·⌊…⌋ − z| is 1-Lipschitz in z: values displaced by half a bin change its root mean square by no more."""
    z = heavy_tailed(*shape, seed=seed)
    found = fit(ChannelMSE(grid, lowest), z.split(7), T)
    factors = torch.linspace(lowest, 1.0, grid, dtype=torch.double)
    for values, theta in zip(channels(z.double()), found.theta.tolist(), strict=True):
        top = values.max().item()
        best = min(rate_error(values, k * top, T) for k in factors.tolist())
        assert (factors - theta / top).abs().min() < 1e-6
        assert rate_error(values, theta, T) <= best + top / BINS + 1e-6 * top
    assert torch.equal(found.v_init, found.theta / 2)


def test_few_steps_want_low_thresholds_and_many_high_ones():
    z = heavy_tailed(400, 4)
    few, many = (fit(ChannelMSE(), [z], T).theta for T in (2, 256))
    assert (few < 0.8 * many).all() and (many > 0.8 * channels(z).max(1).values).all()


def test_dead_channels_have_no_threshold():
    z = torch.cat([heavy_tailed(40, 2), -torch.rand(40, 1), torch.zeros(40, 1)], 1)
    found = fit(ChannelMSE(), [z])
    assert (found.theta[:2] > 0).all() and found.theta[2:].tolist() == found.v_init[2:].tolist() == [0.0, 0.0]


def test_what_a_cap_cuts_off_counts_as_the_cap():
    z = 4 * heavy_tailed(200, 2)
    assert (channels(z).max(1).values > 6).all()
    capped = fit(ChannelMSE(), [z], 16, nn.ReLU6()).theta
    assert torch.equal(capped, fit(ChannelMSE(), [z.clamp(max=6)], 16).theta) and (capped <= 6).all()


# --- local threshold balancing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate, sweeps", [(0.5, 1), (0.1, 3)])
def test_ltb_is_its_update_rule(rate, sweeps):
    """θ_c ← θ_c + 2η·mean(max(z − θ_c, 0)), what follows receives min(relu(z), θ)."""
    net, batches = two_layers(4, 5, 6), torch.randn(24, 4).split(8)
    found = LTB(rate, sweeps).fit(prepare(net, batches[0]), batches, T=4)
    first, second = torch.zeros(5), torch.zeros(6)
    with torch.no_grad():
        for x in batches * sweeps:
            z = net[0](x)
            first += 2 * rate * (z - first).clamp_min(0).mean(0)
            z = net[2](torch.minimum(z.relu(), first))
            second += 2 * rate * (z - second).clamp_min(0).mean(0)
    torch.testing.assert_close(found["1"].theta, first)
    torch.testing.assert_close(found["3"].theta, second)
    assert torch.equal(found["1"].v_init, found["1"].theta / 2)


def test_an_update_of_ltb_descends_the_loss_of_clipping():
    z, rate = heavy_tailed(50, 3).double(), 0.2
    before = fit(LTB(rate, sweeps=2), [z]).theta
    after = fit(LTB(rate, sweeps=3), [z]).theta
    theta = before.clone().requires_grad_()
    loss = (torch.minimum(z.relu(), theta) - z.relu()).square().mean(0).sum()
    (slope,) = torch.autograd.grad(loss, theta)
    torch.testing.assert_close(after, before - rate * slope)


def test_ltb_ends_at_the_largest_activation():
    """Half the inputs are a, the others 0: θ = a·(1 − (1 − η)ⁿ) after n updates."""
    z = torch.tensor([[0.0, 0.0], [2.0, 5.0]])
    for n in (1, 7, 60):
        theta = fit(LTB(0.3, sweeps=n), [z]).theta
        torch.testing.assert_close(theta, z[1] * (1 - 0.7**n))


def test_ltb_goes_on_until_it_has_settled_or_says_that_it_has_not():
    z = heavy_tailed(8, 2)
    passes = []

    class Data:
        def __iter__(self):
            passes.append(1)
            return iter([z, z, z])

    gm = prepare(nn.Sequential(nn.ReLU()), z)
    (setting,) = LTB(delayed_readout=False).fit(gm, Data(), T=4).values()
    assert len(passes) == 27 and setting.note == ""  # 81 batches
    (setting,) = LTB(sweeps=2).fit(gm, Data(), T=4).values()
    assert "have not settled after 6 batches" in setting.note and "80" in setting.note


@pytest.mark.parametrize("v_init, share", [("zero", 0.0), ("half", 0.5)])
def test_the_readout_starts_when_the_first_spikes_have_come_through(v_init, share):
    """Σ_layers (θ − v_init)/E[relu z], of the channel in each that is the first to fire."""
    for widths in [(4, 1, 1), (4, 3, 5)]:
        net, x = two_layers(*widths), torch.rand(40, 4)
        for parameter in net.parameters():
            parameter.data.abs_()
        if widths[1] > 1:
            net[0].weight.data[1], net[0].bias.data[1] = -1.0, -1.0  # dead: fires never
        method = LTB(sweeps=3, v_init=v_init)
        found = method.fit(prepare(net, x), [x], T=4)
        t_0 = 0.0
        with torch.no_grad():
            for name, outputs in [("1", net[:2](x)), ("3", net(x))]:
                waiting = (1 - share) * found[name].theta / outputs.mean(0)
                t_0 += waiting[outputs.mean(0) > 0].min().item()
        assert method.readout_start == math.ceil(t_0) > 0
    assert LTB(sweeps=1).readout_start == 0
    early = LTB(sweeps=3, delayed_readout=False)
    early.fit(prepare(net, x), [x], T=4)
    assert early.readout_start == 0


def test_dead_layers_do_not_delay_the_readout():
    method = LTB(sweeps=1)
    assert fit(method, [-torch.rand(10, 3)]).theta.tolist() == [0, 0, 0] and method.readout_start == 0


def test_mean_outputs_are_those_of_all_samples():
    z = heavy_tailed(21, 3, 4)
    (found,) = mean_outputs(prepare(nn.Sequential(nn.ReLU()), z), z.split(8)).values()
    torch.testing.assert_close(found, channels(z.clamp_min(0)).mean(1))


# --- what holds for all methods --------------------------------------------------------------------------------------


def made(name: str) -> Method:
    return make_method(name, sweeps=1) if name == "ltb" else make_method(name)


@pytest.mark.parametrize("name", ALL)
def test_no_activation_is_kept_after_its_batch(name):
    """The peak of the memory is the same for few batches and for many."""
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()).eval()
    x = torch.rand(16, 1, 32, 32)
    gm = prepare(net, x)
    one_output = 16 * 8 * 32 * 32 * 4
    peaks = []
    for count in (2, 8):
        with LiveBytes() as live:
            made(name).fit(gm, [x] * count, T=4)
        peaks.append(live.peak)
    assert peaks[0] >= one_output and peaks[1] < peaks[0] + one_output / 100


@pytest.mark.parametrize("name", ALL)
def test_half_precision_and_integer_inputs(name):
    net, x = two_layers(4, 5, 6), torch.randint(0, 4, (64, 4))
    wanted = made(name).fit(prepare(net, x.float()), [x.float()], T=4)
    exact = made(name).fit(prepare(net, x.float()), [(x.double(), "label")], T=4)  # taken to the net's dtype
    half = made(name).fit(prepare(net.bfloat16(), x.bfloat16()), [x.float()], T=4)
    for key, setting in wanted.items():
        assert torch.equal(exact[key].theta, setting.theta)
        assert half[key].theta.dtype is torch.float32
        torch.testing.assert_close(half[key].theta, setting.theta, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ALL)
def test_the_net_and_the_hooks_on_it_are_as_before(name):
    net, x = two_layers(4, 5, 6), torch.randn(20, 4)
    gm = prepare(net, x)
    calls = []
    next(iter(rectifiers(gm).values())).register_forward_hook(lambda *_: calls.append(1))
    before = {key: value.clone() for key, value in gm.state_dict().items()}
    made(name).fit(gm, [x], T=4)
    assert all(torch.equal(value, before[key]) for key, value in gm.state_dict().items())
    assert [len(module._forward_hooks) for module in rectifiers(gm).values()] == [1, 0] and calls
    with pytest.raises(RuntimeError):
        made(name).fit(gm, [x, torch.randn(2, 9)], T=4)
    assert [len(module._forward_hooks) for module in rectifiers(gm).values()] == [1, 0]


@pytest.mark.parametrize("name", ALL)
def test_data_that_ends_is_refused(name):
    gm, x = prepare(two_layers(4, 5, 6), torch.randn(8, 4)), torch.randn(8, 4)
    with pytest.raises(ValueError, match="the loader has no batches"):
        made(name).fit(gm, [], T=4)
    if name != "max_norm":  # one pass is enough for it
        with pytest.raises(ValueError, match="hand it a DataLoader or a list, not a generator"):
            made(name).fit(gm, (x for _ in range(3)), T=4)


# --- the register ----------------------------------------------------------------------------------------------------


def test_methods_are_made_by_name():
    assert set(ALL) <= set(METHODS)
    assert {name: type(make_method(name)) for name in ALL} == {
        "channel_mse": ChannelMSE, "ltb": LTB, "max_norm": MaxNorm, "robust_norm": RobustNorm,
    }  # fmt: skip
    assert make_method("robust_norm", percentile=99, channel_wise=True).percentile == 99.0
    ready = LTB()
    assert make_method(ready) is ready


@pytest.mark.parametrize(
    "method, arguments, text",
    [
        ("chanel_mse", {}, "'chanel_mse' is not a method. Did you mean channel_mse.* Known: channel_mse, ltb"),
        (["ltb"], {}, r"\['ltb'\] is not a method"),
        (MaxNorm, {}, "is not a method"),
        (None, {}, "None is not a method"),
        ("ltb", {"sweep": 3}, "sweep is not an argument of method ltb. Did you mean sweeps"),
        (MaxNorm(), {"channel_wise": True}, "MaxNorm is made already, it takes no channel_wise"),
        ("max_norm", {"channel_wise": 1}, "MaxNorm: channel_wise must be True or False"),
        ("max_norm", {"v_init": "full"}, "MaxNorm: v_init must be one of 'zero', 'half', got 'full'"),
        ("robust_norm", {"percentile": 0}, "RobustNorm: percentile must be a finite number > 0 and ≤ 100, got 0"),
        ("robust_norm", {"percentile": 100.1}, "RobustNorm: percentile"),
        ("channel_mse", {"grid": 49}, "ChannelMSE: grid must be an integer ≥ 50, got 49"),
        ("channel_mse", {"lowest": 1.0}, "ChannelMSE: lowest must be a finite number > 0 and < 1"),
        ("ltb", {"rate": 0}, "LTB: rate must be a finite number > 0, got 0"),
        ("ltb", {"sweeps": 0}, "LTB: sweeps must be an integer ≥ 1, got 0"),
        ("ltb", {"v_init": "max"}, "LTB: v_init must be"),
        ("ltb", {"delayed_readout": "no"}, "LTB: delayed_readout must be True or False"),
    ],
)
def test_wrong_methods_and_arguments_are_named(method, arguments, text):
    with pytest.raises(ValueError, match=text):
        make_method(method, **arguments)


def test_wrong_steps_are_named():
    for T in (0, 1.5, True):
        with pytest.raises(ValueError, match="ChannelMSE: T must be an integer ≥ 1"):
            fit(ChannelMSE(), [torch.rand(3, 2)], T)


def test_a_method_of_ones_own_can_be_registered(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {**registry._ENTRIES, "conversion method": dict(METHODS)})
    monkeypatch.setattr("snntrain.ann2snn.method.METHODS", registry.table("conversion method"))

    @registry.register("conversion method", "twice_the_mean")
    class TwiceTheMean(Method):
        def fit(self, gm, loader, T, device=None):
            return {name: Setting(2 * mean, mean / T) for name, mean in mean_outputs(gm, loader).items()}

    net, x = two_layers(4, 5, 2), torch.rand(30, 4)
    net[0].bias.data += 2.0  # every channel is alive
    snn = convert(net[:-1], [x], "twice_the_mean", T=5, calibration="none")
    mean = F.relu(net[0](x)).mean(0).detach()
    torch.testing.assert_close(snn.neurons["1"].theta, 2 * mean)
    torch.testing.assert_close(snn.neurons["1"].v_init, mean / 5)
    with pytest.raises(NotImplementedError, match=r"Method must define choose\(gm, loader, T\)"):
        Method().fit(prepare(net, x), [x], 4)
