"""For neurons that write their dynamics twice: as a pure step, and as the hooks a subclass may replace."""

from typing import Any


class HooksBesideStep:
    """Mixin: the hooks that come with a `step` say the same as it does, so that only those of a subclass replace it."""

    _author_of_step: type

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "step" in vars(cls):
            cls._author_of_step = cls

    def _overrides(self, *methods: str) -> bool:
        return any(getattr(type(self), method) is not getattr(self._author_of_step, method) for method in methods)
