"""Surrogates against the formulas of their papers."""

import copy
import inspect
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from surrogate_formulas import CASES, INF, NAN, POINTS, SMOOTH, SMOOTH_VARIANTS, VARIANTS
from torch.fx.experimental.proxy_tensor import make_fx

from snntrain import registry, surrogate
from snntrain.surrogate import SurrogateFunction, heaviside

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "surrogate").glob("*.yaml"))
DTYPES = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 2e-6}}

over_variants = pytest.mark.parametrize("name, arguments", VARIANTS)
over_smooth_variants = pytest.mark.parametrize("name, arguments", SMOOTH_VARIANTS)
over_dtypes = pytest.mark.parametrize("dtype", DTYPES)
over_names = pytest.mark.parametrize("name", CASES)


def build(name: str, arguments: dict[str, Any] | None = None, **more: Any) -> SurrogateFunction:
    return getattr(surrogate, name)(**{**(CASES[name].defaults if arguments is None else arguments), **more})


def gradient(function: Callable, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def values(formula: Callable[..., float], x: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor:
    """The reference at the points that x really holds after rounding to its dtype."""
    return torch.tensor([formula(point, **arguments) for point in x.tolist()], dtype=torch.float64).to(x.dtype)


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_complete_and_registered():
    own = {
        name for name in registry.names("surrogate") if registry.get("surrogate", name).__module__ == surrogate.__name__
    }
    assert own == set(CASES) and len(own) == 17


@over_names
def test_signature_is_the_table_row_then_spiking(name):
    parameters = inspect.signature(getattr(surrogate, name)).parameters
    expected = {**CASES[name].defaults, "spiking": True}
    if name == "MultiLevelSpikeCount":
        expected = {"max_spike_count": inspect.Parameter.empty, "grad_window": None, "spiking": True}
    assert {key: parameter.default for key, parameter in parameters.items()} == expected
    assert list(parameters) == list(expected)


@over_dtypes
@over_variants
def test_gradient_of_spikes_is_the_derivative_of_the_table(name, arguments, dtype):
    x = torch.tensor(POINTS, dtype=dtype)
    actual = gradient(build(name, arguments), x)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, values(CASES[name].d, x, arguments), **DTYPES[dtype])


@over_dtypes
@over_smooth_variants
def test_value_without_spiking_is_the_primitive_whose_gradient_is_the_derivative_at_kinks_too(name, arguments, dtype):
    x = torch.tensor(POINTS, dtype=dtype)
    primitive = build(name, arguments, spiking=False)
    assert primitive(x).dtype == dtype
    torch.testing.assert_close(primitive(x), values(CASES[name].p, x, arguments), **DTYPES[dtype])
    torch.testing.assert_close(gradient(primitive, x), values(CASES[name].d, x, arguments), **DTYPES[dtype])


@over_smooth_variants
def test_primitive_passes_gradcheck_away_from_kinks(name, arguments):
    x = torch.linspace(-3.07, 4.93, 27, dtype=torch.float64)
    distance = torch.stack([(x - kink).abs() for kink in CASES[name].kinks(**arguments)]).amin(0)
    x = x[distance > 1e-3].requires_grad_()
    assert x.numel() > 20
    assert torch.autograd.gradcheck(build(name, arguments, spiking=False), x)


@over_names
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_parameters_and_inputs_agree_with_the_table(name, data):
    case = CASES[name]
    arguments = {key: data.draw(strategy, label=key) for key, strategy in case.drawn.items()}
    kinks = case.kinks(**arguments)
    x_values = st.floats(-50, 50).filter(lambda point: all(abs(point - kink) > 1e-6 for kink in kinks))
    x = torch.tensor(data.draw(st.lists(x_values, min_size=1, max_size=6), label="x"), dtype=torch.float64)
    expected = values(case.d, x, arguments)
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(gradient(build(name, arguments), x), expected, **close)
    torch.testing.assert_close(build(name, arguments)(x), _spikes(name, x, arguments), rtol=0, atol=0)
    if case.p is not None:
        smooth = build(name, arguments, spiking=False)
        torch.testing.assert_close(smooth(x), values(case.p, x, arguments), **close)
        torch.testing.assert_close(gradient(smooth, x), expected, **close)


def _spikes(name, x, arguments):
    if name == "MultiLevelSpikeCount":
        top = arguments["max_spike_count"]
        return torch.tensor([float(round(min(top, max(0, point)))) for point in x.tolist()], dtype=x.dtype)
    return torch.tensor([float(point >= 0) for point in x.tolist()], dtype=x.dtype)


@pytest.mark.parametrize(
    "name, arguments, x",
    [
        ("Sigmoid", {"alpha": 4.0}, 5.0),  # 1 − σ(20) is 0 in float32
        ("Sigmoid", {"alpha": 4.0}, -5.0),
        ("PiecewiseExp", {"alpha": 4.0}, 10.0),
        ("Erf", {"alpha": 2.0}, -3.0),
        ("QPseudoSpike", {"alpha": 1e5}, 2.0),  # (1 + 4e-5)^-1e5
        ("QPseudoSpike", {"alpha": 2.0}, -1e4),
        ("SquarewaveFourierSeries", {"n": 6, "T_period": 8.0}, 80001.0),
        ("SoftSign", {"alpha": 1e-30}, 1.0),
    ],
)
def test_float32_keeps_relative_precision_in_the_tails(name, arguments, x):
    tensor = torch.tensor([x])
    actual = gradient(build(name, arguments), tensor)
    torch.testing.assert_close(actual, values(CASES[name].d, tensor, arguments), rtol=2e-5, atol=0)


@pytest.mark.parametrize("name, arguments", [row for row in VARIANTS if row[0] != "SquarewaveFourierSeries"])
def test_infinite_input_has_the_limit_of_the_derivative_as_gradient(name, arguments):
    far = gradient(build(name, arguments), torch.tensor([INF, -INF]))
    limit = values(CASES[name].d, torch.tensor([1e38, -1e38]), arguments)
    torch.testing.assert_close(far, limit, rtol=1e-6, atol=1e-30)


# --- the spiking forward pass ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in CASES if name != "MultiLevelSpikeCount"])
def test_spikes_at_and_above_the_threshold_only(name, dtype):
    x = torch.tensor([0.0, -0.0, 1e-4, -1e-4, 3.0, -3.0, INF, -INF, NAN], dtype=dtype)
    for function in (build(name), heaviside):
        s = function(x)
        assert s.tolist() == [1, 1, 1, 0, 1, 0, 1, 0, 0] and s.dtype == dtype
    assert heaviside(torch.tensor([5e-324, -5e-324], dtype=torch.float64)).tolist() == [1, 0]  # the smallest floats


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 1, 2)])
@over_names
def test_shape_is_kept_and_input_untouched(name, shape):
    x = torch.linspace(-1, 1, math.prod(shape)).reshape(shape)
    before = x.clone()
    for flag in (True, False) if name in SMOOTH else (True,):
        function = build(name, spiking=flag)
        assert function(x).shape == shape and gradient(function, x).shape == shape
        assert torch.equal(x, before)


