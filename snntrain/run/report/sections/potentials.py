"""A section of a run's report: Membrane potentials."""

from typing import Any

import numpy as np

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section
from snntrain.run.report.tested import numbers, step_name_of

_LAYERS_DRAWN = 8


@register("report section", "potentials")
class Potentials(Section):
    """The potentials of a few neurons for the sample of the raster."""

    title = "Membrane potentials"
    place = 31

    def is_shown(self, run: RunFiles) -> bool:
        return any(name.startswith("v/") for name in run.read_or(RunFolder.raster, {}))

    def content(self, run: RunFiles) -> dict[str, Any]:
        from snntrain import plot
        from snntrain.figure import style, svg

        arrays = run.read(RunFolder.raster)
        names = {layer["path"]: layer["name"] for layer in run.read_or(RunFolder.layers, [])}
        paths = [name.removeprefix("v/") for name in arrays if name.startswith("v/")]
        places = sorted({round(p) for p in np.linspace(0, len(paths) - 1, min(len(paths), _LAYERS_DRAWN)).tolist()})
        traces = []
        for path in (paths[place] for place in places):
            v, chosen = numbers(arrays, f"v/{path}", "T", "n"), numbers(arrays, f"traced/{path}", "n")
            spikes = numbers(arrays, f"spikes/{path}", len(v), "neurons")
            if len(chosen) != v.shape[1] or chosen.min() < 0 or chosen.max() >= spikes.shape[1]:
                raise ValueError(f"traced/{path} must be places of {v.shape[1]} neurons")
            threshold = float(numbers(arrays, f"v_threshold/{path}"))
            title = f"{path}  {names.get(path, '')}".rstrip()
            traces.append(plot.Trace(title, chosen.tolist(), v.astype(float), spikes[:, chosen] != 0, threshold))
        step = step_name_of(run.read_or(RunFolder.test, {}))
        with style():
            drawn = svg(plot.potentials(traces, step=step), "potentials")
        return {"plot": drawn, "drawn": len(traces), "layers": len(paths)}
