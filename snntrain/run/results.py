"""results.json: how a run ended and its metrics, exactly."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snntrain.error import DamagedFile
from snntrain.files import read_json, write_json


def write_results(folder: Path, status: str, metrics: Mapping[str, float], **more: Any) -> None:
    """Write results.json.

    Args:
        folder: the run folder.
        status: finished, interrupted, pruned or failed.
        metrics: name → value; written as decimal and, under "hex", as float.hex, which loses nothing.
        more: further entries, such as seconds or message.
    """
    exact = {name: float(value) for name, value in sorted(metrics.items())}
    hexadecimal = {name: value.hex() for name, value in exact.items()}
    # JSON has no NaN and no infinity; under "hex" they stand by name.
    values = {name: value if math.isfinite(value) else None for name, value in exact.items()}
    write_json(folder / "results.json", {"status": status, "metrics": values, "hex": hexadecimal, **more})


def read_results(folder: Path) -> dict[str, Any]:
    """The content of results.json, {} if there is none or it is damaged."""
    try:
        return read_json(folder / "results.json")
    except (FileNotFoundError, DamagedFile):
        return {}
