"""All runs below a folder in one HTML page: filter, sort, compare configs, open reports. No server, nothing to load.

The page keeps its state in its address, #sort=-val/acc&filter=lif&compare=…, so that a link shows what you see.
"""

from pathlib import Path

from snntrain.error import UsageError
from snntrain.installation import command_of
from snntrain.run.front import Parser
from snntrain.terminal import print_line, terminal


def main(arguments: list[str]) -> int:
    """Write the page; the exit code."""
    parser = Parser(command_of("browse"), __doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; default: <folder>/index.html")
    asked = parser.read(arguments)
    from snntrain.lab.run_rows import find_rows, note_of_unverified
    from snntrain.lab.runs_page import write_page

    page = asked.out or asked.folder / "index.html"
    _check(asked.folder, page)
    rows = find_rows([asked.folder])
    for row in rows:  # named as seen from the folder
        name = Path(row.name)
        row.name = str(name.relative_to(asked.folder)) if name != asked.folder else row.name
    rows.sort(key=lambda row: row.when, reverse=True)  # the newest first
    write_page(page, rows, title=f"Runs in {asked.folder}", first="run")
    console = terminal()
    print_line(console, f"{len(rows)} runs: {page}")
    for row in rows:
        if row.status == "damaged":
            print_line(console, f"damaged: {row.name}: {row.error}")
    if note := note_of_unverified(rows):
        print_line(console, note)
    return 0


def _check(folder: Path, page: Path) -> None:
    from snntrain.lab.runs_page import GENERATOR

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Give the one that holds your runs, as paths.runs says.")
    if page.exists() and not page.is_file():
        raise UsageError(f"{page} is a folder or no ordinary file. Give a file: --out FILE.")
    if page.exists() and f'content="{GENERATOR}"' not in page.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(f"{page} was not written by this program. Choose another file: --out FILE.")
