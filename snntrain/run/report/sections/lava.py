"""A section of a run's report: Export to Loihi."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "lava")
class Lava(Section):
    """What became of each layer on Loihi, and whether its spikes are those of the net."""

    title = "Export to Loihi"
    place = 52
    callback = "lava"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("lava/lava.json"))
        in_lava = result["lava"].get("layers", {})
        keys = ("T", "samples", "compared_samples", "mismatches", "spikes", "sops", "layers", "lava", "note")
        layers = [row | {"in_lava": in_lava.get(row["name"])} for row in result["layers"]]
        plan = run.read_or(artifact("lava/plan.txt"), "").split("\n\n")[0]
        headline = Headline(result)
        found = f"{headline.title} {headline.value(result[headline.name])}"
        return {key: result[key] for key in keys} | {"layers": layers, "plan": plan, "found": found}
