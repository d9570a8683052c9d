"""Open a study, compare it with the present search, and count its trials."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from snntrain.error import UsageError
from snntrain.lab.search.settings import Pruner, Sampler, Search
from snntrain.randomness import derived_seed
from snntrain.run.differences import RESUMABLE, differences

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SURPLUS = "surplus"  # status of a trial that found all places taken; it never began


class SeededByNumber(BaseSampler):
    """A sampler whose draws depend only on the trial's number and the trials before it, not on the worker.

    So no two workers draw the same values, and a study that one worker stops and continues gets the trials that it
    would have got without the stop.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler = self._make(derived_seed(self._seed, "trial", trial.number) % 2**32)  # as NumPy takes it
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        return self._sampler.sample_independent(study, trial, name, distribution)


def has_trials(search: Search, storage: Any) -> bool:
    """Whether there is a study of this name that has begun."""
    try:
        return bool(optuna.load_study(storage=storage, study_name=search.study).get_trials(deepcopy=False))
    except KeyError:
        return False


def open_study(search: Search, storage: Any, config: Mapping[str, Any]) -> optuna.Study:
    """Open the study of a search, or make it if there is none; one that searched something else is refused.

    Args:
        config: resolved, with the first end of every parameter.
    """
    study = optuna.create_study(
        storage=storage,
        sampler=SeededByNumber(_sampler_of(search.sampler), search.sampler.seed),
        pruner=_pruner_of(search.pruner),
        study_name=search.study,
        directions=[objective.direction for objective in search.objectives],
        load_if_exists=True,
    )
    content = {
        "parameters": {path: asdict(parameter) for path, parameter in search.parameters.items()},
        "objectives": [asdict(objective) for objective in search.objectives],
        "config": dict(config),
    }
    content = json.loads(json.dumps(content))  # as the storage gives it back
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("content", content)
    elif "content" not in study.user_attrs:
        raise UsageError(f"study={search.study}: the study of that name was made by another program. Choose another.")
    _refuse_differences(search, study, content)
    return study


def _sampler_of(settings: Sampler) -> Callable[[int], BaseSampler]:
    """Seed → sampler."""
    if settings.type == "random":
        return RandomSampler
    arguments = {key: value for key, value in asdict(settings).items() if key not in ("type", "seed")}
    return lambda seed: TPESampler(seed=seed, **arguments)


def _pruner_of(settings: Pruner | None) -> BasePruner:
    if settings is None:
        return NopPruner()
    return MedianPruner(**{key: value for key, value in asdict(settings).items() if key != "type"})


def _refuse_differences(search: Search, study: optuna.Study, content: dict[str, Any]) -> None:
    saved = study.user_attrs["content"]
    found: list[object] = []
    for path in dict.fromkeys([*content["parameters"], *saved["parameters"]]):
        new, old = content["parameters"].get(path), saved["parameters"].get(path)
        if new is None or old is None:
            found.append(f"the parameter {path} is {'new' if old is None else 'missing'}")
        else:
            found += differences(old, new, path=path)
    found += differences(saved["objectives"], content["objectives"], path="objectives")
    if not found:  # the config of the first run follows from the parameters
        found += differences(saved["config"], content["config"], free=RESUMABLE - {"callbacks"})
    if found:
        raise UsageError(
            f"study={search.study} searched something else: {'; '.join(map(str, found))}. "
            "Search the same again, or choose another name: study=…"
        )


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that began."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("status") != SURPLUS]


def number_finished(study: optuna.Study) -> int:
    """Trials that are complete or pruned."""
    return sum(trial.state in FINISHED for trial in study.get_trials(deepcopy=False))
