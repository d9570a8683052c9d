"""Reads a time series from a file: a row for each step, columns with names."""

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snntrain.data.damage import decoding
from snntrain.data.event_arrays import check_array
from snntrain.files import read_bytes, read_text

ENDINGS = (".csv", ".npy", ".parquet")
MOST_BYTES = 2**31
"""A larger file is not read into memory."""


@dataclass(frozen=True)
class Series:
    """The columns of one file, numbers or texts.

    Attributes:
        path: of the file.
        columns: name → values [steps].
        lines: where each row stands in a text file; None: the file has no lines, and rows count from 0.
    """

    path: Path
    columns: Mapping[str, np.ndarray]
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def header(self) -> str:
        """Where the names of the columns stand, for errors."""
        return str(self.path) if self.lines is None else f"{self.path}, line 1"

    def place(self, row: int) -> str:
        """Where a row stands, for errors."""
        return f"{self.path}, " + (f"row {row}" if self.lines is None else f"line {self.lines[row]}")

    def numbers(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """The values of a column as float64. Raises: ValueError naming the first that is no finite number."""
        values, first = self.columns[name][rows], range(len(self))[rows].start
        if values.dtype.kind not in "buifUO":
            raise ValueError(f"data: {self.path}: column {name} holds {values.dtype}, not numbers.")
        try:
            found = values.astype(np.float64)
        except (ValueError, TypeError):
            row = next(row for row, value in enumerate(values) if not _is_number(value))
            raise self._no_number(first + row, name, values[row]) from None
        strange = np.flatnonzero(~np.isfinite(found))
        if len(strange):
            raise self._no_number(first + int(strange[0]), name, values[strange[0]])
        return found

    def classes(self, name: str) -> list[str]:
        """The names of classes in a column; whole numbers as their digits. Raises: ValueError naming what is none."""
        return [self._class(row, name, value) for row, value in enumerate(self.columns[name].tolist())]

    def _class(self, row: int, name: str, value: object) -> str:
        text = "" if value is None else str(value).strip()
        if _is_number(text):
            if not float(text).is_integer():
                raise ValueError(
                    f"data: {self.place(row)}: column {name} holds {text}, but a class is a text or a whole number."
                )
            return str(int(float(text)))
        if not text:
            raise ValueError(f"data: {self.place(row)}: column {name} is empty, but a class is needed there.")
        return text

    def _no_number(self, row: int, name: str, value: object) -> ValueError:
        what = "is empty" if value is None or str(value).strip() == "" else f"holds {str(value)!r}"
        return ValueError(f"data: {self.place(row)}: column {name} {what}, but a finite number is needed there.")


def read_series(path: Path, most_rows: int) -> Series:
    """Read a .csv file with a header, a .npy array [steps, columns] or structured one, or a .parquet file.

    The columns of a plain array are named by their numbers, from 0.

    Args:
        most_rows: a Parquet file that has more is refused unread.

    Raises: ValueError naming the file and, in a CSV file, the line; ImportError naming the package that Parquet needs.
    """
    reader = {".csv": _read_csv, ".npy": _read_npy}.get(path.suffix.lower())
    series = _read_parquet(path, most_rows) if reader is None else reader(path)
    if not series.columns or not len(series):
        raise ValueError(f"data: {path} holds no steps. Remove it.")
    return series


def _is_number(value: object) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (ValueError, TypeError):
        return False


def _read_csv(path: Path) -> Series:
    reader = csv.reader(io.StringIO(read_text(path, MOST_BYTES).removeprefix("\ufeff"), newline=""), strict=True)
    rows, lines = [], []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"data: {path}, line {reader.line_num}: {error}. It is no CSV; correct it.") from error
    while rows and not rows[-1]:
        rows.pop()
    for row, line in zip(rows, lines, strict=False):
        if len(row) != len(header):
            raise ValueError(f"data: {path}, line {line} has {len(row)} cells, but the header has {len(header)}.")
    columns = {name: np.array([row[place] for row in rows], dtype=object) for place, name in enumerate(header)}
    return Series(path, columns, lines[: len(rows)])


def _check_header(path: Path, header: Sequence[str]) -> None:
    place = f"data: {path}, line 1:"
    if not header:
        raise ValueError(f"data: {path} is empty. Remove it.")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError(f"{place} its columns are not separated by commas. Save it as comma-separated values.")
    if all(map(_is_number, header)):
        raise ValueError(f"{place} it holds numbers, not names of columns. Put a line with their names above it.")
    for number, name in enumerate(header, start=1):
        if not name:
            raise ValueError(f"{place} column {number} has no name. Name it, or leave it out (to_csv(index=False)).")
        if header.count(name) > 1:
            raise ValueError(f"{place} two columns are called {name}. Rename one of them.")


def _read_npy(path: Path) -> Series:
    def unreadable(reason: str) -> ValueError:
        return ValueError(f"data: {path} cannot be read ({reason}).")

    content = read_bytes(path, MOST_BYTES)
    with decoding(unreadable):
        check_array(io.BytesIO(content), len(content))
        array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names and array.ndim == 1:
        return Series(path, {name: array[name] for name in array.dtype.names})
    if array.dtype.names or array.ndim != 2:
        raise ValueError(
            f"data: {path}: its array must be [steps, columns], or [steps] of a type with named fields, got "
            f"{list(array.shape)} {array.dtype}."
        )
    return Series(path, {str(place): array[:, place] for place in range(array.shape[1])})


def _read_parquet(path: Path, most_rows: int) -> Series:
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"data: {path} needs the package pyarrow, which is not installed: pip install 'snntrain[parquet]'."
        )
    from pyarrow import parquet

    def unreadable(reason: str) -> ValueError:
        return ValueError(f"data: {path} cannot be read ({reason}).")

    content = read_bytes(path, MOST_BYTES)
    with decoding(unreadable, _TooLong):
        file = parquet.ParquetFile(io.BytesIO(content))
        if file.metadata.num_rows > most_rows:
            raise _TooLong(f"data: {path} has {file.metadata.num_rows:,} rows, but T={most_rows:,}. Set T, or cut it.")
        table = file.read()
        columns = {name: table.column(place).to_numpy() for place, name in enumerate(table.column_names)}
    if len(columns) != len(table.column_names):
        raise ValueError(f"data: {path}: two of its columns have the same name. Rename one of them.")
    return Series(path, columns)


class _TooLong(ValueError):
    """Raised for a file with more rows than a sequence may have."""
