"""Integer nets as C99: the compiled program beside numpy_runner, and what is written."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets_in_c import changed, compiled, dense_net, differences
from random_integers import random_integers
from random_nets import random_net, random_quant

from snntrain.export import ExportError
from snntrain.export.c import CompiledNet, cortex_m4_compiler, export_c, native_compiler
from snntrain.export.c.weights import Weights
from snntrain.functional import repeat
from snntrain.quantize import IntegerNet, observe, prepare, to_integer

SANITIZED = ("-O1", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
SEEDS = st.integers(0, 2**32 - 1)


def prepared_integers(seed: int) -> tuple[IntegerNet, torch.Tensor]:
    """The integers of a random net, quantized at random."""
    net, x = random_net(seed)
    quantized = prepare(net, random_quant(seed), x)
    observe(quantized, [x])
    return to_integer(quantized), x


def check_random(make, few: int, tmp_path: Path, *flags: str) -> None:
    """The program of any random net computes what numpy_runner computes."""

    @settings(max_examples=few, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(seed=SEEDS)
    def check(seed: int) -> None:
        net, x = make(seed)
        assert not differences(net, x, tmp_path, *flags, event_driven=seed % 3 != 0), seed

    check()


@compiled
@pytest.mark.parametrize("few", [5, pytest.param(150, marks=pytest.mark.slow)], ids=["few", "150"])
def test_extreme_nets_of_every_operation_are_equal_bit_for_bit(few, tmp_path):
    check_random(random_integers, few, tmp_path, "-O0")


@compiled
@pytest.mark.parametrize("few", [5, pytest.param(150, marks=pytest.mark.slow)], ids=["few", "150"])
def test_quantized_nets_are_equal_bit_for_bit(few, tmp_path):
    check_random(prepared_integers, few, tmp_path, "-O2")


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("make", [random_integers, prepared_integers])
def test_nothing_is_undefined_in_fifty_nets(make, tmp_path):
    check_random(make, 25, tmp_path, *SANITIZED)


def test_the_generator_makes_what_it_should():
    """Every operation, and currents that need 64 bits."""
    kinds, leaks = set(), set()
    for seed in range(150):
        net, _ = random_integers(seed)
        kinds |= {operation["op"] for operation in net.operations}
        leaks |= {
            operation["leak"] and operation["leak"]["form"] for operation in net.operations if "leak" in operation
        }
    assert kinds == {
        *(
            "input",
            "linear",
            "conv",
            "scale",
            "neuron",
            "cuba",
            "max_pool",
            "sum_pool",
            "rate_max_pool",
            "flatten",
            "votes",
        ),
        *("add", "mul", "invert", "concat", "output"),
    }
    assert leaks == {None, "multiply", "shift"}


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits, size", [(2, 6 * 3 + 9), (4, 6 * 5 + 9 * 2), (8, 6 * 9 + 9 * 4)])
def test_weights_are_packed(bits, size, tmp_path):
    """A row of 9 or 4 weights takes whole bytes: of 2 bits 3 and 1, of 4 bits 5 and 2."""
    exported = export_c(dense_net(bits=bits), tmp_path, (6,))
    assert exported.program.sizes["constants"] == size


@pytest.mark.parametrize("low, high", [(-2, 1), (-8, 7), (-128, 127), (-300, 300), (-(2**31), 2**31 - 1)])
def test_packed_weights_come_back(low, high):
    rows = np.random.default_rng(0).integers(low, high, (5, 7), endpoint=True)
    packed = Weights.of("w", rows)
    table, found = packed.table.array.reshape(5, -1), np.zeros_like(rows)
    for start, stop, shift in packed.parts:
        part = table[:, : stop - start]
        if packed.bits < 8:
            part = (((part >> shift) & (2 * packed.sign - 1)) ^ packed.sign) - packed.sign
        found[:, start:stop] = part
    assert (found == rows).all()


def test_the_text_uses_no_memory_allocation_no_floats_and_no_library(tmp_path):
    export_c(random_integers(3)[0], tmp_path, random_integers(3)[1].shape[2:])
    text = (tmp_path / "net.c").read_text()
    assert re.findall(r"#include (.*)", text) == ['"net.h"']
    assert re.findall(r"#include (.*)", (tmp_path / "net.h").read_text()) == ["<stdint.h>"]
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(float|double|malloc|calloc|free)\b|\d\.\d", code)


@compiled
def test_snn_run_adds_up_and_chooses_the_class(tmp_path):
    net, x = dense_net(), 3 * torch.rand(5, 20, 6)
    exported = export_c(net, tmp_path, (6,))
    path = native_compiler().build(tmp_path, tmp_path / "net.so", "-O2", "-shared", "-fPIC", sources=("net.c",))
    library, integers = ctypes.CDLL(str(path)), exported.integers(x.numpy())
    total, logits = np.zeros(4, np.int32), net.run(x, runner="numpy").logits
    for sample in range(20):
        sequence = np.ascontiguousarray(integers[:, sample])
        chosen = library.snn_run(sequence.ctypes, 5, 6, total.ctypes)
        # Large outputs of both signs add up to small ones; an integer that is one off would make half a unit.
        expected = logits[:, sample].double().sum(0)
        np.testing.assert_allclose(total * net.arrays["out.scale"].astype(float), expected, atol=1e-2)
        assert chosen == int(logits[:, sample].double().sum(0).argmax())
    picture = np.ascontiguousarray(integers[0, 0])
    chosen = library.snn_run(picture.ctypes, 5, 0, total.ctypes)
    assert chosen == int(net.run(repeat(x[0], 5), runner="numpy").logits[:, 0].double().sum(0).argmax())
    assert library.snn_run(picture.ctypes, 0, 0, total.ctypes) == -1
    assert library.snn_run(picture.ctypes, exported.program.most_steps + 1, 0, total.ctypes) == -1


@compiled
def test_pictures_are_shown_at_every_step(tmp_path):
    net, x = random_integers(5)
    assert not differences(net, repeat(x[0], 4), tmp_path)


@compiled
def test_in_this_process_it_computes_the_same_and_nets_do_not_share_their_state(tmp_path):
    (first, x), (second, y) = ((dense_net(seed), 3 * torch.rand(5, 4, 6)) for seed in range(2))
    ours = [CompiledNet(net, (6,), flags=("-O1",)) for net in (first, second)]
    for _ in range(2):
        assert torch.equal(ours[0](x), first.run(x, runner="numpy").logits)
        assert torch.equal(ours[1](y), second.run(y, runner="numpy").logits)
    torch.testing.assert_close(ours[0].predict(x[0], 6), first.predict(x[0], 6))
    with pytest.raises(ValueError, match=r"samples \[6\], got \[5\]"):
        ours[0](torch.rand(5, 4, 5))


@compiled
def test_the_program_refuses_a_sample_that_ends_too_early_and_wrong_words(tmp_path):
    program = export_c(dense_net(), tmp_path, (6,)).build(tmp_path / "net")
    cut = subprocess.run([program, "1"], input=b"1234", capture_output=True, check=False)
    assert cut.returncode == 1 and b"ends within a sample" in cut.stderr
    for words in ([], ["0"], ["x"], ["1", "film"], ["1", "picture", "3"]):
        done = subprocess.run([program, *words], input=b"", capture_output=True, check=False)
        assert done.returncode == 2 and b"usage" in done.stderr


@compiled
@pytest.mark.parametrize("low, high, beyond", [(0, 3, [200, 4, 3, 255, 0, 1]), (-2, 5, [-128, -3, -2, 127, 6, 5])])
def test_integers_outside_of_the_limits_are_clipped(low, high, beyond, tmp_path):
    net = changed(dense_net(), 0, lowest=low, highest=high)
    exported = export_c(net, tmp_path, (6,))
    program = exported.build(tmp_path / "net")
    ctype = np.dtype(exported.program.input.ctype[:-2])
    assert ctype == (np.int8 if low < 0 else np.uint8)
    given = np.array(beyond, ctype)
    outputs = [
        subprocess.run([program, "4", "picture"], input=bytes_, capture_output=True, check=True).stdout
        for bytes_ in (given.tobytes(), given.clip(low, high).tobytes())
    ]
    assert outputs[0] == outputs[1]
    logits = net.run(torch.tensor(beyond).float().expand(4, 1, 6), runner="numpy").logits.ravel()
    step = np.dtype([("outputs", "int32", 4), ("spikes", "uint8", 9), ("potentials", "int8", 9)])
    found = np.frombuffer(outputs[0], step)["outputs"] * net.arrays["out.scale"]
    np.testing.assert_allclose(found.ravel(), logits, rtol=1e-6)
    assert found.any()


@compiled
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_builds_and_measures(tmp_path):
    export_c(dense_net(), tmp_path, (6,))
    subprocess.run(["make", "-C", tmp_path, "net", "size"], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "net", "2"], input=bytes(24), capture_output=True, check=True)
    assert len(done.stdout) == 2 * 2 * 4 * 4  # samples, steps, outputs of 4 bytes


@compiled
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_the_program(tmp_path):
    export_c(dense_net(), tmp_path, (6,))
    subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "build"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "build" / "net", "2"], input=bytes(24), capture_output=True, check=True)
    assert len(done.stdout) == 2 * 2 * 4 * 4


#: What the sketches call, written for this machine.
ARDUINO = """#include <stdint.h>
#include <stdio.h>
static unsigned long micros(void) { return 0; }
static struct {
    void begin(long) {}
    size_t readBytes(char *to, size_t size) { return fread(to, 1, size, stdin); }
    void print(int32_t number) { printf("%d", (int)number); }
    void print(char letter) { putchar(letter); }
    void println(unsigned long number) { printf("%lu\\n", number); }
} Serial;
#include "arduino.ino"
int main() { setup(); loop(); }
"""
ZEPHYR = """#include <stdint.h>
#include <stdio.h>
#define printk printf
static inline uint32_t k_cycle_get_32(void) { return 0; }
"""


@compiled
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_arduino_sketch_names_the_class_of_what_it_reads(tmp_path):
    """With the calls of Arduino that it makes written for this machine; Arduino itself is not installed."""
    net = dense_net()
    export_c(net, tmp_path, (6,), T=5)
    native_compiler().build(tmp_path, tmp_path / "net.o", "-c", sources=("net.c",))
    (tmp_path / "arduino" / "board.cpp").write_text(ARDUINO)
    flags = ("-Wall", "-Wextra", "-Werror", "-I", tmp_path, "-o", tmp_path / "sketch")
    subprocess.run(["g++", *flags, tmp_path / "arduino" / "board.cpp", tmp_path / "net.o"], check=True)
    for picture in ([3, 0, 1, 2, 0, 3], [0, 3, 3, 0, 0, 1], [1, 1, 2, 3, 3, 3]):
        done = subprocess.run([tmp_path / "sketch"], input=bytes(picture), capture_output=True, check=True)
        logits = net.run(repeat(torch.tensor([picture]).float(), 5), runner="numpy").logits.double()
        assert done.stdout.decode() == f"{int(logits.sum(0).argmax())} 0\n"


@compiled
def test_the_zephyr_skeleton_compiles(tmp_path):
    """With the two calls of Zephyr that it makes written for this machine; Zephyr itself is not installed."""
    export_c(dense_net(), tmp_path, (6,))
    (tmp_path / "zephyr" / "kernel.h").write_text(ZEPHYR)
    sources = ("net.c", "zephyr/src/main.c")
    program = native_compiler().build(tmp_path, tmp_path / "app", f"-I{tmp_path}", sources=sources)
    assert re.fullmatch(r"class [0-3], 0 cycles\n", subprocess.run([program], capture_output=True, text=True).stdout)
    lists = (tmp_path / "zephyr" / "CMakeLists.txt").read_text()
    assert "find_package(Zephyr REQUIRED" in lists and (tmp_path / "zephyr" / "src" / ".." / ".." / "net.c").is_file()


#: The stack of QEMU's board mps2-an386, and where newlib begins.
VECTORS = """extern void _start(void);
__attribute__((section(".isr_vector"), used))
static void (*const vectors[2])(void) = {(void (*)(void))0x20400000, _start};
"""
QEMU = """#!/bin/sh
exec qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -kernel "$0.elf" \\
    -semihosting-config enable=on,target=native,arg=net,arg=$1${2:+,arg=$2}
