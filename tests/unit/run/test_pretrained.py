"""The weights of records: what is read is what the certificate names, and everything else is refused by name."""

import hashlib
import json
import shutil
import struct
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch

import snntrain
from snntrain.error import DamagedFile, MissingFile, UsageError
from snntrain.installation import EXPERIMENTS
from snntrain.run import pretrained
from snntrain.run.hub import fetch
from snntrain.run.pretrained import find_pretrained, pretrained_names, pretrained_net, read_weights

NAME = "digits_lif"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the weights of a record, to be damaged."""
    return Path(shutil.copytree(EXPERIMENTS / NAME / pretrained.FOLDER, tmp_path / "weights"))


def certify(folder: Path, name: str, **changed) -> None:
    """Write what lies in a file into the certificate, as somebody would who forges one."""
    certificate = folder / "weights.json"
    content = json.loads(certificate.read_text())
    data = (folder / name).read_bytes()
    content["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **changed}
    certificate.write_text(json.dumps(content))


def test_a_record_gives_its_trained_net():
    assert NAME in pretrained_names() and NAME in snntrain.list_models("digits*", pretrained=True)
    net = snntrain.create_model(NAME, pretrained=True)
    stored = safetensors.torch.load_file(EXPERIMENTS / NAME / "weights/net.safetensors")
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    assert not net.training and state.keys() == stored.keys()
    assert all(torch.equal(state[name], value) for name, value in stored.items())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sample_shape": (1, 8, 8)}, "sample_shape cannot be chosen"),
        ({"neuron": "IFNode"}, "neuron cannot be chosen"),
        ({"T": 8, "channels": 4}, "T, channels cannot be chosen"),
    ],
)
def test_a_trained_net_is_what_it_is(arguments, named):
    with pytest.raises(ValueError, match=named):
        snntrain.create_model(NAME, **arguments, pretrained=True)


def test_an_unknown_record_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="Did you mean digits_lif"):
        snntrain.create_model("digits_lfi", pretrained=True)
    with pytest.raises(ValueError, match="needs sample_shape and num_classes"):
        snntrain.create_model("csnn")


@pytest.mark.parametrize("name", ["net.safetensors", "config.yaml", "provenance.json"])
def test_a_changed_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-20] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"{name} is damaged, or another file: its SHA-256"):
        pretrained_net(str(folder))
    (folder / name).unlink()
    with pytest.raises(MissingFile, match=rf"{name} is missing"):
        pretrained_net(str(folder))


def test_weights_of_another_record_are_refused_even_if_the_certificate_has_their_sha(folder):
    weights = safetensors.torch.load_file(folder / "net.safetensors")
    safetensors.torch.save_file(weights, folder / "net.safetensors", {"experiment": "mnist_csnn", "seed": "3"})
    certify(folder, "net.safetensors")
    with pytest.raises(DamagedFile, match=r"holds the weights of mnist_csnn, seed 3, not those of digits_lif"):
        pretrained_net(str(folder))


def test_weights_that_do_not_fit_the_config_or_are_not_finite_are_refused(folder):
    about = {"experiment": NAME, "seed": str(find_pretrained(NAME, "a test").certificate.seed)}
    weights = safetensors.torch.load_file(folder / "net.safetensors")
    first = next(name for name, value in weights.items() if value.dim() > 1)
    for changed, named in (
        ({**weights, first: weights[first][:1]}, "size mismatch"),
        ({**weights, first: torch.full_like(weights[first], torch.nan)}, "holds NaN or infinity"),
        ({**weights, first: weights[first].to(torch.int32)}, "holds torch.int32"),
    ):
        safetensors.torch.save_file(changed, folder / "net.safetensors", about)
        certify(folder, "net.safetensors")
        with pytest.raises(UsageError, match=named):
            pretrained_net(str(folder))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no header at all",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        # One kilobyte that describes a tensor of terabytes.
        struct.pack("<Q", 64)
        + b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'.ljust(64)
        + b"\0" * 4,
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"net\.safetensors is damaged, or no safetensors file"):
        read_weights(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: content["files"].update({"../outside": {"sha256": "0" * 64, "bytes": 1}}), "outside"),
        (lambda content: content["files"]["config.yaml"].update(sha256="0"), "no SHA-256"),
        (lambda content: content["files"]["config.yaml"].update(bytes=-1), "no SHA-256 with a size"),
        (lambda content: content["files"]["config.yaml"].update(address="file:///etc/passwd"), "no address hf"),
        (lambda content: content.update(seed="1"), "its seed"),
        (lambda content: content.update(hex={"test/acc": "much"}), "damaged"),
        (lambda content: content.update(format=2), "has format 2; this snntrain reads 1"),
        (lambda content: content.pop("files"), "damaged"),
    ],
)
def test_a_certificate_that_cannot_be_one_is_refused(folder, change, named):
    path = folder / "weights.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=named):
        find_pretrained(str(folder), "a test")


def test_a_config_with_plugins_runs_nothing(folder):
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("plugins: []", "plugins: [antigravity]"))
    certify(folder, "config.yaml")
    with pytest.raises(UsageError, match="imports antigravity"):
        pretrained_net(str(folder))
    assert "antigravity" not in sys.modules


# --- the hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, folder) -> list[tuple]:
    """In the place of huggingface_hub: a repository owner/name with the folder's files; what it was asked for."""
    asked = []

    def hf_hub_download(repo: str, file: str, revision: str | None = None) -> str:
        asked.append((repo, file, revision))
        if repo != "owner/name" or not (folder / file).is_file():
            raise OSError("404")
        return str(folder / file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=hf_hub_download))
    return asked


def test_weights_come_from_the_hub(hub):
    net = snntrain.create_model("hf://owner/name@v1", pretrained=True)
    same = snntrain.create_model(NAME, pretrained=True)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in same.state_dict().items())
    assert hub[0] == ("owner/name", "weights.json", "v1")


def test_a_large_file_of_a_record_is_fetched_from_its_address_and_checked(hub, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "record")
    (tmp_path / "record/net.safetensors").unlink()
    certify(folder, "net.safetensors", address="hf://owner/name/net.safetensors")
    shutil.copy(folder / "weights.json", tmp_path / "record")
    assert pretrained_net(str(tmp_path / "record")).training is False
    (folder / "net.safetensors").write_bytes(b"something else")
    with pytest.raises(DamagedFile, match=r"its SHA-256 is not that of weights\.json"):
        pretrained_net(str(tmp_path / "record"))


@pytest.mark.parametrize(
    "address", ["hf://owner", "hf://owner/name", "hf://owner/name/../../etc/passwd", "hf://a/b@/c"]
)
def test_what_is_no_address_is_refused(hub, address):
    with pytest.raises(UsageError, match="is no address of a file"):
        fetch(address)
    assert hub == []


def test_without_the_network_or_the_package_the_address_and_the_remedy_are_named(hub, monkeypatch):
    with pytest.raises(UsageError, match=r"hf://owner/other/weights\.json cannot be fetched \(OSError: 404\)"):
        snntrain.create_model("hf://owner/other", pretrained=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"Install it: pip install 'snntrain\[hub\]'"):
        snntrain.create_model("hf://owner/name", pretrained=True)
