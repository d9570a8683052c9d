"""Build HTML pages: one frame, one stylesheet and one template environment for all of them."""

import base64
import hashlib
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_FRAME = pathlib.Path(__file__).parent  # page.html.j2 and page.css


def environment(*folders: pathlib.Path, filters: Mapping[str, Callable[..., str]] | None = None) -> Any:
    """The jinja2.Environment that reads templates from these folders; whatever they show is escaped."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({"broken": broken, **(filters or {})})
    return made


def broken(path: str) -> Any:
    """A path, such as val/acc or layers.0.conv, that may break after each dot and slash, as HTML."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[./])", path))


def render(
    template: pathlib.Path,
    *,
    title: str,
    heading: str,
    tiles: Sequence[tuple[str, Any, str]],
    links: Sequence[tuple[str, str]] = (),
    script: str = "",
    **content: Any,
) -> str:
    """The text of a page, which needs no server and loads nothing.

    Args:
        template: a file <kind>.html.j2 that extends page.html.j2.
        title: of the browser's window.
        heading: of the page.
        tiles: (label, value, detail) of the large numbers at the top.
        links: (id, title) of the sections, for the navigation.
        script: JavaScript; the page runs this and nothing else, whatever the files of a run hold.
        content: what the template shows.
    """
    text = (
        environment(template.parent, _FRAME)
        .get_template(template.name)
        .render(
            kind=template.name.partition(".")[0],
            title=title,
            heading=heading,
            tiles=tiles,
            links=links,
            script=script,
            digest=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
            **content,
        )
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # a run's file may hold half a surrogate pair
