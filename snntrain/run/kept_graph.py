"""The graph of a run with model=nir: copied into the run folder, from which its net is built again."""

import filecmp
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snntrain.error import UsageError
from snntrain.files import checksums, replacing
from snntrain.run.folder import RunFolder


def reads_graph(config: Mapping[str, Any]) -> bool:
    """Whether the net of a config is that of a file."""
    return config["model"].get("name") == "nir" and isinstance(config["model"].get("file"), str)


def with_kept_graph(config: Mapping[str, Any], *runs: RunFolder) -> dict[str, Any]:
    """A config whose model.file is the copy in the first of some run folders that has one.

    Args:
        config: checked, or from a run folder.
        runs: where to look; none: in the run's own folder, and in that which it resumes.

    Raises: DamagedFile for a copy that is not what the run wrote, also where only a checkpoint of it is read.
    """
    for run in runs or _folders_of(config):
        if reads_graph(config) and run.graph.is_file():
            checksums.verify(run.path, [run.graph.name])
            return {**config, "model": {**config["model"], "file": str(run.graph)}}
    return dict(config)


def keep_graph(config: Mapping[str, Any], run: RunFolder) -> None:
    """Copy the graph of a config into its run folder, which is covered by checksums.

    Raises: UsageError if a run is continued with another graph than it began with.
    """
    if not reads_graph(config):
        return
    given, source = Path(config["model"]["file"]), Path(with_kept_graph(config)["model"]["file"])
    if given.is_file() and given != source and not filecmp.cmp(given, source, shallow=False):
        raise UsageError(
            f"resume: model.file={given} is not the graph that the run began with, which is kept as {source}. Bring "
            "the former file back or remove it, or start a new run without resume."
        )
    if source != run.graph:
        with replacing(run.graph) as temporary:
            shutil.copyfile(source, temporary)


def _folders_of(config: Mapping[str, Any]) -> Iterator[RunFolder]:
    if folder := config.get("paths", {}).get("run"):
        yield RunFolder(Path(folder))
    if config.get("resume") not in (None, "auto"):
        path = Path(config["resume"])
        yield RunFolder(path) if path.is_dir() else RunFolder.of_checkpoint(path)
