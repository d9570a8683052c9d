# %% [markdown]
# # Your own pictures
#
# From a folder of pictures to a net that names new ones: the layout of the folder, a look at the data before training,
# the training, and the mistakes worth knowing. The pictures here are drawn by the script itself, so that it runs
# anywhere, and all of it takes less than a minute on one quiet core; put the path of your own folder in their place.

# %%
import csv
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import snntrain

# %% [markdown]
# ## One folder for each class
#
# snntrain reads JPEG, PNG, WebP, GIF, TIFF, BMP and PNM files of any size from one folder for each class. Which part
# of them is for testing is up to you: either there are folders `train/<class>/…` and `test/<class>/…`, or only
# `<class>/…`, of which `data.split=0.2` draws a fifth, the same for every seed. We draw discs, frames and crosses of
# random size and place on a noisy background.

# %%
CLASSES = ("cross", "disc", "frame")
random = np.random.default_rng(1)


def draw(shape: str) -> Image.Image:
    picture = Image.fromarray(random.integers(0, 60, (48, 48)).astype(np.uint8))
    r = int(random.integers(8, 15))
    x, y = (int(number) for number in random.integers(r + 2, 46 - r, 2))
    box, light, pen = [x - r, y - r, x + r, y + r], int(random.integers(140, 256)), ImageDraw.Draw(picture)
    if shape == "disc":
        pen.ellipse(box, fill=light)
    elif shape == "frame":
        pen.rectangle(box, outline=light, width=4)
    else:
        pen.line([x - r, y, x + r, y], fill=light, width=5)
        pen.line([x, y - r, x, y + r], fill=light, width=5)
    return picture


for shape in CLASSES:
    folder = Path("pictures", shape)
    folder.mkdir(parents=True)
    for number in range(100):
        draw(shape).save(folder / f"{number:03}.png")

# %% [markdown]
# ## Look before you train
#
# `show=data` reads the pictures as a training would, and prints what it assumes about them. This is the moment in
# which a wrong crop, a wrong scale of values or a class with three pictures is noticed for free. In a terminal you
# would type the line that is handed to `snntrain` here.


# %%
def snntrain_command(line: str) -> str:
    command = [sys.executable, "-m", "snntrain", *shlex.split(line)]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


data = (
    "data=image_folder data.folder=pictures data.num_classes=3 data.size=32 data.sample_shape=[1,32,32] data.split=0.2"
)
print(snntrain_command(f"train show=data {data}"))

# %% [markdown]
# `data.sample_shape=[1,32,32]` asks for gray pictures; without it they are read in color, `[3,32,32]`. The shorter
# side of a picture is resized to `data.size / data.crop_ratio` and the center cut out. Our shapes may touch the
# border, so `data.crop_ratio=1` is the better choice. The same command has also drawn samples of each class into a
# file.
#
# ## Train

# %%
overrides = f"{data} data.crop_ratio=1 data.num_workers=0 model.channels=16 model.features=64 optim.lr=0.005"
run = snntrain.train(overrides, T=4, trainer={"max_epochs": 8}, data={"batch_size": 16})
print("test accuracy:", run.metrics["test/acc"])

# %% [markdown]
# Where are the mistakes? The run folder holds the table of true and predicted classes of the test.

# %%
test = snntrain.RunFolder(run.folder).read(snntrain.RunFolder.test)
confusion, names = test["confusion"], test["classes"]
plt.figure(figsize=(3.2, 2.8))
plt.imshow(confusion, cmap="Blues", vmin=0)
for row in range(3):
    for column in range(3):
        value = confusion[row, column]
        plt.text(column, row, value, ha="center", va="center", color="white" if value > 10 else "#555555")
plt.xticks(range(3), names)
plt.yticks(range(3), names)
plt.xlabel("predicted")
plt.ylabel("true")
plt.title("60 test pictures")
plt.show()

# %% [markdown]
# A perfect net has numbers on the diagonal only. With 20 test pictures of each class one mistake is 5 % of a class, so
# do not read much into a single one: the binomial error of an accuracy $q$ measured on $n$ pictures is
# $\sqrt{q(1-q)/n}$.
#
# ## Name new pictures
#
# New pictures need no labels and no folders. `eval mode=predict` reads them exactly as the training did, because the
# checkpoint holds the settings, and writes one row for each file.

# %%
new = Path("new_pictures")
new.mkdir()
for number, shape in enumerate(random.choice(CLASSES, 8)):
    draw(shape).save(new / f"unknown_{number}.png")

snntrain_command(f"eval run={run.folder} mode=predict data.folder=new_pictures output=predictions")
with open("predictions/predictions.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))

figure, places = plt.subplots(1, len(rows), figsize=(7.5, 1.6))
for axes, row in zip(places, rows, strict=True):
    axes.imshow(Image.open(new / row["file"]), cmap="gray", vmin=0, vmax=255)
    axes.set_title(row["predicted"], fontsize=9)
    axes.axis("off")
plt.show()
print("columns:", ", ".join(rows[0]))

# %% [markdown]
# Above each new picture stands the class that the net gives it. The columns `score …` of the file hold the score of
# every class, for your own threshold below which you would rather ask a person.
#
# ## When something is wrong with the files
#
# Real folders hold files that are cut off or are no pictures at all. They are named before the training starts,
# together with what to do, and not in the third hour:

# %%
Path("pictures", "disc", "100.png").write_bytes(Path("pictures", "disc", "000.png").read_bytes()[:300])
Path("pictures", "disc", "101.png").write_text("not a picture", encoding="utf-8")
try:
    snntrain.train(overrides)
except Exception as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# Only a file that begins as a picture should and is cut off later is found when it is read. In both cases you know
# which file to remove.
#
# ## More variety from the same pictures
#
# With few pictures, *augmentation* helps most: each epoch sees each of them shifted, mirrored or in other colors.
# `data/augment=` chooses a set of transforms of torchvision; `conf/data/augment/` holds the ready ones, and any list
# of transforms can be written in the config.
#
# ```
# python train.py data=image_folder data.folder=pictures … data/augment=shift
# python train.py data=image_folder data.folder=pictures … \
#     "data.augment.transforms=[{name: RandomHorizontalFlip}, {name: RandomRotation, degrees: 15}]"
# ```
#
# **Where to go from here.** [Data](../data.md) has all keys and the public data sets. Next: [your own recordings of an
# event camera](04_own_recordings.md).
