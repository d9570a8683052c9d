"""Lets mkdocstrings show what a constructor takes in all, and docstrings as they are written."""

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import griffe

from snntrain.signature import signature_of

# Source: …
_HEAD = re.compile(r"([A-Z]\w*):(?= |$)")
# A line of a program: snn = convert(ann), print(snn.report).
_CALL = re.compile(r"(?:[\w., ]+ = )?[\w.]+\(.*\)")
# An equation, or words in columns.
_IN_COLUMNS = re.compile(r"\S {2,}\S| = ")


class HouseDocstrings(griffe.Extension):
    """Adapts what griffe reads from the files before mkdocstrings shows it."""

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """Show the arguments that a constructor takes from its base as **common."""
        constructor = cls.members.get("__init__")
        if not isinstance(constructor, griffe.Function) or "common" not in constructor.parameters:
            return
        made = getattr(importlib.import_module(cls.module.path), cls.name, None)
        if not inspect.isclass(made):
            return
        parameters = list(signature_of(made.__init__).parameters.values())
        shown = [constructor.parameters[p.name] for p in parameters if p.name in constructor.parameters]
        own = {parameter.name for parameter in shown}
        more = [p for p in parameters if p.name not in own]
        constructor.parameters = griffe.Parameters(*shown, *(_parameter(p) for p in more))
        if cls.docstring is not None and more:
            names = ", ".join(f"`{p.name}`" for p in more)
            cls.docstring.value += f"\n\nIt also takes {names}, as its base class does."

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: object) -> None:
        """Keep constants of a class out of its constructor: griffe knows ClassVar[…], but not a ClassVar alone."""
        if str(attr.annotation) == "ClassVar":
            attr.annotation = None

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Keep equations and lines that stand below each other as they are written."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring as Markdown: arguments as a list, lines in columns as code, characters as they are."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(part for block in blocks for part in _parts(block.splitlines()))


def _parts(lines: list[str]) -> Iterator[str]:
    """The parts of a block: each but the first begins with a word and a colon, such as Source: …"""
    while lines:
        end = next((number for number, line in enumerate(lines[1:], 1) if _HEAD.match(line)), len(lines))
        yield _part(lines[:end])
        lines = lines[end:]


def _part(lines: list[str]) -> str:
    first, *rest = lines
    head = _HEAD.match(first)
    if all(_CALL.fullmatch(line) for line in lines):
        return _code(lines)
    if not head:
        return "\n\n".join(_paragraphs(lines))
    said = first[head.end() :]
    if not said:
        return f"**{head[1]}**\n\n" + "\n".join(_entries(rest))
    if any(_IN_COLUMNS.search(line) for line in rest):
        return f"**{head[1]}**\n\n{_code([' ' * head.end() + said, *rest])}"
    return f"**{head[1]}:** {_escaped(' '.join([said.strip(), *(line.strip() for line in rest)]))}"


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines of prose, and as code those that are indented, with the equations beside them."""
    indented = [False, *(line.startswith(" ") for line in lines), False]
    kinds = [any(indented[n : n + 3]) if " = " in line else indented[n + 1] for n, line in enumerate(lines)]
    for is_code, run in groupby(zip(kinds, lines, strict=True), key=itemgetter(0)):
        found = [line for _, line in run]
        yield _code(found) if is_code else _escaped(" ".join(found))


def _code(lines: list[str]) -> str:
    return f"```text\n{textwrap.dedent(chr(10).join(lines))}\n```"


def _entries(lines: list[str]) -> Iterator[str]:
    """The items of a list of arguments; a line that is indented more goes on with the one before it."""
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    items: list[str] = []
    for line in lines:
        if items and line.startswith(" " * (indent + 1)):
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip())
    for item in items:
        entry = re.fullmatch(r"([\w.*]+(?:, [\w.*]+)*): (.*)", item)
        names = ", ".join(f"`{name}`" for name in entry[1].split(", ")) if entry else ""
        yield f"- {names}: {_escaped(entry[2])}" if entry else f"- {_escaped(item)}"


def _escaped(words: str) -> str:
    parts = re.split(r"(`[^`]+`)", words)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<\[\]{}])", r"\\\1", part) for part in parts)


def _parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    kind = griffe.ParameterKind.keyword_only
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
        kind = griffe.ParameterKind.positional_or_keyword
    default = None if parameter.default is parameter.empty else repr(parameter.default)
    annotation = None if parameter.annotation is parameter.empty else inspect.formatannotation(parameter.annotation)
    return griffe.Parameter(parameter.name, annotation=annotation, kind=kind, default=default)
