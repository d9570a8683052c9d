"""A section of a run's report: Labels."""

from typing import Any

import numpy as np

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import ROWS_SHOWN, OfTheTest, class_names, numbers

_MISTAKES = 10


@register("report section", "labels")
class Labels(OfTheTest):
    """How well each label is told, and which are missed for which."""

    title = "Labels"
    place = 40
    array = "labels"
    tasks = ("MultiLabel",)

    def content(self, run: RunFiles) -> dict[str, Any]:
        arrays = run.read(RunFolder.test)
        counts = numbers(arrays, "labels", "K", 5)  # right, wrong, rightly left out, missed, support
        names = class_names(arrays, len(counts))
        rows = []
        for name, (right, wrong, _, missed, support) in zip(names, counts[:ROWS_SHOWN].tolist(), strict=False):
            said = right + wrong
            rows.append(
                {
                    "name": name,
                    "support": int(support),
                    "missed": int(missed),
                    "wrong": int(wrong),
                    "precision": right / said if said else None,
                    "recall": right / support if support else None,
                    "f1": 2 * right / (said + support) if said + support else None,
                }
            )
        instead, mistakes = arrays.get("instead"), []
        if instead is not None:
            table = numbers(arrays, "instead", len(counts), len(counts))
            order = np.argsort(-table, axis=None, kind="stable")[:_MISTAKES]  # ties stay in the order of the labels
            places = zip(*np.unravel_index(order, table.shape), strict=True)
            mistakes = [(names[i], names[j], int(table[i, j])) for i, j in places if table[i, j] > 0]
        samples = int(counts[0, :4].sum())
        return {
            "rows": rows,
            "labels": len(counts),
            "samples": samples,
            "mistakes": mistakes,
            "is_known": instead is not None,
        }
