"""How figures look: colors, style, and a canvas without pyplot; equal input gives equal bytes."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

HALF_WIDTH, FULL_WIDTH = 4.6, 9.7  # inches that fill half and all of a report's width at 96 pixels each

INK, MUTED, FAINT, EDGE = "#2b303b", "#6b7280", "#c9cfd9", "#9aa1ad"
BLUE, ORANGE, GREEN, RED, VIOLET, TEAL = "#2f6db3", "#d9702b", "#2e8b57", "#c0392b", "#7d4fb3", "#1a8a93"
BLUES = LinearSegmentedColormap.from_list("snntrain_blues", ["#f6f8fb", "#a9c6e6", "#2f6db3", "#173f70"])
DEPTHS = LinearSegmentedColormap.from_list("snntrain_depths", ["#4a86cc", "#2f9a8f", "#7fa03a", "#d9902b", "#cc5a4f"])
"""From the first to the last layer of a net, in colors that can be told on white and on black."""

# Colors that a page replaces by its own, which follow the system's light or dark mode: page.css has --ink, --muted, …
_OF_THE_PAGE = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    EDGE: "axis",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    RED: "red",
    VIOLET: "violet",
    TEAL: "teal",
    "#ffffff": "plot",
}

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a '$' in a class or layer name is a '$'
    "axes.edgecolor": EDGE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, VIOLET, TEAL]),
    "grid.color": "#8892a038",
    "grid.linewidth": 0.8,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "white",  # what svg saves has no ground
    "svg.fonttype": "path",
}


_collecting: ContextVar[dict[str, Figure] | None] = ContextVar("collecting", default=None)


class Drawing(Figure):
    """A figure that keeps its style wherever it is saved, and that notebooks show although pyplot does not know it."""

    def savefig(self, *arguments: Any, **options: Any) -> None:
        with style():
            engine = self.get_layout_engine()
            if engine is not None:  # laid out here: matplotlib would draw the figure twice for it
                engine.execute(self)
            self.set_layout_engine(None)
            try:
                super().savefig(*arguments, **options)
            finally:
                self.set_layout_engine(engine)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Drawing:
    """A figure of so many inches."""
    figure = Drawing(figsize=(width, height), layout=layout, dpi=100)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def style() -> Iterator[None]:
    """Inside the block, draw in snntrain's style."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a class name in another script
        yield


@contextmanager
def collected() -> Iterator[dict[str, Figure]]:
    """Collect the figures that svg draws inside the block, by name."""
    figures: dict[str, Figure] = {}
    token = _collecting.set(figures)
    try:
        yield figures
    finally:
        _collecting.reset(token)


def shades(strength: np.ndarray) -> np.ndarray:
    """Blue that is as opaque as strengths in [0, 1] say: an image [..., 4] for a ground of any color."""
    colors = np.empty((*np.shape(strength), 4))
    colors[...] = to_rgba(BLUE)
    colors[..., 3] = np.clip(strength, 0, 1)
    return colors


def panel_title(axes: Axes, title: str, detail: str) -> None:
    """The title of a panel in bold, and a detail beside it."""
    heading = axes.set_title(shortened(title, 44), fontsize=8.5, pad=4)
    axes.annotate(detail, (1, 0), xycoords=heading, xytext=(8, 0), textcoords="offset points", va="bottom", color=MUTED)


def shortened(text: str, length: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def svg(figure: Figure, name: str) -> str:
    """A figure as a bare <svg> element: no prologue, metadata, style, comments; ids are unique in the page.

    Artists with rasterized=True become a picture inside it. The style's colors are those of the page, if it has any.
    """
    figures = _collecting.get()
    if figures is not None:
        figures[name] = figure
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", dpi=192, facecolor="none", metadata=metadata
        )  # twice the page's 96, for dense screens
    text = buffer.getvalue()
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text[text.index("<svg") :], flags=re.S
    )
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(\sid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"(?<=base64,)[\w+/=\s]+", lambda data: "".join(data[0].split()), text)
    text = re.sub(r"(?<=[:] )#[0-9a-f]{6}(?=[;\"])", _color_of_the_page, text)
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def _color_of_the_page(found: re.Match[str]) -> str:
    variable = _OF_THE_PAGE.get(found[0])
    return found[0] if variable is None else f"var(--{variable}, {found[0]})"
