# %% [markdown]
# # Your own event camera
#
# An event camera does not take pictures. Each pixel reports on its own when its brightness has changed: an *event*
# $(x, y, t, p)$ says where, when (in microseconds) and whether it became brighter or darker. Spiking networks and
# event cameras suit each other, since both speak in events over time. This tutorial makes recordings of moving bars,
# looks at them, trains a net that tells the direction of the movement, and asks whether the order in time was needed
# for that.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import snntrain
from snntrain.data import Framing

# %% [markdown]
# ## Recordings in one folder for each class
#
# The reader takes `.npy` and `.npz` with fields x, y, t, p, `.h5`, `.mat`, `.csv`, AEDAT 2.0 to 4, Prophesee's `.dat`
# and `.raw`, `.es`, and N-MNIST's `.bin`. We write structured arrays. A bar moves over a sensor of 34 × 34 pixels for
# about 0.1 s. It begins anywhere, and where it leaves the sensor on one side it comes back on the other, so that its
# place alone says nothing. A tenth of all events is noise.

# %%
SIDE, STEPS = 34, 24
MOVES = ("down", "left", "right", "up")
EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
random = np.random.default_rng(1)


def moving_bar(move: str) -> np.ndarray:
    length = int(random.integers(10, 20))
    first, start = (int(number) for number in (random.integers(1, SIDE - length - 1), random.integers(SIDE)))
    onward, rows = 1 if move in ("right", "down") else -1, []
    for step in range(STEPS):
        front = start + onward * step
        for along in range(first, first + length):
            for place, brighter in (
                (front % SIDE, True),
                ((front - 2 * onward) % SIDE, False),
            ):  # on in front, off behind
                x, y = (place, along) if move in ("left", "right") else (along, place)
                rows.append((x, y, 4_000 * step, brighter))
    kept = [row for row in rows if random.random() < 0.8]
    noise = [
        (*random.integers(0, SIDE, 2), random.integers(0, 4_000 * STEPS), random.random() < 0.5)
        for _ in range(len(kept) // 10)
    ]
    events = np.array(kept + noise, EVENT)
    events["t"] += random.integers(0, 3_000, len(events))
    return events[events["t"].argsort(kind="stable")]


for move in MOVES:
    folder = Path("recordings", move)
    folder.mkdir(parents=True)
    for number in range(150):
        np.save(folder / f"{number:03}.npy", moving_bar(move))

events = np.load("recordings/right/000.npy")
print(len(events), "events in", events["t"].max() / 1000, "ms; the first three:", events[:3].tolist())

# %%
figure = plt.figure(figsize=(7.5, 3.2))
space = figure.add_subplot(121, projection="3d", facecolor="none")
for brighter, color in ((True, "tab:blue"), (False, "tab:red")):
    some = events[events["p"] == brighter]
    space.scatter(some["t"] / 1000, some["x"], some["y"], s=1.5, color=color)
space.set(xlabel="t in ms", ylabel="x", zlabel="y", title="events in space and time")
plane = figure.add_subplot(122)
count = np.zeros((SIDE, SIDE))
np.add.at(count, (events["y"], events["x"]), 1)
plane.imshow(count, cmap="Greys")
plane.set(title="all events, without their times", xlabel="x", ylabel="y")
plt.show()

# %% [markdown]
# On the left the bar is a sloping sheet in space and time: blue events where it arrives, red ones where it leaves,
# noise around it; halfway it leaves the sensor and comes back on the other side. On the right the times are gone, and
# nobody can tell whether the bar went left or right.
#
# ## From events to time steps
#
# A net that runs for T steps needs T inputs. `Framing` sorts the events of a recording into T frames, one channel for
# each polarity: by equal `time`, by equal `count`, in a fixed `window`, as a `time_surface` or as `voxel`s.

# %%
T = 6
frames = Framing(T=T, sensor_size=[SIDE, SIDE], mode="time")(events)
print(
    "frames [T, polarity, y, x]:",
    frames.shape,
    "  sum over all frames:",
    int(frames.sum()),
    "of",
    len(events),
    "events",
)

figure, columns = plt.subplots(2, T, figsize=(7.5, 2.8))
for polarity, row in enumerate(columns):
    for step, axes in enumerate(row):
        axes.imshow(frames[step, polarity], cmap="Reds" if polarity == 0 else "Blues", vmin=0, vmax=3)
        axes.set_xticks([])
        axes.set_yticks([])
        if polarity == 0:
            axes.set_title(f"step {step + 1}", fontsize=9)
columns[0][0].set_ylabel("OFF")
columns[1][0].set_ylabel("ON")
plt.show()

# %% [markdown]
# Every event is in one of the frames, the last one included. The bar moves from frame to frame, with its ON edge ahead
# of its OFF edge.
#
# ## Train
#
# To make it depend on time alone, we count both polarities together (`polarity=merge`): within one frame nothing is
# left that tells left from right. `data=event_folder` chooses the encoder `frames` by itself, which hands frame k to
# the net at step k.

# %%
overrides = (
    "data=event_folder data.root=recordings data.num_classes=4 data.split=0.2 data.framing.sensor_size=[34,34] "
    "data.framing.polarity=merge data.framing.downsample=2 data.batch_size=16 data.cache=memory "
    "model=csnn model.channels=16 model.features=64 neuron.tau=3 optim.lr=0.005"
)
run = snntrain.train(overrides, T=T, trainer={"max_epochs": 8})
print("test accuracy:", run.metrics["test/acc"])

# %% [markdown]
# A quarter of the recordings is each direction, so guessing gives 25 %, and telling horizontal from vertical alone 50
# %. What is above that has been learned from the order in time: the potentials of the neurons still hold what was
# there in earlier steps when the next frame arrives.
#
# ## Play it backwards
#
# We can check that claim on the net. If it reads the order, a recording that is played backwards must be a movement in
# the opposite direction.

# %%
batches = [(x, y) for x, y, _ in run.data.test_dataloader()]
x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])  # x: [N, T, channels, y, x]
answers = {"forwards": run.predict(x).argmax(1), "backwards": run.predict(x.flip(1)).argmax(1)}

