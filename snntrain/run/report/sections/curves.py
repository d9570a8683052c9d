"""A section of a run's report: Learning curves."""

import math
from typing import Any

from snntrain.headline import HEADLINES, long_name
from snntrain.number_format import is_share
from snntrain.registry import register
from snntrain.run.contents import Curve, as_number
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles, Unavailable
from snntrain.run.report.section import Section


@register("report section", "curves")
class Curves(Section):
    """Loss, metrics and learning rate over the epochs."""

    title = "Learning curves"
    place = 10

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import plots

        panels: dict[str, dict[str, Curve]] = {"loss": {}, **{name: {} for name in HEADLINES}}  # these first
        rates, diverged = {}, []
        for column, curve in run.curves().items():
            split, _, metric = column.partition("/")
            if split.startswith("lr"):
                rates[column] = curve
            elif metric and "/" not in metric and metric != "firing_rate":
                panels.setdefault(metric, {})[split] = curve
                diverged += [f"{column} (epoch {epoch:g})" for epoch, value in curve if not math.isfinite(value)][:1]
        panels = {metric: curves for metric, curves in panels.items() if curves}
        if not panels and not rates:
            raise Unavailable(
                "metrics.csv holds no learning curve: the first epoch was not completed, or none was logged."
            )
        best_epoch = as_number(run.read_or(RunFolder.results, {}).get("best_epoch"))
        drawn = []
        for metric, curves in panels.items():
            title = long_name(metric)
            style = {"as_percent": is_share(metric), "best_epoch": best_epoch}
            name = metric if metric.isidentifier() else f"curve{len(drawn)}"
            drawn.append(plots.curve_plot(name, curves, title=title, **style))
        rate = plots.curve_plot("rate", rates, title="learning rate", small=True) if rates else ""
        return {"plots": drawn, "rate": rate, "diverged": diverged}
