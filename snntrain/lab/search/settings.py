"""The settings of a search, conf/search/<name>.yaml, all checked before anything runs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain.binding import check_call
from snntrain.config.binding import check_mapping
from snntrain.config.compose import SEARCHES, check_overrides
from snntrain.config.error import refusing
from snntrain.config.monitor import check_direction
from snntrain.error import UsageError
from snntrain.ranges import OneOf, set_ranges, whole
from snntrain.registry import did_you_mean

Value = float | int | str | bool | None
_Part = TypeVar("_Part")

# Keys that a study sets itself, or with which nothing would be trained.
_NOT_OF_A_RUN = ("paths.run", "resume", "show", "hydra")


@dataclass(frozen=True)
class Parameter:
    """The values that one parameter may have.

    Attributes:
        type: float, int or categorical.
        low, high: inclusive bounds of a number, low < high.
        log: whether it is drawn on a logarithmic scale; needs low > 0 and no step.
        step: distance between the values, starting from low, > 0.
        choices: of a categorical: two or more texts, numbers or booleans, as written after the '=' of an override.
    """

    type: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: list[Any] | None = None

    def ends(self) -> list[Value]:
        """The values at which a config is tried before the search starts."""
        return list(self.choices) if self.choices else [self.low, self.high]


@dataclass(frozen=True)
class Objective:
    """A metric of a run, and whether to maximize or minimize it."""

    metric: str
    direction: str


@dataclass(frozen=True)
class Sampler:
    """How parameters are drawn.

    Attributes:
        type: tpe (tree-structured Parzen estimator) or random.
        seed: ≥ 0; it determines what a trial draws, together with the trial's number and the trials before it.
        n_startup_trials: random trials before tpe begins, ≥ 1.
        multivariate: whether tpe considers the parameters together.
        constant_liar: whether tpe treats running trials as bad ones, so that workers do not try the same values.
    """

    type: str = "tpe"
    seed: int = 1
    n_startup_trials: int = 10
    multivariate: bool = True
    constant_liar: bool = True


@dataclass(frozen=True)
class Pruner:
    """When to give a trial up: if its best value so far is worse than the median of the others at the same epoch.

    Attributes:
        type: median.
        n_startup_trials: complete trials before any is pruned, ≥ 1.
        n_warmup_steps: epochs of a trial before it may be pruned, ≥ 0.
        interval_steps: epochs between two comparisons, ≥ 1.
    """

    type: str = "median"
    n_startup_trials: int = 5
    n_warmup_steps: int = 1
    interval_steps: int = 1


@dataclass(frozen=True)
class Search:
    """What to search, for which objectives, and how.

    Attributes:
        parameters: key of an override → the values it may have.
        objectives: one or more.
        study: name of the study and of its folder.
        n_trials: the study is done when this many trials are complete or pruned, ≥ 1.
        overrides: of every run.
        storage: a file (Optuna's journal) or a database URL such as sqlite:///study.db; default: a file in the study's
            folder.
        sampler, pruner: see there. With pruner null nothing is pruned; several objectives need that.
        max_failures: a worker stops when this many of its trials in a row have failed, ≥ 1.
    """

    parameters: dict[str, Parameter]
    objectives: list[Objective]
    study: str
    n_trials: int = 30
    overrides: list[str] = field(default_factory=list)
    storage: str | None = None
    sampler: Sampler = Sampler()
    pruner: Pruner | None = None
    max_failures: int = 3


set_ranges(Parameter, "Optuna's distributions", type=OneOf("float", "int", "categorical"))
set_ranges(Objective, "optuna.create_study", direction=OneOf("maximize", "minimize"))
set_ranges(Sampler, "optuna.samplers.TPESampler", type=OneOf("tpe", "random"), seed=whole(0), n_startup_trials=whole(1))
set_ranges(
    Pruner,
    "optuna.pruners.MedianPruner",
    type=OneOf("median"),
    n_startup_trials=whole(1),
    n_warmup_steps=whole(0),
    interval_steps=whole(1),
)
set_ranges(Search, "snntrain.lab.search.worker", n_trials=whole(1), max_failures=whole(1))


def searches() -> dict[str, str]:
    """The searches of conf/search: name → the first line of its file."""
    found = {}
    for file in sorted(SEARCHES.glob("*.yaml")):
        found[file.stem] = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return found


def load_search(name: str, changed: Mapping[str, Any], overrides: Sequence[str] = ()) -> Search:
    """Read and check a search; what is wrong is named with its place in the file.

    Args:
        name: of a file in conf/search, or the path of a .yaml file.
        changed: study, n_trials and storage, from the command line.
        overrides: for every run, after those of the file.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else SEARCHES / f"{name}.yaml"
    if not file.is_file():
        known = searches()
        raise UsageError(
            f"search={name}: {file} does not exist.{did_you_mean(name, known)} "
            f"Searches: {', '.join(known)}, or the path of a .yaml file."
        )
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    try:
        check_mapping(content, "search")
        with refusing():
            return _search({"study": file.stem, **content, **changed}, overrides)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def _search(content: dict[str, Any], overrides: Sequence[str]) -> Search:
    check_call(Search, content, "search")
    parameters, objectives = content["parameters"], content["objectives"]
    if not parameters or not objectives:
        raise UsageError("search: parameters and objectives need at least one entry each.")
    own, pruner = content.get("overrides", []), content.get("pruner", {} if len(objectives) == 1 else None)
    search = Search(
        **content
        | {
            "parameters": {str(path): _parameter(path, node) for path, node in parameters.items()},
            "objectives": [_objective(index, node) for index, node in enumerate(objectives)],
            "overrides": _overrides([*map(str, own), *overrides], parameters),
            "sampler": _part(Sampler, content.get("sampler", {}), "sampler"),
            "pruner": None if pruner is None else _part(Pruner, pruner, "pruner"),
        }
    )
    if not re.fullmatch(r"[A-Za-z0-9.,+_-]+", search.study):
        raise UsageError(f"study becomes a folder's name: letters, digits and . , + - _ only, got {search.study!r}.")
    metrics = [objective.metric for objective in search.objectives]
    if len(set(metrics)) < len(metrics):
        raise UsageError(f"objectives: {', '.join(metrics)} name a metric twice.")
    if search.pruner and len(objectives) > 1:
        raise UsageError(
            "pruner: Optuna cannot prune a study of several objectives. Write pruner: null, or keep one objective."
        )
    return search


def _part(kind: type[_Part], node: Any, place: str) -> _Part:
    """A part of the search from its mapping, whose names, types and ranges are checked."""
    check_mapping(node, place)
    check_call(kind, node, place)
    return kind(**node)


def _parameter(path: Any, node: Any) -> Parameter:
    place = f"parameters.{path}"
    made = _part(Parameter, node, place)
    numbers = [key for key in ("low", "high", "log", "step") if key in node]
    if made.type == "categorical":
        if numbers:
            raise UsageError(f"{place}: {', '.join(numbers)} belong to type float or int; a categorical has choices.")
        for value in made.choices or []:
            if not isinstance(value, (str, int, float, bool, type(None))):
                raise UsageError(
                    f"{place}.choices: {value!r} is not a text, number, boolean or null; quote a list, '[default,ema]'."
                )
        if not made.choices or len(set(made.choices)) < max(2, len(made.choices)):  # to Python, 1 and true are equal
            raise UsageError(f"{place}.choices must be two or more different values, got {made.choices!r}.")
        return made
    if made.choices is not None:
        raise UsageError(f"{place}: choices belong to type categorical; a {made.type} has low and high.")
    _check_range(place, made)
    return made


def _check_range(place: str, made: Parameter) -> None:
    for key in ("low", "high"):
        value = getattr(made, key)
        if value is None or not math.isfinite(value) or (made.type == "int" and not isinstance(value, int)):
            kind = "an integer" if made.type == "int" else "a finite number"
            raise UsageError(f"{place}.{key} must be {kind}, got {value!r}.")
    if made.low >= made.high:
        raise UsageError(f"{place}: low must be less than high, got low {made.low!r} and high {made.high!r}.")
    if made.log and made.low <= 0:
        raise UsageError(f"{place}: a logarithmic scale needs low > 0, got {made.low!r}.")
    if made.step is None:
        return
    if made.log:
        raise UsageError(f"{place}: log and step exclude each other; keep one.")
    if not 0 < made.step <= made.high - made.low or (made.type == "int" and not isinstance(made.step, int)):
        kind = "an integer" if made.type == "int" else "a number"
        raise UsageError(f"{place}.step must be {kind} > 0 and at most high - low, got {made.step!r}.")


def _objective(index: int, node: Any) -> Objective:
    place = f"objectives[{index}]"
    made = _part(Objective, node, place)
    mode = made.direction.removesuffix("imize")
    check_direction(f"{place}.metric", made.metric, f"{place}.direction", mode, suffix="imize")
    return made


def _overrides(given: list[str], parameters: Mapping[str, Any]) -> list[str]:
    """The overrides of every run; of two for the same key only the later one."""
    check_overrides(given)
    kept: dict[str, str] = {}
    for text in given:
        override = OverridesParser.create().parse_override(text)
        key = override.key_or_group
        if key in parameters:
            raise UsageError(f"{text}: {key} is a parameter of this search; take it out of one of the two.")
        if any(key == barred or key.startswith(f"{barred}.") for barred in _NOT_OF_A_RUN):
            raise UsageError(f"{text}: {key} cannot be set for the runs of a search.")
        if override.is_sweep_override():
            raise UsageError(f"{text}: a run takes one value; several are choices: parameters.{key}.")
        kept.pop(key, None)
        kept[key] = text
    for path in parameters:
        if any(str(path) == barred or str(path).startswith(f"{barred}.") for barred in (*_NOT_OF_A_RUN, "paths")):
            raise UsageError(f"parameters.{path}: {path} cannot be searched.")
    return list(kept.values())