@over_names
def test_incoming_gradient_multiplies_the_derivative(name):
    x = torch.tensor([-0.6, -0.1, 0.2, 0.8], dtype=torch.float64, requires_grad=True)
    incoming = torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64)
    (actual,) = torch.autograd.grad(build(name)(x), x, incoming)
    torch.testing.assert_close(actual, incoming * values(CASES[name].d, x.detach(), CASES[name].defaults))


@over_variants
def test_second_derivative_is_that_of_the_table_and_finite_everywhere(name, arguments):
    x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(build(name, arguments)(x).sum(), x, create_graph=True)
    second = torch.zeros_like(x)
    if first.requires_grad:  # else the derivative is made of constants
        second = torch.autograd.grad(first.sum(), x, allow_unused=True, materialize_grads=True)[0]
    assert second.isfinite().all()
    for point, actual in zip(x.tolist(), second.tolist(), strict=True):
        if all(abs(point - kink) > 1e-2 for kink in CASES[name].kinks(**arguments)):
            after, before = CASES[name].d(point + 1e-5, **arguments), CASES[name].d(point - 1e-5, **arguments)
            assert actual == pytest.approx((after - before) / 2e-5, rel=1e-5, abs=1e-6), point


def test_spike_count_rounds_half_to_even_and_stops_at_its_bounds():
    count = surrogate.MultiLevelSpikeCount(4)
    x = torch.tensor([-INF, -1.0, 0.5, 0.51, 1.5, 2.5, 3.49, 3.5, 4.0, 9.0, INF])
    assert count(x).tolist() == [0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4]
    assert surrogate.MultiLevelSpikeCount(1)(torch.tensor([0.5, 0.6, 7.0])).tolist() == [0, 1, 1]


