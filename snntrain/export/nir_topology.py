"""The order in which the nodes of a NIR graph are computed: nested graphs opened, loops around one neuron found."""

import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from snntrain.export.error import NirImportError
from snntrain.export.nir_node import node_error, shown

NEURONS = frozenset(("IF", "LIF", "LI", "I", "CubaLIF", "CubaLI"))
_MAPS = frozenset(("Affine", "Linear", "Conv1d", "Conv2d", "Scale"))  # what may lead from a neuron back to itself
_DEEPEST = 16
_MOST_EDGES = 100_000


@dataclass(frozen=True)
class Place:
    """A node and what reaches it.

    Attributes:
        name: path of the node through nested graphs, with dots.
        sources: names of the nodes whose outputs are summed; '' is the input of the graph.
        loop: names of the nodes that lead from its last output back to it, in their order; None: no loop.
    """

    name: str
    node: Any
    sources: tuple[str, ...]
    loop: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Topology:
    """Nodes in an order in which they can be computed.

    Attributes:
        places: what is computed, one after the other.
        ends: names of the nodes whose outputs are summed as that of the graph.
        nodes: all nodes by name, those of loops among them.
        entrance, exit: the input and the output node.
    """

    places: tuple[Place, ...]
    ends: tuple[str, ...]
    nodes: dict[str, Any]
    entrance: tuple[str, Any]
    exit: tuple[str, Any]


def topology(nir: Any, graph: Any) -> Topology:
    """The order of a graph's nodes.

    Raises: NirImportError for a graph without one input and one output, with an edge to nowhere, a node that no input
    reaches or that leads to no output, or a loop that is not a neuron with weights from itself to itself.
    """
    net = _Edges()
    entrance, exit_ = net.add(nir, graph)
    for name in [name for name, node in net.nodes.items() if isinstance(node, (nir.Input, nir.Output))]:
        if name not in (entrance, exit_):
            net.bypass(name)
    net.refuse_dead_ends(entrance, exit_)
    loops = {name: net.cut_loop(name) for name, node in net.nodes.items() if type(node).__name__ in NEURONS}
    inside = {name for loop in loops.values() for name in loop or ()}
    before = {name: net.before[name] for name in net.nodes if name not in inside}
    try:
        order = _ordered(before, net.rank)
    except CycleError as error:
        cycle = " → ".join(shown(name) for name in reversed(error.args[1]))
        reason = f"the loop {cycle} is not one neuron with weights from itself to itself: which comes first is not said"
        raise NirImportError("", reason) from None
    source_of = {entrance: ""}
    places = tuple(
        Place(name, net.nodes[name], tuple(source_of.get(each, each) for each in before[name]), loops.get(name))
        for name in order
        if name not in (entrance, exit_)
    )
    ends = tuple(source_of.get(each, each) for each in before[exit_])
    return Topology(places, ends, net.nodes, (entrance, net.nodes[entrance]), (exit_, net.nodes[exit_]))


def _ordered(before: dict[str, list[str]], rank: dict[str, tuple[int, ...]]) -> list[str]:
    """The nodes behind all that they read, and else in the order of the edges, which is the order of the exporter."""
    sorter = TopologicalSorter(before)
    sorter.prepare()
    ready: list[tuple[tuple[int, ...], str]] = []
    order = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (rank[name], name))
        order.append(heapq.heappop(ready)[1])
        sorter.done(order[-1])
    return order


