"""Integer nets as C99: the compiled program beside numpy_runner, and what is refused."""

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
from random_integers import random_integers
from random_nets import random_net, random_quant

from snntrain.export import ExportError
from snntrain.export.c import CompiledNet, cortex_m4_compiler, export_c, native_compiler
from snntrain.export.c.weights import Weights
from snntrain.functional import repeat
from snntrain.quantize import DamagedNetError, IntegerNet, observe, prepare, to_integer

compiled = pytest.mark.skipif(native_compiler() is None, reason="no C compiler is installed")
SANITIZED = ("-O1", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
SEEDS = st.integers(0, 2**32 - 1)


def prepared_integers(seed: int) -> tuple[IntegerNet, torch.Tensor]:
    """The integers of a random net, quantized at random."""
    net, x = random_net(seed)
    quantized = prepare(net, random_quant(seed), x)
    observe(quantized, [x])
    return to_integer(quantized), x


def differences(net: IntegerNet, x: torch.Tensor, folder: Path, *flags: str, event_driven: bool = True) -> dict:
    """What differs between the compiled program and numpy_runner."""
    exported = export_c(net, folder, x.shape[2:], event_driven=event_driven)
    found = exported.compare([exported.build(folder / "net", *flags)], x)
    assert found.compared["outputs"] and found.compared["spikes"] == found.compared["potentials"] > 0
    assert torch.equal(found.logits, net.run(x, runner="numpy").logits) or found.mismatches
    return {name: count for name, count in found.differing.items() if count}


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
        *("input", "linear", "conv", "scale", "neuron", "max_pool", "sum_pool", "rate_max_pool", "flatten", "votes"),
        *("add", "mul", "invert", "concat", "output"),
    }
    assert leaks == {None, "multiply", "shift"}


# --- what is written -------------------------------------------------------------------------------------------------


def dense_net(seed: int = 0, bits: int = 8, classes: int = 4) -> IntegerNet:
    """Input, two linear layers with neurons between, scales that differ."""
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    weights = {
        f"{name}.weight": rng.integers(-half, half, shape).astype(np.int8)
        for name, shape in (("a", (9, 6)), ("b", (classes, 9)))
    }
    neuron = {"shift": 0, "bits": 8, "overflow": "saturate", "rounding": "nearest", "leak": None, "reset": "soft"}
    operations = [
        {"op": "input", "name": "in", "sources": [], "lowest": 0, "highest": 3, "rounding": "nearest"},
        {"op": "linear", "name": "a", "sources": [0]},
        {"op": "neuron", "name": "n", "sources": [1], **neuron},
        {"op": "linear", "name": "b", "sources": [2]},
        {"op": "output", "name": "out", "sources": [3]},
    ]
    arrays = {
        "in.per_step": np.ones(1, np.float32),
        "n.threshold": np.full(1, 20, np.int32),
        "out.scale": rng.uniform(0.5, 2.0, classes).astype(np.float32),
    }
    return IntegerNet(operations, {**weights, **arrays})


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
        np.testing.assert_allclose(total * net.arrays["out.scale"], logits[:, sample].sum(0), rtol=1e-6)
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


# --- refusals --------------------------------------------------------------------------------------------------------


def changed(net: IntegerNet, place: int, **settings: object) -> IntegerNet:
    """The net with other settings of an operation, as a damaged file might have them."""
    operations = [dict(operation) for operation in net.operations]
    operations[place].update(settings)
    before, after = f"{net.operations[place]['name']}.", f"{operations[place]['name']}."
    renamed = {
        after + key.removeprefix(before) if key.startswith(before) else key: value for key, value in net.arrays.items()
    }
    return IntegerNet(operations, renamed)


def conv_net(**settings: object) -> IntegerNet:
    operations = dense_net().operations
    conv = {"op": "conv", "name": "a", "sources": [0], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}
    flat = {"op": "flatten", "name": "f", "sources": [2]}
    operations = [
        operations[0],
        {**conv, "groups": 1, **settings},
        operations[2],
        flat,
        {**operations[3], "sources": [3]},
        {**operations[4], "sources": [4]},
    ]
    arrays = {**dense_net().arrays, "a.weight": np.ones((2, 1, 2, 2), np.int8), "b.weight": np.ones((4, 8), np.int8)}
    return IntegerNet(operations, arrays)


def many_values() -> IntegerNet:
    """Sums of the input with itself, each with a buffer of its own."""
    first, _, neuron, _, last = dense_net().operations
    sums = [{"op": "add", "name": f"add{i}", "sources": [0, 0]} for i in range(20)]
    operations = [{**first, "highest": 2**20}, *sums, {**neuron, "sources": [20]}, {**last, "sources": [21]}]
    arrays = {key: dense_net().arrays[key] for key in ("in.per_step", "n.threshold")}
    return IntegerNet(operations, {**arrays, "out.scale": np.ones(1, np.float32)})


