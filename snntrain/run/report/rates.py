"""Firing rates of a run's layers."""

from collections.abc import Mapping

from snntrain.run.contents import Curve
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles


def layer_rates(run: RunFiles, columns: Mapping[str, Curve]) -> tuple[str, dict[str, Curve]]:
    """('val' or 'train', path → firing rate per epoch), in the order of the net as far as it is known."""
    split = "val" if any(name.startswith("val/firing_rate/") for name in columns) else "train"
    prefix = f"{split}/firing_rate/"
    curves = {name.removeprefix(prefix): curve for name, curve in columns.items() if name.startswith(prefix)}
    layers = run.read_or(RunFolder.layers, [])

    def place(path: str) -> tuple[int, list[str]]:  # that of the listed layer that holds it, then 2 before 10
        holders = [depth for depth, layer in enumerate(layers) if f"{path}.".startswith(f"{layer['path']}.")]
        return max(holders, default=len(layers)), [part.zfill(9) for part in path.split(".")]

    return split, {path: curves[path] for path in sorted(curves, key=place)}
