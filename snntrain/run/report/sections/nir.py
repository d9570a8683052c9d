"""A section of a run's report: Export to NIR."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "nir")
class Nir(Section):
    """The nodes of the NIR graph, and whether its spikes are those of the net."""

    title = "Export to NIR"
    place = 53
    callback = "nir"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("nir/nir.json"))
        return {key: result[key] for key in ("T", "dt", "samples", "mismatches", "compared", "acc_net", "acc", "nodes")}
