"""The documentation site builds, is read without a network, and has every key of conf/."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from browser import built_page, needs_chromium
from programs import ROOT

import snntrain

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None,
        reason="needs the extra docs: pip install -e '.[docs]'",
    ),
]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
"""Tag → the attribute whose address a browser fetches by itself."""
STYLES = ("stylesheet", "icon", "preconnect", "preload", "prefetch", "dns-prefetch", "manifest")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Fetched(HTMLParser):
    """Addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if tag in LOADED:
            self.found.append(given.get(LOADED[tag]) or "")
        if tag == "link" and set((given.get("rel") or "").split()) & set(STYLES):
            self.found.append(given.get("href") or "")


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        reader = _Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.found and [address for address in reader.found if "//" in address] == [], page
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)]*", sheet.read_text(encoding="utf-8")) == [], (
            sheet
        )


def test_every_key_of_every_file_has_a_row_or_is_in_the_file_shown(site):
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        group = file.parent.relative_to(ROOT / "conf").as_posix()
        if group == ".":
            continue
        page = (site / f"reference/config/{group.replace('/', '_')}.html").read_text(encoding="utf-8")
        if group != "search":
            assert f'id="{file.stem}"' in page
        for key in _names(yaml.safe_load(file.read_text(encoding="utf-8"))):
            assert re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b", page), (file, key)


def _names(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _names(value)


def test_every_model_experiment_and_data_set_is_in_a_table(site):
    for group, page in (("model", "models"), ("data", "data"), ("experiment", "experiments")):
        text = (site / f"results/{page}.html").read_text(encoding="utf-8")
        names = [file.stem for file in (ROOT / "conf" / group).glob("*.yaml")]
        recorded = [name for name in names if group != "experiment" or (ROOT / "experiments" / name).is_dir()]
        assert recorded and [name for name in recorded if f"<code>{name}</code>" not in text] == []


def test_what_snntrain_offers_has_a_heading_and_a_signature(site):
    """Also what train and sweep return: somebody who wants the metrics of a run looks there."""
    page = (site / "reference/api/snntrain.html").read_text(encoding="utf-8")
    shown = [re.sub("<[^>]+>", "", heading).split() for heading in re.findall(r"<h[234].*?</h[234]>", page, re.DOTALL)]
    names = {words[0] for words in shown if words}
    assert {*snntrain._HOMES, "register", "Trained", "Sweep", "Job", "predict", "best"} <= names


def test_each_tutorial_can_be_downloaded_as_a_program_and_as_a_notebook(site):
    for script in sorted((ROOT / "docs/tutorials").glob("[0-9]*.py")):
        assert (site / "tutorials" / script.name).read_bytes() == script.read_bytes()
        notebook = json.loads((site / f"tutorials/{script.stem}.ipynb").read_text(encoding="utf-8"))
        assert [cell["cell_type"] for cell in notebook["cells"]][:2] == ["markdown", "code"]
        page = (site / f"tutorials/{script.stem}.html").read_text(encoding="utf-8")
        assert f'href="{script.name}"' in page and f'href="{script.stem}.ipynb"' in page


@needs_chromium
def test_the_search_finds_words_in_a_page_opened_as_a_file(site, tmp_path):
    address = f"file://{site}/index.html?q=voltage_decay"
    page = built_page(address, tmp_path, seconds=20)
    assert "md-search-result__link" in page and "cuba" in page.lower()
