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
COMMON = {"step_mode": "m", "backend": "torch", "store_v_seq": True}

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
    import matplotlib.pyplot as plt
    import torch

    from snntrain import neuron

    figure, grid = plt.subplots(8, 3, figsize=(9.6, 13), sharex=True)
    for axes, (name, (arguments, strength)) in zip(grid.flat, NEURONS.items(), strict=False):
        current = torch.zeros(80, 1, arguments.get("branches", 1))
        current[8:60] = strength
        kind = getattr(neuron, name)
        keeps_v = "v" in getattr(kind, "state_names", ())
        looped = {"backend": "torch"} if issubclass(kind, neuron.BaseNode) else {}
        node = kind(**arguments, **(COMMON if keeps_v else {"step_mode": "m", **looped}))
        with torch.no_grad():
            output = node(current).flatten()
        is_potential = isinstance(node, neuron.NonSpikingLIFNode)  # its output is v
        v = node.v_seq.flatten() if keeps_v else output if is_potential else torch.zeros(0)
        axes.plot(v, color="tab:blue", linewidth=1.2)
        top = max(float(v.max()), 0.05) if len(v) else 1.0
        for when in [] if is_potential else output.nonzero().flatten().tolist():
            ends = [1.12 * top, (1.12 + 0.22 * float(output[when])) * top]
            axes.plot([when, when], ends, color="tab:red", linewidth=1.3)
        axes.set_ylim(bottom=None if len(v) else 0)
        axes.axvspan(8, 60, color="tab:orange", alpha=0.08, linewidth=0)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in grid.flat[len(NEURONS) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("time step")
    return figure


def draw_surrogates() -> "Figure":
    """Every surrogate gradient around the threshold."""
    import matplotlib.pyplot as plt
    import torch

    from snntrain import surrogate

    figure, grid = plt.subplots(4, 4, figsize=(9.6, 6.4), sharex=True)
    for axes, name in zip(grid.flat, SURROGATES, strict=True):
        x = torch.linspace(-1.5, 1.5, 601, requires_grad=True)
        spikes = getattr(surrogate, name)()(x)
        (gradient,) = torch.autograd.grad(spikes.sum(), x)
        axes.fill_between(x.detach(), gradient, color="tab:blue", alpha=0.25, linewidth=0)
        axes.plot(x.detach(), gradient, color="tab:blue", linewidth=1.2)
        axes.step(x.detach(), spikes.detach(), color="tab:red", linewidth=0.8, linestyle=":")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("h − threshold")
    return figure


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
    """What a recording of the test causes in the net: its frames, spikes and potentials of each layer, the scores."""
    import torch

    from snntrain import functional

    batches = [(x, y) for x, y, *_ in run.data.test_dataloader()]
    x, labels = (torch.cat(one) for one in zip(*batches, strict=True))
    right = (run.predict(x).argmax(1) == labels).nonzero().flatten()
    x, label = x[right[:1]], int(labels[right[0]])
    functional.reset_net(run.net)
    with torch.no_grad(), functional.recording(run.net) as seen:
        outputs = run.net(x.float().transpose(0, 1))[:, 0]
    return {
        "frames": x[0].float(),
        "spikes": [layer["spikes"][:, 0] for layer in seen.values()],
        "potentials": [layer["v"][:, 0] for layer in seen.values()],
        "scores": outputs.cumsum(0) / torch.arange(1, len(outputs) + 1)[:, None],
        "classes": list(getattr(run.data, "CLASSES", None) or range(outputs.shape[1])),
        "label": label,
    }


def draw_raster(seen: dict[str, Any]) -> "Figure":
    """Every spike of every layer for one recording."""
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(len(seen["spikes"]), 1, figsize=(9.6, 6), sharex=True)
    for number, (axes, spikes) in enumerate(zip(rows, seen["spikes"], strict=True), start=1):
        flat = spikes.flatten(1)
        step, which = flat.nonzero().T
        axes.scatter(step + 1, which, s=1.5, color="tab:blue", linewidths=0)
        axes.set_title(
            f"layer {number}: {flat.shape[1]:,} neurons, {100 * flat.mean():.1f} % fire in a step", fontsize=9
        )
        axes.set_ylabel("neuron")
        axes.invert_yaxis()
    rows[-1].set_xlabel("time step")
    return figure


def draw_traces(seen: dict[str, Any]) -> "Figure":
    """Potentials of the neurons of the last layer that fire most, with their spikes."""
    import matplotlib.pyplot as plt

    spikes, v = seen["spikes"][-1].flatten(1), seen["potentials"][-1].flatten(1)
    most = spikes.sum(0).argsort(descending=True)[:12].tolist()
    figure, axes = plt.subplots(figsize=(9.6, 5))
    for row, number in enumerate(most):
        base = -1.6 * row
        axes.plot(range(1, len(v) + 1), base + v[:, number], color="tab:blue", linewidth=1.2)
        when = (spikes[:, number].nonzero().flatten() + 1).tolist()
        axes.vlines(when, base + 1.0, base + 1.35, color="tab:red", linewidth=1.5)
        axes.axhline(base, color="gray", linewidth=0.4)
    axes.set(
        xlabel="time step",
        yticks=[-1.6 * row for row in range(12)],
        yticklabels=most,
        ylabel="neuron of the last layer",
    )
    return figure


def draw_step(seen: dict[str, Any], step: int) -> "Figure":
    """One frame of the animation: the recording, the spikes that it causes, and what the net believes so far."""
    import matplotlib.pyplot as plt
    import numpy as np

    frames = seen["frames"]
    figure, panels = plt.subplots(1, 2 + len(seen["spikes"]), figsize=(9.6, 2.7), width_ratios=[1.2, 1.6, 1.6, 1, 1])
    picture = np.ones((*frames.shape[2:], 4)) * (0, 0, 0, 0)
    for channel, color in ((0, (0.84, 0.15, 0.16)), (frames.shape[1] - 1, (0.12, 0.47, 0.71))):
        picture[frames[step, channel].numpy() > 0] = (*color, 1)
    panels[0].imshow(picture)
    panels[0].set_title(f"step {step + 1}: events", fontsize=9)
    for number, (axes, spikes) in enumerate(zip(panels[1:-1], seen["spikes"], strict=True), start=1):
        maps = spikes[step]
        if maps.dim() == 3:  # feature maps, in four columns
            framed = np.pad(maps.numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=0.15)
            shown = np.vstack([np.hstack(row) for row in framed.reshape(-1, 4, *framed.shape[1:])])
        else:
            shown = np.pad(maps.numpy(), (0, -len(maps) % 10)).reshape(-1, 10)
        axes.imshow(shown, cmap="Oranges", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"layer {number}: {int(maps.sum())} spikes", fontsize=9)
    for axes in panels[:-1]:
        axes.set(xticks=[], yticks=[])
    scores = seen["scores"].softmax(1)[step]
    colors = ["tab:green" if place == seen["label"] else "tab:gray" for place in range(len(scores))]
    panels[-1].barh(range(len(scores)), scores, color=colors)
    panels[-1].set(
        xlim=(0, 1), yticks=range(len(scores)), yticklabels=seen["classes"], title="answer so far", xticks=[0, 1]
    )
    panels[-1].title.set_fontsize(9)
    return figure


# --- files and the page ----------------------------------------------------------------------------------------------

OF_THE_NET = ("animation", "raster", "traces")
PICTURES = (*OF_THE_NET, "neurons", "surrogates")


def save(name: str, figure: "Figure") -> None:
    """Save a picture with dark and with light ink."""
    import matplotlib.pyplot as plt
    from tutorials import to_light_ink

    figure.set_layout_engine("constrained")
    figure.savefig(FOLDER / f"{name}-light.png", dpi=130)
    to_light_ink(figure)
    figure.savefig(FOLDER / f"{name}-dark.png", dpi=130)
    plt.close(figure)


def save_animation(name: str, draw: Callable[[int], "Figure"], steps: int) -> None:
    """Save the frames as an animated PNG for each theme, and as a GIF on white, which programs for slides show."""
    import matplotlib.pyplot as plt
    from PIL import Image
    from tutorials import to_light_ink

    pictures: dict[str, list[Image.Image]] = {theme: [] for theme in THEMES}
    for step in range(steps):
        figure = draw(step)
        figure.set_layout_engine("constrained")
        for theme in THEMES:
            if theme == "dark":
                to_light_ink(figure)
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=90)
            pictures[theme].append(Image.open(buffer).convert("RGBA"))
        plt.close(figure)
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
