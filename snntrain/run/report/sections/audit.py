"""A section of a run's report: Audit."""

from typing import Any

from snntrain.audit import SEVERITIES
from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section

_FILE = artifact("audit/audit.json")
_FIELDS = ("check", "layer", "severity", "evidence", "remedy", "source")


@register("report section", "audit")
class Audit(Section):
    """What the audit of the trained net and its data found."""

    title = "Audit"
    place = 49
    callback = "audit"

    def is_shown(self, run: RunFiles) -> bool:
        return super().is_shown(run) or (run.folder.path / _FILE.name).is_file()  # eval.py mode=audit writes it, too

    def content(self, run: RunFiles) -> dict[str, Any]:
        found = [{field: str(one[field]) for field in _FIELDS} for one in run.read(_FILE)["findings"]]
        counts = {severity: sum(one["severity"] == severity for one in found) for severity in SEVERITIES}
        return {"findings": found, "counts": counts}
