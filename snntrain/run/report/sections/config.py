"""A section of a run's report: Config."""

from dataclasses import replace
from typing import Any

from snntrain.files import read_text
from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section

_AS_WRITTEN = replace(RunFolder.config, parse=read_text)


@register("report section", "config")
class Config(Section):
    """The config as it was written."""

    title = "Config"
    place = 80

    def content(self, run: RunFiles) -> dict[str, Any]:
        return {"text": run.read(_AS_WRITTEN).strip("\n")}
