"""A section of a run's report: Steps."""

from typing import Any

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import OfTheTest, Units, class_names, numbers, step_name_of


@register("report section", "steps")
class Steps(OfTheTest):
    """How good the net is at each step of a sequence, and one sequence."""

    title = "Steps"
    place = 39
    array = "steps"
    tasks = ("SequencePrediction", "Forecast")

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain.run.report import evidence_plots as plots

        arrays = run.read(RunFolder.test)
        counts, quality = numbers(arrays, "steps", "T", 2).T
        of_classes = "confusion" in arrays
        example = numbers(arrays, "example", "L", 2, "D")
        names = class_names(arrays, int(example.max(initial=0)) + 1 if of_classes else example.shape[2])
        what = "accuracy" if of_classes else "RMSE"
        if not of_classes and (units := Units.of(arrays, example.shape[2])).are_others:
            example = units.values(example)
            if len(arrays["value_std"]) == 1:
                quality = quality * units.std
            else:  # a mean over values of several units
                what = "RMSE of the standardized values"
        longest = int((counts > 0).sum())
        lengths = {int(count) for count in counts if count > 0}
        return {
            "plot": plots.steps_plot(counts, quality, what, of_classes=of_classes, step=step_name_of(arrays)),
            "example": plots.example_plot(example, names, of_classes=of_classes, step=step_name_of(arrays)),
            "what": what[:1].upper() + what[1:],
            "sequences": int(counts[0]),
            "longest": longest,
            "is_ragged": len(lengths) > 1,
            "length": len(example),
        }