class _Edges:
    """Nodes of nested graphs in one graph.

    Attributes:
        rank: of each node, the place of the first edge to it in its graph, behind those of the graphs around it.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.rank: dict[str, tuple[int, ...]] = {}
        self.before: dict[str, list[str]] = defaultdict(list)
        self.after: dict[str, list[str]] = defaultdict(list)
        self.count = 0

    def add(self, nir: Any, graph: Any, prefix: str = "", above: tuple[int, ...] = ()) -> tuple[str, str]:
        """Nodes and edges of a graph; returns the names of its input and its output."""
        where = f"graph {shown(prefix[:-1])}" if prefix else ""
        if len(above) > _DEEPEST:
            raise NirImportError(where, f"graphs are nested more than {_DEEPEST} deep")
        ends: dict[str, tuple[str, str]] = {}  # of each node: the name that receives its input, and gives its output
        found: dict[type, list[str]] = {nir.Input: [], nir.Output: []}
        edges = list(dict.fromkeys(map(tuple, graph.edges)))
        first = {target: number for number, (_, target) in reversed(list(enumerate(edges, 1)))}
        for key, node in graph.nodes.items():
            name, rank = f"{prefix}{key}", (*above, first.get(key, 0))
            if isinstance(node, nir.NIRGraph):
                ends[key] = self.add(nir, node, f"{name}.", rank)
                continue
            if name in self.nodes:
                raise NirImportError(where, f"two nodes are named {shown(name)}")
            self.nodes[name], self.rank[name] = node, rank
            ends[key] = (name, name)
            for kind, names in found.items():
                if isinstance(node, kind):
                    names.append(name)
        for what, names in zip(("input", "output"), found.values(), strict=True):
            if len(names) != 1:
                raise NirImportError(where, f"the graph must have one {what}, it has {len(names)}")
        for source, target in edges:
            for name in (source, target):
                if name not in ends:
                    edge = f"the edge from {shown(source)} to {shown(target)}"
                    raise NirImportError(where, f"{edge} needs a node {shown(name)}, which is missing")
            self.connect(ends[source][1], ends[target][0])
        return found[nir.Input][0], found[nir.Output][0]

    def connect(self, source: str, target: str) -> None:
        if target in self.after[source]:
            reason = f"the output of {shown(source)} reaches it in two ways, which would count it twice"
            raise node_error(target, self.nodes[target], reason)
        self.count += 1
        if self.count > _MOST_EDGES:
            raise NirImportError("", f"it has more than {_MOST_EDGES:,} edges")
        self.after[source].append(target)
        self.before[target].append(source)

    def cut(self, source: str, target: str) -> None:
        self.after[source].remove(target)
        self.before[target].remove(source)

    def bypass(self, name: str) -> None:
        """Leave out an input or output of a nested graph: what reaches it reaches what it leads to."""
        sources, targets = list(self.before[name]), list(self.after[name])
        if name in targets:
            raise node_error(name, self.nodes[name], "it leads to itself")
        for source in sources:
            self.cut(source, name)
        for target in targets:
            self.cut(name, target)
        for source in sources:
            for target in targets:
                self.connect(source, target)
        del self.nodes[name]

    def refuse_dead_ends(self, entrance: str, exit_: str) -> None:
        for start, edges, reason in (
            (entrance, self.after, "the input does not reach it"),
            (exit_, self.before, "it does not lead to the output"),
        ):
            reached, waiting = {start}, [start]
            while waiting:
                new = [name for name in edges[waiting.pop()] if name not in reached]
                reached.update(new)
                waiting.extend(new)
            for name, node in self.nodes.items():
                if name not in reached:
                    raise node_error(name, node, reason)
        if self.before[entrance] or self.after[exit_]:
            name = entrance if self.before[entrance] else exit_
            raise node_error(name, self.nodes[name], "it must stand at the end of the graph")

    def cut_loop(self, neuron: str) -> tuple[str, ...] | None:
        """Take out the nodes that lead from a neuron back to it, and return them in their order."""
        found = [way for source in self.before[neuron] if (way := self._way_back(source, neuron)) is not None]
        if len(found) > 1:
            reason = f"{len(found)} ways lead from it back to itself, and one is known"
            raise node_error(neuron, self.nodes[neuron], reason)
        if not found:
            return None
        stations = [neuron, *found[0], neuron]
        for source, target in itertools.pairwise(stations):
            self.cut(source, target)
        return found[0]

    def _way_back(self, source: str, neuron: str) -> tuple[str, ...] | None:
        """The nodes from a neuron to one of its sources, if that way has no branches and only maps."""
        way: list[str] = []
        while source != neuron:
            is_map = type(self.nodes[source]).__name__ in _MAPS
            if not is_map or source in way or len(self.before[source]) != 1 or len(self.after[source]) != 1:
                return None
            way.append(source)
            source = self.before[source][0]
        return tuple(reversed(way))
