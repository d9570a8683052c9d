"""Run the tutorials of docs/tutorials and make pages of the site from what they print and draw.

python scripts/tutorials.py            # run those whose code changed since they ran last, or the version of snntrain
python scripts/tutorials.py 01 07      # run these, changed or not

What a tutorial printed and drew is kept in .tutorials/, as a notebook. mkdocs loads this file as a hook, which makes a
page of every tutorial; it shows the code alone where the tutorial has not been run.
"""

import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snntrain.figure import INK, Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS, KEPT = ROOT / "docs" / "tutorials", ROOT / ".tutorials"
NOT_RUN = (
    '!!! note "Only the code"\n    This copy of the site was built without running the tutorials, so the output '
    "and the figures are missing here. `make docs` builds it with them.\n"
)
DARK_PNG = "application/vnd.snntrain.dark-png"  # the figure once more, for a dark page
LONG = 30  # lines of output; more are folded away
LONGEST = 3600  # seconds of one cell; on a busy machine a sweep takes many times of what the page says
LIGHT_INK = "#d5d9e0"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def scripts(folder: Path = TUTORIALS) -> list[Path]:
    """The tutorials in their order."""
    return sorted(folder.glob("[0-9]*.py"))


def kept_notebook(script: Path, folder: Path = KEPT) -> Path:
    """Where the result of a tutorial is kept; its code and the version of snntrain are part of the name."""
    import jupytext

    import snntrain

    code = [cell["source"] for cell in jupytext.read(script)["cells"] if cell["cell_type"] == "code"]
    key = hashlib.sha256(json.dumps([snntrain.__version__, *code]).encode()).hexdigest()
    return folder / f"{script.stem}-{key[:16]}.ipynb"


def run(script: Path) -> float:
    """Run a tutorial as a notebook in an empty folder, and keep the result. Returns: seconds."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(script)
    prepare = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import tutorials; tutorials.publish_figures()"
    )
    notebook.cells.insert(0, nbformat.v4.new_code_cell(prepare))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tutorial-") as folder:
        NotebookClient(
            notebook, timeout=LONGEST, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    del notebook.cells[0]
    KEPT.mkdir(exist_ok=True)
    for old in KEPT.glob(f"{script.stem}-*.ipynb"):
        old.unlink()
    nbformat.write(notebook, kept_notebook(script))
    return time.monotonic() - started


# --- inside the tutorial ---------------------------------------------------------------------------------------------


def publish_figures() -> None:
    """Let plt.show() put each figure into the notebook twice, with dark ink and with light ink on no background."""
    import matplotlib.pyplot as plt

    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # the kernel's; programs that a tutorial starts write plain text
        os.environ.pop(name, None)
    use_style()
    plt.show = _show
    Drawing._ipython_display_ = _put  # figures of snntrain.plot, which pyplot does not know


def use_style() -> None:
    """Draw with dark ink on no background."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    paper = {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False}
    ours = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    plt.rcParams.update(dict.fromkeys(inks, INK) | paper | ours)


def _show(*_: Any, **__: Any) -> None:
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.set_layout_engine("constrained")
        _put(figure)
    plt.close("all")


def _put(figure: "Figure") -> None:
    from IPython.display import display

    titles = [text for axes in figure.axes for text in [axes.get_title() or axes.get_title("left")] if text]
    bundle = {"image/png": _png(figure)}
    to_light_ink(figure)
    bundle[DARK_PNG] = _png(figure)
    display(bundle, raw=True, metadata={"alt": figure.get_suptitle() or "; ".join(titles)})


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="none", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def to_light_ink(figure: "Figure") -> None:
    """Draw in light ink what is drawn in dark ink or black: text, axes, and lines."""
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.spines import Spine
    from matplotlib.text import Text

    for artist in figure.findobj(lambda one: isinstance(one, Text | Line2D)):
        if to_hex(artist.get_color()) in (INK, "#000000"):
            artist.set_color(LIGHT_INK)
    for spine in figure.findobj(Spine):
        spine.set_edgecolor(LIGHT_INK)


# --- pages -----------------------------------------------------------------------------------------------------------


