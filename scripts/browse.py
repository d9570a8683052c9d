"""All runs below a folder in one HTML page: filter, sort, compare configs, open reports. No server, nothing to load.

The page keeps its state in its address, #sort=-test/acc&filter=lif&compare=…, so that a link shows what you see.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import snntrain  # noqa: F401  before torchvision, see snntrain/__init__.py
from snntrain.report.run_rows import find_rows, note_of_unverified
from snntrain.report.runs_page import GENERATOR, write_page

console = Console(highlight=False)


def main() -> int:
    """Exit code: 0; 2 if there is no such folder or the page would replace a file of somebody else's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; default: <folder>/index.html")
    arguments = parser.parse_args()
    page = arguments.out or arguments.folder / "index.html"
    try:
        _check(arguments.folder, page)
        rows = find_rows([arguments.folder])
        for row in rows:  # named as seen from the folder
            name = Path(row.name)
            row.name = str(name.relative_to(arguments.folder)) if name != arguments.folder else row.name
        rows.sort(key=lambda row: row.when, reverse=True)  # the newest first
        write_page(page, rows, title=f"Runs in {arguments.folder}", first="run")
    except (ValueError, OSError) as error:
        message = escape(" ".join(str(error).split()))
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/bold red] {message}", soft_wrap=True)
        return 2
    console.print(f"{len(rows)} runs: {page}", soft_wrap=True, markup=False)
    if any(row.status == "damaged" for row in rows):
        listing = "\n".join(f"damaged: {row.name}: {row.error}" for row in rows if row.status == "damaged")
        console.print(listing, soft_wrap=True, markup=False)
    if note := note_of_unverified(rows):
        console.print(note, soft_wrap=True, markup=False)
    return 0


def _check(folder: Path, page: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Give the one that holds your runs, as paths.runs says.")
    if page.is_dir():
        raise ValueError(f"{page} is a folder. Give a file: --out FILE.")
    if page.exists() and f'content="{GENERATOR}"' not in page.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"{page} was not written by this program. Choose another file: --out FILE.")


if __name__ == "__main__":
    sys.exit(main())
