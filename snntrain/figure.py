"""How figures look: colors, style, and a canvas without pyplot; equal input gives equal bytes."""

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

HALF_WIDTH, FULL_WIDTH = 4.6, 9.7  # inches that fill half and all of a report's width at 96 pixels each

INK, MUTED, FAINT = "#2b303b", "#6b7280", "#c9cfd9"
BLUE, ORANGE, GREEN, RED = "#2f6db3", "#d9702b", "#2e8b57", "#c0392b"
BLUES = LinearSegmentedColormap.from_list("snntrain_blues", ["#f6f8fb", "#a9c6e6", "#2f6db3", "#173f70"])

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a '$' in a class or layer name is a '$'
    "axes.edgecolor": "#9aa1ad",
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
    "grid.color": "#8892a038",
    "grid.linewidth": 0.8,
    "xtick.color": "#9aa1ad",
    "ytick.color": "#9aa1ad",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
}


_collecting: ContextVar[dict[str, Figure] | None] = ContextVar("collecting", default=None)


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure of so many inches."""
    figure = Figure(figsize=(width, height), layout=layout, dpi=100)
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
    """Collect the figures that svg and png draw inside the block, by name."""
    figures: dict[str, Figure] = {}
    token = _collecting.set(figures)
    try:
        yield figures
    finally:
        _collecting.reset(token)


def _collect(figure: Figure, name: str) -> None:
    figures = _collecting.get()
    if figures is not None:
        figures[name] = figure


def svg(figure: Figure, name: str) -> str:
    """A figure as a bare <svg> element: no prologue, metadata, style, comments; ids are unique in the page."""
    _collect(figure, name)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text[text.index("<svg") :], flags=re.S
    )
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(\sid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def png(figure: Figure, name: str) -> str:
    """A figure as a PNG in a data URI."""
    _collect(figure, name)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=192, metadata={"Software": None})  # twice the page's 96, for dense screens
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
