"""A profile says what each layer gives, holds and computes, and leaves no trace on the network."""

import math

import pytest
import torch
from torch import Tensor, nn

from snntrain import functional, layer
from snntrain.model import build
from snntrain.model.profile import profile
from snntrain.neuron import PSN, GatedLIFNode, IFNode, LIFNode

TORCH = {"name": "LIFNode", "backend": "torch"}  # no kernel is compiled for these tests


def by_path(net: nn.Module, shape: tuple[int, ...], T: int = 1) -> dict[str, dict]:
    return {row["path"]: row for row in profile(net, shape, T)}


# layer, input shape, multiply-accumulates of a sample: each output (transposed: input) value times its weights
PRODUCTS = {
    "convolution": ({"name": "Conv2d", "out_channels": 6, "kernel_size": 3}, (4, 8, 7), (6 * 6 * 5) * (4 * 9)),
    "strided": ({"name": "Conv1d", "out_channels": 6, "kernel_size": 3, "stride": 2}, (4, 9), (6 * 4) * (4 * 3)),
    "grouped": ({"name": "Conv2d", "out_channels": 6, "kernel_size": 3, "groups": 2}, (4, 8, 7), (6 * 30) * (2 * 9)),
    "depthwise": ({"name": "Conv3d", "out_channels": 4, "kernel_size": 1, "groups": 4}, (4, 2, 3, 5), 4 * 30),
    "transposed": ({"name": "ConvTranspose2d", "out_channels": 6, "kernel_size": 2, "stride": 2}, (4, 3, 5), 60 * 24),
    "transposed in groups": (
        {"name": "ConvTranspose2d", "out_channels": 6, "kernel_size": 3, "groups": 2},
        (4, 3, 5),
        (4 * 15) * (3 * 9),
    ),
    "linear": ({"name": "Linear", "out_features": 5}, (7,), 35),
    "linear in each place": ({"name": "Linear", "out_features": 5, "bias": False}, (3, 7), 3 * 35),
    "pooling": ({"name": "AvgPool2d", "kernel_size": 2}, (4, 8, 8), 0),
}


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize(("entry", "shape", "macs"), PRODUCTS.values(), ids=PRODUCTS)
def test_multiply_accumulates_of_a_layer(entry, shape, macs, T):
    net = build([entry, "neuron"], shape, TORCH)
    row, neuron = profile(net, shape, T)
    assert (row["path"], row["name"], row["macs"]) == ("layers.0", entry["name"], macs)
    assert row["fan_out"] * math.prod(shape) == pytest.approx(macs)
    assert tuple(row["output_shape"]) == net.output_shapes[0] == tuple(neuron["output_shape"])
    assert neuron["macs"] == 0


class Attention(nn.Module):
    """Three products with weights in modules of its own, two products of activations, a scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(dim))
        self.neuron = LIFNode(step_mode="m", backend="torch")

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.q(x) @ self.k(x).mT @ self.v(x) * self.scale)


def test_a_module_has_a_row_for_what_it_computes_and_holds_beside_those_inside():
    rows = by_path(nn.Sequential(Attention(8)), (5, 8), T=2)
    assert list(rows) == ["0", "0.q", "0.k", "0.v", "0.neuron"]
    assert (rows["0"]["macs"], rows["0"]["parameters"]) == (2 * 5 * 5 * 8, 8)
    assert [rows[f"0.{name}"]["macs"] for name in "qkv"] == [5 * 8 * 8] * 3
    assert all(row["output_shape"] == [5, 8] for row in rows.values())


@pytest.mark.parametrize(
    "module", [nn.MultiheadAttention(8, 2, batch_first=True), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)]
)
def test_torchs_fused_attention_is_seen_through(module):
    """Per token: four projections of 8×8, two products with 3 keys, and the two feed-forward layers."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x_seq: Tensor) -> Tensor:
            x = x_seq.flatten(0, 1)
            y = self.module(x, x, x)[0] if isinstance(self.module, nn.MultiheadAttention) else self.module(x)
            return y.unflatten(0, x_seq.shape[:2])

    per_token = 4 * 64 + 2 * 3 * 8 + (2 * 8 * 16 if isinstance(module, nn.TransformerEncoderLayer) else 0)
    assert sum(row["macs"] for row in profile(Net(), (3, 8), T=2)) == 3 * per_token


