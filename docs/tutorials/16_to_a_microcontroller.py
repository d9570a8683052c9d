# %% [markdown]
# # From pictures to a microcontroller
#
# A folder of pictures becomes a net in integers, the net becomes C, and the C program names new pictures from the
# bytes of a camera. Nothing is lost on the way: what the program computes is compared with the trained net, value for
# value. The pictures are drawn by the script; a C compiler must be installed (`apt install gcc`). It takes about half a
# minute on one quiet core.

# %%
import json
import re
import subprocess
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw

import snntrain
from snntrain.export import CompiledNet
from snntrain.quantize import IntegerNet

# %% [markdown]
# ## Pictures
#
# Three shapes on a noisy background, 24 by 24 pixels, as a small camera might see them, in one folder for each class
# (see [your own pictures](03_own_pictures.md)).

# %%
random = np.random.default_rng(1)


def draw(shape: str) -> Image.Image:
    picture = Image.fromarray(random.integers(0, 60, (24, 24)).astype(np.uint8))
    r = int(random.integers(4, 8))
    x, y = (int(number) for number in random.integers(r + 1, 23 - r, 2))
    box, light, pen = [x - r, y - r, x + r, y + r], int(random.integers(140, 256)), ImageDraw.Draw(picture)
    if shape == "disc":
        pen.ellipse(box, fill=light)
    elif shape == "frame":
        pen.rectangle(box, outline=light, width=2)
    else:
        pen.line([x - r, y, x + r, y], fill=light, width=3)
        pen.line([x, y - r, x, y + r], fill=light, width=3)
    return picture


SHAPES = ("cross", "disc", "frame")
for shape in SHAPES:
    folder = Path("pictures", shape)
    folder.mkdir(parents=True)
    for number in range(200):
        draw(shape).save(folder / f"{number:03}.png")

# %% [markdown]
# ## One command from pictures to C
#
# `callbacks=[default,qat,c]` adds two steps behind the training. `qat` fine-tunes a copy whose weights, sums and
# potentials are integers, here of 8 bits. `c` writes that copy as C99 and compiles it, runs it on test pictures, and
# fails if a single output, spike or potential is not that of the net.

# %%
run = snntrain.train(
    "data=image_folder data.folder=pictures data.num_classes=3 data.size=24 data.sample_shape=[1,24,24] data.split=0.2",
    "data.crop_ratio=1 data.num_workers=0 data.batch_size=16 model.channels=8 model.features=32 neuron=lif",
    "optim.lr=0.005 callbacks=[default,qat,c] callbacks.qat.sensitivity_batches=0",
    T=4,
    trainer={"max_epochs": 8},
)
for name in ("test/acc", "qat/acc_int", "c/acc", "c/mismatches", "c/flash_bytes", "c/ram_bytes"):
    print(f"{name:14}", f"{run.metrics[name]:,.4g}")

# %% [markdown]
# `qat/acc_int` is the accuracy of the integers on all test pictures, `c/acc` that of the program on those that were
# compared. Flash and RAM are those of `net.c`, compiled for size on this machine; with Debian's
# `gcc-arm-none-eabi` installed there are `c/cortex_m4_flash_bytes` and `c/cortex_m4_ram_bytes`, too. What the memory is
# for:

# %%
c = run.folder / "artifacts" / "c"
buffers = json.loads((c / "c.json").read_text())["buffers"]
figure, axes = plt.subplots(figsize=(6.5, 2.2))
axes.barh([holds for *_, holds in buffers], [size / 1024 for *_, size, _ in buffers], color="tab:blue")
axes.invert_yaxis()
axes.set(xlabel="KiB of RAM", title="Buffers of the program")
plt.show()

# %% [markdown]
# Potentials and spikes take a byte each. The convolutions see the whole picture, so their neurons are most of it:
# pooling earlier, or fewer channels, is what makes a net small.
#
# ## A camera in C
#
# The functions that a firmware calls stand in `net.h`. A picture of one byte per pixel is the input as it is if
# `SNN_PER_STEP`, by which values between 0 and 1 are multiplied, is 255: that is so where the brightest pixel of the
# training pictures was white.

# %%
(per_step,) = re.findall(r"SNN_PER_STEP (\S+)f", (c / "net.h").read_text())
print("SNN_PER_STEP", float.fromhex(per_step))

Path("camera.c").write_text(
    """
#include "net.h"
#include <stdio.h>

int main(void)
{
    static snn_in_t picture[SNN_INPUTS]; /* uint8_t here: the bytes of the camera */
    static int32_t sum[SNN_OUTPUTS];
    while (fread(picture, sizeof picture, 1, stdin) == 1)
        printf("%d\\n", (int)snn_run(picture, 4, 0, sum)); /* shown for 4 steps */
    return 0;
}
"""
)
subprocess.run(["cc", "-O2", "-I", c, "camera.c", c / "net.c", "-o", "camera"], check=True)

# %% [markdown]
# Thirty pictures that no one has seen before, one after the other, into the program:

# %%
new = [(shape, draw(shape)) for _ in range(10) for shape in SHAPES]
said = subprocess.run(
    ["./camera"], input=b"".join(picture.tobytes() for _, picture in new), capture_output=True, check=True
)
named = [SHAPES[int(line)] for line in said.stdout.split()]
print("named rightly:", sum(name == shape for name, (shape, _) in zip(named, new, strict=True)), "of", len(new))

figure, panels = plt.subplots(1, 6, figsize=(6.5, 1.4))
for axes, name, (_, picture) in zip(panels, named, new, strict=False):
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The same program in this process
#
# For one picture at a time, compiled C is also the fastest way to run this net here: nothing is dispatched.
# `CompiledNet` compiles it for this processor and calls it from Python; its outputs are those of the integer net, bit
# for bit.

# %%
integers = IntegerNet.load(run.folder / "artifacts" / "qat" / "net.safetensors")
engine = CompiledNet(integers, sample_shape=(1, 24, 24))
x = torch.stack([torch.from_numpy(np.array(picture)) for _, picture in new]).unsqueeze(1) / 255
assert torch.equal(engine.predict(x, T=4), integers.predict(x, T=4))


def milliseconds(call) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[10]


print(f"compiled C      {milliseconds(lambda: engine.predict(x[:1], T=4)):6.2f} ms a picture")
print(f"integers, torch {milliseconds(lambda: integers.predict(x[:1], T=4)):6.2f} ms a picture")

# %% [markdown]
# ## On a board
#
# `artifacts/c/` is ready for several ways to build: `Makefile` and `CMakeLists.txt`; `arduino/`, a sketch that reads
# pictures from the serial line; `zephyr/`, the skeleton of an application. This prints what the net needs on a
# Cortex-M4:
#
# ```
# make size CC=arm-none-eabi-gcc SIZE=arm-none-eabi-size TARGET="-mcpu=cortex-m4 -mthumb"
# ```
#
# If it does not fit: `model.channels` and `model.features` for both memories, `callbacks.qat.quant=w4v8` for half of
# the flash, pooling earlier for the RAM.
#
# **Where to go from here.** [Microcontrollers](../microcontrollers.md) has all keys, what is written, and tables of
# sizes and times. [Integers only](../quantization.md) says what `qat` does.
