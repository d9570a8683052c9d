"""A spreadsheet runs no cell that comes from a name."""

import pytest

from snntrain.spreadsheet import cell


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-1+1|cmd"])
def test_a_text_that_begins_like_a_formula_is_quoted(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["lif", "a=b", "", "-0.5", "+3", "-1e-3", "-inf", "nan", "'x", -0.5, 3, None])
def test_everything_else_stays_as_it_is(value):
    assert cell(value) is value
