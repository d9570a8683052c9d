"""Nothing that a path or a name holds is read as markup."""

import io
import re
from collections import Counter

import pytest
from programs import ROOT
from rich.table import Table

from snntrain.terminal import ModulePath, bold, print_error, table, terminal


@pytest.mark.parametrize("name", ["a[b]", "a[/b]", "[bold]a", "a:bug:b", "a[link=x]b[/link]"])
def test_names_are_printed_as_they_are(capsys, name):
    stream = io.StringIO()
    titled = Table(title=name)
    titled.add_column(name)
    titled.add_row(name)
    console = terminal(file=stream, width=60)
    for printed in (name, titled, bold(name, name)):
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


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_in_a_narrow_terminal_loses_no_cell(width):
    stream = io.StringIO()
    rows = [("a name of several words and alongwordthatdoesnotfit", "other text", "12,345,678", "0.5 ± 0.1 (± 0.02)")]
    listed = table("name", "note", "count", "mean", texts=2)
    for row in rows:
        listed.add_row(*row)
    terminal(file=stream, width=width).print(listed)
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= width for line in lines) and "…" not in stream.getvalue()
    printed = Counter("".join(lines).replace(" ", ""))
    assert printed == Counter("".join([*rows[0], "name", "note", "count", "mean"]).replace(" ", ""))
    assert lines[0].startswith("name") and lines[0].endswith("mean")  # texts to the left, numbers to the right


@pytest.mark.parametrize(
    "path", ["layers.0.4.conv1.0, layers.0.4.shortcut.0", "layers.2.element_wise_function.feedback"]
)
@pytest.mark.parametrize("width", [8, 16, 24, 80])
def test_a_path_of_a_module_breaks_between_its_names(path, width):
    stream = io.StringIO()
    terminal(file=stream, width=width).print(ModulePath(path))
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= width for line in lines) and "".join(lines).replace(" ", "") == path.replace(" ", "")
    if width >= 16:
        assert all(re.search(r"[._,]$", line) for line in lines[:-1])
