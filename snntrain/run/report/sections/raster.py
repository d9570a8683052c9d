"""A section of a run's report: Spike raster."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from snntrain.data.target import Target
from snntrain.number_format import number
from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.tested import Units, class_names, step_name_of

_LISTED = 8  # values or labels of the sample that are written out


@register("report section", "raster")
class Raster(Section):
    """Every spike that one test sample causes."""

    title = "Spike raster"
    place = 30

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.plot import NEURONS_SHOWN
        from snntrain.run.report import plots
        from snntrain.run.report.output_panel import Answer

        arrays = run.read(RunFolder.raster)
        sample, output = arrays["input"], arrays.get("output")
        kind = Target[str(arrays["kind"])] if "kind" in arrays else Target.CLASS
        keys = ("label", "predicted") if kind is Target.CLASS else ("target", "prediction")
        found = [_of_kind(arrays[key], kind, key) if key in arrays else None for key in keys]
        tested = run.read_or(RunFolder.test, {})
        if kind.is_counted_in_values and found[0] is not None and output is not None:
            units = Units.of(tested, found[0].shape[-1])
            output, *found = (None if one is None else units.values(one) for one in (output, *found))
        many = 1 + max([int(one) for one in found if one is not None], default=0) if kind is Target.CLASS else 0
        answer = Answer(kind, class_names(tested, many), *found)
        names = {layer["path"]: layer["name"] for layer in run.read_or(RunFolder.layers, [])}
        paths = [key.removeprefix("spikes/") for key in arrays if key.startswith("spikes/")]
        spikes = {f"{path}  {names.get(path, '')}".rstrip(): arrays[f"spikes/{path}"] for path in paths}
        return {
            "input": plots.input_plot(sample, is_sequence=kind in (Target.STEP_CLASSES, Target.STEP_VALUES)),
            "input_shape": sample.shape,
            "raster": plots.raster_plot(spikes, output, answer, step_name_of(tested)),
            "subsampled": NEURONS_SHOWN if any(a[0].size > NEURONS_SHOWN for a in spikes.values()) else 0,
            "facts": list(_facts(answer)),
            "badge": _badge(answer),
        }


_DIMS = {Target.CLASS: 0, Target.VALUES: 1, Target.LABELS: 1, Target.STEP_CLASSES: 1, Target.STEP_VALUES: 2}


def _of_kind(value: np.ndarray, kind: Target, name: str) -> np.ndarray:
    if value.ndim != _DIMS[kind] or not np.issubdtype(value.dtype, np.number):
        raise ValueError(f"{name} must be {kind.value}, got {value.dtype} {list(value.shape)}")
    return value


def _facts(answer: Any) -> Iterator[tuple[str, str]]:
    """(label, text) of what the sample is and what the net takes it for."""
    if answer.kind in (Target.STEP_CLASSES, Target.STEP_VALUES) and answer.target is not None:
        if answer.target.shape != answer.predicted.shape or not len(answer.target):
            raise ValueError("target and prediction must have the same steps")
        count = len(answer.target)
        if answer.kind is Target.STEP_CLASSES:
            yield "Right", f"{int((answer.target == answer.predicted).sum()):,} of {count:,} steps"
        else:
            error = math.sqrt(float(np.square(answer.target - answer.predicted).mean()))
            yield "RMSE", f"{number(error)} over {count:,} steps"
        return
    for title, value in (("True", answer.target), ("Predicted", answer.predicted)):
        if value is not None:
            yield ("Target" if answer.kind is Target.VALUES and title == "True" else title), _in_words(answer, value)


def _in_words(answer: Any, value: np.ndarray) -> str:
    if answer.kind is Target.CLASS:
        return answer.name(int(value))
    if answer.kind is Target.LABELS:
        parts = [answer.name(int(index)) for index in np.flatnonzero(value > 0)]
    else:
        numbers = [number(float(one)) for one in value]
        parts = numbers if len(numbers) == 1 else [f"{answer.name(i)} {one}" for i, one in enumerate(numbers)]
    more = [f"{len(parts) - _LISTED:,} more"] if len(parts) > _LISTED else []
    return ", ".join([*parts[:_LISTED], *more]) or "none"


def _badge(answer: Any) -> str:
    if answer.kind not in (Target.CLASS, Target.LABELS) or answer.target is None or answer.predicted is None:
        return ""
    return "right" if np.array_equal(answer.target, answer.predicted) else "wrong"
