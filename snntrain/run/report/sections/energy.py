"""A section of a run's report: Energy and NeuroBench."""

from typing import Any

from snntrain.callback.neurobench import METRICS
from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "energy")
class Energy(Section):
    """What three models say of the net's energy, and its metrics by NeuroBench."""

    title = "Energy and NeuroBench"
    place = 62

    def is_shown(self, run: RunFiles) -> bool:
        """Runs of earlier versions have neither."""
        return any((run.folder.path / file.name).is_file() for file in (RunFolder.energy, RunFolder.neurobench))

    def content(self, run: RunFiles) -> dict[str, Any]:
        counted = run.read(RunFolder.neurobench)
        rows = [
            {"name": name, "value": counted["values"].get(name), "what": what, "why": counted["undefined"].get(name)}
            for name, what in METRICS.items()
        ]
        samples, watched = (counted["values"].get(name) for name in ("samples", "membrane_samples"))
        return {
            "models": run.read(RunFolder.energy),
            "rows": rows,
            "source": counted["source"],
            "samples": samples,
            "watched": watched if watched != samples else None,
        }
