"""Files of integer nets: what comes back, what is refused, and that no torch is needed to run them."""

import json
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from random_nets import random_net, random_quant

from snntrain.quantize import DamagedNetError, IntegerNet, integer_file, numpy_runner, observe, prepare, to_integer

STORED = Path(__file__).parent / "stored"


@pytest.fixture(scope="module")
def net() -> tuple[IntegerNet, torch.Tensor]:
    original, x = random_net(4)
    quantized = prepare(original, {"bits": 8}, x)
    observe(quantized, [x])
    return to_integer(quantized), x


def parts(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(path: Path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def with_operations(path: Path, change) -> None:
    """Rewrite a file with other operations."""
    header, data = parts(path)
    operations = json.loads(header["__metadata__"]["operations"])
    change(operations)
    header["__metadata__"]["operations"] = json.dumps(operations)
    write(path, header, data)


@pytest.mark.parametrize("seed", range(5))
def test_a_file_gives_the_same_net(seed, tmp_path):
    original, x = random_net(seed)
    quantized = prepare(original, random_quant(seed), x)
    observe(quantized, [x])
    integers = to_integer(quantized)
    integers.save(tmp_path / "net.safetensors")
    other = IntegerNet.load(tmp_path / "net.safetensors")
    assert other.operations == integers.operations and other.about == json.loads(json.dumps(integers.about))
    assert torch.equal(other(x), integers(x))
    for name, array in integers.arrays.items():
        assert array.dtype == other.arrays[name].dtype and (array == other.arrays[name]).all()
    assert list(tmp_path.iterdir()) == [tmp_path / "net.safetensors"]


def test_it_is_a_safetensors_file(net, tmp_path):
    """By its specification: length, JSON, arrays one after the other, little endian."""
    integers, _ = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    header, data = parts(path)
    assert set(header) == {"__metadata__", *integers.arrays}
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    for name, entry in header.items():
        if name != "__metadata__":
            dtype = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "F32": "<f4"}[entry["dtype"]]
            start, stop = entry["data_offsets"]
            array = np.frombuffer(data[start:stop], dtype).reshape(entry["shape"])
            assert (array == integers.arrays[name]).all()


def test_an_interrupted_write_leaves_the_old_file(net, tmp_path, monkeypatch):
    integers, x = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        integers.save(path)
    monkeypatch.undo()
    assert torch.equal(IntegerNet.load(path)(x), integers(x)) and len(list(tmp_path.iterdir())) == 1


def test_a_file_runs_without_torch_and_without_snntrain(net, tmp_path):
    integers, x = net
    integers.save(tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", x.numpy())
    program = tmp_path / "runner.py"
    shutil.copy(numpy_runner.__file__, program)
    shutil.copy(integer_file.__file__, tmp_path)
    blocked = (
        "import sys; sys.modules['torch'] = sys.modules['snntrain'] = None; sys.path.insert(0, '.'); import runner"
    )
    lines = f"{blocked}; import numpy as np; net = runner.read('net.safetensors'); " + (
        "np.save('y.npy', runner.run(net[0], net[1], np.load('x.npy'))['logits'])"
    )
    subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, check=True)
    assert (np.load(tmp_path / "y.npy") == integers(x).numpy()).all()
    command = [sys.executable, str(program), "net.safetensors", "x.npy", "z.npy"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (np.load(tmp_path / "z.npy") == integers(x).numpy()).all()
    wrong = subprocess.run(command[:-1], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert wrong.returncode != 0 and "usage:" in wrong.stderr


@pytest.mark.parametrize(
    "damage, text",
    [
        (lambda data: data[:5], "too short"),
        (lambda data: data[:100], "ends within its header"),
        (lambda data: data[:-1], "ends within array"),
        (lambda data: data + b"x", "1 bytes follow the last array"),
        (lambda data: b"PK\x03\x04" * 100, "ends within its header"),
        (lambda data: data[:8] + b"}" + data[9:], "is not that of an integer net"),
        (lambda data: data.replace(b"snntrain integer net", b"snntrain integer nex"), "its format is"),
        (lambda data: data.replace(b'"version":"2"', b'"version":"3"'), "it has version 3, and .* versions 1 and 2"),
    ],
)
def test_damaged_files_are_refused_by_name(net, tmp_path, damage, text):
    integers, _ = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedNetError, match="net.safetensors: .*" + text):
        IntegerNet.load(path)


def test_a_file_of_version_1_computes_what_it_did():
    """Stored by the program that wrote version 1, with its logits and spikes."""
    integers = IntegerNet.load(STORED / "version_1.safetensors")
    with np.load(STORED / "version_1.npz") as stored:
        x = torch.from_numpy(stored["x"])
        for runner in ("torch", "numpy"):
            found = integers.run(x, record=True, runner=runner)
            assert (found.logits.numpy() == stored["logits"]).all()
            assert all((spikes.numpy() == stored[f"spikes {name}"]).all() for name, spikes in found.spikes.items())
        assert len(stored.files) == 2 + len(found.spikes) > 2


def test_a_file_of_version_1_holds_no_operation_of_version_2(net, tmp_path):
    integers, _ = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    with_operations(path, lambda operations: _neuron(operations).update(op="cuba", current_leak=None))
    path.write_bytes(path.read_bytes().replace(b'"version": "2"', b'"version": "1"'))
    with pytest.raises(DamagedNetError, match="its version is 1, which has no operation 'cuba'"):
        IntegerNet.load(path)


def _neuron(operations: list) -> dict:
    return next(operation for operation in operations if operation["op"] == "neuron")


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda ops: ops[1].update(op="convolve"), "operation 1 is 'convolve', which is not known"),
        (lambda ops: ops.pop(), "input comes first, output last"),
        (lambda ops: ops.clear(), "it has no operations"),
        (lambda ops: ops[1].update(sources=[5]), r"its sources are \[5\]"),
        (lambda ops: ops[1].update(sources=[]), r"its sources are \[\]"),
        (lambda ops: _neuron(ops).update(bits=40), "bits is 40, not 2 to 24"),
        (lambda ops: _neuron(ops).update(bits=2.0), "bits is 2.0"),
        (lambda ops: _neuron(ops).update(shift=99), "shift is 99"),
        (lambda ops: _neuron(ops).update(overflow="explode"), "overflow is 'explode'"),
        (lambda ops: _neuron(ops).update(leak={"form": "multiply"}), "leak is"),
        (lambda ops: _neuron(ops).update(name="nobody"), "array 'nobody.threshold' is missing"),
        (lambda ops: _neuron(ops).pop("rounding"), "rounding is 'missing'"),
        (lambda ops: _neuron(ops).update(bits=2), "its thresholds are not integers from 1 to 1"),
        (lambda ops: ops[0].update(rounding="up"), "rounding is 'up'"),
    ],
)
def test_wrong_operations_are_refused_by_name(net, tmp_path, change, text):
    integers, _ = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    with_operations(path, change)
    with pytest.raises(DamagedNetError, match=text):
        IntegerNet.load(path)