def test_spike_count_has_gradient_inside_its_window_bounds_included():
    x = torch.tensor([-1.1, -1.0, 0.0, 4.0, 5.5, 5.6])
    assert gradient(surrogate.MultiLevelSpikeCount(4), x).tolist() == [0, 0, 1, 1, 0, 0]
    window = surrogate.MultiLevelSpikeCount(4, (-1, 5.5))
    assert gradient(window, x).tolist() == [0, 1, 1, 1, 1, 0]
    assert window(x).tolist() == [0, 0, 0, 4, 4, 4]
    assert gradient(surrogate.MultiLevelSpikeCount(4, [0, 0]), x).tolist() == [0, 0, 1, 0, 0, 0]


# --- arguments -------------------------------------------------------------------------------------------------------


REFUSALS = [
    (name, key, value)
    for name, case in CASES.items()
    for key, out_of_range in case.bad.items()
    for value in [*out_of_range, True, "1", None, NAN, INF, -INF, 1j]
]


@pytest.mark.parametrize("name, key, value", REFUSALS)
def test_bad_value_is_refused_by_parameter_name(name, key, value):
    with pytest.raises(ValueError) as error:
        build(name, **{key: value})
    assert str(error.value).startswith(f"{name}: {key} must be ")
    assert str(error.value).endswith(f", got {value!r}.")


def test_error_names_range_and_value_and_every_parameter_is_among_the_refusals():
    with pytest.raises(ValueError, match=r"^Sigmoid: alpha must be a finite number > 0, got -1\.0\.$"):
        surrogate.Sigmoid(-1.0)
    assert all(set(case.bad) == set(case.defaults) == set(case.drawn) for case in CASES.values())


@pytest.mark.parametrize("window", [(0,), (0, 1, 2), 3, "ab", (2, 1), (0, NAN), (-INF, 0), (0, True), (0, None)])
def test_bad_window_is_refused(window):
    with pytest.raises(ValueError, match=r"^MultiLevelSpikeCount: grad_window(\[[01]\])? must be .*, got "):
        surrogate.MultiLevelSpikeCount(4, window)


@pytest.mark.parametrize("value", [0, 1, None, "True", 1.0])
@over_names
def test_spiking_is_a_bool_at_construction_and_after(name, value):
    message = f"{name}: spiking must be True or False, got {value!r}."
    with pytest.raises(ValueError) as error:
        build(name, spiking=value)
    assert str(error.value) == message
    built = build(name)
    with pytest.raises(ValueError):
        built.spiking = value
    assert built.spiking is True


def test_spiking_stops_by_a_method_and_never_without_a_primitive():
    node = surrogate.Sigmoid()
    node.set_spiking_mode(False)
    assert not node.spiking and node(torch.zeros(1)).item() == 0.5
    with pytest.raises(ValueError, match="FakeNumericalGradient: spiking must be True"):
        surrogate.FakeNumericalGradient(spiking=False)
    built = surrogate.FakeNumericalGradient()
    with pytest.raises(ValueError, match="FakeNumericalGradient: spiking must be True"):
        built.spiking = False
    assert built.spiking is True


@over_names
def test_ints_serve_as_floats_and_parameters_are_plain_numbers(name):
    case = CASES[name]
    built = build(name, dict.fromkeys(case.defaults, 2))
    for key, default in case.defaults.items():
        assert type(getattr(built, key)) is type(default) and getattr(built, key) == 2
    assert not list(built.state_dict()) and not list(built.parameters())


@over_variants
def test_repr_shows_every_constructor_value_in_the_order_of_the_table(name, arguments):
    text = repr(build(name, arguments))
    assert text.startswith(f"{name}(") and "spiking=True" in text
    assert all(f"{key}={value}" in text for key, value in arguments.items())
    assert "grad_window=(0.0, 4.0)" in repr(surrogate.MultiLevelSpikeCount(4))
    assert surrogate.S2NN(3.0, 0.5, False).extra_repr() == "alpha=3.0, beta=0.5, spiking=False"
    assert surrogate.ATan(3.0, False).extra_repr() == "alpha=3.0, spiking=False"


