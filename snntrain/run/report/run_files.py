"""What the report of a run reads: each file of the run folder once, and a sentence for one that cannot be used."""

from pathlib import Path
from typing import Any

from snntrain.error import DamagedFile
from snntrain.run.contents import Curve, curves_of
from snntrain.run.folder import RunFile, RunFolder

_ENDINGS = {
    "finished": "this run finished without it",
    "interrupted": "this run was interrupted before that",
    "pruned": "this run was pruned before that",
    "failed": "this run failed before that",
}


class Unavailable(Exception):
    """Raised for a file of the run folder that is missing or damaged; the message is the sentence the page shows."""


class RunFiles:
    """The files of a run folder, each read at most once."""

    def __init__(self, folder: Path):
        self.folder = RunFolder(folder)
        self._read: dict[RunFile, Any] = {}

    def read(self, file: RunFile) -> Any:
        """The content of a file.

        Raises: Unavailable if the file is missing or damaged.
        """
        if file not in self._read:
            self._read[file] = self._content_or_reason(file)
        if isinstance(self._read[file], Unavailable):
            raise self._read[file]
        return self._read[file]

    def read_or(self, file: RunFile, default: Any) -> Any:
        """The content of a file, or the default where read raises."""
        try:
            return self.read(file)
        except Unavailable:
            return default

    def curves(self) -> dict[str, Curve]:
        """Metric → its curve. Raises: as read."""
        return curves_of(self.read(RunFolder.metrics))

    def curves_if_any(self) -> dict[str, Curve]:
        """The same, {} where there are none."""
        return curves_of(self.read_or(RunFolder.metrics, []))

    def layer_rates(self) -> tuple[str, dict[str, Curve]]:
        """('val' or 'train', path → firing rate per epoch), in the order of the net as far as it is known."""
        columns, layers = self.curves_if_any(), self.read_or(RunFolder.layers, [])
        split = "val" if any(name.startswith("val/firing_rate/") for name in columns) else "train"
        prefix = f"{split}/firing_rate/"
        curves = {name.removeprefix(prefix): curve for name, curve in columns.items() if name.startswith(prefix)}

        def place(path: str) -> tuple[int, list[str]]:  # that of the listed layer that holds it, then 2 before 10
            holders = [depth for depth, layer in enumerate(layers) if f"{path}.".startswith(f"{layer['path']}.")]
            return max(holders, default=len(layers)), [part.zfill(9) for part in path.split(".")]

        return split, {path: curves[path] for path in sorted(curves, key=place)}

    def _content_or_reason(self, file: RunFile) -> Any:
        try:
            return self.folder.read(file)
        except FileNotFoundError:
            status = None if file == RunFolder.results else self.read_or(RunFolder.results, {}).get("status")
            ending = _ENDINGS.get(str(status), "this run was cut off before that or is still going")
            return Unavailable(f"{file.name} is missing: {file.written}, and {ending}.")
        except (DamagedFile, OSError) as error:
            reason = in_one_line(error).replace(f"{self.folder}/", "")
            return Unavailable(f"{file.name} could not be read: {reason}")


def in_one_line(error: Exception) -> str:
    """Kind and text of an error, shortened."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:300] + "."
