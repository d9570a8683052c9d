"""Links of pages to files of the repository, which the site does not hold."""

import posixpath
import re

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?!\w+:)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def within_the_site(markdown: str, page: str, files) -> str:
    """The text of a page with links that lead somewhere in the site; others become the names of files.

    Args:
        markdown: the text.
        page: its path below docs/.
        files: of MkDocs.
    """

    def link(found: re.Match) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), found["target"]))
        if path.startswith("docs/"):
            return found[0]
        text = found["text"]
        return text if text.startswith("`") else f"`{text}`"

    return _LINK.sub(link, markdown)
