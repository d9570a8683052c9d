"""study.html, study.csv and study.json: a study as far as it has come, written anew as trials end."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from snntrain.files import write_json, write_text
from snntrain.lab.search import plots
from snntrain.lab.search.settings import Search
from snntrain.lab.search.study import FINISHED, trials_of
from snntrain.number_format import metric
from snntrain.run.folder import RunFolder
from snntrain.run.report.page import render
from snntrain.spreadsheet import csv_text

REPORT = "study.html"
_TEMPLATE = Path(__file__).with_name("study.html.j2")
_STATUS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}


@dataclass(frozen=True)
class Row:
    """A trial as the table, the CSV and the JSON have it.

    Attributes:
        status: finished, pruned, failed, interrupted, killed or running.
        values: of the objectives; of a pruned trial the last epoch's, of others None.
        seconds: None of a trial that has not ended by itself.
        folder: name of its run folder.
        epochs: epoch → value, where trials may be pruned.
    """

    number: int
    status: str
    values: list[float | None]
    parameters: dict[str, Any]
    seconds: float | None
    message: str
    folder: str
    command: str
    epochs: dict[int, float | None]
    metrics: dict[str, float | None]


def write_study(search: Search, study: optuna.Study, folder: Path) -> None:
    """Write the three files into the study's folder; reports of runs are linked where they are in it."""
    trials = trials_of(study)
    rows = [_row(trial, len(search.objectives)) for trial in trials]
    write_text(folder / "study.csv", _csv(search, rows))
    write_json(folder / "study.json", {"search": asdict(search) | {"storage": None}, "trials": list(map(asdict, rows))})
    best = best_rows(search, study)
    finished = sum(trial.state in FINISHED for trial in trials)
    sections = _sections(search, study, trials, [row.number for row in best])
    page = render(
        _TEMPLATE,
        title=f"{search.study} · {finished} of {search.n_trials} trials",
        heading=search.study,
        tiles=_tiles(search, rows, best, finished),
        links=[("best", "Best"), *(section[:2] for section in sections), ("trials", "Trials"), ("search", "Search")],
        search=search,
        rows=rows,
        best=best,
        best_numbers=[row.number for row in best],
        finished=finished,
        sections=sections,
        on_test=[objective.metric for objective in search.objectives if objective.metric.startswith("test/")],
        linked={row.number for row in rows if row.folder and RunFolder(folder / row.folder).report.is_file()},
        show=show,
    )
    write_text(folder / REPORT, page)


def _tiles(search: Search, rows: Sequence[Row], best: Sequence[Row], finished: int) -> list[tuple[str, str, str]]:
    statuses = [row.status for row in rows]
    counts = " · ".join(f"{status} {statuses.count(status)}" for status in dict.fromkeys(statuses))
    title = "Best " if len(search.objectives) == 1 else "First of the front: "
    tiles = [("Trials", f"{finished} of {search.n_trials}", counts)]
    for objective, value in zip(search.objectives, best[0].values if best else [], strict=False):
        detail = f"trial {best[0].number}, to be {objective.direction}d"
        tiles.append((f"{title}{objective.metric}", show(value, objective.metric), detail))
    seconds = sum(row.seconds or 0 for row in rows)
    return [*tiles, ("Time in trials", f"{seconds:.0f} s", f"{seconds / len(rows):.1f} s a trial" if rows else "")]


def best_rows(search: Search, study: optuna.Study) -> list[Row]:
    """The best trial; of several objectives the Pareto front, best in the first objective first."""
    sign = -1 if search.objectives[0].direction == "maximize" else 1
    best = sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))
    objectives = len(search.objectives)
    return [_row(trial, objectives) for trial in (best if objectives > 1 else best[:1])]


def show(value: Any, name: str = "") -> str:
    """A value of a table: that of a metric with its name, else that of a parameter."""
    if isinstance(value, float):
        return metric(value, name)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _row(trial: FrozenTrial, objectives: int) -> Row:
    facts, overrides = trial.user_attrs, trial.user_attrs.get("overrides", [])
    values = trial.values if trial.state in FINISHED and trial.values else []
    return Row(
        number=trial.number,
        status=_STATUS.get(trial.state) or facts.get("status", "killed"),
        values=[_plain(value) for value in values] + [None] * (objectives - len(values)),
        parameters=dict(trial.params),
        seconds=facts.get("seconds"),
        message=facts.get("message", ""),
        folder=facts.get("folder", ""),
        command=shlex.join(["python", "train.py", *overrides]) if overrides else "",
        epochs={epoch: _plain(value) for epoch, value in sorted(trial.intermediate_values.items())},
        metrics=facts.get("metrics", {}),
    )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _csv(search: Search, rows: Sequence[Row]) -> str:
    measured = [objective.metric for objective in search.objectives]
    lines: list[list[object]] = [["number", "status", *measured, *search.parameters, "seconds", "folder", "message"]]
    for row in rows:
        parameters = [row.parameters.get(path) for path in search.parameters]
        lines.append([row.number, row.status, *row.values, *parameters, row.seconds, row.folder, row.message])
    return csv_text(lines)


def _sections(
    search: Search, study: optuna.Study, trials: Sequence[FrozenTrial], best: Sequence[int]
) -> list[tuple[str, str, str, str]]:
    """(key, title, a sentence, one or more figures) of what there is to draw."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    sections = []
    if len(search.objectives) > 1 and complete:
        figures = plots.pareto_plot(complete, search.objectives, best)
        sections.append(("front", "Trade-off", "The front: trials that no other beats in every objective.", figures))
    ended = [trial for trial in trials if trial.state in FINISHED and trial.values]
    if ended:
        figures = "".join(plots.history_plot(ended, index, o) for index, o in enumerate(search.objectives))
        sections.append(("history", "History", "Every trial, and the best one up to it.", figures))
    if any(trial.intermediate_values for trial in trials):
        figures = plots.epochs_plot(trials, search.objectives[0])
        sections.append(("epochs", "Epochs", "What each trial had reached when; orange ones were pruned.", figures))
    shares = importances(search, study, complete)
    if shares:
        note = "Share of the objective's variance over the search space that each parameter explains (fANOVA)."
        sections.append(("importance", "Importance of the parameters", note, plots.importance_plot(shares)))
    if len(complete) > 1:
        figures = plots.parallel_plot(complete, search, best)
        sections.append(
            (
                "parallel",
                "Parallel coordinates",
                "One line for each complete trial: the best in orange, of the others the stronger the better.",
                figures,
            )
        )
        figures = plots.slice_plot(ended, search)
        note = "Orange: pruned, its last value." if len(ended) > len(complete) else "One point for each trial."
        sections.append(("slices", "Objective over parameter", note, figures))
    return sections


def importances(search: Search, study: optuna.Study, complete: Sequence[FrozenTrial]) -> dict[str, dict[str, float]]:
    """Metric → parameter → share, for objectives whose values differ; {} for fewer than four complete trials."""
    found: dict[str, dict[str, float]] = {}
    if len(complete) < 4 or len(search.parameters) < 2:
        return found
    for index, objective in enumerate(search.objectives):
        if len({trial.values[index] for trial in complete}) < 2:
            continue
        found[objective.metric] = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            target=lambda trial, index=index: trial.values[index],
        )
    return found
