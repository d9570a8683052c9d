"""Numbers read the same on every page and in every table."""

import math

import pytest

from snntrain import number_format as numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234, "1,234"),
        (5.0, "5"),
        (0.07123456, "0.07123"),
        (12.3456, "12.35"),
        (0.00001234567, "1.235e-05"),
        (123456.7, "123,457"),
        (1.5e20, "1.5e+20"),
        (10**20, "1e+20"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (True, "True"),
        ("lif", "lif"),
    ],
)
def test_a_number_has_four_digits(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("test/acc", 0.98765, "98.77 %"),
        ("qat/acc_int", 0.5, "50.00 %"),
        ("val/firing_rate/layers.2", 0.00001, "0.00 %"),
        ("test/recall/cat", 1, "100.00 %"),
        ("test/acc", math.nan, "nan"),
        ("test/accumulated", 0.5, "0.5"),
        ("test/loss", 0.98765, "0.9877"),
        ("test/acc", "unknown", "unknown"),
    ],
)
def test_shares_are_percentages_with_two_decimals(name, value, text):
    assert numbers.metric(value, name) == text


def test_repetitions_have_their_unit_once():
    assert numbers.plus_minus("test/acc", 0.99163, 0.00284) == "99.16 ± 0.28 %"
    assert numbers.plus_minus("test/acc", 0.935, 0.005, 0.0174) == "93.50 ± 0.50 % (± 1.74)"
    assert numbers.plus_minus("test/acc", 0.935, math.nan, 0.0174) == "93.50 % (± 1.74)"
    assert numbers.plus_minus("test/loss", 0.51234, 0.01) == "0.5123 ± 0.01"
    assert numbers.plus_minus("test/acc", math.nan, math.nan) == "nan"
    assert numbers.percent_tick(-0.025) == "−2.5 %"
