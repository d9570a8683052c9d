"""A section of a run's report: Provenance."""

from collections.abc import Iterator, Mapping
from typing import Any

from snntrain.registry import register
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section


@register("report section", "provenance")
class Provenance(Section):
    """Code, versions and hardware of the run."""

    title = "Provenance"
    place = 100

    def content(self, run: RunFiles) -> dict[str, Any]:
        leaves = dict(_leaves(run.read(RunFolder.provenance)))
        by_name = {
            path[-1]: value for path, value in leaves.items()
        }  # code facts may be nested under a key of their own
        diff = by_name.pop("diff", "").strip("\n").splitlines()
        groups: dict[str, dict[str, str]] = {"": {}}
        for path, value in leaves.items():
            if path[-1] != "diff":
                groups.setdefault(path[0] if len(path) > 1 else "", {})[".".join(path[1:] or path)] = value
        commit = by_name.get("commit", "")[:12] or "unknown"
        return {"groups": groups, "diff": diff, "commit": commit, "dirty": by_name.get("dirty") == "True"}


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, str(key)))
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
            yield (*path, str(key)), text
