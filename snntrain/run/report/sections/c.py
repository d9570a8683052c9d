"""A section of a run's report: Export to C."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "c")
class C(Section):
    """Whether the C program computes the integers of the net, and what it needs of a chip."""

    title = "Export to C"
    place = 54
    callback = "c"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("c/c.json"))
        found = ""
        if "headline" in result:
            headline = Headline(result)
            found = f"{headline.title} {headline.value(result[headline.name])}"
        return {**result, "found": found, "values": sum(result.get("compared", {}).values())}
