"""The examples of the README and of docs/ do what they say."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from snntrain import functional, list_models, neuron, registry
from snntrain.ann2snn import METHODS
from snntrain.ann2snn.calibration import CORRECTIONS
from snntrain.data.target import Target
from snntrain.export.c import native_compiler
from snntrain.kernel import Plan
from snntrain.kernel.backend import plan_for
from snntrain.lab.experiment.record_page import mean_and_std
from snntrain.model import build
from snntrain.quantize import PRESETS
from snntrain.task.loss import Loss

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONVERSION = (ROOT / "docs/conversion.md").read_text(encoding="utf-8")
QUANTIZATION = (ROOT / "docs/quantization.md").read_text(encoding="utf-8")
MICROCONTROLLERS = (ROOT / "docs/microcontrollers.md").read_text(encoding="utf-8")
LAVA = (ROOT / "docs/lava.md").read_text(encoding="utf-8")
KERNELS = (ROOT / "docs/kernels.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs/models.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
OWN_PARTS = (ROOT / "docs/own_parts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README + OWN_PARTS, flags=re.DOTALL)


def example(containing: str) -> dict:
    """The names that one example defines."""
    (code,) = (text for text in EXAMPLES if containing in text)
    names: dict = {"__name__": "example"}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_the_neuron_is_registered_fused_and_learns(monkeypatch):
    registry.names("neuron")  # all of snntrain's own; what follows is forgotten after the test
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    torch.manual_seed(0)
    example("class TiredNode")
    net = build(["Flatten", {"name": "Linear", "out_features": 4}, "neuron"], (1, 3, 3), neuron="TiredNode")
    node = net.layers[-1]
    assert registry.get("neuron", "TiredNode") is type(node)
    x_seq = functional.repeat(3 * torch.rand(5, 1, 3, 3), 4)
    outcomes = []
    for backend in ("fused", "torch"):
        node.backend = backend
        functional.reset_net(net)
        spikes = net(x_seq)
        outcomes.append([spikes, *torch.autograd.grad(spikes.square().sum(), net.parameters())])
    assert isinstance(plan_for(node, torch.zeros(2, 5, 4)), Plan)
    assert torch.equal(outcomes[0][0], outcomes[1][0]) and outcomes[0][0].sum() > 0
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_layer_runs_at_every_step(monkeypatch):
    registry.names("layer")
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    (code,) = (text for text in EXAMPLES if "class Gate" in text)
    gate = example("class Gate")["Gate"]
    (layers,) = re.findall(r"model\.layers=(\[.*\])'", code)
    net = build(yaml.safe_load(layers.replace(":", ": ")), (2, 3, 3))
    assert isinstance(net.layers[0], gate)
    x = torch.rand(4, 2, 2, 3, 3)
    opening = torch.sigmoid(net.layers[0].open(x.mean((3, 4))))
    expected = net.layers[2](net.layers[1](x * opening[..., None, None]))
    torch.testing.assert_close(net(x), expected)


def test_the_loss_is_the_cross_entropy_without_its_own_term(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    example("def poly")
    outputs, target = torch.randn(3, 4, 5), torch.tensor([0, 4, 2, 2])
    expected = torch.nn.functional.cross_entropy(outputs[-1], target)
    found = Loss({"name": "poly", "epsilon": 0.0}, Target.CLASS)(outputs, lambda y_seq: y_seq[-1], target)
    torch.testing.assert_close(found, expected)


def test_the_library_example_runs():
    names = example("node = neuron.LIFNode")
    assert names["spikes"].shape == (8, 32, 100)


def test_the_model_with_every_kind_of_entry_builds():
    (text,) = re.findall(r"```yaml\n(.*?)```", MODELS, flags=re.DOTALL)
    model = OmegaConf.to_container(OmegaConf.create({"data": {"num_classes": 7}, **yaml.safe_load(text)}), resolve=True)
    net = build(model["layers"], (1, 16, 16), blocks=model["blocks"], init=model["init"])
    assert net.output_shapes[-1] == (7,) and net(torch.rand(2, 3, 1, 16, 16)).shape == (2, 3, 7)


def test_the_models_of_the_table_are_those_there_are(monkeypatch):
    code, own = re.findall(r"```python\n(.*?)```", MODELS, flags=re.DOTALL)
    exec(compile(code, "models.md", "exec"), {})
    assert sorted(re.findall(r"^\| `(\w+)` \|", MODELS, flags=re.MULTILINE)) == list_models()
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})
    names: dict = {"__name__": "my_net"}
    exec(compile(own, "models.md", "exec"), names)
    net = registry.build("model", name="MyNet", sample_shape=(1, 4, 4), num_classes=3, neuron=neuron.LIFNode)
    assert net(torch.rand(5, 2, 1, 4, 4)).shape == (5, 2, 3) and isinstance(net, names["MyNet"])


@pytest.mark.slow
def test_a_net_of_torchvision_is_converted_as_the_example_says(capsys):
    code, _ = re.findall(r"```python\n(.*?)```", CONVERSION, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code.replace("64, 64", "32, 32"), "conversion.md", "exec"), names)  # in a quarter of the time
    assert names["logits"].shape == (4, 10) and "spiking neurons" in capsys.readouterr().out
    assert sorted(METHODS) == sorted(re.findall(r"`(\w+)`", "".join(rows(CONVERSION, "| method | thresholds |"))))
    assert sorted(CORRECTIONS) == sorted(row.split("`")[1] for row in rows(CONVERSION, "| correction | of the neurons"))


def test_a_net_becomes_integers_as_the_example_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", QUANTIZATION, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "quantization.md", "exec"), names)
    assert names["logits"].shape == (4, 16, 10)
    assert torch.equal(names["logits"], names["quantized"].eval()(names["batches"][0]))
    told = re.findall(r"`(\w+)`", "".join(rows(QUANTIZATION, "| preset | weights")))
    assert sorted(told) == sorted(PRESETS)


def test_a_net_is_exported_as_the_example_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", LAVA, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "lava.md", "exec"), names)
    assert "dense → 32" in capsys.readouterr().out and names["net"](names["x_seq"]).sum() > 0
    functional.reset_net(names["net"])
    assert torch.equal(names["logits"], names["net"](names["x_seq"]))
    entries = yaml.safe_load(*re.findall(r"```yaml\n(.*?)```", LAVA, flags=re.DOTALL))["layers"]
    entries[-1]["out_features"] = 3
    build(entries, (1, 8, 8), {"name": "CubaLIFNode", "current_decay": 0.5, "voltage_decay": 0.25})


def test_a_net_is_compiled_as_the_example_says():
    if native_compiler() is None:
        pytest.skip("no C compiler is installed")
    (code,) = re.findall(r"```python\n(.*?)```", MICROCONTROLLERS, flags=re.DOTALL)
    exec(compile(code, "microcontrollers.md", "exec"), {})
    keys = {row.split("`")[1] for row in rows(MICROCONTROLLERS, "| key | default")}
    shipped = yaml.safe_load((ROOT / "conf/callbacks/c.yaml").read_text(encoding="utf-8"))["c"]
    assert keys == {f"callbacks.c.{key}" for key in shipped if key != "_target_"}


def test_the_kernels_are_those_that_are_generated(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", KERNELS, flags=re.DOTALL)
    exec(compile(code, "kernels.md", "exec"), {})
    printed = capsys.readouterr().out
    shown = re.findall(r"```(?:numba|cuda)\n(.*?)```", KERNELS, flags=re.DOTALL)
    assert len(shown) == 2 and all(kernel in printed for kernel in shown)


def test_the_tables_of_results_are_those_of_the_records():
    found = 0
    for line in (README + RESULTS).splitlines():
        if match := re.match(r"\| \[`(\w+)`\]\((?:\.\./)?experiments/\1\) \|", line):
            record = ROOT / "experiments" / match[1] / "expected.json"
            content = json.loads(record.read_text(encoding="utf-8"))
            known = {mean_and_std(*metric, content["samples"]) for metric in content["metrics"].items()}
            told = re.findall(r"\d+\.\d+ ± \d+\.\d+ %(?: \(± \d+\.\d+\))?", line)
            assert told and set(told) <= known, line
            found += 1
    assert found >= 4


def rows(text: str, header: str) -> list[str]:
    """First cells of the table under a header."""
    table = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1] for line in table]
