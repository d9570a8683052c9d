"""docs/reference: a file can be recomputed from its pages alone."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from exportable_nets import Grid, random_case, sequence
from prepared_nets import pictures, prepared
from seeded_inputs import spikes as spikes_drawn

from snntrain import neuron
from snntrain.export import export
from snntrain.functional import reset_net
from snntrain.lava_exchange import BlockContainer, CubaLIFNode
from snntrain.layer import AxonalDelay, DelaySettings, Linear
from snntrain.model import build
from snntrain.quantize import to_integer

PAGES = Path(__file__).resolve().parents[2] / "docs/reference"


def program(page: str, name: str) -> Callable[..., np.ndarray]:
    """The function of that name in a page's block of Python, which imports numpy and h5py alone."""
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)) <= {"json", "struct", "numpy", "h5py"}
    names: dict = {}
    exec(compile(code, page, "exec"), names)
    return names[name]


@pytest.mark.parametrize("seed", range(24))
def test_the_page_on_loihi_computes_what_the_net_computes(tmp_path, seed):
    case = random_case(seed)
    exported = export(case.net, tmp_path / "net.h5", case.x)
    spikes = program("loihi.md", "run_netx")(tmp_path / "net.h5", exported.input.encode(case.x).numpy())
    reset_net(case.net)
    np.testing.assert_array_equal(spikes, case.net(case.x).detach().numpy())
    np.testing.assert_array_equal(spikes, exported.run(case.x).output.numpy())


def test_the_page_on_loihi_computes_delays(tmp_path):
    torch.manual_seed(0)
    grid = Grid(64, 40)
    parts = []
    for sizes, most in (((12, 9), 6), ((9, 7), 3)):
        fc = grid.fill(np.random.default_rng(most), Linear(*sizes, bias=False))
        neurons = CubaLIFNode(0.5, 0.25, v_threshold=1.0, scale=64)
        parts += [AxonalDelay(sizes[0], DelaySettings(max=most)), BlockContainer(fc, neurons)]
    net, x = sequence(*parts), spikes_drawn(14, 3, 12)
    exported = export(net, tmp_path / "net.h5", x)
    spikes = program("loihi.md", "run_netx")(tmp_path / "net.h5", exported.input.encode(x).numpy())
    np.testing.assert_array_equal(spikes, net(x).detach().numpy())
    assert spikes.any()


def test_the_nets_behind_that_are_convolutional_and_recurrent_with_decays_and_biases(tmp_path):
    kinds, found = set(), {"bias": 0, "iDecay": 0, "vDecay": 0}
    for seed in range(24):
        case = random_case(seed)
        export(case.net, tmp_path / "net.h5", case.x)
        with h5py.File(tmp_path / "net.h5") as file:
            for group in file["layer"].values():
                kinds.add(group["type"][0].decode())
                found["bias"] += "bias" in group
                for name in ("iDecay", "vDecay"):
                    found[name] += "neuron" in group and 0 < group[f"neuron/{name}"][()] < 4096
    assert kinds == {"input", "flatten", "conv", "dense", "dense_rec"} and min(found.values()) > 0


def test_the_numbers_of_a_file_follow_from_the_net_as_the_page_says(tmp_path):
    torch.manual_seed(0)
    node = CubaLIFNode(0.3, 0.17, v_threshold=1.3, scale=32, step_mode="m")
    block = BlockContainer(torch.nn.Linear(9, 4, bias=False), node, step_mode="m")
    export(torch.nn.Sequential(block), tmp_path / "net.h5", (torch.rand(5, 2, 9) < 0.4).float())
    with h5py.File(tmp_path / "net.h5") as file:
        held = file["layer/1"]
        assert held["neuron/iDecay"][()] == round(4096 * 0.3) and held["neuron/vDecay"][()] == round(4096 * 0.17)
        assert held["neuron/vThMant"][()] == int(1.3 * 32)  # CubaLIFNode cuts it
        weight = block.synapse.weight.detach().double().numpy()
        np.testing.assert_array_equal(held["weight"][()], 2 * np.round(weight * 32 / 2))


