"""snntrain.stream: events as they come give the frames and the spikes of the whole recording."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import snntrain
from snntrain import functional
from snntrain.data import Framing
from snntrain.data.event_fields import EVENT
from snntrain.data.events import read_events
from snntrain.layer import BatchNorm2d, Conv2d, Linear
from snntrain.neuron import PSN, LIFNode, SlidingPSN
from snntrain.stream import MOST_EMPTY, Stream, StreamError, differing_spikes

FRAMING = Framing(T=4, sensor_size=[6, 5], mode="window", window=10)


def events_at(*times: int, x: int = 1) -> np.ndarray:
    events = np.zeros(len(times), EVENT)
    events["t"], events["x"] = times, x
    return events


def made_events(seed: int, count: int = 300, length: int = 120_000) -> np.ndarray:
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["t"] = 7_000 + np.sort(random.integers(0, length, count))
    events["x"], events["y"], events["p"] = (random.integers(0, high, count) for high in (5, 6, 2))
    return events


def small_net() -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        Conv2d(2, 8, 3, padding=1), BatchNorm2d(8), LIFNode(v_threshold=0.2), nn.Flatten(2), Linear(240, 12),
        LIFNode(v_threshold=0.1), SlidingPSN(k=3, step_mode="m"), Linear(12, 3),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    return net.eval()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 300), max_size=8), together=st.booleans())
def test_frames_and_outputs_are_those_of_the_batch_however_events_are_cut_into_packets(seed, cuts, together):
    net, events = small_net(), made_events(seed)
    packets = np.split(events, sorted(cuts))
    stream = Stream(net, FRAMING)
    if together:
        windows = stream.decide([cut for part in packets for cut in stream.cut(part)]) + stream.finish()
    else:
        windows = [window for part in packets for window in stream.push(part)] + stream.finish()
    frames = replace(FRAMING, T=len(windows))(events)
    assert replace(FRAMING, T=len(windows)).dropped(events) == 0
    assert np.array_equal(np.stack([window.cut.frame for window in windows]), frames)
    functional.reset_net(net)
    with torch.no_grad():
        outputs = net(torch.from_numpy(frames.astype(np.float32))[:, None])[:, 0]
    assert torch.equal(torch.stack([window.output for window in windows]), outputs)
    for t, window in enumerate(windows):
        torch.testing.assert_close(window.scores, outputs[max(0, t - 3) : t + 1].mean(0))
        assert window.decision == int(window.scores.argmax())
        assert window.start == events["t"][0] + 10_000 * t
    assert sum(window.cut.events for window in windows) == len(events) and stream.late == 0


def test_silence_between_events_is_windows_without_any():
    windows = Stream(small_net(), FRAMING).push(events_at(0, 5_000, 35_000))
    assert [(window.cut.index, window.cut.events) for window in windows] == [(0, 2), (1, 0), (2, 0)]


def test_events_may_be_out_of_order_inside_a_window_and_are_left_out_after_its_end():
    stream = Stream(small_net(), FRAMING)
    assert stream.push(events_at(3_000, 1_000, 2_000)) == []  # the clock begins with the earliest event
    (first,) = stream.push(events_at(12_000, 9_000))
    assert (first.start, first.cut.events, stream.late) == (1_000, 4, 0)
    assert stream.push(events_at(10_999, 12_500, 11_500)) == [] and stream.late == 1
    assert stream.finish()[0].cut.events == 3


@pytest.mark.parametrize(
    ("events", "named"),
    [
        (events_at(4_000, x=5), r"an event at x = 5 lies outside the sensor, whose size is 6×5"),
        (events_at(10_000 * (MOST_EMPTY + 3)), r"no event for 10.02 s, more than 1,000 windows. Begin anew"),
        (events_at(2**52), r"more than 1,000 windows"),
    ],
)
def test_events_that_cannot_go_on_are_refused_and_leave_the_stream_as_it_was(events, named):
    stream = Stream(small_net(), FRAMING)
    stream.push(events_at(1_000, 5_000))
    with pytest.raises(StreamError, match=named):
        stream.push(events)
    (window,) = stream.push(events_at(11_500))
    assert (window.cut.events, window.start) == (2, 1_000)
    stream.restart()
    assert stream.push(events_at(2**52, 2**52 + 20_000))[0].start == 2**52


def test_nets_and_framings_that_need_the_whole_recording_are_refused():
    with pytest.raises(ValueError, match="Framing of mode 'window', since others need the whole recording, got 'time'"):
        Stream(small_net(), Framing(T=4, sensor_size=[6, 5]))
    with pytest.raises(ValueError, match=r"1 \(PSN\) needs the whole sequence at once, and a stream has no end"):
        Stream(nn.Sequential(Linear(4, 4), PSN(T=4)), FRAMING)


def compare_with_batch_mode(folder: Path, count: int) -> None:
    """All layers of a net that fires a lot, on recordings of N-MNIST."""
    torch.manual_seed(1)
    neuron = {"name": "LIFNode", "v_threshold": 0.1}
    net = snntrain.create_model("csnn", sample_shape=(2, 34, 34), num_classes=10, neuron=neuron)
    framing = Framing(T=20, sensor_size=[34, 34], mode="window", window=10)
    recordings = sorted((folder / "NMNIST/Test").glob("*/*.bin"))
    total = 0
    for path in recordings[:: len(recordings) // count][:count]:
        different, spikes = differing_spikes(net, framing, read_events(path, sensor_size=[34, 34]))
        assert different == 0, path
        total += spikes
    assert total > 10_000 * count


def test_two_recordings_of_nmnist_give_the_spikes_of_batch_mode(shared_data):
    compare_with_batch_mode(shared_data, 2)


@pytest.mark.slow
def test_fifty_recordings_of_nmnist_give_the_spikes_of_batch_mode(shared_data):
    compare_with_batch_mode(shared_data, 50)