figure, panels = plt.subplots(1, 2, figsize=(6.4, 3), sharey=True)
for axes, (direction, answer) in zip(panels, answers.items(), strict=True):
    table = torch.zeros(4, 4)
    for true, found in zip(y.tolist(), answer.tolist(), strict=True):
        table[true, found] += 1
    axes.imshow(table, cmap="Blues", vmin=0, vmax=30)
    for row in range(4):
        for column in range(4):
            value = int(table[row, column])
            axes.text(column, row, value, ha="center", va="center", color="white" if value > 18 else "#555555")
    axes.set_xticks(range(4), MOVES)
    axes.set_yticks(range(4), MOVES)
    axes.set(title=f"played {direction}", xlabel="the net says")
panels[0].set_ylabel("recorded")
plt.show()

# %% [markdown]
# Forwards, the numbers stand on the diagonal. Backwards, recordings of *left* are called right, and those of *down*
# up: the net does read the order.
#
# ## What happens step by step
#
# How soon does it know? The output of every step is there, so we look at the accuracy of the mean up to each step.

# %%
snntrain.functional.reset_net(run.net)
with torch.no_grad():
    outputs = run.net(x.float().transpose(0, 1))  # [T, N, classes]
so_far = outputs.cumsum(0).argmax(2)
accuracy = [(answer == y).float().mean().item() for answer in so_far]
plt.figure(figsize=(5, 2.4))
plt.plot(range(1, T + 1), [100 * a for a in accuracy], marker="o")
plt.axhline(25, linestyle=":", color="gray")
plt.text(T, 26, "guessing", color="gray", ha="right", va="bottom")
plt.xlabel("time step")
plt.ylabel("accuracy in %")
plt.ylim(0, 105)
plt.title("Accuracy of the answer up to each step")
plt.show()

# %% [markdown]
# After the first frame it is right for about half of the recordings: it sees whether the bar lies or stands, not where
# it is going. With the second frame the direction begins to show, and each further one settles more of the doubtful
# cases.
#
# ## With your camera
#
# - `data.root` is your folder; `data.framing.sensor_size=[height,width]` your sensor, where the files do not state it.
# - `data.time_unit` is for formats that do not state their unit; a wrong one is noticed in `show=data`, which prints
#   the durations.
# - `data.framing.downsample=2` counts squares of 2 × 2 pixels together; a net on fewer pixels trains several times
#   faster.
# - Frames are cached (`data.cache=disk`), with a checksum and every setting in the key.
# - `data.augment.transforms=[{name: drop_events, p: 0.1}, {name: frame_shift, pixels: 2}]` makes more of few
#   recordings.
#
# ```
# python train.py show=data data=event_folder data.root=/my/recordings data.num_classes=5 T=10 \
#     'data.framing.sensor_size=[260,346]'
# ```
#
# **Where to go from here.** [Data](../data.md) lists the formats and every key. Next: [a neuron of your
# own](05_own_neuron.md).
