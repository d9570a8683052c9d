"""CSV whose texts a spreadsheet shows instead of running them as formulas."""

import csv
import io
from collections.abc import Iterable

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: object) -> object:
    """A cell of a CSV file; a text that a spreadsheet would run as a formula is prefixed with ' (as OWASP advises).

    Numbers stay numbers, also as text, such as -0.5 from a command line.
    """
    if not isinstance(value, str) or not value.startswith(_STARTS_A_FORMULA):
        return value
    try:
        float(value)
        return value
    except ValueError:
        return f"'{value}"


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(cell, row) for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")  # a file's name may be no UTF-8
