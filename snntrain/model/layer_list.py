"""The list of layers of a model YAML as a tree whose every node knows its place in the file.

An entry is a layer, "Flatten" or {name: Conv2d, out_channels: 32, …}, or one of these:

    {residual: [...], shortcut: [...], join: add}          two paths from one input; without shortcut: the input itself
    {branch: [[...], [...]], join: concat}                 several paths from one input
    {repeat: [...], times: 3}                              the same entries again, each time with weights of their own
    {substeps: [...], count: 8}                            8 steps of these for each one of the data, and their mean
    {recurrent: [...], feedback: concat, backend: auto}    the output of the last step is an input of this one
    {lava_block: [layer, neuron]}                          weights of 8 bits for the neuron, as Loihi computes
    {min_size: 64, layers: [...], otherwise: [...]}        by the smallest spatial size of what arrives here
    {name: down, channels: 64}                             an entry of `blocks`, with its $channels replaced by 64

A layer with weights may have a key `delay`, see snntrain.layer.delay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snntrain import registry
from snntrain.arguments import integer, invalid
from snntrain.registry import did_you_mean

PLACEHOLDERS = ("neuron", "norm")  # stand for the chosen neuron and the chosen normalization

# Kind of a group → the keys it may have beside the one that names it. Those with the value None must be given.
_GROUPS: dict[str, dict[str, Any]] = {
    "residual": {"shortcut": [], "join": "add"},
    "branch": {"join": "concat"},
    "repeat": {"times": None},
    "substeps": {"count": None},
    "recurrent": {"feedback": None, "backend": "auto"},
    "lava_block": {},
    "min_size": {"layers": None, "otherwise": []},
}
_PLAIN_KEYS = ("join", "times", "count", "min_size", "backend")  # keys of a group that hold a number or a word
_DEEPEST = 50  # a block that contains itself would never end
MOST_LAYERS = 10_000
"""Layers that a list may describe, its repeats and blocks written out: one line can ask for more than memory holds."""


class LayerError(ValueError):
    """A layer that cannot be built or cannot take what reaches it; the text names its place in the list."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        path: place in the config, such as model.layers[3].residual[1].
        name: registered class, or a placeholder.
        arguments: of its constructor.
        init: how its parameters start, see snntrain.model.initializer; None: as its class does it.
        delay: how what it reads is delayed, see snntrain.layer.delay; None: not at all.
        text: the entry as it was written.
    """

    path: str
    name: str
    arguments: dict[str, Any]
    init: Any
    text: str
    delay: Any = None


@dataclass(frozen=True)
class Group:
    """Entries that stand together.

    Attributes:
        path: place in the config.
        kind: residual, branch, repeat, substeps, recurrent, lava_block, min_size or block.
        lists: name → entries.
        settings: name → value.
        text: a short form of the entry.
    """

    path: str
    kind: str
    lists: dict[str, list["Layer | Group"]]
    settings: dict[str, Any] = field(default_factory=dict)
    text: str = ""


Node = Layer | Group


def parse(layers: Any, blocks: Mapping[str, Any] | None = None, path: str = "model.layers") -> list[Node]:
    """The tree of a list of entries.

    Args:
        layers: the list, as YAML holds it.
        blocks: name → list of entries that is used like a layer; $words in it are arguments.
        path: place of the list in the config.

    Raises: LayerError naming the place of what is not an entry, with the nearest key, or saying that the list describes
    more than MOST_LAYERS layers.
    """
    blocks = {} if blocks is None else blocks
    if not isinstance(blocks, Mapping):
        raise LayerError(f"model.blocks must be a mapping from names to lists of layers, got {blocks!r}.")
    for name in blocks:
        if name in PLACEHOLDERS or name in _GROUPS or registry.has("layer", name):
            raise LayerError(f"model.blocks.{name}: the name is taken, choose another one for this block.")
        _check_list(blocks[name], f"model.blocks.{name}")
    nodes = _Parser(blocks).entries(layers, path)
    if _written_out(nodes) > MOST_LAYERS:
        raise LayerError(
            f"{path} describes more than {MOST_LAYERS:,} layers once its repeats (times) are written out; that is the "
            "most that a model may have."
        )
    return nodes


def _written_out(nodes: Sequence["Node"]) -> int:
    """How many layers there are when all repeats are written out."""
    count = 0
    for node in nodes:
        inner = 1 if isinstance(node, Layer) else 1 + sum(map(_written_out, node.lists.values()))
        count += inner * (node.settings.get("times", 1) if isinstance(node, Group) else 1)
    return count


def leaves(nodes: Sequence[Node]) -> Iterator[Layer]:
    """The layers of a tree, in the order of the file."""
    for node in nodes:
        if isinstance(node, Layer):
            yield node
        else:
            for entries in node.lists.values():
                yield from leaves(entries)


class _Parser:
    def __init__(self, blocks: Mapping[str, Any]) -> None:
        self.blocks = blocks
        self.count = 0

    def entries(self, layers: Any, path: str, depth: int = 0) -> list[Node]:
        _check_list(layers, path)
        return [self.entry(entry, f"{path}[{index}]", depth) for index, entry in enumerate(layers)]

    def entry(self, entry: Any, path: str, depth: int) -> Node:
        if depth > _DEEPEST:
            raise LayerError(f"{path}: nested {depth} deep; does a block contain itself?")
        self.count += 1
        if self.count > MOST_LAYERS:  # blocks of blocks of blocks
            raise LayerError(f"{path}: more than {MOST_LAYERS:,} layers once the blocks of blocks are written out.")
        keys = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
        kind = next((kind for kind in _GROUPS if kind in keys), None)
        if kind is not None and "name" not in keys:
            return self.group(kind, keys, path, depth)
        name = keys.pop("name", None)
        if not isinstance(name, str):
            near = next((hint for key in keys if (hint := did_you_mean(key, _GROUPS))), "")
            raise LayerError(
                f"{path} {as_text(entry)}: a layer is a name, or a mapping with the key name or one of "
                f"{', '.join(_GROUPS)}.{near}"
            )
        if name in self.blocks:
            return self.block(name, keys, path, depth)
        init, delay = keys.pop("init", None), keys.pop("delay", None)
        if delay is not None and name in PLACEHOLDERS:
            raise LayerError(f"{path}.delay: it belongs to a layer with weights, such as Linear, not to {name}.")
        return Layer(path, name, keys, init, as_text(entry), delay)

    def group(self, kind: str, entry: Mapping[str, Any], path: str, depth: int) -> Group:
        options = _GROUPS[kind]
        for key in entry:
            if key != kind and key not in options:
                listing = ", ".join((kind, *options))
                raise LayerError(
                    f"{path}.{key} is not a key of a {kind} entry.{did_you_mean(key, options)} It takes: {listing}."
                )
        values = {kind: entry[kind], **options, **entry}  # in this order, whatever that of the file
        missing = [key for key, value in values.items() if value is None]
        if missing:
            raise LayerError(f"{path}: a {kind} entry needs {', '.join(missing)}.")
        lists: dict[str, list[Node]] = {}
        settings: dict[str, Any] = {}
        for key, value in values.items():
            if key == "branch":
                _check_list(value, f"{path}.branch")
                for index, item in enumerate(value):
                    lists[f"branch[{index}]"] = self.entries(item, f"{path}.branch[{index}]", depth + 1)
            elif key in _PLAIN_KEYS or (key == "feedback" and not isinstance(value, list)):
                settings[key] = value
            else:
                lists[key] = self.entries(value, f"{path}.{key}", depth + 1)
        for key in settings.keys() & {"times", "count", "min_size"}:
            try:
                integer(kind, key, settings[key], at_least=1)
            except ValueError as error:
                raise LayerError(f"{path}: {error}") from error
        return Group(path, kind, lists, settings, f"{{{kind}: …}}")

    def block(self, name: str, given: dict[str, Any], path: str, depth: int) -> Group:
        body = self.blocks[name]
        wanted = sorted(_words(body))
        for key in given:
            if key not in wanted:
                listing = ", ".join(wanted) or "nothing"
                raise LayerError(
                    f"{path}.{key} is not an argument of the block {name}.{did_you_mean(key, wanted)} "
                    f"It takes: {listing}."
                )
        missing = [key for key in wanted if key not in given]
        if missing:
            raise LayerError(f"{path}: the block {name} needs {', '.join(missing)}.")
        entries = self.entries(_filled(body, given), f"{path}.{name}", depth + 1)
        return Group(path, "block", {name: entries}, {}, as_text({"name": name, **given}))


def _check_list(value: Any, path: str) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise LayerError(str(invalid(path, "it", "a list of layers", value)))


def _words(value: Any) -> set[str]:
    """Names of the arguments, such as channels for "$channels", in the entries of a block."""
    if isinstance(value, str):
        return {value[1:]} if value.startswith("$") else set()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    return {word for part in parts for word in _words(part)}


def _filled(value: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return given[value[1:]] if value.startswith("$") else value
    if isinstance(value, Mapping):
        return {key: _filled(item, given) for key, item in value.items()}
    return [_filled(item, given) for item in value] if isinstance(value, Sequence) else value


def as_text(entry: Any) -> str:
    """An entry in one line."""
    if not isinstance(entry, Mapping):
        return str(entry)
    return "{" + ", ".join(f"{key}: {value}" for key, value in entry.items()) + "}"
