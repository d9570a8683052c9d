"""Record an experiment: measure it with several seeds and write experiments/<name>/."""

import re
from pathlib import Path

from snntrain.error import UsageError
from snntrain.installation import command_of
from snntrain.run.front import Parser
from snntrain.terminal import print_line, terminal

_NAME = command_of("record")
_EXAMPLES = f"""\
  {_NAME} fmnist_csnn --seeds 1,2,3 paths.data=/my/data
  {_NAME} fmnist_csnn --from runs/a runs/b runs/c     runs that are finished, at the present commit
  {_NAME} --table                                     only the pages, from all records"""

console = terminal()


def main(arguments: list[str]) -> int:
    """Record one experiment, and renew the table of all."""
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("words", nargs="*", metavar="NAME key=value", help="a file of conf/experiment, and overrides")
    parser.add_argument("--seeds", default="1,2,3", help="at least three, with commas between them")
    parser.add_argument("--from", dest="folders", nargs="+", default=[], metavar="FOLDER", help="finished runs")
    parser.add_argument("--table", action="store_true", help="write the pages of all records, and stop")
    asked = parser.read(arguments)
    if asked.table and not (asked.words or asked.folders):
        return write_table()
    words = [*asked.words, *(folder for folder in asked.folders if _is_override(folder))]
    folders = [Path(folder) for folder in asked.folders if not _is_override(folder)]
    names = [word for word in words if not _is_override(word)]
    if len(names) != 1 or asked.table:
        raise UsageError("Give the name of one experiment, or --table alone.")
    overrides = [word for word in words if _is_override(word)]
    seeds = _seeds(asked.seeds)
    from snntrain.lab.experiment.recording import check_request, clean_commit, record, record_from

    check_request(names[0], seeds, overrides)
    commit = clean_commit(names[0])
    if folders:
        written = record_from(names[0], folders, overrides, commit)
    else:
        written = record(names[0], seeds, overrides, commit)
    print_line(console, f"recorded: {written}")
    return write_table()


def write_table() -> int:
    """Write experiments/README.md, and the README of each record."""
    from snntrain.files import write_text
    from snntrain.lab.experiment.record_page import pages
    from snntrain.lab.experiment.recorded import EXPERIMENTS

    for path, text in pages(EXPERIMENTS).items():
        write_text(path, text)
    print_line(console, f"written: {EXPERIMENTS / 'README.md'}")
    return 0


def _seeds(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"--seeds must be whole numbers with commas between them, such as 1,2,3, got {text!r}.")
    return [int(seed) for seed in text.split(",")]


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).is_dir()
