"""A section of a run's report: Confusion matrix."""

from typing import Any

import numpy as np

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import OfTheTest, class_names


@register("report section", "confusion")
class Confusion(OfTheTest):
    """Which classes the net takes for which."""

    title = "Confusion matrix"
    place = 40
    array = "confusion"

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import plots

        arrays = run.read(RunFolder.test)
        matrix = arrays["confusion"]
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"confusion must be [K, K], got {list(matrix.shape)}")
        classes = class_names(arrays, len(matrix))
        totals, right = matrix.sum(axis=1).tolist(), matrix.diagonal().tolist()
        rows = [{"name": n, "total": t, "right": r} for n, t, r in zip(classes, totals, right, strict=True)]
        cells = np.argwhere(matrix * (1 - np.eye(len(matrix), dtype=int))).tolist()
        cells.sort(key=lambda cell: -matrix[tuple(cell)])  # ties stay in class order
        mistakes = [(classes[i], classes[j], int(matrix[i, j]), int(matrix[i, j]) / totals[i]) for i, j in cells[:10]]
        plot = plots.confusion_plot(matrix, classes)
        unit = "steps" if "steps" in arrays else "samples"
        found = {"plot": plot, "rows": rows, "mistakes": mistakes, "unit": unit}
        return {**found, "right": sum(right), "total": sum(totals)}
