"""A section of a run's report: Overrides."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "overrides")
class Overrides(Section):
    """What the command line changed."""

    title = "Overrides"
    place = 90

    def content(self, run: RunFiles) -> dict[str, Any]:
        return {"overrides": run.read(RunFolder.overrides)}
