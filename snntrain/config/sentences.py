"""The sentence that documents an argument or a field, read from where it stands: docstrings and lines under fields."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from snntrain.signature import signature_of

_SECTION = re.compile(r"(Args|Arguments|Attributes|Parameters|Keyword Args):")
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \(.*?\))?: *(.*)")
# Markup of Sphinx, which torch's and Lightning's docstrings have.
_ROLE = re.compile(r":[\w:]+:`~?(?:[^`<]*\.)?([^`<]*?)(?: <[^`]*>)?`")


@cache
def sentences(target: Callable[..., Any]) -> MappingProxyType[str, str]:
    """Argument of a function or class → the sentence that documents it there or in a base class.

    A dataclass may document its fields by a text under each. So may one whose fields are arguments of the class, such
    as Loading of the data sets.
    """
    found: dict[str, str] = {}
    for text in _documents(target):
        for name, sentence in text.items():
            if not found.get(name) or found[name].startswith("as in "):
                found[name] = sentence
    return MappingProxyType(found)


@cache
def field_sentences(cls: type) -> Mapping[str, str]:
    """Field of a dataclass → the text under it."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    except (OSError, TypeError):  # made without a file
        return {}
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def documented_arguments(text: str | None) -> dict[str, str]:
    """Argument → sentence, of the sections Args and Attributes of a docstring."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside, indent = False, 0
    for line in inspect.cleandoc(text or "").splitlines():
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            inside, indent, names = _SECTION.fullmatch(line.rstrip()) is not None, 0, []
        elif inside:
            indent = indent or depth
            entry = _ENTRY.fullmatch(line.strip()) if depth == indent else None
            if entry:
                names = [name.strip("* ") for name in entry[1].split(",")]
                found |= dict.fromkeys(names, entry[2])
            elif depth > indent:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
            else:
                names = []
    return {name: _first_sentence(sentence) for name, sentence in found.items()}


def first_paragraph(text: str | None) -> str:
    """What a docstring says before its first blank line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def _documents(target: Callable[..., Any]) -> Iterator[Mapping[str, str]]:
    if not inspect.isclass(target):
        yield documented_arguments(target.__doc__)
        return
    taken = set(signature_of(target).parameters)
    for kind in target.__mro__[:-1]:
        yield documented_arguments(kind.__doc__)
        yield documented_arguments(getattr(vars(kind).get("__init__"), "__doc__", None))
        if is_dataclass(kind):
            yield field_sentences(kind)
        if kind.__module__.startswith("snntrain"):
            for other in vars(sys.modules[kind.__module__]).values():
                if inspect.isclass(other) and is_dataclass(other) and taken.issuperset(f.name for f in fields(other)):
                    yield {**documented_arguments(other.__doc__), **field_sentences(other)}


def _first_sentence(text: str) -> str:
    """The first sentence, without Sphinx's markup and without the default, which the signature has."""
    text = _ROLE.sub(r"`\1`", " ".join(text.split())).replace("``", "`")
    text = re.sub(r"\s*\(default: [^()]*(\([^()]*\))?[^()]*\)|\.?\s*Defaults?( value)?( is)?( to)?:? .*$", "", text)
    end = re.search(r"(?<!e\.g)(?<!i\.e)(?<!cf)\.\s", text + " ")
    return text[: end.start() + 1] if end else text
