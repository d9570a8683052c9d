"""Draw the pictures of the site's gallery into .gallery/.

python scripts/gallery.py                     # all that are missing; `make docs` calls it
python scripts/gallery.py neurons surrogates  # these, again
python scripts/gallery.py --data /my/data     # the net and its pictures on N-MNIST, from the folder paths.data

Each picture is drawn twice, with dark and with light ink. mkdocs loads this file as a hook, which makes the page.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".gallery"
GIF = FOLDER / "animation.gif"  # the animation for slides
SIDE, STEPS = 34, 24  # pixels and time steps of a recording of a moving bar
THEMES = ("light", "dark")

_ADAPTIVE = {"tau_w": (40.0, 40.0), "a": (0.5, 0.5), "b": (1.0, 1.0), "q": 10.0}
# Class of the neuron → arguments for a step of current, and the current.
NEURONS: dict[str, tuple[dict[str, Any], float]] = {
    "IFNode": ({}, 0.12),
    "LIFNode": ({"tau": 8.0}, 1.5),
    "ParametricLIFNode": ({"init_tau": 4.0}, 1.5),
    "GatedLIFNode": ({"T": 80}, 0.3),
    "KLIFNode": ({"tau": 8.0}, 1.5),
    "ComplementaryLIFNode": ({"tau": 8.0}, 0.3),
    "LIAFNode": ({"act": "relu", "threshold_related": False, "tau": 8.0}, 1.5),
    "QIFNode": ({"tau": 8.0, "v_rest": 0.0, "v_c": 0.5}, 0.6),
    "EIFNode": ({"tau": 8.0, "v_rest": 0.0, "v_reset": 0.0, "delta_T": 0.3}, 1.3),
    "IzhikevichNode": ({"tau": 8.0, "v_c": 0.5, "v_rest": 0.0, "a0": 4.0, "tau_w": 40.0, "b": 0.25}, 1.5),
    "FloatCubaLIFNode": ({"current_decay": 0.2, "voltage_decay": 0.1}, 0.05),
    "CubaLIFNode": ({"current_decay": 0.2, "voltage_decay": 0.1}, 0.05),
    "ILIFNode": ({}, 1.7),
    "TernaryLIFNode": ({"tau": 4.0}, 0.35),
    "ATIFNode": ({}, 0.3),
    "RAFNode": ({"omega": 12.0, "b_offset": 0.3, "dt": 0.03, "v_threshold": 0.04}, 1.0),
    "ALIFNode": ({"tau": 8.0, "tau_a": 40.0, "beta": 0.3}, 0.3),
    "AdLIFNode": ({**_ADAPTIVE, "tau_v": (5.0, 5.0)}, 3.0),
    "SEAdLIFNode": ({**_ADAPTIVE, "tau_v": (5.0, 5.0)}, 3.0),
    "CELIFNode": ({"T": 80, "decay": 0.8}, 0.3),
    "TCLIFNode": ({}, 0.4),
    "DHLIFNode": ({"branches": 2, "init_tau_m": (1.0, 1.0), "init_tau_n": (0.0, 3.0)}, 1.5),
    "SlidingPSN": ({"k": 4}, 1.5),
    "NonSpikingLIFNode": ({"tau": 8.0}, 1.5),
}
#: Neurons without a panel: bases, those whose spikes are those of another one, no neurons, and weights over all of T.
NOT_DRAWN = {
    *("BaseNode", "AdaptBaseNode", "AdLIFBaseNode"),
    *("SimpleIFNode", "SimpleLIFNode", "OTTTLIFNode", "SLTTLIFNode", "NonSpikingIFNode"),
    *("ReLU", "PSN", "MaskedPSN"),
}
SURROGATES = (
    "ATan", "Sigmoid", "Erf", "SoftSign", "PiecewiseQuadratic", "PiecewiseExp", "PiecewiseLeakyReLU", "LeakyKReLU",
    "LogTailedReLU", "S2NN", "QPseudoSpike", "NonzeroSignLogAbs", "FakeNumericalGradient", "SuperSpike", "Rect",
    "SquarewaveFourierSeries",
)  # fmt: skip


# --- neurons and surrogates ------------------------------------------------------------------------------------------


def draw_neurons() -> "Figure":
    """The potential and the output of every neuron for a step of current."""
    from snntrain import neuron, plot

    nodes = {}
    for name, (arguments, _) in NEURONS.items():
        kind = getattr(neuron, name)
        looped = {"backend": "torch"} if issubclass(kind, neuron.BaseNode) else {}
        nodes[name] = kind(**arguments, step_mode="m", **looped)
    return plot.step_response(nodes, [strength for _, strength in NEURONS.values()])


def draw_surrogates() -> "Figure":
    """Every surrogate gradient around the threshold."""
    from snntrain import plot, surrogate

    return plot.surrogates({name: getattr(surrogate, name)() for name in SURROGATES})


# --- a net and a recording -------------------------------------------------------------------------------------------


def write_bars(folder: Path) -> None:
    """Recordings of bars that move in one of four directions, in a folder for each."""
    import numpy as np

    random = np.random.default_rng(1)
    event = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
    for move in ("down", "left", "right", "up"):
        (folder / move).mkdir(parents=True)
        for number in range(100):
            length = int(random.integers(10, 20))
            first, start = int(random.integers(1, SIDE - length - 1)), int(random.integers(SIDE))
            onward, rows = 1 if move in ("right", "down") else -1, []
            for step in range(STEPS):
                front = start + onward * step
                for place, on in ((front % SIDE, True), ((front - 2 * onward) % SIDE, False)):
                    for along in range(first, first + length):
                        x, y = (place, along) if move in ("left", "right") else (along, place)
                        rows.append((x, y, 4_000 * step, on))
            rows = [row for row in rows if random.random() < 0.8]
            noise = len(rows) // 10
            places, times = random.integers(0, SIDE, (noise, 2)), random.integers(0, 4_000 * STEPS, noise)
            rows += [(*xy, when, number % 2) for xy, when in zip(places, times, strict=True)]
            events = np.array(rows, event)
            np.save(folder / move / f"{number:03}.npy", events[events["t"].argsort(kind="stable")])


def train_net(data: Path | None) -> Any:
    """A small net that was trained on recordings: of moving bars, or N-MNIST in a folder."""
    import snntrain

    net = "model=csnn model.channels=12 model.features=100 neuron.tau=3 optim.lr=0.005 data.cache=memory"
    if data is not None:
        few = {"trainer.limit_train_batches": 150, "trainer.limit_val_batches": 10, "trainer.limit_test_batches": 10}
        where = {"data.partial": True, "paths.data": data, "trainer.max_epochs": 2}
        return snntrain.train(f"data=nmnist {net}", few, where, T=STEPS)
    write_bars(Path("recordings"))
    source = "data=event_folder data.root=recordings data.num_classes=4 data.split=0.2"
    return snntrain.train(
        f"{source} data.framing.sensor_size=[{SIDE},{SIDE}] {net}", T=STEPS, trainer={"max_epochs": 3}
    )


def look_inside(run: Any) -> dict[str, Any]:
    """What a recording of the test causes in the net: its frames, what each layer does, the scores."""
    import torch

    from snntrain import functional, monitor

    batches = [(x, y) for x, y, *_ in run.data.test_dataloader()]
    x, labels = (torch.cat(one) for one in zip(*batches, strict=True))
    right = (run.predict(x).argmax(1) == labels).nonzero().flatten()
    x, label = x[right[:1]], int(labels[right[0]])
    x_seq = x.float().transpose(0, 1)
    layers = monitor.record(run.net, x_seq)
    functional.reset_net(run.net)
    with torch.no_grad():
        outputs = run.net(x_seq)[:, 0]
    return {
        "frames": x[0].float(),
        "layers": {f"layer {number}": layer for number, layer in enumerate(layers.values(), start=1)},
        "scores": outputs.cumsum(0) / torch.arange(1, len(outputs) + 1)[:, None],
        "classes": list(getattr(run.data, "CLASSES", None) or range(outputs.shape[1])),
        "label": label,
    }


def draw_raster(seen: dict[str, Any]) -> "Figure":
    """Every spike of every layer for one recording."""
    from snntrain import plot

    return plot.raster(seen["layers"])


def draw_traces(seen: dict[str, Any]) -> "Figure":
    """Potentials of a few neurons of each layer, with their spikes."""
    from snntrain import plot

    return plot.potentials(seen["layers"], threshold=1.0)


def draw_step(seen: dict[str, Any], step: int) -> "Figure":
    """One frame of the animation: the recording, the spikes that it causes, and what the net believes so far."""
    from snntrain import plot

    return plot.moment(seen["frames"], step, seen["layers"], seen["scores"], seen["classes"], seen["label"])


# --- files and the page ----------------------------------------------------------------------------------------------

OF_THE_NET = ("animation", "raster", "traces")
PICTURES = (*OF_THE_NET, "neurons", "surrogates")


def save(name: str, figure: "Figure") -> None:
    """Save a picture with dark and with light ink."""
    from tutorials import to_light_ink

    figure.savefig(FOLDER / f"{name}-light.png", dpi=130, facecolor="none")
    to_light_ink(figure)
    figure.savefig(FOLDER / f"{name}-dark.png", dpi=130, facecolor="none")


def save_animation(name: str, draw: Callable[[int], "Figure"], steps: int) -> None:
    """Save the frames as an animated PNG for each theme, and as a GIF on white, which programs for slides show."""
    from PIL import Image
    from tutorials import to_light_ink

    pictures: dict[str, list[Image.Image]] = {theme: [] for theme in THEMES}
    for step in range(steps):
        figure = draw(step)
        for theme in THEMES:
            if theme == "dark":
                to_light_ink(figure)
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=90, facecolor="none")
            pictures[theme].append(Image.open(buffer).convert("RGBA"))
    for theme, (first, *others) in pictures.items():
        last = [250] * len(others) + [1500]
        first.save(
            FOLDER / f"{name}-{theme}.png", save_all=True, append_images=others, duration=last, loop=0, disposal=1
        )
    on_white = [Image.alpha_composite(Image.new("RGBA", one.size, "white"), one) for one in pictures["light"]]
    first, *others = [one.convert("RGB") for one in on_white]
    first.save(GIF, save_all=True, append_images=others, duration=last, loop=0)


def drawn(name: str) -> list[Path]:
    """The files of a picture, for a light and a dark page; [] if it has not been drawn."""
    paths = [FOLDER / f"{name}-{theme}.png" for theme in THEMES]
    needed = [*paths, GIF] if name == "animation" else paths
    return paths if all(path.is_file() for path in needed) else []


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """mkdocs: add the pictures that have been drawn."""
    from mkdocs.structure.files import File

    for path in (path for name in PICTURES for path in drawn(name)):
        files.append(File.generated(config, f"gallery/{path.name}", abs_src_path=str(path)))
    if drawn("animation"):
        files.append(File.generated(config, f"gallery/{GIF.name}", abs_src_path=str(GIF)))
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """mkdocs: put the pictures into docs/gallery.md."""
    if page.file.src_uri != "gallery.md":
        return markdown
    for name in PICTURES:
        links = [f"![{name}](gallery/{path.name}#only-{path.stem.rpartition('-')[2]})" for path in drawn(name)]
        shown = "\n".join(links) or "*Not drawn in this copy of the site; `make docs` draws it.*"
        markdown = markdown.replace(f"<!-- picture: {name} -->", shown)
    link = (
        "[The animation as a GIF](gallery/animation.gif), for programs that show slides." if drawn("animation") else ""
    )
    markdown = markdown.replace("<!-- link: animation.gif -->", link)
    return markdown


def main() -> None:
    """Draw what is named, or what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--data", type=Path, help="folder with N-MNIST; without it, made recordings of moving bars")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PICTURES):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    asked = given.names or (OF_THE_NET if given.data else [name for name in PICTURES if not drawn(name)])
    if not asked:
        return
    from tutorials import use_style

    use_style()
    FOLDER.mkdir(exist_ok=True)
    seen: dict[str, Any] = {}
    if not set(asked).isdisjoint(OF_THE_NET):
        data = given.data and given.data.resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            seen = look_inside(train_net(data))
    draw: dict[str, Callable[[], None]] = {
        "animation": lambda: save_animation("animation", lambda step: draw_step(seen, step), STEPS),
        "raster": lambda: save("raster", draw_raster(seen)),
        "traces": lambda: save("traces", draw_traces(seen)),
        "neurons": lambda: save("neurons", draw_neurons()),
        "surrogates": lambda: save("surrogates", draw_surrogates()),
    }
    for name in asked:
        print(f"{name} …", flush=True)
        draw[name]()


if __name__ == "__main__":
    main()
