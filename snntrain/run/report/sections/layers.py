"""A section of a run's report: Layers."""

from typing import Any

from snntrain.registry import register
from snntrain.run.contents import as_number
from snntrain.run.folder import RunFolder
from snntrain.run.report.layer_table import neuron_marks
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "layers")
class Layers(Section):
    """Shape, size and operations of each layer."""

    title = "Layers"
    place = 60

    def content(self, run: RunFiles) -> dict[str, Any]:
        layers = run.read(RunFolder.layers)
        tested = run.read_or(RunFolder.results, {"metrics": {}})["metrics"]
        rates = {layer["path"]: as_number(tested.get(f"test/firing_rate/{layer['path']}")) for layer in layers}
        stage = "test"
        if all(rate is None for rate in rates.values()):
            _, curves = run.layer_rates()
            rates, stage = {path: curve[-1][1] for path, curve in curves.items()}, "last epoch" if curves else ""
        operations = run.read_or(RunFolder.operations, None)
        counts = operations["layers"] if operations else {}
        marks = neuron_marks([layer["neuron"] for layer in layers])
        rows = [
            layer
            | {
                "rate": rates.get(layer["path"]),
                "counts": counts.get(layer["path"]),
                "mark": marks.get(layer["neuron"]),
            }
            for layer in layers
        ]
        totals = {key: sum(layer[key] for layer in layers) for key in ("parameters", "macs")}
        return {"rows": rows, "totals": totals, "rated": stage, "operations": operations, "marks": marks}
