"""Describes every key of the config: what may stand there, its default, and the sentence that documents it.

`train.py --help` and the documentation's pages of the config are made from it. It reads conf/, the schema, signatures,
docstrings and the constructors' own checks, so that each fact is written once.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain import registry
from snntrain.binding import describe
from snntrain.config.check import SUPPLIED
from snntrain.config.compose import compose
from snntrain.config.folders import config_files, groups
from snntrain.config.schema import Config, Debug, Model, Monitor, Paths, Schedule, Sweep
from snntrain.config.sentences import field_sentences, sentences
from snntrain.config.targets import registered_kind
from snntrain.model.builder import inferred_arguments
from snntrain.model.choice import chosen_norm
from snntrain.ranges import range_of
from snntrain.signature import signature_of

#: Sections that the program itself reads → what their keys are.
SECTIONS = {"model": Model, "debug": Debug, "paths": Paths, "monitor": Monitor, "sweep": Sweep}
_TRIED = ("neuron", "surrogate", "encoder", "data", "callbacks")  # their constructors are cheap
_NAMES = ("_target_", "name")


@dataclass(frozen=True)
class Key:
    """One key of the config.

    Attributes:
        path: as on the command line, neuron.tau.
        allowed: the values it may have, in words; "" where anything goes.
        default: its value where the file leaves it out, as YAML; "" if it must be given.
        value: its value in the file, as YAML; None if the file leaves it out.
        sentence: what it means.
    """

    path: str
    allowed: str
    default: str
    value: str | None
    sentence: str


@dataclass(frozen=True)
class Choice:
    """One file of a group.

    Attributes:
        about: what the comment at its top says.
        text: the file.
        builds: place → dotted name of the class that is built there.
        keys: all that may be set, those of the file first.
    """

    group: str
    name: str
    about: str
    text: str
    builds: dict[str, str]
    keys: tuple[Key, ...]


def root_keys() -> list[Key]:
    """The keys at the root of the config and in its small sections; groups are described by their choices."""
    found = []
    for field in fields(Config):
        if field.name in ("paths", "monitor", "sweep"):
            found += describe_arguments(SECTIONS[field.name], f"{field.name}.")
        elif field.name not in groups():
            found += [key for key in describe_arguments(Config) if key.path == field.name]
    return found


def group_sentences() -> dict[str, str]:
    """Group → what it chooses, where the schema says more than its name."""
    return field_sentences(Config)


def describe_choice(group: str, name: str) -> Choice:
    """All there is to know of one file of a group, e.g. ("optim/schedule", "cosine")."""
    text = _file(group, name).read_text(encoding="utf-8")
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    content = _content(group, name)
    place = "" if _is_root(text) else group.replace("/", ".")
    builds: dict[str, str] = {}
    describing = _Describing(_with_choice(group, content), _comments(text), builds)
    own = _at(content, place) if place else {k: v for k, v in yaml.safe_load(text).items() if k != "defaults"}
    keys = tuple(describing.rows(own, place))
    return Choice(group, name, " ".join(comments), text, builds, keys)


def describe_arguments(target: Callable[..., Any], before: str = "") -> list[Key]:
    """The arguments of a class as keys of a file that sets them, such as that of a search; `before` leads to them."""
    parameters = signature_of(target).parameters
    return [_key(target, parameter, f"{before}{name}", {}, None) for name, parameter in parameters.items()]


def as_yaml(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


# --- files of conf/ --------------------------------------------------------------------------------------------------


def _is_root(text: str) -> bool:
    return "# @package _global_" in text


def _comments(text: str) -> dict[str, str]:
    """Key → the comment behind it."""
    return dict(re.findall(r"^ *(\w+):.*?[^\s#] *\s# *(.+)$", text, re.MULTILINE))


def _content(group: str, name: str) -> dict[str, Any]:
    """The keys of a file, at the root of the config, with those of the files that its defaults name."""
    text = _file(group, name).read_text(encoding="utf-8")
    own = yaml.safe_load(text) or {}
    whole: dict[str, Any] = {}
    for entry in own.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            whole = _merged(whole, _content(group, entry))
        elif isinstance(entry, dict):
            ((key, chosen),) = entry.items()
            overridden = re.fullmatch(r"override /(?P<group>[\w/]+)(@_global_\.\w+)?", key)
            part = overridden["group"] if overridden else f"{group}/{key}"
            for choice in chosen if isinstance(chosen, list) else [chosen]:
                if part in groups() and choice is not None:  # null: the file states the whole part itself
                    whole = _merged(whole, _content(part, choice))
    if not _is_root(text):
        for section in reversed(group.split("/")):
            own = {section: own}
    return _merged(whole, own)


def _file(group: str, name: str) -> Path:
    return next(file for file in config_files(group) if file.stem == name)


def _merged(below: Any, above: Any) -> Any:
    """Two trees of mappings in one, in which the second counts."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: _merged(below[key], value) if key in below else value for key, value in above.items()}}


