"""Pages of tutorials: with the output and figures of a run where there is one, and else the code alone."""

import base64
import json

import pytest

pytest.importorskip("jupytext", reason="jupytext is not installed: pip install 'snntrain[docs]'")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install 'snntrain[docs]'")
import tutorials

SCRIPT = """\
# %% [markdown]
# # A title
#
# The potential is $v_0$, the folder `$HOME`.

# %%
print("x")

# %% [markdown]
# The end.
"""
PNG, DARK = b"light", b"dark"
FIGURE = {
    "output_type": "display_data",
    "data": {"image/png": base64.b64encode(PNG).decode(), tutorials.DARK_PNG: base64.b64encode(DARK).decode()},
    "metadata": {"alt": "A [curve]"},
}


def said(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def rich(text):
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "01_small.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def ran(*outputs):
    return {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": list(outputs)}]}


def test_without_a_run_a_page_shows_the_code_and_says_so(script):
    text, figures = tutorials.page(script, None)
    assert text.startswith("# A title\n\n*This page is a script") and figures == {}
    assert "without running" in text.partition("The potential")[0]
    assert text.index("```python\nprint") < text.index("The end.")


def test_a_page_has_the_output_as_one_text_and_each_figure_for_light_and_dark(script):
    text, figures = tutorials.page(
        script, ran(said("a\n"), said("!", "stderr"), rich("b"), said("\x1b[31mc\x1b[0m\n"), FIGURE)
    )
    assert "```text { .output }\na\nb\nc\n```" in text and "!!!" not in text
    assert figures == {"figures/01_small/1-light.png": PNG, "figures/01_small/1-dark.png": DARK}
    assert "![A  curve ](figures/01_small/1-light.png#only-light)" in text


def test_long_output_is_folded(script):
    text, _ = tutorials.page(script, ran(said("line\n" * (tutorials.LONG + 1))))
    assert f'??? quote "Output, {tutorials.LONG + 1} lines"\n    ```text' in text


def test_formulas_become_mathml_and_code_stays(script):
    text, _ = tutorials.page(script, None)
    assert "<msub><mi>v</mi><mn>0</mn></msub>" in text and "`$HOME`" in text and "$v_0$" not in text


@pytest.mark.parametrize("text", ["the current\n$w$\nthat rises", "$w$ rises"])
def test_a_formula_at_the_start_of_a_line_stays_in_its_paragraph(text):
    markdown = pytest.importorskip("markdown", reason="Markdown is not installed: pip install 'snntrain[docs]'")
    shown = markdown.markdown(tutorials.with_formulas(text), extensions=["md_in_html"])
    assert shown.startswith("<p>") and shown.count("<p>") == 1 and shown.endswith("rises</p>")


def test_a_notebook_has_every_cell_and_its_links_lead_to_pages(script):
    more = "# [Next](02_next.md#part) and [elsewhere](https://example.org/a.md)."
    script.write_text(SCRIPT.replace("# The end.", more), encoding="utf-8")
    cells = json.loads(tutorials.notebook_of(script))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "markdown"]
    assert "".join(cells[1]["source"]) == 'print("x")' and cells[1]["outputs"] == []
    assert "".join(cells[2]["source"]) == "[Next](02_next.html#part) and [elsewhere](https://example.org/a.md)."
    assert tutorials.notebook_of(script) == tutorials.notebook_of(script)


def test_the_result_is_kept_by_code_and_not_by_prose(script, tmp_path):
    before = tutorials.kept_notebook(script, tmp_path)
    script.write_text(SCRIPT.replace("The end.", "The very end."), encoding="utf-8")
    assert tutorials.kept_notebook(script, tmp_path) == before
    script.write_text(SCRIPT.replace('print("x")', 'print("y")'), encoding="utf-8")
    assert tutorials.kept_notebook(script, tmp_path) != before
