"""What the NIR importers of other programs know, found by running them: an importer may drop what it does not know."""

from collections.abc import Sequence
from dataclasses import dataclass

from snntrain.export.error import ExportError

_COMMON = frozenset(("Input", "Output", "Affine", "Conv2d", "Flatten", "SumPool2d"))
_ALL = _COMMON | {"CubaLIF", "Threshold", "LI", "I", "Conv1d", "Scale", "Delay", "NIRGraph"}


@dataclass(frozen=True)
class NirReader:
    """A program that reads NIR graphs.

    Attributes:
        name: as in export_nir.
        kinds: of nodes that it computes as NIR's equations say, or sinabs in its own way.
        goes_depth_first: it computes a node as soon as one of its inputs is there; nirtorch.load does.
        sums_at_output: several nodes may lead to the output.
    """

    name: str
    kinds: frozenset[str] = _ALL
    goes_depth_first: bool = False
    sums_at_output: bool = True

    def check_kind(self, place: str, kind: str) -> None:
        """Raises: ExportError for a node that it does not read."""
        if kind not in self.kinds:
            lacks = "fails on recurrence" if kind == "NIRGraph" else f"has no {kind} node"
            reason = f"the importer of {self.name} {lacks}"
            raise ExportError(place, reason, "Leave it out, or use reader 'nir'.")

    def check_order(self, edges: Sequence[tuple[str, str]], places: dict[str, str]) -> None:
        """Raises: ExportError naming a node that it would compute before all of its inputs are there."""
        if not self.goes_depth_first:
            return
        order = _depth_first("input", edges)
        for source, target in edges:
            if order[source] > order[target]:
                reason = f"it adds several paths, and {self.name} computes it before {places[source]} is there"
                remedy = "Let one of the paths be a shortcut without layers, or use reader 'nir' or 'snntorch'."
                raise ExportError(places[target], reason, remedy)


def _depth_first(start: str, edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The number of each node in the order in which nirtorch's graph executor computes them."""
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    order: dict[str, int] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in order:
            order[name] = len(order)
            waiting.extend(reversed(after.get(name, ())))
    return order


READERS = {
    reader.name: reader
    for reader in (
        NirReader("nir"),
        NirReader("snntorch", _COMMON | {"CubaLIF", "Conv1d"}, sums_at_output=False),
        NirReader("norse", _COMMON | {"CubaLIF"}, goes_depth_first=True),
        NirReader("sinabs", _COMMON | {"IF", "LIF", "LI"}, goes_depth_first=True),
    )
}
