"""Samples per second of event data: framed by tonic, framed by snntrain, while the cache fills, from the cache.

python scripts/bench_data.py                                      random recordings, in a temporary folder
python scripts/bench_data.py --recordings /data/NMNIST/Train      class folders of 40-bit .bin files of 34×34 pixels
python scripts/bench_data.py --recordings … --rounds 5 --T 10

Beside them: how much smaller the cache is than its frames, and how fast the csnn learns from the same batches, which
is the speed that a loader has to keep up with.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import benchmark
import numpy as np
import torch
from benchmark import console
from torch import nn
from torch.utils.data import DataLoader, Dataset

from snntrain import create_model, functional, terminal
from snntrain.data import EventFolder, Framing
from snntrain.data.events import read_events

SIZE = (34, 34)


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, T=10, batch=32, rounds=5)
    parser.add_argument("--recordings", type=Path, help="folder of class folders of .bin files; default: random ones")
    benchmark.add_count(parser, "count", 300, "random recordings")
    options = parser.parse_args()
    run = benchmark.begin(options)
    with tempfile.TemporaryDirectory() as folder:
        recordings = options.recordings or random_recordings(Path(folder) / "recordings", options.count)
        seconds, samples = measure(recordings, Path(folder), options)
        sizes = cache_sizes(Path(folder) / "filled")
    results = {name: benchmark.spread([samples / value for value in times]) for name, times in seconds.items()}
    ratios = compared(seconds)
    table = terminal.table("", "samples/s", texts=1)
    for name, values in results.items():
        table.add_row(name, f"{values['median']:,.0f}")
    for name, value in ratios.items():
        table.add_row(name, f"{value:.2f}×")
    table.add_row("frames / bytes of the cache", f"{sizes['ratio']:.2f}×")
    table.add_row("size of the cache predicted / found", f"{sizes['predicted'] / sizes['found']:.3f}×")
    console.print(table)
    found = {"samples": samples, "samples_per_second": results, "ratios": ratios, "cache": sizes}
    benchmark.finish(options, "data", run, found)


def measure(recordings: Path, folder: Path, options: argparse.Namespace) -> tuple[dict[str, list[float]], int]:
    """Name → seconds of an epoch in each round, and the samples of an epoch."""
    fresh = (folder / f"cache{number}" for number in range(10_000))

    def loader(workers: int, cache: str, root: Path) -> DataLoader:
        classes = sum(path.is_dir() for path in recordings.iterdir())
        data = EventFolder(
            root=str(recordings), framing=Framing(options.T, list(SIZE)), num_classes=classes,
            sample_shape=[2, *SIZE], split=0.05, formats=[".bin"], cache=cache, verify=False,
            batch_size=options.batch, num_workers=workers,
        )  # fmt: skip
        data.caches = root  # wherever SNNTRAIN_CACHE may point
        data.setup()
        return data.train_dataloader()

    filled = folder / "filled"
    epoch(loader(0, "disk", filled))
    paths = [data.recordings[i] for data in [loader(0, "off", filled).dataset] for i in data.index.tolist()]
    calls: dict[str, Callable[[], float]] = {}
    for workers in (0, 1):
        calls[f"tonic, {workers} workers"] = partial(epoch, tonic_loader(paths, options.T, options.batch, workers))
        calls[f"uncached, {workers} workers"] = partial(epoch, loader(workers, "off", filled))
        calls[f"filling the cache, {workers} workers"] = lambda workers=workers: epoch(
            loader(workers, "disk", next(fresh))
        )
        calls[f"cached, {workers} workers"] = partial(epoch, loader(workers, "disk", filled))
    calls["training the csnn"] = partial(training, create_model("csnn", (2, *SIZE), 10), loader(0, "memory", filled))
    return benchmark.interleaved(calls, options.rounds), len(paths)


def cache_sizes(root: Path) -> dict[str, float]:
    """Bytes that the cache was predicted to take, those that it takes, and how many times more its frames have."""
    (folder,) = root.rglob("frames_*")
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    entries = np.fromfile(folder / "index.bin", "<u4").reshape(-1, 4)
    kept = np.count_nonzero(entries[:, 3])
    found = sum(path.stat().st_size for path in folder.glob("*.bin"))
    frames = int(np.prod(key["shape"])) * np.dtype(key["dtype"]).itemsize * kept
    predicted = json.loads((folder / "expected.json").read_text(encoding="utf-8")) * kept / len(entries)
    return {"predicted": predicted, "found": found, "ratio": frames / found}


def epoch(batches: DataLoader) -> float:
    """Seconds of one pass."""
    began = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began


def training(net: nn.Module, batches: DataLoader) -> float:
    """Seconds of one epoch of forward, backward and update."""
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    began = time.perf_counter()
    for x, y, _ in batches:
        functional.reset_net(net)
        nn.functional.cross_entropy(net(x.transpose(0, 1)).mean(0), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


class TonicFrames(Dataset):
    """The same recordings, framed by tonic at each reading."""

    def __init__(self, paths: list[Path], T: int) -> None:
        from tonic.transforms import ToFrame

        self.paths, self.to_frames = paths, ToFrame(sensor_size=(*SIZE[::-1], 2), n_time_bins=T)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.to_frames(read_events(self.paths[index], sensor_size=SIZE)).astype(np.float32))


def tonic_loader(paths: list[Path], T: int, batch: int, workers: int) -> DataLoader:
    """A plain loader of TonicFrames."""
    return DataLoader(TonicFrames(paths, T), batch, num_workers=workers, persistent_workers=workers > 0)


def random_recordings(folder: Path, count: int) -> Path:
    """Class folders of recordings with 4,000 events each, as long as N-MNIST's, in its format."""
    source = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 10) / f"{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y, p = (source.integers(0, high, 4000) for high in (34, 34, 2))
        t = np.sort(source.integers(0, 300_000, 4000))
        columns = [x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]
        path.write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())
    return folder


def compared(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The ratios that matter."""
    ratios = {}
    for workers in ("0 workers", "1 workers"):
        cached = seconds[f"cached, {workers}"]
        ratios[f"cached / tonic, {workers}"] = benchmark.ratio(seconds[f"tonic, {workers}"], cached)
        ratios[f"cached / training the csnn, {workers}"] = benchmark.ratio(seconds["training the csnn"], cached)
        filling, uncached = seconds[f"filling the cache, {workers}"], seconds[f"uncached, {workers}"]
        ratios[f"time of filling / uncached, {workers}"] = benchmark.ratio(filling, uncached)
    return ratios


if __name__ == "__main__":
    main()
