"""What the C export refuses: nets it cannot write, hostile files, programs that compute something else."""

import numpy as np
import pytest
import torch
from nets_in_c import changed, compiled, dense_net, differences

from snntrain.export import ExportError
from snntrain.export.c import CompiledNet, export_c
from snntrain.quantize import DamagedNetError, IntegerNet


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
    text = r"its readout starts at step .* no integer from 0 to 2,147,483,647"
    with pytest.raises(DamagedNetError, match=text):
        export_c(net, tmp_path / "c", (6,))
    assert not (tmp_path / "c").exists()
    with pytest.raises(DamagedNetError, match=text):
        net.predict(torch.zeros(1, 6), 4)
    net.save(tmp_path / "net.safetensors")
    with pytest.raises(DamagedNetError, match=r"net.safetensors: its readout starts"):
        IntegerNet.load(tmp_path / "net.safetensors")


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