# --- instances, copies, tracing --------------------------------------------------------------------------------------


@over_names
def test_instances_are_independent(name):
    first, second = build(name), build(name)
    x = torch.tensor([-0.3, 0.2, 0.9], dtype=torch.float64)
    before = gradient(second, x)
    for key in CASES[name].defaults:
        setattr(first, key, 3.0)
    if name in SMOOTH:
        first.spiking = False
    assert second.spiking and torch.equal(gradient(second, x), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda built: pickle.loads(pickle.dumps(built))])
@over_smooth_variants
def test_copies_behave_alike_and_apart(name, arguments, duplicate):
    built = build(name, arguments, spiking=False)
    twin = duplicate(built)
    x = torch.linspace(-2, 2, 9)
    assert repr(twin) == repr(built) and twin.spiking is False and torch.equal(twin(x), built(x))
    twin.spiking = True
    assert built.spiking is False and torch.equal(twin(x), build(name, arguments)(x))


@pytest.mark.parametrize(
    "name, arguments, spiking", [(*row, True) for row in VARIANTS] + [(*row, False) for row in SMOOTH_VARIANTS]
)
def test_vector_jacobian_product_can_be_traced(name, arguments, spiking):
    built = build(name, arguments, spiking=spiking)

    def value_and_vjp(x, g):
        out, pull_back = torch.func.vjp(built, x)
        return out, *pull_back(g)

    example = torch.tensor([0.3, -0.4], dtype=torch.float64)
    graph = make_fx(value_and_vjp)(example, torch.ones_like(example))
    x = torch.tensor(POINTS, dtype=torch.float64).reshape(-1, 2)  # not the values it was traced with
    g = torch.linspace(-1, 1, x.numel(), dtype=torch.float64).reshape(x.shape)
    for row, incoming in zip(x, g, strict=True):
        out, grad_x = graph(row, incoming)
        assert torch.equal(out, built(row))
        expected = incoming * values(CASES[name].d, row, arguments)
        torch.testing.assert_close(grad_x, expected, rtol=1e-12, atol=1e-12)


def test_own_surrogate_needs_only_a_derivative():
    class Triangle(SurrogateFunction):
        def derivative(self, x):
            return (1 - x.abs()).clamp(min=0)

    x = torch.tensor([-0.25, 0.5, 2.0])
    assert Triangle()(x).tolist() == [0, 1, 1] and gradient(Triangle(), x).tolist() == [0.75, 0.5, 0]
    with pytest.raises(ValueError, match="Triangle: spiking must be True"):
        Triangle(spiking=False)
    with pytest.raises(NotImplementedError, match=r"SurrogateFunction must define derivative\(x\)"):
        gradient(SurrogateFunction(), x)


# --- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_with_the_default_parameters(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    built = registry.build("surrogate", **config)
    name = config.pop("name")
    assert repr(built) == repr(build(name)) and config.keys() == CASES[name].defaults.keys()


def test_every_surrogate_has_one_config():
    configs = [yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in CONFIGS]
    assert sorted(configs) == sorted(CASES)


# --- the same as functions of numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, parameters",
    [("sigmoid", (3.0,)), ("atan", (2.0,)), ("piecewise_leaky_relu", (0.5, 0.1)), ("s2nn", (4.0, 2.0)), ("rect", ())],
)
def test_a_surrogate_can_be_applied_as_a_function(name, parameters):
    function = getattr(surrogate, name)
    made = function.surrogate(*parameters)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64).requires_grad_()
    for apply in (function.apply, function.surrogate.spiking_function):
        spikes = apply(x, *parameters)
        (grad,) = torch.autograd.grad(spikes.sum(), x)
        assert torch.equal(spikes, (x >= 0).double()) and torch.equal(grad, made.derivative(x))
    assert torch.equal(function.surrogate.primitive_function(x, *parameters), made.primitive(x))
    assert torch.equal(function.surrogate.backward(2 * x, x, *parameters), 2 * x * made.derivative(x))


def test_every_surrogate_of_spikingjelly_is_there_as_a_function():
    functions = {value.surrogate.__name__ for value in vars(surrogate).values() if hasattr(value, "surrogate")}
    assert functions == set(registry.names("surrogate")) - {"MultiLevelSpikeCount"}
