"""A section of a run's report: Quantization."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "qat")
class Quantization(Section):
    """What the net lost when its numbers became integers."""

    title = "Quantization"
    place = 51
    callback = "qat"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("qat/quantization.json"))
        headline = Headline(result)
        labels = {"float": "float", "ptq": "quantized", "qat": "fine-tuned", "int": "integers only"}
        found = {label: result.get(f"{headline.name}_{kind}") for kind, label in labels.items()}
        nets = [
            (label, headline.value(value), headline.gap(value - found["float"]))
            for label, value in found.items()
            if value is not None
        ]
        for row in result["layers"]:
            row["alone"] = "" if row["sensitivity"] is None else headline.gap(-row["sensitivity"])
        keys = ("T", "layers", "samples", "verified_samples", "mismatches", "size_bytes", "float_bytes", "epochs")
        return {"nets": nets, "headline": headline.title, **{key: result[key] for key in keys}}
