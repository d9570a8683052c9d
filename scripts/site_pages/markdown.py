"""Markdown of generated pages: text that is nothing but text, tables, files."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*_{}\[\]<>#|&])")


def text(words: str) -> str:
    """Words that Markdown takes as they are; what stands in `…` stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(words.split()))
    return "".join(part.replace("|", "\\|") if part.startswith("`") else _escaped(part) for part in parts)


def code(words: str) -> str:
    """Words as code, also in a cell of a table."""
    return f"`{words}`".replace("|", "\\|") if words else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; cells are aligned by their kind: numbers to the right."""
    rows = list(rows)
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(heads))]
    lines = [heads, ["---:" if is_right else "---" for is_right in right], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def file_text(title: str, content: str, language: str, *, folded: bool) -> str:
    """A file, folded away behind its name if it is long."""
    if not folded:
        return f'```{language} title="{title}"\n{content.rstrip()}\n```\n'
    block = f"```{language}\n{content.rstrip()}\n```"
    indented = "\n".join(f"    {line}" if line else "" for line in block.splitlines())
    return f'??? note "{title}"\n\n{indented}\n'


def _escaped(words: str) -> str:
    return _SPECIAL.sub(lambda found: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}"), words)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[\d,.]*\d( ?[a-zA-Zµ×%]{0,4})?|", cell) is not None
