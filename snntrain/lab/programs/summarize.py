"""One table of any runs: accuracies, mean and spread over seeds, what failed. It only reads run folders."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from snntrain.error import UsageError
from snntrain.installation import command_of
from snntrain.run.front import Parser
from snntrain.terminal import print_error, print_line, terminal

if TYPE_CHECKING:
    from snntrain.lab.run_rows import Row

_NAME = command_of("summarize")
_EXAMPLES = f"""\
  {_NAME} runs/2026-01-31/12-00-00_sweep               a sweep, also one that was killed
  {_NAME} runs/2026-01-* --sort val/acc                all runs of a month, the best first
  {_NAME} runs --csv runs.csv --html runs.html"""


def main(arguments: list[str]) -> int:
    """Print the table; the exit code."""
    asked = _read(arguments)
    from snntrain.files import write_text
    from snntrain.lab.run_rows import note_of_unverified
    from snntrain.lab.run_table import csv_of, sort_rows, table_of
    from snntrain.lab.runs_page import write_page

    console = terminal()
    rows, first = _rows(asked.folders)
    if asked.sort:
        rows = sort_rows(rows, asked.sort)
    console.print(table_of(rows, first, console.width))
    if note := note_of_unverified(rows):
        print_line(console, note)
    if asked.csv:
        write_text(asked.csv, csv_of(rows, first))
    if asked.html:
        write_page(asked.html, rows, title=" ".join(map(str, asked.folders)), first=first)
    return 0


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="run folders, or folders above them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table with all metrics, exactly")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that sorts, filters and compares")
    parser.add_argument(
        "--sort", metavar="COLUMN", help="a metric (the best first), a parameter, name, status, seconds"
    )
    return parser.read(arguments)


def _rows(folders: list[Path]) -> "tuple[list[Row], str]":
    """The rows, and what they are: the jobs of one sweep, or runs."""
    from snntrain.lab.run_rows import find_rows, sweep_rows
    from snntrain.lab.sweep.jobs import SWEEP

    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder. Give run folders, or folders that hold some.")
    if len(folders) == 1 and (folders[0] / SWEEP).is_file():
        try:
            return sweep_rows(folders[0]), "job"
        except UsageError as error:  # its runs can still be listed
            print_error(str(error), "damaged")
    rows = [row for row in find_rows(folders) if row.status != "foreign"]
    if not rows:
        raise UsageError(f"no run in {', '.join(map(str, folders))}. A run folder holds config.yaml and results.json.")
    return rows, "run"
