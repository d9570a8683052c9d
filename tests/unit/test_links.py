"""Links between the pages of the repository lead to files and headings that exist.

Those from a page of docs/ to another are left to `make site`, which knows the pages that are generated.
"""

import re
from pathlib import Path

import pytest
from programs import ROOT

DOCS = ROOT / "docs"
FOLDERS = ("*.md", "benchmarks/*.md", "experiments/**/*.md", "docs/**/*.md", "docs/tutorials/*.py")
PAGES = sorted(page for pattern in FOLDERS for page in ROOT.glob(pattern))
LINK = re.compile(r"\]\((?!\w+:)([^()\s]*)\)|\b(?:src|href)=\"(?!\w+:)([^\"]+)\"")


def links(page: Path) -> set[str]:
    """Where the links of a page lead, without those in its code."""
    text = re.sub(
        r"^( *)```.*?^\1```|`[^`\n]*`(?!\])", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return {one or other for one, other in LINK.findall(text)}


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    missing = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if page.is_relative_to(DOCS) and target.is_relative_to(DOCS):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            missing.append(link)
    assert missing == []


def test_links_are_recognized():
    assert {"docs/report.png", "docs/tasks.md#beside-plain-models", "CONTRIBUTING.md"} <= links(ROOT / "README.md")
    assert "beside-plain-models" in headings(DOCS / "tasks.md") and "page-not-there" not in headings(DOCS / "tasks.md")