"""


@pytest.mark.skipif(
    cortex_m4_compiler() is None or shutil.which("qemu-system-arm") is None,
    reason="gcc-arm-none-eabi or qemu-system-arm is not installed",
)
@pytest.mark.parametrize("seed", [11, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 20))])
def test_an_emulated_cortex_m4_computes_the_same(seed, tmp_path):
    net, x = random_integers(seed)
    exported = export_c(net, tmp_path, x.shape[2:])
    (tmp_path / "vectors.c").write_text(VECTORS)
    (tmp_path / "net").write_text(QEMU)
    (tmp_path / "net").chmod(0o755)
    places = (".isr_vector=0", ".init=0x1000")  # newlib's own are no memory of the board
    flags = ("-O2", "-DSNN_RECORD", *(f"-Wl,--section-start={place}" for place in places), "-Wl,-Tdata=0x20000000")
    sources = ("net.c", "main.c", "vectors.c")
    try:
        cortex_m4_compiler().build(tmp_path, tmp_path / "net.elf", *flags, "--specs=rdimon.specs", sources=sources)
    except ExportError as error:
        if "rdimon" in str(error):
            pytest.skip("libnewlib-arm-none-eabi is not installed")
        raise
    assert exported.compare([tmp_path / "net"], x).mismatches == 0
