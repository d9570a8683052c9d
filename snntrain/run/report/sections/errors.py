"""A section of a run's report: Predictions."""

from typing import Any

import numpy as np

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import ROWS_SHOWN, OfTheTest, Units, class_names, numbers


@register("report section", "errors")
class Errors(OfTheTest):
    """Predicted values against their targets, and how far they are off."""

    title = "Predictions"
    place = 40
    array = "errors"
    tasks = ("Regression",)

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import evidence_plots as plots

        arrays = run.read(RunFolder.test)
        errors = numbers(arrays, "errors", "D", 4)
        units = Units.of(arrays, len(errors))
        pairs = units.values(numbers(arrays, "pairs", "m", 2, len(errors)))
        errors = errors * np.stack([np.ones_like(units.std), units.std, units.std, np.ones_like(units.std)], 1)
        names = class_names(arrays, len(errors))
        unit = "steps" if "steps" in arrays else "samples"
        rows = [
            {"name": name, "rmse": rmse, "mae": mae, "r2": None if r2 != r2 else r2}
            for name, (_, rmse, mae, r2) in zip(names, errors[:ROWS_SHOWN].tolist(), strict=False)
        ]
        return {
            "scatter": plots.scatter_plot(pairs, names),
            "residuals": plots.residual_plot(pairs, names, unit),
            "is_wide": len(errors) > 1,
            "drawn": min(len(errors), plots.VALUES_DRAWN),
            "kept": len(pairs),
            "standardized": ("losses" if _is_forecast(run) else "metrics and losses") if units.are_others else "",
            "rows": rows,
            "of": len(errors),
            "total": int(errors[0, 0]),
            "unit": unit,
        }


def _is_forecast(run: RunFiles) -> bool:
    """Whether the metrics of the run are of the values in their own units."""
    task = run.read_or(RunFolder.config, {}).get("task")
    return isinstance(task, dict) and str(task.get("_target_")).endswith(".Forecast")
