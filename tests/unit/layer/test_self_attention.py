"""Spiking self-attention and Q-K attention against the papers' equations, head by head."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional, registry
from snntrain.base import StateMismatchError
from snntrain.layer.self_attention import QKAttention, SpikingSelfAttention
from snntrain.neuron import PSN, LIFNode, ParametricLIFNode, ReLU

KINDS = {
    "ssa": lambda *args, **kw: SpikingSelfAttention(*args, **kw),
    "token": lambda *args, **kw: QKAttention(*args, qka_type="token", **kw),
    "channel": lambda *args, **kw: QKAttention(*args, qka_type="channel", **kw),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
Neuron = Callable[[Tensor, float], Tensor]


def lif(x_seq: Tensor, threshold: float) -> Tensor:
    """h = v + (x − v)/2, spike at h ≥ threshold, reset to 0."""
    v, spikes = torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        h = v + (x - v) / 2
        spikes.append((h >= threshold).to(x))
        v = torch.where(h >= threshold, 0.0, h)
    return torch.stack(spikes)


def branch(module: nn.Sequential, x: Tensor, neuron: Neuron) -> Tensor:
    """SN(BN(W·x + b)) of tokens [T, N, C, L]."""
    conv, bn, _ = module
    y = torch.einsum("oc,tncl->tnol", conv.weight[:, :, 0], x)
    y = y if conv.bias is None else y + conv.bias[:, None]
    mean, var = bn.running_mean, bn.running_var
    if bn.training:
        mean, var = y.mean((0, 1, 3)), y.var((0, 1, 3), correction=0)
    y = (y - mean[:, None]) / (var[:, None] + bn.eps).sqrt() * bn.weight[:, None] + bn.bias[:, None]
    return neuron(y, 1.0)


def equation(kind: str, layer: nn.Module, x: Tensor, neuron: Neuron = lif) -> Tensor:
    """The whole layer on tokens [T, N, C, L], one head after the other."""
    q, k = branch(layer.q, x, neuron), branch(layer.k, x, neuron)
    v = branch(layer.v, x, neuron) if kind == "ssa" else None
    per_head, outputs = layer.dim // layer.num_heads, []
    for head in range(layer.num_heads):
        own = slice(head * per_head, (head + 1) * per_head)
        q_h, k_h = q[:, :, own], k[:, :, own]
        if kind == "ssa":
            channels = torch.einsum("tnil,tnjl->tnij", v[:, :, own], k_h)
            outputs.append(neuron(torch.einsum("tnij,tnjl->tnil", channels, q_h) * 0.125, 0.5))
        else:
            outputs.append(neuron(q_h.sum(2 if kind == "token" else 3, keepdim=True), 0.5) * k_h)
    return branch(layer.projection, torch.cat(outputs, dim=2), neuron)


def lively(layer: nn.Module) -> nn.Module:
    """Double precision, with statistics and scales under which every neuron fires now and then."""
    generator = torch.Generator().manual_seed(1)
    for module in layer.double().modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(1, 3, generator=generator)
            module.bias.data.normal_(1.1, 0.5, generator=generator)
        if isinstance(module, nn.Conv1d):
            module.weight.data.normal_(generator=generator)
    return layer


def made(kind: str, *args, **arguments) -> nn.Module:
    torch.manual_seed(0)
    return lively(KINDS[kind](*args, **{"backend": "torch", **arguments}))


def spikes(*shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(2)) < rate).double()


@EVERY_KIND
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "heads", "length"), [(8, 2, 9), (24, 2, 5), (6, 6, 16), (7, 1, 7)])
def test_the_layer_is_the_papers_equation(kind: str, training: bool, dim: int, heads: int, length: int):
    layer = made(kind, dim, heads).train(training)
    x = spikes(5, 3, dim, length)
    expected = equation(kind, layer, x)
    assert 0.02 < expected.mean() < 0.98
    assert torch.equal(layer(x), expected)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    t=st.integers(1, 3),
    n=st.integers(1, 2),
    heads=st.integers(1, 3),
    per_head=st.integers(1, 40),
    length=st.integers(1, 40),
)
def test_attention_of_spikes_is_exact_in_float32(kind: str, t: int, n: int, heads: int, per_head: int, length: int):
    """Whichever product comes first: integers against int64."""
    layer = KINDS[kind](heads * per_head, heads, backend="torch")
    inputs = []
    layer.attention_neuron.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    generator = torch.Generator().manual_seed(length)
    q, k, v = (torch.rand(3, t, n, heads, per_head, length, generator=generator) < 0.5).long()
    out = layer.attend(*[z.float() for z in (q, k, v)][: len(layer.branches)])
    if kind == "ssa":
        products = torch.einsum("tnhil,tnhjl,tnhjm->tnhim", v, k, q)
        assert torch.equal(inputs[0], products.flatten(2, 3) / 8)
    else:
        assert torch.equal(inputs[0], q.sum(3 if kind == "token" else 4, keepdim=True).float())
    assert out.shape == (t, n, heads * per_head, length)


@EVERY_KIND
@pytest.mark.parametrize("space", [(6,), (3, 2), (2, 5)])
def test_one_step_at_a_time_is_the_sequence(kind: str, space: tuple[int, ...]):
    layer = made(kind, 8, 2).eval()
    x = spikes(4, 2, 8, *space)
    whole = layer(x)
    assert whole.shape == x.shape and 0 < whole.mean() < 1
    functional.reset_net(layer)
    layer.step_mode = "s"
    assert torch.equal(torch.stack([layer(step) for step in x]), whole)


@EVERY_KIND
def test_images_are_rows_of_tokens(kind: str):
    layer = made(kind, 8, 2).eval()
    x = spikes(4, 2, 8, 3, 5)
    tokens = layer(x.flatten(3))
    channels_last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    for image in (x, channels_last):
        functional.reset_net(layer)
        assert torch.equal(layer(image), tokens.view_as(x))


@EVERY_KIND
def test_gradients_with_a_smooth_neuron_are_those_of_the_equation(kind: str):
    def softplus(x: Tensor, threshold: float) -> Tensor:
        return nn.functional.softplus(x - threshold)

    class Softplus(nn.Module):
        def __init__(self, v_threshold: float = 1.0):
            super().__init__()
            self.threshold = v_threshold

        def forward(self, x: Tensor) -> Tensor:
            return softplus(x, self.threshold)

    layer = made(kind, 6, 2, neuron=Softplus).eval()
    x = spikes(2, 3, 6, 4).requires_grad_()
    inputs = [x, *layer.parameters()]
    chosen = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.double)
    ours = torch.autograd.grad((layer(x) * chosen).sum(), inputs)
    for gradient, expected in zip(
        ours, torch.autograd.grad((equation(kind, layer, x, softplus) * chosen).sum(), inputs), strict=True
    ):
        assert gradient.abs().sum() > 0
        assert_close(gradient, expected)


@EVERY_KIND
@pytest.mark.parametrize("training", [True, False])
def test_every_parameter_gets_a_gradient_through_the_spikes(kind: str, training: bool):
    layer, x = made(kind, 8, 2).train(training), spikes(4, 2, 8, 3, 3).requires_grad_()
    (layer(x) * torch.arange(x.numel()).view_as(x)).sum().backward()
    for name, value in [("x", x), *layer.named_parameters()]:
        assert value.grad.isfinite().all(), name
        # Normalization over the batch cancels the bias in front of it.
        assert value.grad.abs().sum() > 0 or (training and name == "projection.conv.bias"), name


@EVERY_KIND
def test_state_is_carried_until_reset(kind: str):
    layer, x = made(kind, 8, 2).eval(), spikes(3, 2, 8, 5)
    first = layer(x)
    second = layer(x)
    assert not torch.equal(second, first)
    assert torch.equal(torch.cat([first, second]), equation(kind, layer, torch.cat([x, x])))
    with pytest.raises(StateMismatchError, match="reset"):
        layer(x[:, :1])
    functional.reset_net(layer)
    assert torch.equal(layer(x), first)


@EVERY_KIND
def test_state_dict_and_copy_give_the_same_layer(kind: str):
    layer, other, x = made(kind, 8, 2).eval(), KINDS[kind](8, 2, backend="torch").double().eval(), spikes(3, 2, 8, 5)
    other.load_state_dict(layer.state_dict())
    assert not any("neuron" in key for key in layer.state_dict())
    for same in (other, copy.deepcopy(layer)):
        functional.reset_net(layer)
        assert torch.equal(same(x), layer(x))


def test_parameters_are_those_of_the_published_models():
    """Blocks of Spikformer-4-256 and of QKFormer HST-4-384, counted by hand: weights, norms, projection bias."""
    branch, bias = 256 * 256 + 2 * 256, 256
    assert sum(p.numel() for p in SpikingSelfAttention(256).parameters()) == 4 * branch + bias == 264_448
    branch, bias = 96 * 96 + 2 * 96, 96
    assert sum(p.numel() for p in QKAttention(96).parameters()) == 3 * branch + bias == 28_320


@EVERY_KIND
def test_the_neurons_are_lif_with_a_lower_threshold_for_attention(kind: str):
    layer = KINDS[kind](8, 2, backend="torch")
    neurons = {path: module for path, module in layer.named_modules() if isinstance(module, LIFNode)}
    assert list(neurons) == [*(f"{name}.neuron" for name in layer.branches), "attention_neuron", "projection.neuron"]
    for path, neuron in neurons.items():
        assert neuron.v_threshold == (0.5 if path == "attention_neuron" else 1.0)
        assert (neuron.tau, neuron.detach_reset, neuron.v_reset, neuron.backend) == (2.0, True, 0.0, "torch")
    functional.set_backend(layer, "auto")
    assert {neuron.backend for neuron in neurons.values()} == {"auto"}
    assert {neuron.backend for neuron in KINDS[kind](8, 2).modules() if isinstance(neuron, LIFNode)} == {"auto"}


@EVERY_KIND
def test_a_factory_makes_each_neuron(kind: str):
    calls = []

    def plif(**overrides) -> nn.Module:
        calls.append(overrides)
        return ParametricLIFNode(init_tau=3.0, backend="torch", **overrides)

    layer = KINDS[kind](8, 2, neuron=plif)
    count = len(layer.branches) + 2
    assert calls.count({}) == count - 1 and calls.count({"v_threshold": 0.5}) == 1
    nodes = [module for module in layer.modules() if isinstance(module, ParametricLIFNode)]
    assert len(nodes) == count and layer.attention_neuron.v_threshold == 0.5
    assert {(node.step_mode, node.backend) for node in nodes} == {("m", "torch")}  # 'auto' leaves the backend alone


@EVERY_KIND
def test_the_ann_twin_has_no_state(kind: str):
    layer = made(kind, 6, 2, neuron=lambda **overrides: ReLU()).eval()
    x = spikes(2, 3, 6, 4)
    assert_close(layer(x), equation(kind, layer, x, lambda y, threshold: y.clamp(min=0)))
    assert not list(functional.stateful_modules(layer))


@EVERY_KIND
def test_the_step_mode_is_that_of_all_parts(kind: str):
    layer = KINDS[kind](8, 2)
    for mode, switch in [
        ("m", lambda: None),
        ("s", lambda: setattr(layer, "step_mode", "s")),
        ("m", lambda: functional.set_step_mode(nn.Sequential(layer), "m")),
    ]:
        switch()
        assert {module.step_mode for module in layer.modules() if hasattr(module, "step_mode")} == {mode}
    assert KINDS[kind](8, 2, step_mode="s").q.neuron.step_mode == "s"
    with pytest.raises(ValueError, match=r"step_mode must be .*'x'"):
        layer.step_mode = "x"


@EVERY_KIND
def test_a_neuron_of_sequences_makes_a_layer_of_sequences(kind: str):
    layer = made(kind, 8, 2, neuron=lambda **overrides: PSN(3)).eval()
    with pytest.raises(ValueError, match=r"Attention: step_mode 's' is not supported, it runs in 'm' only"):
        layer.step_mode = "s"
    assert {module.step_mode for module in layer.modules() if hasattr(module, "step_mode")} == {"m"}
    assert layer(spikes(3, 2, 8, 4)).shape == (3, 2, 8, 4)


@EVERY_KIND
def test_half_precision_comes_back_as_it_went_in(kind: str):
    layer, x = made(kind, 8, 2).eval(), spikes(3, 2, 8, 4)
    expected = layer(x)
    functional.reset_net(layer)
    out = layer.bfloat16()(x.bfloat16())
    assert out.dtype == torch.bfloat16 and (out != expected).double().mean() < 0.1


@pytest.mark.parametrize("name", ["SpikingSelfAttention", "QKAttention"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 20}, r"Attention: dim must be divisible by num_heads = 8, got 20"),
        ({"dim": 0}, r"dim must be an integer ≥ 1, got 0"),
        ({"dim": 8, "num_heads": 0}, r"num_heads must be an integer ≥ 1, got 0"),
        ({"dim": 8, "num_heads": 2.0}, r"num_heads must be an integer ≥ 1, got 2\.0"),
        ({"dim": 8, "backend": "lava"}, r"backend must be one of 'auto', 'torch', 'fused', got 'lava'"),
        ({"dim": 8, "neuron": ReLU()}, r"neuron must be a function .*got ReLU"),
        ({"dim": 8, "neuron": "LIFNode"}, r"neuron must be a function .*got 'LIFNode'"),
        ({"dim": 8, "step_mode": "x"}, r"step_mode must be .*got 'x'"),
        ({"dim": 8, "num_head": 4}, r"num_head is not an argument of .*Did you mean num_heads"),
    ],
)
def test_a_wrong_argument_is_named(name: str, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        registry.build("layer", name, **arguments)


def test_a_wrong_kind_of_attention_is_named():
    with pytest.raises(ValueError, match=r"QKAttention: qka_type must be one of 'token', 'channel', got 'head'"):
        QKAttention(8, qka_type="head")


@EVERY_KIND
@pytest.mark.parametrize(
    ("mode", "shape", "hint"),
    [
        ("m", (3, 2, 7, 4), False),
        ("m", (3, 8, 4), False),
        ("m", (3, 2, 8, 2, 2, 2), False),
        ("m", (3, 2, 7, 4, 4), False),
        ("s", (2, 7, 4), False),
        ("s", (2, 8), False),
        ("s", (3, 2, 8, 4, 4), True),
        ("s", (3, 2, 8, 4), True),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_the_shapes_wanted(kind, mode, shape, hint):
    layer = KINDS[kind](8, 2, step_mode=mode)
    with pytest.raises(ValueError) as caught:
        layer(torch.zeros(shape))
    start = "T, N" if mode == "m" else "N"
    text = str(caught.value)
    assert f"[{start}, 8, L] or [{start}, 8, H, W] (dim = 8 channels), got shape {list(shape)}" in text
    assert ("is step_mode still 's'?" in text) == hint and text.startswith(type(layer).__name__)


@EVERY_KIND
def test_no_steps_are_refused(kind: str):
    with pytest.raises(ValueError, match=r"T ≥ 1 steps, got shape \[0, 2, 8, 4\]"):
        KINDS[kind](8, 2)(torch.zeros(0, 2, 8, 4))
