"""Pictures of shapes and recordings of moving bars, which a net can learn to tell apart."""

from pathlib import Path

import numpy as np
from event_files import EVENT, write_bin
from PIL import Image, ImageDraw

SHAPES = ("cross", "disc", "frame", "stripes", "triangle")
MOVES = ("down", "grow", "left", "right", "up")


def draw_shape(shape: str, random: np.random.Generator, size: tuple[int, int] = (80, 72)) -> Image.Image:
    """A bright shape of random color, size and place on a dark, noisy background."""
    noise = random.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    draw, color = ImageDraw.Draw(picture), tuple(map(int, random.integers(150, 256, 3)))
    r = int(random.integers(16, 24))
    x, y = (int(random.integers(r + 4, side - r - 4)) for side in size)
    box = [x - r, y - r, x + r, y + r]
    if shape == "disc":
        draw.ellipse(box, fill=color)
    elif shape == "frame":
        draw.rectangle(box, outline=color, width=5)
    elif shape == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=color)
    elif shape == "cross":
        draw.line([x - r, y, x + r, y], fill=color, width=7)
        draw.line([x, y - r, x, y + r], fill=color, width=7)
    else:
        for offset in range(-r, r + 1, 8):
            draw.line([x - r, y + offset, x + r, y + offset], fill=color, width=3)
    return picture


def write_pictures(folder: Path, per_class: int, seed: int = 1, shapes: tuple[str, ...] = SHAPES) -> Path:
    """PNG files of shapes in a folder per class."""
    random = np.random.default_rng(seed)
    for shape in shapes:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            draw_shape(shape, random).save(folder / shape / f"{number:04}.png")
    return folder


def moving_bar(move: str, random: np.random.Generator, side: int = 34, steps: int = 24) -> np.ndarray:
    """Events of a bright bar that moves over a sensor of side × side: ON where it arrives, OFF where it leaves.

    The class "grow" is a square that grows. A tenth of the events are noise. Only the order in time tells left from
    right: the sum of all events is the same.
    """
    length, start = int(random.integers(10, 20)), int(random.integers(2, 6))
    across = int(random.integers(1, side - length - 1))
    rows = []
    for step in range(steps):
        when, place = 4_000 * step, start + step
        if move == "grow":
            r = 1 + step // 2
            along = np.arange(-r, r + 1)
            edge = [(side // 2 + a, side // 2 + b) for a in along for b in (-r, r)]
            edge += [(side // 2 + b, side // 2 + a) for a in along for b in (-r, r)]
            rows += [(x, y, when, True) for x, y in edge]
            continue
        place = place if move in ("right", "down") else side - 1 - place
        behind = place - 2 if move in ("right", "down") else place + 2
        for along in range(across, across + length):
            for position, on in ((place, True), (behind, False)):
                rows.append((position, along, when, on) if move in ("left", "right") else (along, position, when, on))
    noise = [
        (int(random.integers(side)), int(random.integers(side)), int(random.integers(4_000 * steps)), bool(on))
        for on in random.integers(0, 2, len(rows) // 10)
    ]
    kept = [row for row in rows if 0 <= row[0] < side and 0 <= row[1] < side and random.random() < 0.8]
    events = np.array(kept + noise, EVENT)
    events["t"] += random.integers(0, 3_000, len(events))
    return events[np.argsort(events["t"], kind="stable")]


def write_recordings(folder: Path, per_class: int, seed: int = 1, moves: tuple[str, ...] = MOVES) -> Path:
    """N-MNIST's .bin files of moving bars in a folder per class."""
    random = np.random.default_rng(seed)
    for move in moves:
        for number in range(per_class):
            write_bin(folder / move / f"{number:04}.bin", moving_bar(move, random))
    return folder


def write_mnist(folder: Path, train: int, test: int, seed: int = 1) -> Path:
    """Unpacked files as Fashion-MNIST's, with ten kinds of patterns, shifted and noisy."""
    random = np.random.default_rng(seed)
    coarse = random.random((10, 7, 7)) > 0.5
    patterns = 160 * coarse.repeat(4, 1).repeat(4, 2)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("t10k", test)):
        labels = random.permutation(np.arange(count) % 10)
        shifts = random.integers(-2, 3, (count, 2))
        images = [np.roll(patterns[label], shift, (0, 1)) for label, shift in zip(labels, shifts, strict=True)]
        images = (images + random.integers(0, 96, (count, 28, 28))).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(bytes((0, 0, 8, values.ndim)) + sizes + values.tobytes())
    return folder