@pytest.mark.parametrize("about", ["[1]", "7", "null"])
def test_an_about_that_is_no_mapping_is_refused(net, about, tmp_path):
    path = tmp_path / "net.safetensors"
    net[0].save(path)
    header, data = parts(path)
    header["__metadata__"]["about"] = about
    write(path, header, data)
    with pytest.raises(DamagedNetError, match=r"net\.safetensors: its entry 'about' is .*, not a mapping"):
        IntegerNet.load(path)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda arrays, name: arrays.update(extra=np.zeros(2, np.int8)), "array 'extra' belongs to no operation"),
        (lambda arrays, name: arrays.pop(f"{name}.threshold"), "is missing"),
        (lambda arrays, name: arrays.update({f"{name}.threshold": np.ones(1, np.float32)}), "has dtype float32"),
        (lambda arrays, name: arrays.update({f"{name}.threshold": np.zeros(1, np.int32)}), "thresholds are not"),
        (
            lambda arrays, name: arrays.update({"readout.scale": np.array([np.nan], np.float32)}),
            "scale is not positive",
        ),
        (
            lambda arrays, name: arrays.update({f"{name}.start": np.array([9999], np.int32)}),
            "start does not fit 8 bits",
        ),
        (lambda arrays, name: arrays.update({f"{name}.start": np.zeros(0, np.int32)}), r"start has the shape \[0\]"),
    ],
)
def test_wrong_arrays_are_refused_by_name(net, change, text):
    integers, _ = net
    arrays = dict(integers.arrays)
    change(arrays, _neuron(integers.operations)["name"])
    with pytest.raises(DamagedNetError, match=text):
        IntegerNet(integers.operations, arrays)


def test_a_flipped_bit_is_refused_wherever_it_is(net, tmp_path):
    integers, _ = net
    path, rng = tmp_path / "net.safetensors", random.Random(0)
    integers.save(path)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    for end in (8 + length, len(whole)):  # as many in the header alone
        for _ in range(100):
            place, bit = rng.randrange(end), 1 << rng.randrange(8)
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(DamagedNetError, match=r"net\.safetensors: "):
                IntegerNet.load(path)


def test_a_file_from_before_there_were_checksums_is_read_and_said_to_be_unverified(net, tmp_path):
    integers, x = net
    path = tmp_path / "net.safetensors"
    integers.save(path)
    header, data = parts(path)
    del header["__metadata__"]["checksum"]
    write(path, header, data)
    with pytest.warns(UserWarning, match="net.safetensors is unverified"):
        assert torch.equal(IntegerNet.load(path)(x), integers(x))
