"""The netx file: its layout, its limits, and that it is there whole or not at all."""

import dataclasses

import h5py
import numpy as np
import pytest

from snntrain.error import DamagedFile
from snntrain.export import ExportError
from snntrain.export.netx_file import NetxLayer, check, is_misread, read, write

INPUT = NetxLayer("input", (2, 5, 4))
CONV = NetxLayer(
    "conv",
    (4, 3, 4),
    np.arange(-48, 0).reshape(4, 2, 3, 2) * 2 + 100,
    bias=np.array([1, -2, 3, 4]),
    stride=(2, 1),
    padding=(1, 1),
    dilation=(1, 2),
    groups=1,
    v_decay=512,
    threshold=np.array([20, 24, 0, 131071]),
    name="first",
)
FLATTEN = NetxLayer("flatten", (4, 3, 4))
DENSE = NetxLayer("dense", (3,), np.arange(144).reshape(3, 48) - 70 & ~1, i_decay=1024, threshold=100)
RECURRENT = NetxLayer("dense_rec", (3,), np.eye(3, dtype=int) * 2 - 4, np.full((3, 3), 6), i_decay=0, threshold=9)


def test_the_layout_is_that_of_the_reader(tmp_path):
    """spec: names, shapes and types of datasets as lava-dl 0.6.0's reader takes them."""
    layers = [INPUT, dataclasses.replace(CONV, groups=2, weight=CONV.weight[:, :1]), FLATTEN, DENSE]
    write(layers, tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5") as file:
        assert list(file) == ["layer"] and not file.attrs and sorted(file["layer"]) == ["0", "1", "2", "3"]
        group = file["layer/1"]
        assert group["type"].dtype == "S10" and group["type"].shape == (1,) and group["type"][0] == b"conv"
        assert group["shape"].dtype == np.int64 and group["shape"][()].tolist() == [4, 3, 4]
        assert group["weight"].dtype == np.float32 and group["weight"].shape == (4, 1, 3, 2)
        assert group["bias"][()].tolist() == [1, -2, 3, 4]
        pairs = {name: group[name][()].tolist() for name in ("stride", "padding", "dilation", "kernelSize")}
        assert pairs == {"stride": [2, 1], "padding": [1, 1], "dilation": [1, 2], "kernelSize": [3, 2]}
        assert [group[name][()] for name in ("groups", "inChannels", "outChannels")] == [2, 2, 4]
        neuron = {name: value[()] for name, value in group["neuron"].items()}
        assert neuron.pop("vThMant").tolist() == [20, 24, 0, 131071]
        assert neuron == {"type": b"CUBA", "iDecay": 4096, "vDecay": 512, "refDelay": 1, "gradedSpike": False}
        assert sorted(file["layer/2"]) == ["type"]
        dense = file["layer/3"]
        assert dense["weight"].shape == (3, 48) and "bias" not in dense
        assert (dense["inFeatures"][()], dense["outFeatures"][()]) == (48, 3)


def test_what_is_read_is_what_was_written(tmp_path):
    layers = [INPUT, CONV, FLATTEN, DENSE, RECURRENT]
    write([dataclasses.replace(layer, bias=None) for layer in layers], tmp_path / "net.h5")
    for ours, theirs in zip(layers, read(tmp_path / "net.h5"), strict=True):
        for field in dataclasses.fields(NetxLayer):
            one, two = getattr(ours, field.name), getattr(theirs, field.name)
            if field.name not in ("name", "bias"):
                np.testing.assert_array_equal(one, two, err_msg=field.name)


def test_scalars_of_other_writers_are_read(tmp_path):
    """lava-dl writes a stride as one number."""
    write([INPUT, dataclasses.replace(CONV, stride=(2, 2), shape=(4, 3, 2), bias=None)], tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        del file["layer/1/stride"]
        file["layer/1/stride"] = 2
    assert read(tmp_path / "net.h5")[1].stride == (2, 2)


LIMITS = {
    "even integers from -256 to 254, got -258": {"weight": np.array([[2, -258]])},
    "even integers from -256 to 254, got 2 to 256": {"weight": np.array([[2, 256]])},
    "even integers from -256 to 254, got 1 to 2": {"weight": np.array([[1, 2]])},
    "weight_rec must be even": {"weight_rec": np.array([[3]]), "kind": "dense_rec"},
    "all weights are 0": {"weight": np.array([[0, 0]])},
    "−2^k": {"weight": np.array([[0, -128]])},
    "the threshold must be from 0 to 131071, got 131072": {"threshold": 131072},
    "the threshold must be from 0 to 131071, got -1": {"threshold": np.array([-1])},
    "a bias must be from -4096 to 4095, got 4096": {"bias": np.array([4096])},
    "a bias must be from -4096 to 4095, got -4097": {"bias": np.array([-4097])},
    "a bias needs i_decay 4096, got 4095": {"bias": np.array([1]), "i_decay": 4095},
    "i_decay must be from 0 to 4096, got 4097": {"i_decay": 4097},
    "v_decay must be from 0 to 4096, got -1": {"v_decay": -1},
    "is recurrent, and layer 1": {"weight_rec": np.array([[2]]), "kind": "dense_rec", "bias": np.array([1])},
}


@pytest.mark.parametrize("text", LIMITS)
def test_beyond_a_limit_no_file_appears(tmp_path, text):
    good = NetxLayer("dense", (1,), np.array([[254, -256]]), bias=None, threshold=131071, name="fc")
    check([NetxLayer("input", (2,)), good])
    bad = dataclasses.replace(good, **LIMITS[text])
    path = tmp_path / "net.h5"
    path.write_bytes(b"an older file")
    with pytest.raises(ExportError, match=r"layer 1 \(fc\)") as error:
        write([NetxLayer("input", (2,)), bad], path)
    assert text in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["net.h5"] and path.read_bytes() == b"an older file"


def test_a_bias_far_before_a_recurrent_layer_is_refused_too():
    biased = NetxLayer("dense", (2,), np.array([[2], [4]]), bias=np.array([0, 1]), name="a")
    plain = NetxLayer("dense", (3,), np.array([[2, 4]] * 3), name="b")
    with pytest.raises(ExportError, match=r"layer 3 .* is recurrent, and layer 1 \(a\) has a bias"):
        check([NetxLayer("input", (1,)), biased, plain, RECURRENT])
    check([NetxLayer("input", (2,)), plain, RECURRENT, dataclasses.replace(biased, weight=np.array([[2, 2, 2]] * 2))])


def test_a_convolution_may_be_all_zero_or_negative():
    """Lava's reader rescales weights of dense layers only."""
    for value in (0, -128, -256):
        check([INPUT, dataclasses.replace(CONV, weight=np.full((4, 2, 3, 2), value))])


@pytest.mark.parametrize(
    ("weights", "misread"),
    [
        ([[[0, -128]]], True),
        ([[[-2, -2]]], True),
        ([[[0, -254]]], False),
        ([[[2, -256]]], False),
        ([[[-130, -6]]], False),
        ([[[100, -20]], [[-128, -2]]], True),  # both shift by one place
        ([[[130, -20]], [[-128, -2]]], False),  # none shifts
        ([[[0, 0]], None], False),
        ([[[0, 128]]], False),
    ],
)
def test_which_weights_lava_misreads(weights, misread):
    """Measured with lava-dl 0.6.0: [[0, −128]] acts as [[0, −64]] would."""
    assert is_misread([None if weight is None else np.array(weight) for weight in weights]) is misread


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "net.h5"
    write([INPUT, CONV], path)
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(h5py.Group, "create_dataset", fail)
    with pytest.raises(OSError, match="disk full"):
        write([INPUT, CONV, FLATTEN, DENSE], path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["net.h5"]


def test_files_that_are_not_known_are_refused(tmp_path):
    def changed(change):
        write([INPUT, CONV, FLATTEN, DENSE], tmp_path / "net.h5")
        with h5py.File(tmp_path / "net.h5", "a") as file:
            change(file)
        with pytest.raises((ExportError, DamagedFile)) as error:
            read(tmp_path / "net.h5")
        assert "net.h5" in str(error.value)
        return str(error.value)

    def set_value(path, value):
        def change(file):
            del file[path]
            file[path] = value

        return change

    assert "layer 3 (pool) cannot be read: its type is not known" in changed(
        set_value("layer/3/type", np.array([b"pool"]))
    )
    assert "layer 3 (dense) cannot be read: it has neurons of type SDNN" in changed(
        set_value("layer/3/neuron/type", "SDNN")
    )
    for delay in ([1], [[1, 2, 3]], [[63]]):
        said = changed(lambda file, delay=delay: file.create_dataset("layer/3/delay", data=delay))
        assert "its delays are not one for each input of a dense layer" in said
    assert "no complete netx file" in changed(lambda file: file.pop("layer/3/neuron/vDecay"))
    assert "no complete netx file" in changed(lambda file: file.move("layer/2", "layer/7"))
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DamagedFile, match=r"text\.h5 is damaged, or no HDF5 file: .*signature not found"):
        read(tmp_path / "text.h5")
    write([FLATTEN, DENSE], tmp_path / "net.h5")
    with pytest.raises(ExportError, match=r"layer 0 \(flatten\) cannot be read: it has no layer before it"):
        read(tmp_path / "net.h5")
