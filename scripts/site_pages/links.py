"""Links of pages to files of the repository: to the page that the site has of it, or else its name."""

import posixpath
import re
from collections.abc import Collection

from site_pages.config_pages import page_of

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?!\w+:)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_PICTURE = re.compile(r"(!\[[^\]]*\])\((?:\.\./)+benchmarks/([\w.]+\.png)\)")
#: Files of the repository that are pages as they are → where.
PAGES = {
    "CONTRIBUTING.md": "design/contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/ranges.md": "results/ranges.md",
}


def within_the_site(markdown: str, page: str, folder: str, known: Collection[str]) -> str:
    """The text of a page with links that lead somewhere in the site; what the site does not have is named.

    Args:
        markdown: the text.
        page: where it is in the site, such as start/install.md.
        folder: of the repository, from which its links go.
        known: all pages of the site.
    """

    def link(found: re.Match) -> str:
        there = posixpath.normpath(posixpath.join(folder, found["target"]))
        target, anchor = _page_of(there)
        if target in known:
            way = posixpath.relpath(target, posixpath.dirname(page) or ".")
            return f"[{found['text']}]({way}{found['anchor'] or anchor})"
        if there.startswith("docs/"):
            return found[0]  # MkDocs says that it is missing
        return found["text"] if "`" in found["text"] else f"`{found['text']}`"

    pictures = posixpath.relpath("results", posixpath.dirname(page) or ".")  # result_pages puts them there
    return _PICTURE.sub(rf"\1({pictures}/\2)", _LINK.sub(link, markdown))


def _page_of(path: str) -> tuple[str, str]:
    """The page that tells of a file of the repository, and where on it."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/"), ""
    group = re.fullmatch(r"conf/(?P<group>[\w/]+?)(?:/(?P<name>\w+)\.yaml)?", path)
    if group:
        return page_of(group["group"]), f"#{group['name']}" if group["name"] else ""
    record = re.fullmatch(r"experiments/(\w+)(?:/README\.md)?", path)
    if record:
        return f"results/experiments/{record[1]}.md", ""
    return PAGES.get(path, "results/experiments.md" if path == "experiments/README.md" else ""), ""
