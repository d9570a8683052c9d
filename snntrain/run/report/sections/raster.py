"""A section of a run's report: Spike raster."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.sections.confusion import class_names


@register("report section", "raster")
class Raster(Section):
    """Every spike that one test sample causes."""

    title = "Spike raster"
    place = 30

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import plots

        arrays = run.read(RunFolder.raster)
        sample, output = arrays["input"], arrays.get("output")
        label, predicted = (int(arrays[key]) if key in arrays else None for key in ("label", "predicted"))
        classes = class_names(run.read_or(RunFolder.test, {}), 1 + max(label or 0, predicted or 0))
        names = {layer["path"]: layer["name"] for layer in run.read_or(RunFolder.layers, [])}
        paths = [key.removeprefix("spikes/") for key in arrays if key.startswith("spikes/")]
        spikes = {f"{path}  {names.get(path, '')}".rstrip(): arrays[f"spikes/{path}"] for path in paths}
        return {
            "input": plots.input_plot(sample),
            "input_shape": sample.shape,
            "raster": plots.raster_plot(spikes, output, classes, label, predicted),
            "subsampled": plots.NEURONS_SHOWN if any(a[0].size > plots.NEURONS_SHOWN for a in spikes.values()) else 0,
            "label": None if label is None else classes[label],
            "predicted": None if predicted is None else classes[predicted],
            "correct": label == predicted,
        }