@cache
def _default_config() -> dict[str, Any]:
    return OmegaConf.to_container(compose([]))


def _with_choice(group: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The default config with a file in the place of the default's."""
    config = _default_config()
    if group != "callbacks":
        config = _without(config, group.split("/"))
    return _merged(config, content)


def _without(config: Mapping[str, Any], place: Sequence[str]) -> dict[str, Any]:
    first, *inner = place
    if inner and first in config:
        return {**config, first: _without(config[first], inner)}
    return {key: value for key, value in config.items() if key != first}


# --- one key ---------------------------------------------------------------------------------------------------------


@dataclass
class _Describing:
    """Describes the keys of one file.

    Attributes:
        config: what the run would have, so that a key can be looked up where its class is named elsewhere.
        comments: key → what the file says of it.
        builds: place → class, filled in.
    """

    config: dict[str, Any]
    comments: dict[str, str]
    builds: dict[str, str]

    def rows(self, node: Mapping[str, Any], path: str) -> Iterator[Key]:
        """The keys of a mapping; if it names a class, all that this class takes."""
        target, supplied = target_of(node, path)
        found, dot = {}, f"{path}." if path else ""
        if target is not None:
            self.builds[path] = f"{target.__module__}.{target.__qualname__}"
            arguments = self._arguments(path, target)
            for name, parameter in signature_of(target).parameters.items():
                if name not in supplied and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found[name] = _key(target, parameter, f"{dot}{name}", node, arguments)
        for name in node:
            if name not in found and name not in _NAMES and (path != "model" or self._is_read(name)):
                found[name] = self._key_of_file(name, node[name], path)
        for name in sorted(found, key=lambda name: name not in node):
            value = node.get(name)
            if isinstance(value, Mapping) and value and self._is_section(value, f"{dot}{name}", target):
                yield from self.rows(value, f"{dot}{name}")
            else:
                yield found[name]

    def _is_read(self, name: str) -> bool:
        """Whether a model reads a key: one of the file that it begins with may be left over."""
        model = self.config["model"]
        return name in signature_of(Model).parameters or name in self.comments or bool(_use_in_model(name, model))

    def _is_section(self, value: Mapping[str, Any], path: str, parent: Any) -> bool:
        return target_of(value, path)[0] is not None or (parent is None and path.partition(".")[2] != "blocks")

    def _key_of_file(self, name: str, value: Any, path: str) -> Key:
        """A key of the file that the class named there, if there is one, does not take as an argument."""
        place = f"{path}.{name}" if path else name
        target, _ = target_of(_at(self.config, path), path) if path else (None, ())
        section = Config if not path else Schedule if path == "optim.schedule" else SECTIONS.get(path)
        for cls in (target, section):
            parameter = signature_of(cls).parameters.get(name) if cls is not None else None
            if parameter is not None:
                return _key(cls, parameter, place, {name: value}, None)
        sentence = self.comments.get(name) or _use_in_model(name, self.config["model"]) if path == "model" else ""
        sentence = sentence or self.comments.get(name) or _FACTS.get(place, "")
        allowed = describe(type(value)) if isinstance(value, (bool, int, float, str, list)) else ""
        return Key(place, allowed, "", as_yaml(value), _sentence(sentence))

    def _arguments(self, path: str, target: Callable[..., Any]) -> dict[str, Any] | None:
        """Arguments with which the class can be built, to hear what it says of others; None where that would cost."""
        if path.split(".")[0] not in _TRIED or not target.__module__.startswith("snntrain."):
            return None
        try:
            node = OmegaConf.create(_filled(self.config))
            given = OmegaConf.to_container(OmegaConf.select(node, path), resolve=True)
            built = {key: _built(value) for key, value in given.items() if key not in _NAMES}
            target(**built)
        except (OmegaConfBaseException, ValueError, TypeError, OSError):
            return None
        return built


# Keys that no class documents.
_FACTS = {
    "task.outputs": "Scores that the model ends with, counted from data and task; models refer to it.",
    "data.num_classes": "Classes or labels of the data.",
    "data.num_targets": "Values that a sample has to predict.",
    "data.sample_shape": "Shape of a sample at one time step.",
    "hydra.mode": "MULTIRUN: a sweep, as with -m.",
}


def target_of(node: Any, path: str) -> tuple[Callable[..., Any] | None, Collection[str]]:
    """The class that a mapping of the config names, and those of its arguments that the program fills in."""
    if not isinstance(node, Mapping):
        return None, ()
    named, dotted = node.get("name"), node.get("_target_")
    kind = "surrogate" if path.endswith("surrogate_function") else registered_kind(path) or path
    if dotted is not None:
        return get_object(dotted), SUPPLIED.get(path, ("kind",) if path == "data" else ())
    if path == "norm" and named is not None:
        target, _ = chosen_norm({"name": named}, {})
        return target, inferred_arguments(target)
    if named is not None and kind in ("neuron", "surrogate", "encoder", "data", "task", "callback"):
        return registry.get(kind, named), ()
    return None, ()


def _key(target: Callable[..., Any], parameter: Parameter, path: str, node: Mapping[str, Any], arguments: Any) -> Key:
    name = parameter.name
    default = "" if parameter.default is Parameter.empty else as_yaml(_default(target, parameter))
    value = as_yaml(node[name]) if name in node else None
    sentence = (field_sentences(target) if is_dataclass(target) else {}).get(name) or sentences(target).get(name, "")
    return Key(path, _allowed(target, parameter, arguments), default, value, _sentence(sentence))


def _default(target: Any, parameter: Parameter) -> Any:
    """The default of an argument, also where a dataclass makes it anew each time."""
    if is_dataclass(target):
        for field in fields(target):
            if field.name == parameter.name and field.default_factory is not MISSING:
                made = field.default_factory()
                return made if isinstance(made, (list, dict)) else {}
    return parameter.default


class _Wrong:
    """A value that no argument takes."""

    def __repr__(self) -> str:
        return "∅"


def _allowed(target: Callable[..., Any], parameter: Parameter, arguments: dict[str, Any] | None) -> str:
    """The values that an argument takes: as its class says when it refuses one, or as the table of ranges has it."""
    listed = range_of(target, parameter.name)
    if listed is not None:
        return str(listed)
    if arguments is not None:
        try:
            target(**arguments | {parameter.name: _Wrong()})
        except ValueError as error:
            said = re.match(rf"(?:\S+: )?{parameter.name} must be (.*), got ∅\.", str(error))
            if said and "_target_" not in said[1]:
                words = said[1].replace("True or False", "true or false").replace("None", "null")
                return words if parameter.default is not None or "null" in words else f"{words} or null"
        except Exception:
            pass  # its check does not get that far: the annotation has to do
    if parameter.annotation is Parameter.empty:
        return ""
    words = describe(parameter.annotation)
    return "" if words in ("Any", "object") else words


def _sentence(text: str) -> str:
    """The sentence in YAML's words."""
    for pythons, yamls in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{pythons}\b", yamls, text)
    return text.strip()


def _use_in_model(name: str, model: Mapping[str, Any]) -> str:
    """Where the layers of a model refer to one of its keys."""
    uses: dict[str, None] = {}

    def look(node: Any) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if isinstance(value, str) and f"${{model.{name}" in value:
                    uses[f"`{key}` of {node['name']}" if "name" in node and key != "name" else f"`{key}`"] = None
                look(value)
        elif isinstance(node, list):
            for item in node:
                look(item)

    look({key: value for key, value in model.items() if key in ("layers", "blocks")})
    return " and ".join(list(uses)[:3])


def _at(config: Any, path: str) -> Any:
    """What stands at a place of a config; None if it has no such place."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _filled(config: Any) -> Any:
    """A config whose missing values, ???, are something that suits most classes."""
    if isinstance(config, dict):
        return {key: _SUITABLE.get(key, "x") if value == "???" else _filled(value) for key, value in config.items()}
    return [_filled(value) for value in config] if isinstance(config, list) else config


_SUITABLE = {"num_classes": 3, "sample_shape": [1, 8, 8]}


def _built(value: Any) -> Any:
    """An argument with the objects that its config names."""
    if isinstance(value, Mapping) and "_target_" in value:
        return get_object(value["_target_"])(**{key: _built(one) for key, one in value.items() if key != "_target_"})
    if isinstance(value, Mapping) and "name" in value:
        return registry.build("surrogate", **value)
    return value


def _plain(value: Any) -> Any:
    """A default as YAML can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else f"{value}"
