"""Nothing that a path or a name holds is read as markup."""

import io
import re

import pytest
from programs import ROOT
from rich.table import Table

from snntrain.terminal import bold, print_error, terminal


@pytest.mark.parametrize("name", ["a[b]", "a[/b]", "[bold]a", "a:bug:b", "a[link=x]b[/link]"])
def test_names_are_printed_as_they_are(capsys, name):
    stream = io.StringIO()
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    console = terminal(file=stream, width=60)
    for printed in (name, table, bold(name, name)):
        console.print(printed)
    assert stream.getvalue().count(name) == 6
    print_error(name)
    assert capsys.readouterr().err == f"error: {name}\n"


def test_every_console_is_one_that_reads_no_markup():
    files = [*(ROOT / "snntrain").rglob("*.py"), ROOT / "train.py", ROOT / "eval.py"]
    files += [
        ROOT / f"scripts/{name}.py" for name in ("browse", "fetch_data", "record", "reproduce", "summarize", "tune")
    ]
    for file in files:
        text = file.read_text(encoding="utf-8")
        is_home = file == ROOT / "snntrain/terminal.py"
        assert is_home or not re.search(r"\bConsole\(|from_markup|\"\[/?(bold|dim|red|green)", text), file
        assert "TextColumn(" not in text or "markup=False" in text, file
