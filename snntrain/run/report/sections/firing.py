"""A section of a run's report: Firing rates."""

from typing import Any

from snntrain.registry import register
from snntrain.run.report.run_files import RunFiles, Unavailable
from snntrain.run.report.section import Section


@register("report section", "firing")
class FiringRates(Section):
    """How often the neurons of each layer spike, over the epochs."""

    title = "Firing rates"
    place = 20

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import plots

        columns = run.curves()
        split, layers = run.layer_rates()
        if not layers:
            raise Unavailable("metrics.csv holds no firing rate of a layer: none spikes, or their statistics were off.")
        silent = [path for path, curve in layers.items() if curve[-1][1] == 0]
        plot = plots.firing_rate_plot("firing", layers, columns.get(f"{split}/firing_rate", []))
        return {"plot": plot, "split": split, "silent": silent}
