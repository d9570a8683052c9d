"""Errors of constructors and readers become errors of usage: one line, with the place in front, once."""

import pytest
from hydra.errors import HydraException, InstantiationException

from snntrain.config.error import refusing
from snntrain.error import UsageError


def said(error: BaseException, prefix: str = "neuron") -> str:
    with pytest.raises(UsageError) as raised, refusing(prefix):
        raise error
    assert raised.value.__cause__ is error  # for the traceback
    return str(raised.value)


@pytest.mark.parametrize("kind", [ValueError, TypeError, OSError, ImportError, AttributeError, RuntimeError])
def test_what_a_constructor_says_is_passed_on_with_its_place(kind):
    assert said(kind("LIFNode: tau must be > 1.")) == "neuron: LIFNode: tau must be > 1."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (["neuron: tau is wrong."], "neuron: tau is wrong."),  # the place is not named twice
        (["Error(s):\n\tMissing key(s): a\n"], "neuron: Error(s): Missing key(s): a"),
        ([], "neuron: ValueError"),
    ],
)
def test_an_error_becomes_one_line_that_names_its_place_once(text, message):
    assert said(ValueError(*text)) == message
    assert said(ValueError("tau is wrong."), prefix="") == "tau is wrong."


def test_an_error_of_usage_passes_unchanged():
    error = UsageError("as it is")
    with pytest.raises(UsageError) as raised, refusing("neuron"):
        raise error
    assert raised.value is error


def test_behind_hydras_wrapping_the_constructors_own_words_are_found():
    inner = ValueError("tau must be > 1.")
    middle = InstantiationException("Error in call to target")
    middle.__cause__ = inner
    outer = HydraException("outermost")
    outer.__cause__ = middle
    assert said(outer) == "neuron: tau must be > 1."
    assert said(HydraException("alone")) == "neuron: alone"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("x"), ZeroDivisionError()])
def test_errors_of_the_program_itself_are_left_alone(error):
    with pytest.raises(type(error)), refusing("neuron"):
        raise error
