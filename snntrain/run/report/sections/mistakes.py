"""A section of a run's report: Worst mistakes."""

import base64
import io
from typing import Any

import numpy as np

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.tested import OfTheTest, class_names, numbers


@register("report section", "mistakes")
class Mistakes(OfTheTest):
    """The test samples that the net is surest of and wrong about."""

    title = "Worst mistakes"
    place = 42
    array = "mistakes"

    def is_shown(self, run: RunFiles) -> bool:
        return self.array in run.read_or(RunFolder.test, {})

    def content(self, run: RunFiles) -> dict[str, Any]:
        arrays = run.read(RunFolder.test)
        rows = numbers(arrays, "mistakes", "m", 5).tolist() if len(arrays["mistakes"]) else []
        names = class_names(arrays, 1 + int(max([0, *(max(row[1:3]) for row in rows)])))
        pictures = arrays.get("pictures")
        if pictures is not None and (pictures.dtype != np.uint8 or pictures.ndim != 4 or len(pictures) != len(rows)):
            raise ValueError(f"pictures must be uint8 [{len(rows)}, H, W, 1 or 3], got {list(pictures.shape)}")
        found = []
        for place, (index, true, predicted, score, of_true) in enumerate(rows):
            mistake = {"index": int(index), "true": names[int(true)], "predicted": names[int(predicted)]}
            shown = "" if pictures is None else _png(pictures[place])
            found.append({**mistake, "score": score, "of_true": of_true, "picture": shown})
        return {"mistakes": found, "has_pictures": pictures is not None}


def _png(picture: np.ndarray) -> str:
    """A picture [H, W, 1 or 3] as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
