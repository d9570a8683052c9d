"""A section of a run's report: ANN → SNN conversion."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "ann2snn")
class Conversion(Section):
    """What AnnToSnn made of the net, and its accuracy over time steps."""

    title = "ANN → SNN conversion"
    place = 50
    callback = "ann2snn"

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.callback.fit_end.figure import accuracy_figure
        from snntrain.figure import svg

        result = run.read(artifact("ann2snn/conversion.json"))
        ann, report = result["acc_ann"], result["report"]
        figure = accuracy_figure(result["acc"], ann)
        neurons = [
            row | {"rate": result["firing_rates"].get(row["node"])} for row in report["rows"] if row["theta_mean"]
        ]
        return {
            "plot": svg(figure, "conversion"),
            "accuracy": [(int(T), share, 100 * (share - ann)) for T, share in result["acc"].items()],
            "settings": report["settings"],
            "neurons": neurons,
            "nodes": report["rows"],
            **{key: result[key] for key in ("T", "samples", "acc_ann", "firing_rate", "remarks")},
        }
