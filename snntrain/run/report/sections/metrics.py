"""A section of a run's report: Metrics."""

from typing import Any

from snntrain.registry import register, table
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles, Unavailable
from snntrain.run.report.section import Section


@register("report section", "metrics")
class Metrics(Section):
    """Every metric, exactly."""

    title = "Metrics"
    place = 70

    def content(self, run: RunFiles) -> dict[str, Any]:
        results = run.read(RunFolder.results)
        if not results["metrics"]:
            raise Unavailable("results.json holds no metrics: this run ended before it measured any.")
        groups: dict[str, list[dict[str, Any]]] = {}
        for name, value in results["metrics"].items():
            stage = name.partition("/")[0] if "/" in name else "run"
            groups.setdefault(stage, []).append({"name": name, "value": value, "hex": results["hex"].get(name, "")})
        reported = (section.callback for section in table("report section").values() if section.callback)
        order = {"test": 0, **dict.fromkeys(reported, 1), "val": 2, "train": 3}
        return {"groups": sorted(groups.items(), key=lambda group: order.get(group[0], 4))}
