"""Download a data set, or install files that you already have: verified, unpacked, ready for data=…"""

import importlib.util
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from snntrain.error import UsageError
from snntrain.installation import command_of
from snntrain.run.front import Parser, key_values
from snntrain.terminal import print_line, table, terminal

_NAME = command_of("fetch-data")
_EXAMPLES = f"""\
  {_NAME}                                           lists the data sets
  {_NAME} name=cifar10                              into data/, where train.py looks for it
  {_NAME} name=nmnist paths.data=/my/data           resumes an interrupted download
  {_NAME} name=shd --from ~/shd_train.h5.zip --from ~/shd_test.h5.zip"""

KEYS = ("name", "paths.data")

console = terminal()


def main(arguments: list[str]) -> int:
    """Fetch one data set, or list them; the exit code."""
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="name=… and paths.data=… (default: data)")
    parser.add_argument("--from", dest="given", type=Path, action="append", default=[], metavar="FILE")
    asked = parser.read(arguments)
    settings = key_values(asked.settings, KEYS, _NAME)
    for key, value in settings.items():
        if not value:
            raise UsageError(f"{key}= has no value. Write {key}=….")
    root = settings.get("paths.data", "data")
    if "name" in settings:
        return _fetch(settings["name"], root, asked.given)
    if asked.given:
        raise UsageError("--from needs name=…, the data set that the file belongs to.")
    console.print(_table(Path(root)))
    if importlib.util.find_spec("tonic") is None:
        _say("Data sets of events need the package tonic: pip install 'snntrain[events]'")
    return 0


def _fetch(name: str, root: str, given: list[Path]) -> int:
    from snntrain.data.download import fetch

    try:
        fetch(name, root, given, say=_say)
    except (ValueError, ImportError) as error:  # from a reader of data; its text is a whole sentence
        raise UsageError(" ".join(str(error).split())) from error
    except KeyboardInterrupt:
        _say("The same command resumes the download.")
        raise
    return 0


def _table(root: Path) -> Table:
    from snntrain.data import source

    listed = table("name", "license", "to download", f"in {root}")
    for name in source.names():
        try:
            one = source.find(name)
        except ImportError:
            listed.add_row(name, source.license_of(name), "needs tonic", "")
            continue
        sizes = [file.size for file in one.files]
        size = "nothing" if not sizes else decimal(sum(sizes)) if all(sizes) else "size not published"
        there = sum((root / one.folder / file.name).is_file() for file in one.files)
        listed.add_row(one.name, one.license, size, f"{there} of {len(sizes)} files" if sizes else "")
    return listed


def _say(line: str) -> None:
    print_line(console, line)
