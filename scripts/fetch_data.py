"""Download a data set, or put files brought by hand into place: verified, unpacked, ready for data=…"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snntrain.data import source
from snntrain.data.download import fetch
from snntrain.registry import did_you_mean

EXAMPLES = """\
  python scripts/fetch_data.py                                           what there is to fetch
  python scripts/fetch_data.py name=cifar10                              into data/, as train.py looks for it
  python scripts/fetch_data.py name=nmnist paths.data=/my/data           goes on with a download that was interrupted
  python scripts/fetch_data.py name=shd --from ~/shd_train.h5.zip --from ~/shd_test.h5.zip"""

console = Console(highlight=False)


def main() -> int:
    """Exit code: 0; 2 for a wrong command line or file, or a download that failed; 130 after Ctrl-C."""
    settings, given = _arguments()
    try:
        if "name" not in settings:
            console.print(_table(Path(settings["paths.data"])))
            return 0
        fetch(settings["name"], settings["paths.data"], given, say=_say)
    except (ValueError, OSError) as error:
        return _fail(" ".join(str(error).split()), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on with it.", 130)
    return 0


def _arguments() -> tuple[dict[str, str], list[Path]]:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="name=… and paths.data=… (default: data)")
    parser.add_argument("--from", dest="given", type=Path, action="append", default=[], metavar="FILE")
    parsed = parser.parse_args()
    settings = {"paths.data": "data"}
    known = ("name", "paths.data")
    for argument in parsed.settings:
        key, equals, value = argument.partition("=")
        if not equals or key not in known:
            near = did_you_mean(key, known)
            sys.exit(_fail(f"{argument!r} is not a setting.{near} Write name=… or paths.data=…", 2))
        settings[key] = value
    if parsed.given and "name" not in settings:
        sys.exit(_fail("--from needs name=…, the data set that the file belongs to.", 2))
    return settings, parsed.given


def _table(root: Path) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("name", "licence", "to download", f"in {root}"):
        table.add_column(header, overflow="fold")
    for one in map(source.find, source.names()):
        sizes = [file.size for file in one.files]
        size = "nothing" if not sizes else source.readable(sum(sizes)) if all(sizes) else "size not published"
        there = sum((root / one.folder / file.name).is_file() for file in one.files)
        table.add_row(one.name, one.licence, size, f"{there} of {len(sizes)} files" if sizes else "")
    return table


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _fail(message: str, code: int) -> int:
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
