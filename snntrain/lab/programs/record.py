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
  {_NAME} fmnist_csnn --weights runs/a                ship the weights of its best seed, from a run that is finished
  {_NAME} --table                                     only the pages, from all records"""

console = terminal()


def main(arguments: list[str]) -> int:
    """Record one experiment, and renew the table of all."""
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("words", nargs="*", metavar="NAME key=value", help="a file of conf/experiment, and overrides")
    parser.add_argument("--seeds", default="1,2,3", help="at least three, with commas between them")
    parser.add_argument("--from", dest="folders", nargs="+", default=[], metavar="FOLDER", help="finished runs")
    parser.add_argument("--table", action="store_true", help="write the pages of all records, and stop")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="a finished run, whose weights the record ships")
    parser.add_argument("--hub", metavar="ADDRESS", help="hf://owner/name, where files above 5 MiB can be fetched")
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
    from snntrain.run.hub import is_hub_address

    if asked.hub is not None and not is_hub_address(asked.hub):
        raise UsageError(f"--hub must be an address hf://owner/name, got {asked.hub!r}.")
    from snntrain.lab.experiment.certifying import best_seed, ship_weights

    if asked.weights is not None:
        if overrides or folders:
            raise UsageError("--weights takes the name of a record and a run of it, nothing else.")
        print_line(console, f"shipped: {ship_weights(names[0], asked.weights, asked.hub)}")
        return write_table()
    from snntrain.lab.experiment.recording import check_request, clean_commit, record, record_from

    check_request(names[0], seeds, overrides)
    commit = clean_commit(names[0])
    runs = record_from(names[0], folders, overrides, commit) if folders else record(names[0], seeds, overrides, commit)
    print_line(console, f"recorded: {names[0]}")
    try:
        print_line(console, f"shipped: {ship_weights(names[0], runs[best_seed(names[0])], asked.hub)}")
    except UsageError as error:  # such as a file that is too large; the record itself is whole
        print_line(console, f"its weights are not shipped: {error}")
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