@pytest.mark.parametrize(
    "net, shape, text",
    [
        (dense_net(), (7,), r"a \(linear\) cannot be written as C: its input has the shape \[7\].* takes 6 values"),
        (dense_net(), (2, 3), r"a \(linear\).*Put a Flatten before it"),
        (dense_net(), (1, 2, 3, 1), r"a sample has the shape \[1, 2, 3, 1\]"),
        (dense_net(), (2**20, 2**20), "1,099,511,627,776 values.*smaller net"),
        (changed(dense_net(), 0, lowest=4), (6,), r"its limits are 4 and 3"),
        (
            changed(dense_net(), 0, highest=2**40),
            (6,),
            "up to 1,099,511,627,776 .*fit 32 bits.*callbacks.qat.quant.w.bits",
        ),
        (changed(dense_net(), 0, highest=10**400), (6,), r"more than 2\^100 may occur"),
        (many_values(), (2**24,), r"add15 \(add\).*need 1,140,850,688 bytes, and 1,073,741,824"),
        (changed(dense_net(), 0, highest=2**30), (6,), r"a \(linear\).*must fit 32 bits"),
        (conv_net(stride=[0, 1]), (1, 3, 3), r"a \(conv\).*stride or dilation is 0"),
        (conv_net(stride=[1]), (1, 3, 3), r"a \(conv\).*its settings are for 2 dims"),
        (conv_net(), (1, 1, 3), r"a \(conv\).*window does not fit"),
        (conv_net(), (2, 3, 3), r"a \(conv\).*does not fit an input \[2, 3, 3\]"),
        (conv_net(), (1, 4, 3), r"b \(linear\).*shape \[12\]"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(net, shape, text, tmp_path):
    with pytest.raises(ExportError, match=text):
        export_c(net, tmp_path / "c", shape)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("start", ["2", 1.0, True, None, [], -1, 2**31])
def test_a_readout_that_a_file_lets_start_anywhere_is_refused(start, tmp_path):
    net = IntegerNet(dense_net().operations, dense_net().arrays, {"readout_start": start})
    with pytest.raises(ExportError, match=r"the readout starts at step .* no integer from 0 to 2,147,483,647"):
        export_c(net, tmp_path / "c", (6,))
    assert not (tmp_path / "c").exists()


def test_a_net_without_neurons_and_equal_names_are_refused(tmp_path):
    net = dense_net()
    without = [net.operations[0], {**net.operations[1]}, {**net.operations[4], "sources": [1]}]
    arrays = {key: net.arrays[key] for key in ("in.per_step", "a.weight")} | {"out.scale": np.ones(1, np.float32)}
    with pytest.raises(ExportError, match="the net has no neurons"):
        export_c(IntegerNet(without, arrays), tmp_path, (6,))
    twice = [
        {**operation, "name": "a" if operation["name"] == "b" else operation["name"]} for operation in net.operations
    ]
    arrays = {**net.arrays, "a.weight": np.ones((6, 6), np.int8), "out.scale": np.ones(1, np.float32)}
    del arrays["b.weight"]
    with pytest.raises(ExportError, match="two operations of the net have the name 'a'"):
        export_c(IntegerNet(twice, arrays), tmp_path, (6,))


@compiled
def test_a_name_from_a_file_cannot_reach_the_code(tmp_path):
    hostile = 'n */ int main(void) { return 7; } /* "\n\\' + "x" * 10_000
    net = changed(dense_net(), 2, name=hostile)
    assert not differences(net, torch.rand(3, 2, 6) * 3, tmp_path)
    text = (tmp_path / "net.c").read_text()
    assert "return 7" not in text and "xxxxx" * 20 not in text


def test_a_damaged_file_is_refused_before_anything_is_written(tmp_path):
    dense_net().save(tmp_path / "net.safetensors")
    data = bytearray((tmp_path / "net.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(DamagedNetError, match="checksum"):
        export_c(IntegerNet.load(tmp_path / "net.safetensors"), tmp_path / "c", (6,))
    assert not (tmp_path / "c").exists()


@compiled
def test_a_program_that_computes_something_else_is_found_out(tmp_path):
    exported = export_c(dense_net(), tmp_path, (6,))
    text = (tmp_path / "net.c").read_text()
    (tmp_path / "net.c").write_text(text.replace("theta = 20", "theta = 21"))
    found = exported.compare([exported.build(tmp_path / "net")], 3 * torch.rand(8, 20, 6))
    assert found.differing["spikes"] > 0 and found.differing["potentials"] > 0 and found.mismatches > 0


@compiled
def test_an_output_that_differs_by_one_is_found_where_float32_cannot_tell(tmp_path):
    net = dense_net()
    net = IntegerNet(net.operations, {**net.arrays, "b.bias": np.full(4, 2**24, np.int32)})
    exported = export_c(net, tmp_path, (6,))
    text = (tmp_path / "net.c").read_text()
    assert text.count("16777216") == 4
    (tmp_path / "net.c").write_text(text.replace("16777216", "16777217"))
    silent = torch.zeros(2, 3, 6)  # sums are the biases
    assert dict(exported.compare([exported.build(tmp_path / "net")], silent).differing) == {
        **{"outputs": 2 * 3 * 4, "spikes": 0, "potentials": 0}
    }


@compiled
def test_programs_that_do_not_start_and_that_write_too_little(tmp_path):
    exported = export_c(dense_net(), tmp_path, (6,))
    (tmp_path / "net").write_bytes(exported.build(tmp_path / "built").read_bytes())  # not executable
    with pytest.raises(ExportError, match=r"net could not be run .*TMPDIR"):
        exported.run([tmp_path / "net"], torch.zeros(1, 1, 6))
    with pytest.raises(ExportError, match="true wrote 0 bytes instead of"):
        exported.run(["true"], torch.zeros(1, 1, 6))


def test_a_library_that_cannot_be_loaded_is_told(tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\n')  # an empty file
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(ExportError, match=r"the compiled net could not be loaded .*TMPDIR"):
        CompiledNet(dense_net(), (6,))


def test_without_a_compiler_and_with_one_that_fails(tmp_path, monkeypatch):
    exported = export_c(dense_net(), tmp_path, (6,))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ExportError, match=r"no C compiler.*apt install gcc"):
        exported.build(tmp_path / "net")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(ExportError, match="false ended with code 1"):
        exported.build(tmp_path / "net")