def page(script: Path, notebook: dict[str, Any] | None) -> tuple[str, dict[str, bytes]]:
    """The page of a tutorial.

    Args:
        script: its file.
        notebook: the result of its code, which is as it was; None: it was not run.

    Returns: the page as markdown, and the figures, path from the folder of the page → PNG.
    """
    import jupytext

    results = iter([cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"] if notebook else [])
    parts, figures = [], {}
    for cell in jupytext.read(script)["cells"]:
        source = cell["source"].strip()
        if cell["cell_type"] == "markdown":
            parts.append(with_formulas(source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in _joined(next(results, [])):
            parts.append(_as_markdown(output, script.stem, figures))
    # The link and the note stand below the title, which is the first line of the first cell.
    title, _, rest = parts[0].partition("\n")
    link = (
        f"*This page is a script: download it as [a program]({script.name}) or as [a notebook]({script.stem}.ipynb), "
        "and run it where snntrain is installed.*"
    )
    parts[:1] = [title, link, *([] if notebook else [NOT_RUN]), rest.strip()]
    return "\n\n".join(part for part in parts if part) + "\n", figures


def _joined(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The outputs, with neighboring texts as one; what went to stderr is for the author, not for the page."""
    text = ""
    for output in outputs:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            text += "".join(output["text"]) if output["name"] == "stdout" else ""
        elif "image/png" not in data:  # rich prints in this form, without a line end
            text += "".join(data["text/plain"]).strip("\n") + "\n"
        else:
            yield {"text": text}
            text = ""
            yield output
    yield {"text": text}


def _as_markdown(output: dict[str, Any], stem: str, figures: dict[str, bytes]) -> str:
    if "text" in output:
        lines = [line.rstrip() for line in _ANSI.sub("", output["text"]).strip("\n").splitlines()]
        block = "\n".join(["```text { .output }", *lines, "```"])
        if len(lines) > LONG:
            return f'??? quote "Output, {len(lines)} lines"\n' + textwrap.indent(block, "    ")
        return block if lines else ""
    number, alt = len(figures) // 2 + 1, re.sub(r"[\[\]\n]", " ", output["metadata"].get("alt", ""))
    links = []
    for kind, theme in (("image/png", "light"), (DARK_PNG, "dark")):
        name = f"figures/{stem}/{number}-{theme}.png"
        figures[name] = base64.b64decode("".join(output["data"][kind]))
        links.append(f"![{alt or f'Figure {number}'}]({name}#only-{theme})")
    return "\n".join(links)


def notebook_of(script: Path) -> str:
    """A tutorial as a notebook without results, whose links lead to the pages of the site beside it."""
    import jupytext

    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"  # jupytext draws them by chance
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"\]\((?!https?:)([^)#]+)\.md", r"](\1.html", cell["source"])
    return jupytext.writes(notebook, fmt="ipynb")


def with_formulas(text: str) -> str:
    """Markdown whose $…$ outside of code are formulas in MathML, which browsers show without a script or a network."""
    from latex2mathml.converter import convert

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    # Markdown takes <math> at the start of a line for a block, which would end the paragraph; <span> it does not.
    parts[::2] = [
        re.sub(r"\$([^$]+)\$", lambda found: f"<span>{convert(' '.join(found[1].split()))}</span>", one)
        for one in parts[::2]
    ]
    return "".join(parts)


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """mkdocs: add a page, its figures and a notebook for every tutorial; the scripts themselves can be downloaded."""
    from mkdocs.structure.files import File

    for script in scripts(Path(config.docs_dir) / "tutorials"):
        kept = kept_notebook(script)
        notebook = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None
        text, figures = page(script, notebook)
        files.append(File.generated(config, f"tutorials/{script.stem}.md", content=text))
        files.append(File.generated(config, f"tutorials/{script.stem}.ipynb", content=notebook_of(script)))
        for name, content in figures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def main() -> None:
    """Run the tutorials that are named, or those without a result."""
    chosen = sys.argv[1:]
    for script in scripts():
        wanted = any(script.name.startswith(beginning) for beginning in chosen) if chosen else True
        if wanted and (chosen or not kept_notebook(script).is_file()):
            print(f"{script.name} …", flush=True)
            print(f"{script.name}: {run(script):.0f} s")


if __name__ == "__main__":
    main()
