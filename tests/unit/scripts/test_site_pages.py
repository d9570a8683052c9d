"""What the documentation site is made from: links, docstrings, tables."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT
from site_pages.links import within_the_site
from site_pages.markdown import table, text
from site_pages.result_pages import experiment_row, inputs_of_models, layers_of

from snntrain import list_models

KNOWN = ("data.md", "start/install.md", "reference/config/launch.md", "results/experiments/digits_lif.md")


@pytest.mark.parametrize(
    ("given", "page", "expected"),
    [
        ("[a](../data.md#x)", "start/install.md", "[a](../data.md#x)"),
        ("![a](../benchmarks/libraries.png)", "benchmarks.md", "![a](results/libraries.png)"),
        ("[conf/launch/slurm.yaml](../conf/launch/slurm.yaml)", "cluster.md", "(reference/config/launch.md#slurm)"),
        ("[record](../experiments/digits_lif/README.md)", "models.md", "(results/experiments/digits_lif.md)"),
        ("[tests/two_hosts.py](../tests/two_hosts.py)", "cluster.md", "`tests/two_hosts.py`"),
        ("[elsewhere](https://snntorch.readthedocs.io)", "tasks.md", "[elsewhere](https://snntorch.readthedocs.io)"),
    ],
)
def test_a_link_leads_to_the_page_of_a_file_or_names_it(given, page, expected):
    folder = "docs/start" if page.startswith("start/") else "docs"
    assert expected in within_the_site(given, page, folder, KNOWN)


@pytest.mark.parametrize(("text", "code"), [("# Title\n\n[here](#title)", 0), ("[gone](gone.md)", 1)])
def test_make_site_stops_at_a_broken_link(text, code, tmp_path: Path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    (words,) = re.findall(r"/mkdocs (build .*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(text)
    (tmp_path / "mkdocs.yml").write_text("site_name: small\n")
    command = [sys.executable, "-m", "mkdocs", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and ("gone.md" in done.stderr) == bool(code), done.stderr


def test_words_stay_what_they_are_in_markdown():
    assert text("x [T, N, *] < 1 | `a|b`") == "x \\[T, N, \\*\\] &lt; 1 \\| `a\\|b`"
    assert table(["name", "count"], [["a", "1,000"], ["b", "20"]]).splitlines()[1] == "| --- | ---: |"


def test_docstrings_keep_equations_in_columns_and_list_arguments():
    pytest.importorskip("griffe", reason="needs the extra docs")
    from site_pages.docstrings import as_markdown

    said = as_markdown(
        """One line about x [N, *].

        Charge: h = v + x    (one)
                h = v − x    (another)

        Args:
            a, b: both,
                 on two lines.
            Others as in Base.

        snn = convert(ann)
        print(snn.report)

        Source: a paper.
        """
    )
    assert "One line about x \\[N, \\*\\]." in said
    assert "**Charge**\n\n```text\nh = v + x    (one)\nh = v − x    (another)\n```" in said
    assert "- `a`, `b`: both, on two lines.\n- Others as in Base." in said
    assert "```text\nsnn = convert(ann)\nprint(snn.report)\n```" in said and said.endswith("**Source:** a paper.")


def test_models_have_the_parameters_that_their_page_states():
    listed = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert sorted(inputs_of_models()) == list_models()
    for name in ("mlp", "csnn_loihi", "recurrent"):
        shape, classes = inputs_of_models()[name]
        count = sum(layer["parameters"] for layer in layers_of(name, shape, classes))
        assert re.search(rf"^\| `{name}` \|[^|]*\|[^|]*\| {count:,}", listed, re.MULTILINE)


def test_an_experiment_has_the_figures_of_the_readme():
    row = experiment_row("digits_lif")
    assert row[1].replace("\u00a0", " ") == "99.16 ± 0.28 % (± 0.48)" and row[4] == "28"


def test_constants_of_a_class_are_no_arguments_of_its_constructor():
    griffe = pytest.importorskip("griffe", reason="griffe is not installed: pip install 'snntrain[docs]'")
    docstrings = importlib.import_module("site_pages.docstrings")
    extensions = griffe.load_extensions(docstrings.HouseDocstrings)
    folder = griffe.load("snntrain.run.folder", search_paths=[ROOT], extensions=extensions)["RunFolder"]
    assert [parameter.name for parameter in folder.parameters] == ["self", "path"]
