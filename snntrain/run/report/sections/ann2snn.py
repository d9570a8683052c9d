"""A section of a run's report: ANN → SNN conversion."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import artifact
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.headline import Headline


@register("report section", "ann2snn")
class Conversion(Section):
    """What AnnToSnn made of the net, and how good it is over time steps."""

    title = "ANN → SNN conversion"
    place = 50
    callback = "ann2snn"

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.callback.fit_end.figure import headline_figure
        from snntrain.figure import svg

        result = run.read(artifact("ann2snn/conversion.json"))
        headline, report = Headline(result), result["report"]
        values, ann = result[headline.name], result[f"{headline.name}_ann"]
        figure = headline_figure(values, ann, headline.name)
        neurons = [
            row | {"rate": result["firing_rates"].get(row["node"])} for row in report["rows"] if row["theta_mean"]
        ]
        return {
            "plot": svg(figure, "conversion"),
            "headline": headline.title,
            "ann": headline.value(ann),
            "values": [(int(T), headline.value(value), headline.gap(value - ann)) for T, value in values.items()],
            "settings": report["settings"],
            "neurons": neurons,
            "nodes": report["rows"],
            **{key: result[key] for key in ("T", "samples", "firing_rate", "remarks")},
        }
