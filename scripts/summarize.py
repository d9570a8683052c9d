"""One table of any runs: accuracies, mean and spread over seeds, what failed. It only reads run folders."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import snntrain  # noqa: F401  before torchvision, see snntrain/__init__.py
from snntrain.files import write_text
from snntrain.report.run_rows import Row, find_rows, note_of_unverified, sweep_rows
from snntrain.report.run_table import csv_of, sort_rows, table_of
from snntrain.report.runs_page import write_page
from snntrain.sweep.jobs import SWEEP

EXAMPLES = """\
  python scripts/summarize.py runs/2026-01-31/12-00-00_sweep               a sweep, also one that was killed
  python scripts/summarize.py runs/2026-01-* --sort test/acc               all runs of a month, the best first
  python scripts/summarize.py runs --csv runs.csv --html runs.html"""

console = Console(highlight=False)


def main() -> int:
    """Exit code: 0; 2 for a folder without runs or a wrong command line."""
    arguments = _arguments()
    try:
        rows, first = _rows(arguments.folders)
        if arguments.sort:
            rows = sort_rows(rows, arguments.sort)
        console.print(table_of(rows, first, console.width))
        if note := note_of_unverified(rows):
            console.print(note, soft_wrap=True, markup=False)
        if arguments.csv:
            write_text(arguments.csv, csv_of(rows, first))
        if arguments.html:
            write_page(arguments.html, rows, title=" ".join(map(str, arguments.folders)), first=first)
    except (ValueError, OSError) as error:
        message = escape(" ".join(str(error).split()))
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/bold red] {message}", soft_wrap=True)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="run folders, or folders above them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table with all metrics, exactly")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that sorts, filters and compares")
    parser.add_argument(
        "--sort", metavar="COLUMN", help="a metric (the best first), a parameter, name, status, seconds"
    )
    return parser.parse_args()


def _rows(folders: list[Path]) -> tuple[list[Row], str]:
    """The rows, and what they are: the jobs of one sweep, or runs."""
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder. Give run folders, or folders that hold some.")
    if len(folders) == 1 and (folders[0] / SWEEP).is_file():
        return sweep_rows(folders[0]), "job"
    rows = [row for row in find_rows(folders) if row.status != "foreign"]
    if not rows:
        raise ValueError(f"no run in {', '.join(map(str, folders))}. A run folder holds config.yaml and results.json.")
    return rows, "run"


if __name__ == "__main__":
    sys.exit(main())