@pytest.mark.parametrize(("theta", "expected"), [(0.75, 0.75 * 4 - 1), (1.0, 4 - 1)])
def test_a_neuron_without_a_leak_fires_at_its_threshold(tmp_path, theta, expected):
    linear = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.5, -1.0, 1.5], [2.5, 0.5, -0.5]]))
    net = sequence(linear, neuron.IFNode(v_threshold=theta))
    export(net, tmp_path / "net.h5", torch.ones(2, 1, 3))
    with h5py.File(tmp_path / "net.h5") as file:
        scale = file["layer/1/weight"][0, 0] / 0.5
        assert scale == 4 and file["layer/1/neuron/vThMant"][()] == expected


def test_the_page_on_integers_computes_what_the_engine_computes(tmp_path):
    sizes = [{"name": "Linear", "out_features": size} for size in (20, 9, 5)]
    cases = (
        ({"name": "LIFNode", "tau": 3.0}, {"bits": 8, "quantype": "fake"}),
        ({"name": "IFNode", "v_reset": None}, {"bits": 4, "quantype": "fake", "v": {"bits": 6}}),
        ({"name": "LIFNode"}, {"bits": 8, "quantype": "fxp", "leak": "shift", "v": {"bits": 16}}),
        ({"name": "CubaLIFNode", "current_decay": 0.3, "voltage_decay": 0.2}, {"bits": 8, "quantype": "fake"}),
    )
    for number, (kind, quant) in enumerate(cases):
        torch.manual_seed(number)
        layers = ["Flatten", sizes[0], "neuron", sizes[1], "neuron", sizes[2]]
        net = build(layers, (1, 12, 12), {**kind, "backend": "torch"})
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(4)  # so that there are spikes
        x = pictures(6, 4, seed=number)
        integers = to_integer(prepared(net.eval(), quant, x).eval())
        integers.save(tmp_path / "net.safetensors")
        logits = program("integers.md", "run_integers")(tmp_path / "net.safetensors", x.numpy())
        assert logits.dtype == np.float32 and len(np.unique(logits)) > 5
        np.testing.assert_array_equal(logits, integers(x).numpy())


def test_the_integers_of_a_layer_follow_from_the_net_as_the_page_says():
    torch.manual_seed(0)
    layers = ["Flatten", {"name": "Linear", "out_features": 6}, "neuron", {"name": "Linear", "out_features": 3}]
    neuron_ = {"name": "LIFNode", "tau": 2.5, "v_threshold": 0.8, "v_reset": -0.1, "backend": "torch"}
    net = build(layers, (1, 12, 12), neuron_).eval()
    quantized = prepared(net, {"bits": 8, "quantype": "fake", "v": {"bits": 16}}, pictures(4, 8)).eval()
    integers = to_integer(quantized)
    first, second = (module for module in quantized.modules() if hasattr(module, "integer_weight"))
    node = next(operation for operation in integers.operations if operation["op"] == "neuron")
    linear = [operation["name"] for operation in integers.operations if operation["op"] == "linear"]
    s = second.current.value().detach().double()
    weight = np.floor((net.layers[3].weight.detach().double() / s.view(-1, 1)).numpy() + 0.5).clip(-128, 127)
    np.testing.assert_array_equal(integers.arrays[f"{linear[1]}.weight"], weight)
    s = first.current.value().detach().double() * 2.0 ** node["shift"]
    theta = np.maximum(1, np.floor((0.8 + 0.1) * 2.5 / s.numpy() + 0.5))
    np.testing.assert_array_equal(integers.arrays[f"{node['name']}.threshold"], theta)
    assert node["leak"]["factor"] == round((1 - 1 / 2.5) * 2 ** node["leak"]["bits"])
