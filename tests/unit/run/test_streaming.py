"""eval.py mode=stream: what is written, dropped, compared and refused."""

import csv
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snntrain import functional
from snntrain.data import Digits, EventFolder, Framing
from snntrain.data.event_fields import EVENT
from snntrain.data.event_packets import PacketWriter
from snntrain.encoding import FramesEncoder
from snntrain.error import UsageError
from snntrain.layer import Linear
from snntrain.neuron import LIFNode
from snntrain.run import streaming
from snntrain.run.stream_view import Shown, View
from snntrain.stream import Cut, Window
from snntrain.task import Classification
from snntrain.terminal import terminal

CLASSES = ("left", "right", "up")


class Slow(nn.Module):
    """Takes its time."""

    seconds = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return x


@pytest.fixture
def task() -> Classification:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(2), Linear(2 * 6 * 5, 8), LIFNode(v_threshold=0.1), Slow(), Linear(8, 3))
    functional.set_step_mode(net, "m")
    return Classification(net, FramesEncoder(), 4, 3, {"name": "SGD", "lr": 0.1}).eval()


def data_of(mode: str = "window", **framing) -> EventFolder:
    window = {"window": 10.0} if mode == "window" else {"tau": 5.0} if mode == "time_surface" else {}
    return EventFolder(
        root="recordings", framing=Framing(T=4, sensor_size=[6, 5], mode=mode, **window, **framing), num_classes=3,
        sample_shape=[2, 6, 5], split=0.5,
    )  # fmt: skip


