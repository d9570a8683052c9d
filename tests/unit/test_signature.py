"""Arguments of a base class, taken as **common: named in the signature, and given by the order that is promised."""

import inspect
import typing
from dataclasses import dataclass
from typing import Any

import pytest

from snntrain.signature import merge_signature, take


class Base:
    def __init__(self, threshold: float = 1.0, reset: float | None = 0.0, mode: str = "s") -> None:
        self.threshold, self.reset, self.mode = threshold, reset, mode

    def __init_subclass__(cls, **options: Any) -> None:
        merge_signature(cls, **options)


class Plain(Base):
    def __init__(self, tau: float = 2.0, *, scale: int = 64, **common: Any) -> None:
        super().__init__(**common)
        self.tau, self.scale = tau, scale


class Ordered(Base, positional=True):
    def __init__(self, tau: float = 2.0, *, scale: int = 64, **common: Any) -> None:
        super().__init__(**common)
        self.tau, self.scale = tau, scale


class Below(Ordered, without=("tau", "mode")):
    def __init__(self, slope: float, reset: float | None = None, **common: Any) -> None:
        super().__init__(tau=1.5, reset=reset, mode="m", **common)
        self.slope = slope


class Inheriting(Plain):
    pass


def shown(cls: type) -> str:
    return str(inspect.signature(cls)).removesuffix(" -> None")


def test_the_signature_names_the_arguments_of_both():
    own, common = "tau: float = 2.0", "threshold: float = 1.0, reset: float | None = 0.0, mode: str = 's'"
    assert shown(Plain) == shown(Inheriting) == f"({own}, *, scale: int = 64, {common})"
    assert shown(Ordered) == f"({own}, {common}, scale: int = 64)"
    hints = {"tau": float, "scale": int, "threshold": float, "reset": float | None, "mode": str}
    assert typing.get_type_hints(Plain.__init__) == typing.get_type_hints(Ordered.__init__) == hints


def test_an_argument_of_its_own_replaces_that_of_the_base_and_one_that_it_sets_itself_is_gone():
    assert shown(Below) == "(slope: float, reset: float | None = None, *, threshold: float = 1.0, scale: int = 64)"
    assert vars(Below(3.0, scale=8)) == {
        "threshold": 1.0,
        "reset": None,
        "mode": "m",
        "tau": 1.5,
        "scale": 8,
        "slope": 3.0,
    }


def test_arguments_are_taken_by_position_where_that_order_is_promised():
    given = Ordered(4.0, 0.5, None, "m", scale=8)
    assert vars(given) == vars(Plain(4.0, threshold=0.5, reset=None, mode="m", scale=8))
    assert (given.tau, given.threshold, given.reset, given.mode, given.scale) == (4.0, 0.5, None, "m", 8)
    assert Ordered(4.0, 0.5, None, "m", 8).scale == 8
    with pytest.raises(TypeError, match="Plain: too many positional arguments"):
        Plain(4.0, 0.5)


def test_an_argument_after_the_bare_star_changes_a_default_of_the_base_in_its_place():
    class Soft(Ordered, positional=True):
        def __init__(self, *, reset: float | None = None, gain: float = 1.0, **common: Any) -> None:
            super().__init__(reset=reset, **common)

    assert list(inspect.signature(Soft).parameters) == ["tau", "threshold", "reset", "mode", "scale", "gain"]
    assert Soft().reset is None and Soft(4.0, 0.5, 0.25).reset == 0.25


def test_a_wrong_argument_is_named_with_the_class_that_was_called():
    with pytest.raises(TypeError, match="Inheriting: got an unexpected keyword argument 'treshold'"):
        Inheriting(treshold=1.0)
    with pytest.raises(TypeError, match=r"Below.__init__\(\) missing 1 required positional argument: 'slope'"):
        Below()


def test_a_class_may_set_a_required_argument_of_its_base_without_saying_so():
    class Needing(Base):
        def __init__(self, slope: float, **common: Any) -> None:
            super().__init__(**common)
            self.slope = slope

    class Steep(Needing):
        def __init__(self, **common: Any) -> None:
            super().__init__(slope=9.0, **common)

    assert Steep(mode="m").slope == 9.0


def test_a_group_of_arguments_is_a_dataclass():
    @dataclass(frozen=True)
    class Lens:
        focus: float = 50.0
        stop: int = 8

    class Seeing(Base, groups=(Lens,)):
        def __init__(self, name: str, **common: Any) -> None:
            self.lens = take(Lens, common)
            super().__init__(**common)

    assert list(inspect.signature(Seeing).parameters) == ["name", "threshold", "reset", "mode", "focus", "stop"]
    given = Seeing("eye", stop=4, mode="m")
    assert (given.lens, given.mode) == (Lens(50.0, 4), "m")
    with pytest.raises(TypeError, match="Seeing: got an unexpected keyword argument 'stopp'"):
        Seeing("eye", stopp=4)


def test_constructors_that_state_all_their_arguments_stay_as_they_are():
    class Explicit(Base):
        def __init__(self, tau: float, mode: str) -> None:
            super().__init__(mode=mode)

    class Passing(Base):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)

    assert list(inspect.signature(Explicit).parameters) == ["tau", "mode"]
    assert Passing(0.5, None).reset is None
