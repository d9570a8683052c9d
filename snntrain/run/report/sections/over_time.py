"""A section of a run's report: Accuracy over time steps."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import OfTheTest, numbers


@register("report section", "over_time")
class OverTime(OfTheTest):
    """How good the net is if its outputs are read out early."""

    title = "Accuracy over time steps"
    place = 41
    array = "over_time"

    def is_shown(self, run: RunFiles) -> bool:
        return len(run.read_or(RunFolder.test, {}).get(self.array, ())) > 0

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import evidence_plots as plots

        found = numbers(run.read(RunFolder.test), self.array, "m", 2)
        return {"plot": plots.over_time_plot(found), "rows": [(int(t), share) for t, share in found.tolist()]}