class Loop(nn.Module):
    """Runs its parts step by step, some of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(6, 4)
        self.first = nn.Linear(6, 6, bias=False)
        self.neuron = IFNode()
        self.never = nn.Linear(3, 3)

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([self.late(self.neuron(self.first(self.first(x)))) for x in x_seq])


@pytest.mark.parametrize("T", [1, 4])
def test_parts_that_run_step_by_step_count_per_step_in_the_order_in_which_they_run(T):
    rows = by_path(Loop(), (6,), T)
    assert list(rows) == ["first", "neuron", "never", "late"]  # what never runs follows what it was written after
    assert [row["macs"] for row in rows.values()] == [72, 0, 0, 24]
    assert [row["output_shape"] for row in rows.values()] == [[6], [6], [], [4]]
    assert rows["first"]["fan_out"] == 6 and rows["never"]["fan_out"] == 0


def test_a_parallel_neuron_mixes_as_many_steps_as_it_has():
    """Its T × T matrix over time: T multiply-accumulates for each neuron and step."""
    rows = by_path(nn.Sequential(layer.Linear(4, 7, step_mode="m"), PSN(T=3)), (4,), T=8)
    assert (rows["0"]["macs"], rows["1"]["macs"], rows["1"]["parameters"]) == (28, 3 * 7, 3 * 3 + 3)
    assert rows["1"]["neuron"].startswith("T=3, ")


def test_a_net_in_single_steps_has_the_same_profile():
    layers = [{"name": "Conv2d", "out_channels": 2, "kernel_size": 3}, "neuron", "Flatten"]
    layers.append({"name": "Linear", "out_features": 3})
    net = build(layers, (1, 6, 6), TORCH)
    whole = profile(net, (1, 6, 6))
    functional.set_step_mode(net, "s")
    assert profile(net, (1, 6, 6), T=5) == whole
    own = nn.Sequential(*net.layers)  # another class: may be one that loops, so both forms of input are tried
    assert [row["macs"] for row in profile(own, (1, 6, 6))] == [row["macs"] for row in whole]


class Folds(nn.Module):
    """Folds time itself, and hands out the same weights twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.same = self.one
        self.free = nn.Parameter(torch.zeros(3))
        self.listed = nn.ParameterList([nn.Parameter(torch.zeros(2, 2))])
        self.nothing = nn.ModuleList()
        self.wrapper = nn.Sequential(nn.Sequential(), nn.Sequential(nn.Identity()))

    def forward(self, x_seq: Tensor) -> Tensor:
        y = self.wrapper(self.same(self.two(self.one(x_seq.flatten(0, 1)))))
        return y.unflatten(0, x_seq.shape[:2])


def test_every_parameter_counts_once():
    net = Folds()
    rows = by_path(net, (4,), T=2)
    assert {path: row["parameters"] for path, row in rows.items()} == {
        "": 3,
        "one": 20,
        "two": 4,
        "listed": 4,
        "wrapper.1.0": 0,
    }
    assert sum(row["parameters"] for row in rows.values()) == sum(p.numel() for p in net.parameters()) == 31
    assert (rows["one"]["macs"], rows["two"]["macs"]) == (32, 16)
    assert rows["one"]["output_shape"] == rows["wrapper.1.0"]["output_shape"] == [4]


class Careless(nn.Module):
    """Counts its calls in a buffer and an attribute, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.kept = x
        return x + torch.rand_like(x)


@pytest.mark.parametrize("inference", [False, True])
def test_the_network_and_the_random_numbers_stay_as_they_were(inference):
    layers = [{"name": "Linear", "out_features": 5}, {"name": "BatchNorm1d"}, "neuron"]
    net = build(layers, (4,), {"name": "ParametricLIFNode", "store_v_seq": True, "backend": "torch"})
    careless = Careless()
    net.layers.append(careless)
    net.layers[1].eval()  # one frozen layer in a net that is being trained
    net(torch.rand(2, 6, 4))
    net.layers[2].backend = "auto"
    x, kept, states, modes = torch.rand(2, 6, 4), careless.kept, functional.get_states(net), modes_of(net)
    v, v_seq = net.layers[2].v, net.layers[2].v_seq
    saved = {name: value.clone() for name, value in net.state_dict().items()}
    seed = torch.get_rng_state()
    with torch.inference_mode(inference):
        rows = profile(net, (4,), T=3)
    assert [row["macs"] for row in rows] == [20, 0, 0, 0]
    assert torch.equal(torch.get_rng_state(), seed)
    assert modes_of(net) == modes and net.layers[2].backend == "auto"
    assert careless.kept is kept and net.layers[2].v is v and net.layers[2].v_seq is v_seq and v.requires_grad
    assert all(torch.equal(states[name], value) for name, value in functional.get_states(net).items())
    assert all(torch.equal(saved[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    net.layers[2].backend = "torch"
    net(x).sum().backward()  # the graph of the kept states is whole


def modes_of(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_a_net_that_cannot_take_the_sample_is_named_and_left_alone():
    net = build(["Flatten", {"name": "Linear", "out_features": 5}, "neuron"], (1, 4, 4), TORCH).train()
    with pytest.raises(ValueError, match=r"^Net cannot take an input of shape \[T, N, 2, 4, 4\]: "):
        profile(net, (2, 4, 4))
    assert all(modes_of(net))
    with pytest.raises(ValueError, match="profile: T must be an integer ≥ 1, got 0"):
        profile(net, (1, 4, 4), T=0)


def test_settings_tell_neurons_apart():
    neurons = IFNode(step_mode="m"), LIFNode(tau=3.5, step_mode="m"), nn.ReLU(), GatedLIFNode(T=2, step_mode="m")
    rows = profile(nn.Sequential(*neurons), (2,))
    assert [row["neuron"].split(",")[0] for row in rows] == ["v_threshold=1", "tau=3.5", "", "T=2"]
    assert rows[1]["neuron"].endswith("detach_reset=False, Sigmoid") and "step" not in rows[1]["neuron"]
