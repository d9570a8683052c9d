"""model=nir: the net of a file for data, checked before they are read, fine-tuned and quantized."""

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from snntrain import create_model, functional
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import DamagedFile, UsageError
from snntrain.export import ExportError, import_nir
from snntrain.quantize import freeze, observe, prepare, preset, to_integer
from snntrain.run.build import build_net
from snntrain.surrogate import ATan

nir = pytest.importorskip("nir")
DT = 1e-4


def written(path: Path, outputs: int = 10, *, residual: bool = False) -> Path:
    source, nodes = np.random.default_rng(0), {"input": nir.Input({"input": np.array([64])})}
    for name, (inputs, size) in {"1": (64, 12), "2": (12, 12), "3": (12, outputs)}.items():
        nodes["fc" + name] = nir.Affine(source.normal(size=(size, inputs)) / np.sqrt(inputs) * 2, np.zeros(size))
        nodes["lif" + name] = nir.LIF(*(np.full(size, value) for value in (2 * DT, 2.0, 0.0, 0.5)))
    nodes["output"] = nir.Output({"output": np.array([outputs])})
    shortcut = [("lif1", "fc3")] if residual else []
    nir.write(path, nir.NIRGraph(nodes, [*itertools.pairwise(nodes), *shortcut]))
    return path


def chosen(path: Path, *more: str) -> nn.Module:
    return build_net(check(compose(["model=nir", f"model.file={path}", *more])))


def test_the_net_has_the_neurons_of_the_file_and_the_surrogate_of_the_config(tmp_path):
    net = chosen(written(tmp_path / "net.nir"), "surrogate.alpha=3.0")
    neurons = [module for module in net.modules() if hasattr(module, "surrogate_function")]
    assert len({id(neuron.surrogate_function) for neuron in neurons}) == 3
    assert all(isinstance(each.surrogate_function, ATan) and each.surrogate_function.alpha == 3 for each in neurons)
    x = torch.rand(4, 2, 1, 8, 8)
    assert torch.equal(net(x), import_nir(tmp_path / "net.nir")(x.flatten(2)))
    made = create_model("nir", (1, 8, 8), 10, file=str(tmp_path / "net.nir"))
    functional.reset_net(net)
    assert torch.equal(made(x), net(x))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            ["data=mnist"],
            r"net.nir cannot be imported: it reads steps of shape \[64\], and the data have \[1, 28, 28\]",
        ),
        (["data.num_classes=7"], r"it gives \[10\] for a step, and the task wants \[7\]"),
        (["model.dt=1e-3"], r"net.nir: node lif1 \(LIF\).*dt/tau must be from 0 to 1, it is 5; is dt right"),
        (["model.dt=0"], "dt must be a finite number > 0"),
        (["model.file=gone.nir"], "gone.nir does not exist"),
        (["model.fil=x"], "model.fil"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_are_read(tmp_path, overrides, text):
    with pytest.raises((UsageError, ExportError, DamagedFile), match=text):
        chosen(written(tmp_path / "net.nir"), *overrides)


def test_without_a_file_the_key_is_named():
    with pytest.raises(UsageError, match=r"model\.file"):
        check(compose(["model=nir"]))


@pytest.mark.parametrize("residual", [False, True])
def test_it_learns_and_becomes_integers(tmp_path, residual):
    net = chosen(written(tmp_path / "net.nir", residual=residual))
    functional.set_backend(net, "torch")
    x, target = torch.rand(4, 8, 1, 8, 8), torch.arange(8)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.02), []
    for _ in range(12):
        functional.reset_net(net)
        losses.append(nn.functional.cross_entropy(net(x).mean(0), target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    functional.reset_net(net)
    quantized = prepare(net.eval(), preset("int8"))
    observe(quantized, [x])
    freeze(quantized)
    assert to_integer(quantized)(x).shape == (4, 8, 10)


def tampered(path: Path, how: str) -> None:
    with h5py.File(path, "a") as file:
        nodes = file["node/nodes"]
        if how == "pickle":
            nodes["fc1/metadata/code"] = np.void(b"cposix\nsystem\n(S'touch pwned'\ntR.")
        elif how == "external":
            del nodes["fc1/weight"]
            nodes["fc1/weight"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif how == "huge":
            del nodes["fc1/weight"]
            nodes.create_dataset("fc1/weight", (10**6, 10**6), "f4", chunks=(100, 100))
        elif how == "object":
            del nodes["fc1/weight"]
            nodes.create_dataset("fc1/weight", data=np.array([b"__import__('os')"] * 64))
        elif how == "reference":
            del nodes["fc1/weight"]
            nodes.create_dataset("fc1/weight", data=np.full((12, 64), nodes["fc2"].ref, h5py.ref_dtype))
        elif how == "soft link":
            del nodes["fc1/weight"]
            nodes["fc1/weight"] = h5py.SoftLink("/node/nodes/fc2/weight")
        elif how == "elsewhere":
            del nodes["fc1/weight"]
            nodes.create_dataset("fc1/weight", (12, 64), "f4", external=[("/etc/passwd", 0, 12 * 64 * 4)])
        elif how == "view of another":
            del nodes["fc1/weight"]
            layout = h5py.VirtualLayout((12, 64), "f4")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (12, 64))
            nodes.create_virtual_dataset("fc1/weight", layout)
        elif how == "graph in itself":
            nodes["again"] = nodes
        elif how == "large input":
            del nodes["input/shape"]
            nodes["input/shape"] = np.array([2**20, 2**20])
        elif how == "nan tau":
            nodes["lif1/tau"][0] = np.nan
        elif how == "nan":
            nodes["fc1/weight"][0] = np.nan
        elif how == "kind":
            del nodes["lif1/type"]
            nodes["lif1/type"] = "os.system"
        elif how == "missing":
            del nodes["lif1"]
        else:
            edges = [tuple(map(bytes, edge)) for edge in file["node/edges"][()]]
            del file["node/edges"]
            file["node/edges"] = np.array([*edges, (b"lif3", b"fc1")])


HARM = {
    "pickle": None,
    "external": "fc1/weight: it is a link|a link to another place or file",
    "huge": "declares 4,000,000,000,000 bytes",
    "object": "holds no NIR graph|weight must hold real numbers",
    "reference": "fc1 .*weight must hold real numbers, it holds 768 values of object",
    "soft link": "fc1/weight: it is a link to another place or file",
    "elsewhere": "fc1/weight: it lies in another file, which is not read",
    "view of another": "fc1/weight: it lies in another file, which is not read",
    "graph in itself": "a group that was met before",
    "large input": r"its shape is \[1048576, 1048576\], and at most 2²⁶ elements are read",
    "nan": "weight holds nan",
    "nan tau": "tau holds nan",
    "kind": "holds no NIR graph",
    "missing": "lif1, which is missing|holds no NIR graph",
    "cycle": "is not one neuron with weights from itself to itself",
}


@pytest.mark.parametrize("how", HARM)
def test_files_made_to_do_harm_run_nothing_and_are_named(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "net.nir")
    tampered(path, how)
    if HARM[how] is None:  # it is data that nobody reads
        import_nir(path)
    else:
        with pytest.raises((DamagedFile, ExportError), match=HARM[how]) as error:
            import_nir(path)
        assert "net.nir" in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["net.nir"]
