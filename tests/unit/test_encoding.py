"""Encoders against their equations; shapes, refusals, and what a sample's spikes depend on."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from snntrain import functional, registry
from snntrain.encoding import (
    DirectEncoder,
    Encoder,
    FramesEncoder,
    LatencyEncoder,
    PeriodicEncoder,
    PoissonEncoder,
    PopulationEncoder,
    WeightedPhaseEncoder,
)

ENCODERS = [registry.get("encoder", name) for name in registry.names("encoder")]
SPIKING = [encoder for encoder in ENCODERS if encoder not in (DirectEncoder, FramesEncoder)]
SAME_SHAPE = [encoder for encoder in ENCODERS if encoder not in (FramesEncoder, PopulationEncoder)]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
over_encoders = pytest.mark.parametrize("encoder_class", ENCODERS)
over_spiking = pytest.mark.parametrize("encoder_class", SPIKING)
probabilities = st.floats(0, 1)
lengths = st.integers(1, 40)


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def encode_one(encoder: Encoder, x: float, T: int) -> list[float]:
    return encoder(torch.tensor([x], dtype=torch.double), T).flatten().tolist()


# --- every encoder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder_class", SAME_SHAPE)
@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 4, 5), (0, 4), ()])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_time_dimension_comes_in_front_and_the_dtype_stays(encoder_class, shape, dtype):
    x = torch.full(shape, 0.5, dtype=dtype)
    for T in (1, 5):
        y = encoder_class()(x, T)
        assert y.shape == (T, *shape) and y.dtype == dtype
        assert encoder_class().encoded_shape(shape[1:]) == shape[1:]
    assert torch.equal(x, torch.full(shape, 0.5, dtype=dtype))


@over_encoders
@pytest.mark.parametrize("T", [0, -1, 2.0, True, "4"])
def test_a_number_of_steps_below_one_is_refused(encoder_class, T):
    with pytest.raises(ValueError) as error:
        encoder_class()(torch.zeros(2, 3), T)
    assert str(error.value) == f"{encoder_class.__name__}: T must be an integer ≥ 1, got {T!r}."


@over_encoders
def test_an_encoder_has_no_weights_and_no_state(encoder_class):
    assert not encoder_class().state_dict()
    assert not [*functional.named_states(encoder_class())]


@over_spiking
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.5, 1.001], "[0.5, 1.001]"),
        ([-0.001, 0.5], "[-0.001, 0.5]"),
        ([0.0, 255.0], "[0, 255]"),
        ([0.5, math.nan], "[nan, nan]"),
        ([math.inf, 0.5], "[0.5, inf]"),
    ],
)
def test_values_outside_the_range_are_refused(encoder_class, values, shown):
    name = encoder_class.__name__
    with pytest.raises(ValueError, match=rf"^{name}: .*\[0, 1\].*Scale the data to \[0, 1\]") as error:
        encoder_class()(torch.tensor(values), 4)
    assert f"got {shown}" in str(error.value)


@pytest.mark.parametrize("encoder_class", [*SPIKING, FramesEncoder])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_an_input_that_is_not_floating_point_is_refused(encoder_class, dtype):
    with pytest.raises(ValueError, match=f"^{encoder_class.__name__}: the input has dtype {dtype}; cast it to a float"):
        encoder_class()(torch.ones(2, 4).to(dtype), 4)


@pytest.mark.parametrize(
    ("encoder_class", "arguments", "wanted"),
    [
        (LatencyEncoder, {"function": "exp"}, "function must be one of 'linear', 'log', got 'exp'"),
        (WeightedPhaseEncoder, {"phases": 4}, "T must be a multiple of phases = 4, got 6"),
        (WeightedPhaseEncoder, {"phases": 0}, "phases must be an integer ≥ 1, got 0"),
        (WeightedPhaseEncoder, {"weighted": 1}, "weighted must be True or False, got 1"),
        (PopulationEncoder, {"m": 2}, "m must be an integer ≥ 3, got 2"),
        (PopulationEncoder, {"x_max": 0}, "x_max must be a finite number > 0, got 0"),
        (PopulationEncoder, {"x_min": math.nan}, "x_min must be a finite number, got nan"),
        (PopulationEncoder, {"beta": 0.0}, "beta must be a finite number > 0, got 0.0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(encoder_class, arguments, wanted):
    with pytest.raises(ValueError, match=f"^{encoder_class.__name__}: {wanted}"):
        encoder_class(**arguments)(torch.zeros(2, 2), 6)


@over_encoders
def test_a_samples_sequence_depends_on_nothing_but_the_sample_and_its_seed(encoder_class):
    """Alone, in a batch, in another order, in a longer batch."""
    encoder, T, seeds = encoder_class(), 6, [5, 2**62, 0, 7, 1]
    x = pictures(5, 6, 3, 3)
    whole = encoder(x, T, seeds)
    order = [3, 0, 4, 2, 1]
    assert torch.equal(encoder(x[order], T, [seeds[i] for i in order]), whole[:, order])
    for i in range(5):
        assert torch.equal(encoder(x[i : i + 1], T, seeds[i : i + 1]), whole[:, i : i + 1])
    assert torch.equal(encoder(torch.cat([x, x]), T, [*range(5), *seeds])[:, 5:], whole)


@over_encoders
def test_seeds_matter_if_and_only_if_numbers_are_drawn(encoder_class):
    encoder, x, state = encoder_class(), pictures(4, 6, 3, 3), torch.get_rng_state()
    first, second = encoder(x, 6, range(4)), encoder(x, 6, range(4, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second) != encoder.is_random == (encoder_class is PoissonEncoder)
    if encoder_class in SPIKING:
        assert encoder(pictures(3, 40), 8).unique().tolist() == [0.0, 1.0]


# --- direct and frames -----------------------------------------------------------------------------------------------


def test_direct_presents_any_input_at_every_step_without_copying_it_and_sums_its_gradient():
    x, weights = torch.tensor([[-3.0, math.inf], [7.0, 0.5]], requires_grad=True), torch.randn(4, 2, 2)
    y = DirectEncoder()(x, 4, seeds=[1, 2])
    assert all(torch.equal(step, x) for step in y)
    assert y.data_ptr() == x.data_ptr() and y.stride(0) == 0
    assert functional.repeated_step(y) is x
    (y * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights.sum(0))
    assert DirectEncoder()(torch.tensor([3, -1]), 2).dtype == torch.int64


def test_frames_become_steps():
    x = torch.randn(3, 4, 2, 5)
    y = FramesEncoder()(x, 4)
    assert y.shape == (4, 3, 2, 5)
    assert all(torch.equal(y[t, n], x[n, t]) for t in range(4) for n in range(3))
    assert FramesEncoder().encoded_shape([2, 5]) == (2, 5)


@pytest.mark.parametrize(("shape", "found"), [((3, 4, 2), "4 frames per sample"), ((3,), "no frames")])
def test_another_number_of_frames_than_T_is_refused(shape, found):
    with pytest.raises(ValueError, match=f"^FramesEncoder: T is 5, .*{found}. Set T to the number of frames"):
        FramesEncoder()(torch.zeros(shape), 5)


# --- Poisson ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [None, range(40)])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.0, 1e-4, 1e-3, 0.01, 0.3, 0.5, 0.9, 0.996, 1.0])
def test_poisson_fires_as_often_as_the_input_says(p, dtype, seeds):
    """Also in half precision, whose own random numbers come in steps of 2^-8 or 2^-11."""
    torch.manual_seed(0)
    x = torch.full((40, 100), p, dtype=dtype)
    p, n = x[0, 0].item(), 100 * 4000  # as rounded to the dtype
    y = PoissonEncoder()(x, 100, seeds)
    assert set(y.unique().tolist()) <= {0.0, 1.0}
    assert y.double().sum().item() == pytest.approx(n * p, abs=5 * math.sqrt(n * p * (1 - p)) + 1e-6)


def test_poisson_is_silent_at_0_and_certain_at_1_whatever_is_drawn(monkeypatch):
    x = torch.tensor([0.0, 1.0])
    for drawn in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand", lambda size, drawn=drawn, **more: torch.full(size, drawn, **more))
        assert PoissonEncoder()(x, 2).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("seeds", [None, range(1000)])
def test_poisson_draws_every_step_and_every_element_anew(seeds):
    torch.manual_seed(0)
    y = PoissonEncoder()(torch.full((1000, 2), 0.5), 6, seeds)
    for a in range(6):
        for b in range(a):
            assert abs((y[a] == y[b]).double().mean().item() - 0.5) < 0.06
    assert abs((y[:, :, 0] == y[:, :, 1]).double().mean().item() - 0.5) < 0.03
    assert abs((y[:, 0::2] == y[:, 1::2]).double().mean().item() - 0.5) < 0.03


def test_poisson_follows_torchs_generator_if_there_are_no_seeds():
    x = pictures(50)
    torch.manual_seed(3)
    first = PoissonEncoder()(x, 8)
    second = PoissonEncoder()(x, 8)
    torch.manual_seed(3)
    assert torch.equal(PoissonEncoder()(x, 8), first) and not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_seeded_spikes_begin_the_same_in_longer_sequences_and_other_dtypes(dtype):
    x = pictures(4, 30).half()
    y = PoissonEncoder()(x.float(), 5, range(4))
    assert torch.equal(PoissonEncoder()(x.to(dtype), 9, range(4))[:5].float(), y)


@pytest.mark.parametrize(("x", "seeds"), [(torch.zeros(3, 2), [1, 2]), (torch.zeros(()), [1]), (torch.zeros(2), [])])
def test_another_number_of_seeds_than_samples_is_refused(x, seeds):
    with pytest.raises(ValueError, match=f"^PoissonEncoder: seeds must be one integer per sample, got {len(seeds)} "):
        PoissonEncoder()(x, 4, seeds)


# --- periodic --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60).flatmap(lambda p: st.tuples(st.integers(0, p), st.just(p))), st.integers(1, 300))
def test_periodic_fires_when_the_sum_of_fractions_reaches_a_whole_number(fraction, T):
    """Exactly so, though few of the fractions are floats."""
    x = Fraction(*fraction)
    expected = [math.floor((t + 1) * x) - math.floor(t * x) for t in range(T)]
    for dtype in (torch.float32, torch.float64):
        assert PeriodicEncoder()(torch.tensor([float(x)], dtype=dtype), T).flatten().tolist() == expected


@settings(max_examples=30, deadline=None)
@given(probabilities, st.integers(1, 200))
def test_periodic_spikes_are_regular_and_as_many_as_the_input_says(x, T):
    spikes = encode_one(PeriodicEncoder(), x, T)
    times = [t for t, spike in enumerate(spikes) if spike]
    intervals = [b - a for a, b in zip([-1, *times], times, strict=False)]
    assert set(spikes) <= {0.0, 1.0} and abs(sum(spikes) - T * x) < 1 + 1e-9
    assert not intervals or max(intervals) - min(intervals) <= 1


def test_periodic_never_owes_two_spikes_at_once_however_the_products_round():
    x = 1 - torch.arange(3000, 3100) * 2.0**-24  # the last step of these is late by a rounding error
    assert PeriodicEncoder()(x, 16400).unique().tolist() == [0.0, 1.0]


# --- latency ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["linear", "log"])
@settings(max_examples=30, deadline=None)
@given(x=probabilities, T=lengths)
def test_latency_is_one_spike_at_the_time_of_the_equation(function, x, T):
    time = (T - 1) * (1 - x)
    if function == "log":
        time = (T - 1) - math.log((math.exp(T - 1) - 1) * x + 1)
        assume(abs(time % 1 - 0.5) > 1e-9)
    expected = [0.0] * T
    expected[round(time)] = 1.0
    assert encode_one(LatencyEncoder(function=function), x, T) == expected


@pytest.mark.parametrize("function", ["linear", "log"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_latency_falls_with_the_input_from_the_last_step_to_the_first(function, dtype):
    for T in (1, 10, 2000):  # e^1999 is no float
        x = torch.linspace(0, 1, 300).to(dtype)
        y = LatencyEncoder(function=function)(x, T)
        assert torch.equal(y.sum(0), torch.ones_like(x))
        times = y.argmax(0)
        assert times[0] == T - 1 and times[-1] == 0 and (times.diff() <= 0).all()


def test_latency_of_the_logarithm_spreads_small_values():
    x = torch.tensor([1e-3, 1e-2])
    linear, log = (LatencyEncoder(function=function)(x, 11).argmax(0) for function in ("linear", "log"))
    assert linear.tolist() == [10, 10] and log.tolist() == [7, 5]


# --- weighted phase --------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(x=probabilities, phases=st.integers(1, 20), periods=st.integers(1, 3))
def test_phases_are_the_binary_digits(x, phases, periods):
    number = min(math.floor(Fraction(x) * 2**phases), 2**phases - 1)
    digits = [int(digit) for digit in f"{number:0{phases}b}"]
    assert encode_one(WeightedPhaseEncoder(phases), x, phases * periods) == digits * periods
    assert encode_one(WeightedPhaseEncoder(), x, phases) == digits
    weighted = encode_one(WeightedPhaseEncoder(phases, weighted=True), x, phases * periods)
    assert sum(weighted[:phases]) == number / 2**phases and weighted == weighted[:phases] * periods


def test_phases_of_kim_et_al():
    """8 bits: 192/256 = 2^-1 + 2^-2, and the largest number for 1."""
    y = WeightedPhaseEncoder(8)(torch.tensor([0.75, 1.0, 0.0, 2**-8]), 8)
    assert y.T.tolist() == [[1, 1, 0, 0, 0, 0, 0, 0], [1] * 8, [0] * 8, [0] * 7 + [1]]


def test_more_digits_than_a_float_has_are_still_its_digits():
    y = WeightedPhaseEncoder()(torch.tensor([1 / 3, 1.0]), 1100)
    assert sum(bit * 2.0**-k for k, bit in enumerate(y[:, 0].tolist(), 1)) == torch.tensor(1 / 3).item()
    assert y[:, 1].all()


# --- population ------------------------------------------------------------------------------------------------------


def population_by_hand(x: float, m: int, x_min: float, x_max: float, beta: float) -> list[float]:
    """Bohte et al., 2002, one neuron at a time: what part of the sequence each one waits."""
    waiting = []
    for i in range(1, m + 1):
        center = x_min + (2 * i - 3) / 2 * (x_max - x_min) / (m - 2)
        sigma = (x_max - x_min) / (m - 2) / beta
        waiting.append(1 - math.exp(-((x - center) ** 2) / (2 * sigma**2)))
    return waiting


@settings(max_examples=30, deadline=None)
@given(share=probabilities, T=lengths, m=st.integers(3, 16), x_min=st.floats(-9, 9), width=st.floats(0.1, 9))
@pytest.mark.parametrize("beta", [1.5, 1.0, 2.0])
def test_population_spikes_are_those_of_the_equations(share, T, m, x_min, width, beta):
    x_max = x_min + width
    x = min(x_min + share * width, x_max)
    times = [T * part for part in population_by_hand(x, m, x_min, x_max, beta)]
    assume(all(abs(time % 1 - 0.5) > 1e-9 for time in times))
    found = PopulationEncoder(m, x_min, x_max, beta)(torch.tensor([x], dtype=torch.double), T)
    assert found.shape == (T, 1, m)
    assert found[:, 0].tolist() == [[float(round(time) == t) for time in times] for t in range(T)]
    assert found.sum() > 0  # some field's center is near


def test_population_neurons_stand_side_by_side_in_each_channel():
    x, encoder = pictures(2, 3, 4, 5), PopulationEncoder(m=6)
    y = encoder(x, 7)
    assert y.shape == (7, 2, *encoder.encoded_shape((3, 4, 5))) == (7, 2, 18, 4, 5)
    alone = encoder(x.flatten(), 7)  # [T, N·C·H·W, m]
    assert torch.equal(y, alone.view(7, 2, 3, 4, 5, 6).permute(0, 1, 2, 5, 3, 4).reshape(7, 2, 18, 4, 5))
    assert encoder(x[:, :, 0, 0], 7).shape == (7, 2, *encoder.encoded_shape([3])) == (7, 2, 18)
    assert encoder.encoded_shape(()) == (6,) and encoder(x[:, 0, 0, 0], 7).shape == (7, 2, 6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_population_keeps_the_dtype(dtype):
    y = PopulationEncoder()(torch.full((2, 3), 0.5, dtype=dtype), 10)
    times = [round(10 * part) for part in population_by_hand(0.5, 8, 0.0, 1.0, 1.5)]
    assert y.dtype == dtype and y[:, 1, :8].tolist() == [[float(time == t) for time in times] for t in range(10)]


def test_values_outside_the_fields_are_refused():
    encoder = PopulationEncoder(x_min=-1, x_max=2)
    assert encoder(torch.tensor([-1.0, 2.0]), 4).sum(-1).sum(0).min() > 0
    with pytest.raises(ValueError, match=r"^PopulationEncoder: .* must lie in \[-1, 2\], got \[-1.5, 0\]"):
        encoder(torch.tensor([-1.5, 0.0]), 4)
    with pytest.raises(ValueError, match=r"^PopulationEncoder: the input must be a batch"):
        encoder(torch.tensor(0.5), 4)