def save(path: Path, windows: int, seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    events = np.zeros(40 * windows, EVENT)
    events["t"] = np.sort(random.integers(0, 10_000 * windows, len(events)))
    events["t"][[0, -1]] = 0, 10_000 * windows - 1
    events["x"], events["y"], events["p"] = (random.integers(0, high, len(events)) for high in (5, 6, 2))
    np.save(path, events)


def run(task: Classification, tmp_path: Path, data: object = None, **own: str) -> dict:
    streaming.stream(task, data or data_of(), own, tmp_path / "out", CLASSES)
    return json.loads((tmp_path / "out/stream.json").read_text())


def test_a_recording_gets_a_decision_for_each_window_and_pictures(task, tmp_path, capsys):
    save(tmp_path / "a.npy", 7)
    told = run(task, tmp_path, source=str(tmp_path / "a.npy"), pace="full", compare="true")
    rows = list(csv.DictReader((tmp_path / "out/stream.csv").open()))
    assert [int(row["window"]) for row in rows] == list(range(7))
    assert {row["decision"] for row in rows} <= set(CLASSES) and {row["recording"] for row in rows} == {"a.npy"}
    assert sum(int(row["events"]) for row in rows) == told["events"] == 280
    events = np.load(tmp_path / "a.npy")
    frames = Framing(T=7, sensor_size=[6, 5], mode="window", window=10)(events).astype(np.float32)
    functional.reset_net(task.net)
    with torch.no_grad():
        outputs = task.net(torch.from_numpy(frames)[:, None])
    scores = [task.scores(outputs[max(0, t - 3) : t + 1])[0] for t in range(7)]
    assert [row["decision"] for row in rows] == [CLASSES[int(one.argmax())] for one in scores]
    assert [float(row["score"]) for row in rows] == pytest.approx([float(one.max()) for one in scores], rel=1e-4)
    assert (told["windows"], told["dropped"], told["recordings"], told["problems"]) == (7, 0, 1, [])
    assert told["compared"]["different"] == 0 < told["compared"]["spikes"]
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"] <= told["latency_ms"]["max"]
    with Image.open(tmp_path / "out/stream.gif") as moving, Image.open(tmp_path / "out/stream.png") as drawn:
        assert moving.n_frames == 7 and drawn.width > 1000
    said = capsys.readouterr().out
    assert re.search(r"a.npy: (left|right|up)   \(7 windows, 0.07 s\)", said) and "0 of " in said
    assert max(map(len, said.splitlines()[:3])) <= 80


def test_each_recording_of_a_folder_begins_anew_and_bad_ones_are_named(task, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        save(folder / f"{name}.npy", 3)
    (folder / "c.npy").write_bytes((folder / "a.npy").read_bytes()[:200])
    np.save(folder / "d.npy", np.zeros(0, EVENT))
    np.save(folder / "e.npy", np.array([(0, 0, 0, 1), (0, 0, 10**9, 1)], EVENT))
    told = run(task, tmp_path, source=str(folder), pace="full", idle_s="0.5")
    rows = list(csv.DictReader((tmp_path / "out/stream.csv").open()))
    of = {name: [row["score"] for row in rows if row["recording"] == f"{name}.npy"] for name in "ab"}
    assert len(of["a"]) == 3 and of["a"] == of["b"]
    c, d, e = told["problems"]
    assert c.startswith("c.npy: it cannot be read") and d.startswith("d.npy: it holds no events")
    assert e.startswith("e.npy: there is no event for 1000 s") and "The rest of it is left out" in e
    assert "warning: c.npy" in capsys.readouterr().out


@pytest.mark.slow
def test_windows_that_come_faster_than_the_net_are_dropped_and_said(task, tmp_path, capsys):
    save(tmp_path / "a.npy", 25)
    task.net[3].seconds = 0.15
    told = run(task, tmp_path, source=str(tmp_path / "a.npy"))
    assert told["dropped"] > 0 and told["windows"] + told["dropped"] == 25
    rows = list(csv.DictReader((tmp_path / "out/stream.csv").open()))
    assert len(rows) == 25 and sum(row["decision"] == "" for row in rows) == told["dropped"]
    assert "windows came faster than the net could follow, and were dropped." in capsys.readouterr().out


def test_a_pipe_that_is_cut_is_said_and_what_came_is_decided(task, tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.npy", 4)
    events, pipe = np.load(tmp_path / "a.npy"), io.BytesIO()
    writer = PacketWriter(pipe, [6, 5])
    for packet in np.array_split(events, 9):
        writer.write(packet)
    writer.write(events[:3])  # late
    far = events[:1].copy()
    far["t"] = 10**12
    writer.write(far)
    writer.write(events[:50])
    pipe.seek(0)
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": pipe}))
    told = run(task, tmp_path, source="-", pace="full")
    assert told["windows"] >= 4 and told["late_events"] == 3
    assert "no event for" in told["problems"][0] and "It begins anew" in told["problems"][0]
    assert told["problems"][1] == "stdin: it was cut off after 12 packets, without an end."
    assert "3 events came after the end of their window" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "own", "named"),
    [
        (data_of("time"), {}, "this run saw frames of mode time, whose length differs .* window_ms=10"),
        (data_of("time_surface"), {"window_ms": "10"}, "this run saw frames of time_surface"),
        (Digits(), {}, "mode=stream needs a run on recordings of events, and Digits reads none"),
        (data_of(), {"window_ms": "0"}, "window_ms must be a finite number ≥ 0.001, got '0'"),
        (data_of(), {"idle_s": "soon"}, "idle_s must be a finite number > 0, got 'soon'"),
        (data_of(), {"pace": "fast"}, "pace must be one of 'real', 'full', got 'fast'"),
        (data_of(), {"compare": "yes"}, "compare must be true or false, got 'yes'"),
    ],
)
def test_what_cannot_be_streamed_is_refused(task, tmp_path, data, own, named):
    with pytest.raises(UsageError, match=named):
        run(task, tmp_path, data, source="nowhere.npy", **own)


def test_the_panel_keeps_to_eighty_columns_whatever_the_names(tmp_path):
    names = [f"a class with quite a long name, number {number}" for number in range(40)]
    shown, totals = Shown(names, 10.0, has_real_pace=True), streaming.Totals(windows=12_345, dropped=3)
    totals.latencies = [3.0] * 100
    for index in range(70):
        cut = Cut(index, 10_000 * index, 50 * index, np.zeros((2, 3, 3)))
        shown.add("a_recording" * 12 + ".raw", (Window(cut, torch.zeros(40), torch.randn(40)), 3.0))
    file = io.StringIO()
    terminal(file=file, width=80).print(shown.panel(totals))
    lines = file.getvalue().splitlines()
    assert len(lines) == 13 and max(map(len, lines)) <= 80
    assert sum("a class with" in line for line in lines) == 10
    assert lines[-1] == " 12,345 windows, 3 dropped   latency p50 3.0 ms, p99 3.0 of 10 ms"
    with View(terminal(file=file, width=80, force_terminal=True), shown) as view:  # in a terminal it stays in its place
        view.refresh(totals)
    assert file.getvalue().count("12,345 windows") == 3
