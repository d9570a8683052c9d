"""Print text as it is: [brackets] or :colons: in a path or a name are not markup."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def terminal(**settings: Any) -> Console:
    """A console that interprets no markup; to style text, pass a rich Text.

    Args:
        settings: of rich's Console, such as stderr=True or file.
    """
    return Console(highlight=False, markup=False, emoji=False, **settings)


def table(*headers: str, texts: int | None = None) -> Table:
    """A table without lines; in a narrow terminal, cells go on in the next line and nothing is cut.

    Args:
        headers: of the columns.
        texts: how many of the first columns hold text; the others hold numbers, to the right. None: all hold text.
    """
    made = Table(box=None, header_style="bold", pad_edge=False)
    for index, header in enumerate(headers):
        made.add_column(header, overflow="fold", justify="left" if texts is None or index < texts else "right")
    return made


@dataclass(frozen=True)
class ModulePath:
    """A cell of paths of modules, such as "layers.2.feedback.0"; a narrow column breaks them after their dots."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(cell_len, self._parts()), default=0), cell_len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = [""]
        for part in self._parts():
            if cell_len(lines[-1] + part.rstrip()) <= options.max_width:
                lines[-1] += part
            else:
                lines += chop_cells(part, options.max_width)  # a part that is too long for a line gets several
        for line in filter(None, lines):
            yield Text(line.rstrip())

    def _parts(self) -> list[str]:
        return re.findall(r"[^._ ]+[._ ]*|[._ ]+", self.text)


def bold(text: str, rest: str = "") -> Text:
    """A text in bold, followed by plain text."""
    return Text.assemble((text, "bold"), rest)


def warn(console: Console, text: str) -> None:
    """Print one line that begins with a yellow "warning:"."""
    print_line(console, Text.assemble(("warning:", "yellow"), f" {text}"))


def print_line(console: Console, text: str | Text) -> None:
    """Print a line that a terminal breaks between words, and that a file gets whole.

    A line with a word that is longer than the terminal is wide, such as a path, is left to the terminal, from which it
    can then be copied in one piece.
    """
    words_fit = all(cell_len(word) <= console.width for word in str(text).split())
    console.print(text, soft_wrap=not (console.is_terminal and words_fit))


def print_error(message: str, title: str = "error") -> None:
    """Print one line on stderr."""
    line = " ".join(message.encode("utf-8", "backslashreplace").decode("utf-8").split())
    print_line(terminal(stderr=True), Text.assemble((f"{title}:", "bold red"), f" {line}"))
