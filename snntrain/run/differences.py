"""How two configs differ, key by key."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

ABSENT = "—"

RESUMABLE = frozenset(
    {
        *("paths", "resume", "sweep", "name", "callbacks", "logger", "debug", "trust"),
        *("data.root", "data.num_workers", "data.download", "trainer.log_every_n_steps"),
    }
)
"""Where the config of a run may differ from that of the run it continues. Anything else would be another experiment."""

WITHOUT_EFFECT = frozenset(
    {
        *("paths", "resume", "sweep", "show", "debug", "trust", "logger", "name"),
        *("data.num_workers", "data.download", "data.prefetch", "data.persistent_workers", "data.cache_gb"),
        *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    }
)
"""Where the configs of two runs may differ without any effect on their results."""

SAME_RESULT = {"fuse": (ABSENT, "exact", "off")}
"""Values of a key that give the same results, to the last bit."""


class Difference(NamedTuple):
    """A key whose value is not the same in two configs; ABSENT stands for no value."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        before, now = (None if value is ABSENT else value for value in (self.before, self.now))
        return f"{self.key} is {now!r}, was {before!r}"


def differences(before: Any, now: Any, *, free: Collection[str] = (), path: str = "") -> list[Difference]:
    """What differs between two configs.

    A key that only one of them has, with nothing in it, is no difference: the program of the other one did not know it
    yet. Nor are two values of SAME_RESULT.

    Args:
        before, now: resolved configs, or parts of them.
        free: dotted keys that may differ.
        path: dotted key of the two, if they are parts.
    """
    if path in free:
        return []
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in [*before, *(key for key in now if key not in before)]:
            here = f"{path}.{key}" if path else str(key)
            if key in before and key in now:
                found += differences(before[key], now[key], free=free, path=here)
                continue
            pair = before.get(key, ABSENT), now.get(key, ABSENT)
            if here not in free and before.get(key, now.get(key)) and not _give_the_same(here, *pair):
                found.append(Difference(here, *pair))
        return found
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [item for index, pair in pairs for item in differences(*pair, free=free, path=f"{path}[{index}]")]
    is_same = before == now and isinstance(before, bool) == isinstance(now, bool)  # 1 is 1.0, and true is not 1
    return [] if is_same or _give_the_same(path, before, now) else [Difference(path, before, now)]


def _give_the_same(key: str, before: Any, now: Any) -> bool:
    return key in SAME_RESULT and before in SAME_RESULT[key] and now in SAME_RESULT[key]
