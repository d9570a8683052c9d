"""A section of a run's report: Export to NIR."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "nir")
class Nir(Section):
    """The nodes of the NIR graph, and whether its spikes are those of the net."""

    title = "Export to NIR"
    place = 53
    callback = "nir"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("nir/nir.json"))
        headline = Headline(result)
        of_net, of_copy = (headline.value(result[key]) for key in (f"{headline.name}_net", headline.name))
        found = {"headline": headline.title, "of_net": of_net, "of_copy": of_copy}
        return {key: result[key] for key in ("T", "dt", "samples", "mismatches", "compared", "nodes")} | found
