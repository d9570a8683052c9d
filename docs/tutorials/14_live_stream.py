# %% [markdown]
# # A live stream
#
# A recording has an end, and a net may look at all of it before it answers. A robot cannot wait: it wants to know *now*
# what its event camera sees, again and again. Spiking nets are made for that. Their neurons carry what they have seen
# in their potentials, so the net takes the events of the last 10 ms, computes one step, answers, and goes on. This
# tutorial trains a net on recordings of moving bars, then lets it watch a bar that changes its direction without
# warning, while the events come.

# %%
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import snntrain
from snntrain.data import Framing, PacketWriter
from snntrain.stream import Stream, differing_spikes

# %% [markdown]
# ## A net for short recordings
#
# Bars move over a small sensor in one of four directions, one pixel every 5 ms. Recordings of 100 ms become ten windows
# of 10 ms each: `framing.mode=window`, which cuts time as a clock does. A stream needs that; the default, `time`, cuts
# each recording into T equal parts, and has to know its end first.

# %%
SIDE = 16
MOVES = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "up": (0, -1)}
EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
random = np.random.default_rng(1)


def moving_bar(move: str, steps: int, start: int, begin: int = 0) -> np.ndarray:
    """ON events where the bar arrives, OFF events where it leaves, and noise."""
    across, down = MOVES[move]
    first, rows = random.integers(1, SIDE - 9), []
    for step in range(steps):
        front = (start + (across + down) * step) % SIDE
        behind = (front - 2 * (across + down)) % SIDE
        for place, on in ((front, True), (behind, False)):
            rows += [
                (place, along, step, on) if across else (along, place, step, on) for along in range(first, first + 8)
            ]
    rows += [(*random.integers(0, SIDE, 2), random.integers(steps), random.random() < 0.5) for _ in range(steps)]
    events = np.array([row for row in rows if random.random() < 0.8], EVENT)
    events["t"] = begin + 5_000 * events["t"] + random.integers(0, 5_000, len(events))
    return events[events["t"].argsort(kind="stable")]


for move in MOVES:
    Path("recordings", move).mkdir(parents=True)
    for number in range(60):
        np.save(f"recordings/{move}/{number:02}.npy", moving_bar(move, 20, random.integers(SIDE)))

run = snntrain.train(
    "data=event_folder data.root=recordings data.num_classes=4 data.split=0.2 data.cache=memory",
    "data.framing.sensor_size=[16,16] data.framing.mode=window data.framing.window=10",
    "model=csnn model.channels=8 model.features=64 neuron.tau=3 neuron.v_threshold=0.5",
    "optim.lr=0.005 data.batch_size=16",
    T=10,
    trainer={"max_epochs": 5},
)

# %% [markdown]
# ## A bar that changes its mind
#
# The stream is longer than any recording that the net has seen: the bar goes to the right, then up, then left. A camera
# sends packets, cut wherever it suits its driver; ours have 57 events. `push` takes one and returns the windows that
# have ended by then, often none.

# %%
story = [("right", 60), ("up", 60), ("left", 60)]
parts, begin = [], 0
for move, steps in story:
    parts.append(moving_bar(move, steps, 0, begin))
    begin += 5_000 * steps
events = np.concatenate(parts)

framing = Framing(T=10, sensor_size=[SIDE, SIDE], mode="window", window=10)
stream = Stream(run.net, framing, run.task.scores)
windows = []
for packet in np.array_split(events, len(events) // 57):
    windows += stream.push(packet)
windows += stream.finish()

names = list(run.data.CLASSES)
true = [move for move, steps in story for _ in range(steps // 2)]
said = [names[window.decision] for window in windows]
for begin in range(0, 90, 10):
    print(f"{10 * begin:4} ms, {true[begin]:>5}:", " ".join(said[begin : begin + 10]))
right = np.mean([one == other for one, other in zip(said, true, strict=True)])
print(f"right in {right:.0%} of {len(said)} windows")

# %% [markdown]
# After a change of direction the answer lags behind for a few windows. There are two reasons: the neurons still hold
# what they have seen, and a decision looks back on the last ten windows, as many as the recordings of the training had
# (`T` of the framing). A shorter memory turns around faster, and is more easily fooled by noise.

# %%
scores = np.stack([window.scores.numpy() for window in windows])
plt.figure(figsize=(7.5, 3))
for k, name in enumerate(names):
    plt.plot(range(1, len(scores) + 1), scores[:, k], label=name)
for change in (30, 60):
    plt.axvline(change + 0.5, color="gray", linestyle=":")
plt.xlabel("window of 10 ms")
plt.ylabel("score")
plt.title("right, then up, then left: the scores follow")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Nothing is lost on the way
#
# Is a net that is fed window by window still the net that was tested? It computes the same numbers in another order
# of calls, and the neurons only look at spikes, which are there or not. So we count: all spikes of all layers, live
# against the whole sequence as one batch.

# %%
different, spikes = differing_spikes(run.net, framing, events)
print(f"{different} of {spikes:,} spikes differ")

# %% [markdown]
# ## The same from the command line
#
# `python eval.py run=… mode=stream source=…` does what we did by hand, at the speed of the recording, with a panel in
# the terminal that shows scores, events and latencies. Events can come through a pipe: `PacketWriter` writes the
# packets that `source=-` reads. Here they go through a file.

# %%
with open("story.packets", "wb") as file, PacketWriter(file, [SIDE, SIDE]) as writer:
    for packet in np.array_split(events, len(events) // 57):
        writer.write(packet)

command = [sys.executable, "-m", "snntrain", "eval", f"run={run.folder}", "mode=stream", "pace=full", "output=live"]
with open("story.packets", "rb") as packets:
    print(subprocess.run([*command, "source=-"], stdin=packets, capture_output=True, text=True, check=True).stdout)
print(Path("live/stream.json").read_text()[:330])

# %% [markdown]
# `live/stream.png` shows scores, events and latencies over the windows, and `live/stream.gif` what the net saw and
# believed. A pipe that breaks off, an event out of order, a net that is too slow: [live streams](../live.md) tells what
# happens then.
#
# **Your turn.** Train with `data.framing.window=5` and `T=20`: do the answers turn around sooner? And what does
# `Framing(T=3, …)` in the stream do to the same net?
