"""The frame of all pages: one stylesheet, nothing loaded, no script but ours, everything from a run is text."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

import snntrain
from snntrain.run.report.page import render

PACKAGE = Path(snntrain.__file__).parent
TEMPLATE = '{% extends "page.html.j2" %}{% block content %}<p>{{ text }}</p>{% endblock %}'


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "mine.html.j2"
    path.write_text(TEMPLATE, encoding="utf-8")
    return path


def page(template: Path, text: str = "", **more) -> str:
    return render(template, title=text, heading=text, tiles=[(text, text, text)], text=text, **more)


def test_a_page_runs_its_script_and_no_other(template):
    html = page(template, script="const a = 1 < 2 && '</b>';")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', html)[1]
    assert script == "const a = 1 < 2 && '</b>';" and f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "script" not in page(template)


def test_what_a_file_says_is_text_and_can_be_written(template):
    html = page(template, "<img src=x> & \ud800")
    assert "<img" not in html and html.count("&lt;img src=x&gt; &amp; ?") == 6
    html.encode("utf-8")


def test_every_template_extends_the_frame_and_has_no_style_of_its_own(template):
    templates = [path for path in PACKAGE.rglob("*.html.j2") if path.name != "page.html.j2"]
    assert {"report.html.j2", "runs.html.j2", "study.html.j2"} <= {path.name for path in templates}
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert path.parent.name == "sections" or '{% extends "page.html.j2" %}' in text, path
        assert "<style" not in text, path
    (sheet,) = PACKAGE.rglob("*.css")
    assert sheet.read_text(encoding="utf-8").strip() in page(template)
