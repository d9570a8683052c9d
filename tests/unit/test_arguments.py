"""Checks of constructor arguments: what passes, what is refused, and the sentence that says so."""

import math
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refused import message_of

from snntrain.arguments import choice, flag, integer, invalid, real
from snntrain.neuron import LIFNode, ParametricLIFNode


class Owner:
    pass


message = partial(message_of, ValueError)


def test_the_error_names_owner_argument_range_value_and_what_else_is_accepted():
    for owner in (Owner(), "Owner"):
        error = invalid(owner, "tau", "a number", "x")
        assert isinstance(error, ValueError) and str(error) == "Owner: tau must be a number, got 'x'."
    text = message(real, Owner(), "a", "x", at_least=0, alternative=" or None")
    assert text == "Owner: a must be a finite number ≥ 0 or None, got 'x'."


@pytest.mark.parametrize(
    "value, expected",
    [
        (2, 2.0),
        (-0.5, -0.5),
        (0, 0.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (Fraction(1, 4), 0.25),
        (1e308, 1e308),
    ],
)
def test_real_returns_ints_and_floats_as_float(value, expected):
    actual = real(Owner(), "a", value)
    assert type(actual) is float and actual == expected


NOT_REAL = [True, False, np.True_, None, "1", b"1", 1j, [1.0], (1,), Decimal(1), torch.tensor(1.0), np.array(1.0)]
NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400, -(10**400), Fraction(10**400)]


@pytest.mark.parametrize("value", NOT_REAL + NOT_FINITE, ids=lambda value: str(value)[:12])
def test_real_refuses_what_is_no_finite_number(value):
    assert message(real, Owner(), "a", value) == f"Owner: a must be a finite number, got {value!r}."


BOUNDS = [
    ({"above": 1}, "a finite number > 1", [1.0001, 5], [1, 1.0, 0, -3, 1 + Fraction(1, 10**40)]),
    ({"at_least": 0}, "a finite number ≥ 0", [0, -0.0, 7], [-1e-300, -1]),
    ({"below": 1}, "a finite number < 1", [0.999, -5], [1, 2.5]),
    ({"at_most": 0.5}, "a finite number ≤ 0.5", [0.5, -1], [0.5000001, 1]),
    ({"at_least": 0, "below": 1}, "a finite number ≥ 0 and < 1", [0, 0.5], [1, -0.1, math.inf, "0.5"]),
    ({"above": 0, "at_most": 1}, "a finite number > 0 and ≤ 1", [1, 1e-9], [0, 1.1, None]),
]


@pytest.mark.parametrize("bounds, wanted, good, bad", BOUNDS, ids=[row[1] for row in BOUNDS])
def test_real_keeps_to_its_bounds_and_prints_them(bounds, wanted, good, bad):
    assert [real(Owner(), "a", value, **bounds) for value in good] == good
    for value in bad:
        assert message(real, Owner(), "a", value, **bounds) == f"Owner: a must be {wanted}, got {value!r}."


@given(value=st.floats(allow_nan=False, allow_infinity=False), bound=st.floats(-10, 10))
def test_real_accepts_exactly_the_numbers_on_its_side_of_the_bound(value, bound):
    sides = {"above": value > bound, "at_least": value >= bound, "below": value < bound, "at_most": value <= bound}
    for side, inside in sides.items():
        if inside:
            assert real(Owner(), "a", value, **{side: bound}) == value
        else:
            assert "must be a finite number" in message(real, Owner(), "a", value, **{side: bound})


def test_integer_returns_an_int_and_keeps_to_its_bound():
    for value in (0, 3, -2, np.int64(7), 10**30):
        actual = integer(Owner(), "n", value)
        assert type(actual) is int and actual == value
    assert integer(Owner(), "n", 1, at_least=1) == 1
    for value in (0, -5, 1.0, True):
        assert message(integer, "Owner", "n", value, at_least=1) == f"Owner: n must be an integer ≥ 1, got {value!r}."


@pytest.mark.parametrize("value", [True, False, 1.0, 2.5, "1", None, [1], np.float64(1), Fraction(2), torch.tensor(1)])
def test_integer_refuses_bools_and_whatever_is_not_an_integer_by_type(value):
    assert message(integer, Owner(), "n", value) == f"Owner: n must be an integer, got {value!r}."


@pytest.mark.parametrize("value", [0, 1, None, "True", [], 1.0, np.True_, torch.tensor(True)])
def test_flag_refuses_what_merely_behaves_like_a_bool(value):
    assert flag(Owner(), "f", True) is True and flag(Owner(), "f", False) is False
    assert message(flag, Owner(), "f", value) == f"Owner: f must be True or False, got {value!r}."


@pytest.mark.parametrize("value", ["c", "", "A", "ab", None, 1, ["a"], {"a": 1}])
def test_choice_refuses_other_values_and_lists_the_allowed_ones(value):
    assert choice(Owner(), "c", "b", ("a", "b")) == "b"
    assert message(choice, Owner(), "c", value, ("a", "b")) == f"Owner: c must be one of 'a', 'b', got {value!r}."
    assert "must be one of" in message(choice, Owner(), "c", "tor", ["torch"])  # not a part of an allowed one


def test_a_warning_about_an_argument_points_at_the_line_that_gave_it():
    for make in (LIFNode, ParametricLIFNode):
        with pytest.warns(UserWarning, match="is SpikingJelly's") as seen:
            make(backend="cupy")
        assert [warning.filename for warning in seen] == [__file__]
