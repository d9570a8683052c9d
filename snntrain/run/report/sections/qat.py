"""A section of a run's report: Quantization."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "qat")
class Quantization(Section):
    """What the net lost when its numbers became integers."""

    title = "Quantization"
    place = 51
    callback = "qat"

    def content(self, run: RunFiles) -> dict[str, Any]:
        result = run.read(artifact("qat/quantization.json"))
        labels = {"acc_float": "float", "acc_ptq": "quantized", "acc_qat": "fine-tuned", "acc_int": "integers only"}
        whole = result["acc_float"]
        accuracies = [
            (label, result[key], 100 * (result[key] - whole)) for key, label in labels.items() if key in result
        ]
        keys = ("T", "layers", "samples", "verified_samples", "mismatches", "size_bytes", "float_bytes", "epochs")
        return {"accuracies": accuracies, **{key: result[key] for key in keys}}
