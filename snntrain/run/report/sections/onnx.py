"""A section of a run's report: Export to ONNX."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "onnx")
class Onnx(Section):
    """Whether the ONNX file, in onnxruntime, computes what the net does."""

    title = "Export to ONNX"
    place = 55
    callback = "onnx"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("onnx/onnx.json"))
        headline = Headline(result)
        of_net, of_file = (headline.value(result[key]) for key in (f"{headline.name}_net", headline.name))
        return {
            **result,
            "headline": headline.title,
            "of_net": of_net,
            "of_file": of_file,
            "error": f"{result['max_error']:.1e}",
        }
