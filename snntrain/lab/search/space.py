"""Turn parameters into overrides, and try a search before it starts."""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.error import UsageError
from snntrain.lab.search.settings import Parameter, Search, Value
from snntrain.registry import did_you_mean
from snntrain.run.folder import RunFolder

_TWO_BATCHES = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 2,
    "trainer.limit_test_batches": 2,
}


def suggest(trial: optuna.Trial, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    """Draw a value of every parameter with the study's sampler."""
    drawn: dict[str, Value] = {}
    for path, p in parameters.items():
        if p.type == "categorical":
            drawn[path] = trial.suggest_categorical(path, p.choices)
        elif p.type == "int":
            drawn[path] = trial.suggest_int(path, p.low, p.high, log=p.log, step=p.step or 1)
        else:
            drawn[path] = trial.suggest_float(path, p.low, p.high, log=p.log, step=p.step)
    return drawn


def as_overrides(values: Mapping[str, Value]) -> list[str]:
    """Values as overrides; a text is used as it is written."""
    words = {True: "true", False: "false", None: "null"}
    return [
        f"{path}={words[value] if value is None or isinstance(value, bool) else value}"
        for path, value in values.items()
    ]


def try_ends(search: Search) -> dict[str, Any]:
    """Check a config for both ends, or every choice, of each parameter; returns that of the first ends."""
    first = {path: parameter.ends()[0] for path, parameter in search.parameters.items()}
    config = _checked([*search.overrides, *as_overrides(first)], "the runs of this search")
    for path, parameter in search.parameters.items():
        for value in parameter.ends()[1:]:
            end = as_overrides({path: value})
            _checked([*search.overrides, *as_overrides(first | {path: value})], f"parameters.{path}: {end[0]}")
    if search.pruner or search.objectives[0].metric.startswith("val/"):
        _refuse_other_monitor(search, config)
    return config


def _checked(overrides: list[str], place: str) -> dict[str, Any]:
    try:
        config = compose(overrides)
        config.paths.run = "trial"
        checked = check(config)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error
    if checked["trainer"].get("devices", 1) not in (1, "1") or checked["trainer"].get("num_nodes", 1) != 1:
        raise UsageError("trainer.devices: a run on several devices is not supported; use workers=… for several runs.")
    return checked


def _refuse_other_monitor(search: Search, config: Mapping[str, Any]) -> None:
    if len(search.objectives) > 1:
        return  # the best epoch by the monitored metric serves all of them
    objective, monitor = search.objectives[0], config["monitor"]
    mode = objective.direction.removesuffix("imize")
    if objective.metric != monitor["metric"] or mode != monitor["mode"]:
        raise UsageError(
            f"objectives: {objective.metric} is to be {objective.direction}d, but the best epoch of a run is the one "
            f"with the {monitor['mode']} of {monitor['metric']}. Add monitor.metric={objective.metric} "
            f"monitor.mode={mode}."
        )


def rehearse(search: Search) -> None:
    """Run two batches in a temporary folder, to see whether the runs have the metrics of the objectives."""
    from snntrain.run.front import describe
    from snntrain.run.run import run

    first = {path: parameter.ends()[0] for path, parameter in search.parameters.items()}
    kept = [text for text in search.overrides if text.partition("=")[0].lstrip("+") not in _TWO_BATCHES]
    overrides = [*kept, *as_overrides({**first, **_TWO_BATCHES})]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "rehearsal"
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                metrics = run(compose(overrides), folder, overrides)
        except Exception as error:
            raise UsageError(f"the search was tried with two batches, and failed: {describe(error)}") from error
        of_epochs = {name for row in RunFolder(folder).epochs() for name in row}
    for index, objective in enumerate(search.objectives):
        if objective.metric not in metrics:
            known = sorted(name for name in metrics if name.count("/") == 1)
            raise UsageError(
                f"objectives[{index}].metric: {objective.metric!r} is not a metric of these runs."
                f"{did_you_mean(objective.metric, known)} Metrics: {', '.join(known)}."
            )
    if search.pruner and search.objectives[0].metric not in of_epochs:
        raise UsageError(
            f"pruner: {search.objectives[0].metric} is known at the end of a run only; pruning needs a metric of every "
            "epoch, such as val/acc. Write pruner: null, or choose another objective."
        )
