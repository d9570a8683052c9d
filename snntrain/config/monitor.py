"""Knows whether a metric should be large or small, and which parts of a config monitor which metric."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from snntrain.error import UsageError
from snntrain.registry import did_you_mean

_WORDS = {
    "max": ("acc", "accuracy", "f1", "precision", "recall", "auroc", "r2", "pearson"),
    "min": ("loss", "error", "rmse", "mse", "mae", "energy", "sops", "macs", "acs", "ops", "mismatches"),
}
_USUAL = ("val/acc", "val/loss", "train/acc", "train/loss")


def direction(metric: str) -> str | None:
    """'max' or 'min', from the first known word in a metric's name; None if there is none.

    test/energy_uJ → 'min', ann2snn/acc_T8 → 'max', val/firing_rate → None.
    """
    for word in re.split(r"[/_.]", metric.lower()):
        for mode, words in _WORDS.items():
            if word in words:
                return mode
    return None


def mode_of(metric: str, mode: str | None) -> str:
    """The direction of the monitored metric, from its name unless the config sets it.

    Raises: UsageError if neither tells.
    """
    found = mode or direction(metric)
    if found is None:
        raise UsageError(
            f"monitor.metric={metric} is not known, nor whether it is to be large or small."
            f"{did_you_mean(metric, _USUAL)} If the run logs it, set monitor.mode=max or monitor.mode=min."
        )
    return found


def watchers(config: Mapping[str, Any], find: Callable[[str, str], Any]) -> Iterator[tuple[str, str, str, str]]:
    """All that monitors a metric in a run: (key of the metric, the metric, key of its direction, the direction).

    Args:
        config: resolved.
        find: (dotted name, place in the config) → class, for the default direction of a callback.
    """
    monitor = config["monitor"]
    yield "monitor.metric", monitor["metric"], "monitor.mode", monitor["mode"]
    for name, settings in config["callbacks"].items():
        metric = settings.get("monitor")
        if not isinstance(metric, str):
            continue
        path = f"callbacks.{name}"
        parameters = inspect.signature(find(settings["_target_"], path)).parameters
        if "mode" in parameters:
            yield f"{path}.monitor", metric, f"{path}.mode", settings.get("mode", parameters["mode"].default)


def check_direction(key: str, metric: str, mode_key: str, mode: str, suffix: str = "") -> None:
    """Refuse a direction, 'max' or 'min', that would select the worst value of a metric; both come with their keys.

    Args:
        suffix: what the config writes after the mode, "imize" in a search.
    """
    right = direction(metric)
    if right is not None and mode != right:
        size = {"max": "large", "min": "small"}
        raise UsageError(
            f"{key}={metric} is to be {size[right]}, but {mode_key}={mode}{suffix} looks for where it is "
            f"{size.get(mode, mode)}. Set {mode_key}={right}{suffix}."
        )


def check_logged(key: str, metric: str, logged: Collection[str]) -> None:
    """Refuse a metric that is not logged in every epoch, and suggest the nearest name."""
    if metric not in logged:
        known = sorted(logged)
        raise UsageError(
            f"{key}={metric} is not a metric that this run logs in an epoch.{did_you_mean(metric, known)} "
            f"Known: {', '.join(name for name in known if name.count('/') < 2) or 'none'}."
        )
