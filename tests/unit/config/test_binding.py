"""Do a config's arguments fit a signature: unknown, missing, of the wrong type, and what is said about it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Optional, Union

import lightning.pytorch as pl
import pytest
import torch
from refused import message_of

from snntrain.binding import check_call, describe, matches
from snntrain.config.binding import check_mapping, resolve_name
from snntrain.data import Digits
from snntrain.error import UsageError


def layer(size: int, *, stride: int | tuple[int, int] = 1, bias: bool = True) -> None: ...


def open_ended(size: int, **more: Any) -> None: ...


def names_for_type_checkers_only(size: "NoSuchType") -> None: ...  # noqa: F821


refusal = partial(message_of, UsageError)


def test_arguments_that_fit_pass():
    check_call(layer, {"size": 3}, "here")
    check_call(layer, {"size": 3, "stride": [1, 2], "bias": False}, "here")
    check_call(open_ended, {"size": 3, "color": "red"}, "here")
    check_call(names_for_type_checkers_only, {"size": object()}, "here")


def test_an_unknown_argument_is_named_with_the_nearest_one_and_the_known_ones():
    said = refusal(check_call, layer, {"size": 3, "strid": 2}, "model.layers[3]")
    assert (
        said == "model.layers[3].strid is not an argument of layer. Did you mean stride? It takes: size, stride, bias."
    )


def test_the_forty_arguments_of_the_trainer_are_not_listed_beside_a_suggestion():
    near = refusal(check_call, pl.Trainer, {"max_epoch": 2}, "trainer")
    far = refusal(check_call, pl.Trainer, {"qqqqq": 2}, "trainer")
    assert near == "trainer.max_epoch is not an argument of Trainer. Did you mean max_epochs?"
    assert "accelerator" in far and "Did you mean" not in far


def test_missing_arguments_are_named_all_at_once():
    class Three:
        def __init__(self, one: int, two: int, three: int = 3) -> None: ...

    assert refusal(check_call, Three, {}, "data") == "data: Three needs the arguments one, two."


def test_what_the_program_fills_in_may_not_be_given_and_is_not_missed():
    check_call(layer, {}, "here", supplied=["size"])
    assert refusal(check_call, layer, {"size": 3}, "here", supplied=["size"]).startswith("here.size is filled in")
    assert "size" not in refusal(check_call, layer, {"siz": 3}, "here", supplied=["size"]).split("It takes:")[1]


def test_what_the_program_infers_may_be_given_is_not_missed_and_is_suggested():
    check_call(layer, {}, "here", inferred=["size"])
    check_call(layer, {"size": 3}, "here", inferred=["size"])
    assert "Did you mean size?" in refusal(check_call, layer, {"siz": 3}, "here", inferred=["size"])
    assert "must be an integer" in refusal(check_call, layer, {"size": "x"}, "here", inferred=["size"])


def test_a_value_of_the_wrong_type_is_named_with_the_right_type():
    assert refusal(check_call, layer, {"size": 2.5}, "a") == "a.size must be an integer, got 2.5."
    assert (
        refusal(check_call, layer, {"size": 1, "stride": "x"}, "a")
        == "a.stride must be an integer or a list of 2, got 'x'."
    )
    assert refusal(check_call, layer, {"size": 1, "bias": 1}, "a") == "a.bias must be true or false, got 1."


# annotation, values that fit, values that do not
FITTING = [
    (int, [0, -3], [1.0, True, "1", None, [1]]),
    (float, [0, 0.5, -3], [True, "1", None, [1.0]]),
    (bool, [True, False], [0, 1, "true", None]),
    (str, ["", "x"], [1, None, ["x"], True]),
    (None, [None], [0, "", False]),
    (type(None), [None], [0]),
    (int | None, [3, None], ["x", 1.5]),
    (Optional[float], [3, 1.5, None], ["x", True]),  # noqa: UP045  as older code, and Lightning, write it
    (Union[int, str], [3, "x"], [1.5, None, [3]]),  # noqa: UP007
    (Literal["a", 2], ["a", 2], ["b", 3, None]),
    (list[int], [[], [1, 2]], [3, ["x"], [1, 2.5], None]),
    (list, [[], ["x", 1]], ["x", None, {"a": 1}]),
    (Sequence[float], [[1, 2.5], (1,)], ["x", [None]]),
    (Iterable[str], [["x"]], ["x", [1]]),
    (set[int], [[1]], [1]),
    (tuple[int, int], [[1, 2]], [[1], [1, 2, 3], [1, "x"], 1]),
    (tuple[int, ...], [[], [1], [1, 2, 3]], [["x"], 1]),
    (int | tuple[int, ...], [3, [3, 3]], ["same", [1.5]]),
    (dict[str, Any], [{}, {"a": 1}], [[], "x", None]),
    (Mapping[str, int], [{"a": 1}], [[1]]),
    (Any, [1, "x", None, [1], {}], []),
    (Callable[..., Any], ["torch.relu", {"name": "ATan"}], []),
    (torch.Tensor, [{"_target_": "x"}], [1, "x", None]),  # only an object will do
    (float | torch.Tensor, [1.5], ["x", None, True]),
    (timedelta | str | None, ["00:12:00:00", None], [-1]),
]


@pytest.mark.parametrize(("annotation", "fitting", "unfitting"), FITTING, ids=[describe(row[0]) for row in FITTING])
def test_values_fit_annotations(annotation, fitting, unfitting):
    assert [value for value in fitting if not matches(value, annotation)] == []
    assert [value for value in unfitting if matches(value, annotation)] == []


def test_what_is_described_by_a_config_of_its_own_fits_every_argument():
    for description in ({"name": "ATan"}, {"_target_": "torch.optim.SGD"}):
        assert matches(description, int)
    assert not matches({"lr": 0.1}, int)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an integer"),
        (float | None, "a number or null"),
        (int | str | None, "an integer or text or null"),
        (Union[float, None], "a number or null"),  # noqa: UP007
        (Literal["max", "min"], "one of max, min"),
        (list[int], "a list (each item an integer)"),
        (list, "a list"),
        (tuple[float, float], "a list of 2"),
        (tuple[float, ...], "a list (each item a number)"),
        (dict[str, int], "a mapping"),
        (torch.Tensor, "Tensor"),
    ],
)
def test_annotations_are_described_in_words(annotation, words):
    assert describe(annotation) == words


def test_only_a_mapping_is_a_mapping():
    check_mapping({}, "data")
    assert refusal(check_mapping, [1], "data") == "data must be a mapping, got [1]."
    assert refusal(check_mapping, None, "data") == "data must be a mapping, got None."


def test_a_dotted_name_gives_the_class():
    assert resolve_name("torch.optim.AdamW", "optim") is torch.optim.AdamW
    assert resolve_name("snntrain.data.Digits", "data") is Digits


@pytest.mark.parametrize("dotted", ["AdamW", "", None, 3, ["torch.optim.AdamW"]])
def test_a_target_without_a_dot_is_no_target(dotted):
    assert f"optim._target_ must be a dotted name such as torch.optim.AdamW, got {dotted!r}." == refusal(
        resolve_name, dotted, "optim"
    )


def test_a_mistyped_target_gets_a_suggestion_that_can_be_called():
    said = refusal(resolve_name, "snntrain.data.Digts", "data")
    assert said.endswith("Did you mean Digits?")  # snntrain.data.digits is a module
    assert "no_such_module" in refusal(resolve_name, "no_such_module.Thing", "data")
    assert "cannot be imported" in refusal(resolve_name, "torch.no_such_module.Thing", "data")


@pytest.mark.parametrize("dotted", ["torch.__version__", "torch.optim", "snntrain.data.sampler"])
def test_what_cannot_be_called_is_no_target(dotted):
    assert "has no class or function" in refusal(resolve_name, dotted, "x")
