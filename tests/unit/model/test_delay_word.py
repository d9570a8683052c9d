"""The key `delay` of a layer in a list: what it builds, where it may stand, and what it is refused with."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refused import message_of
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional, registry
from snntrain.lava_exchange import BlockContainer
from snntrain.layer import AxonalDelay, DelaySettings, SynapticDelay, delay_lines
from snntrain.model import LayerError, build
from snntrain.model.profile import profile
from snntrain.task.chunk import run_in_chunks


def linear(outputs: int = 3, kind: str = "axonal", max: int = 4, **more: Any) -> dict[str, Any]:
    return {"name": "Linear", "out_features": outputs, "delay": {"max": max, "kind": kind}, **more}


NEURON = {"name": "IFNode", "v_threshold": 0.3, "backend": "torch"}


def built(*layers: Any, shape: tuple[int, ...] = (5,), neuron: Any = NEURON, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(list(layers), shape, neuron, **more)


def test_a_delay_belongs_to_the_layer_that_reads_it():
    conv = {"name": "Conv2d", "out_channels": 4, "kernel_size": 3, "delay": {"max": 6}}
    net = built(conv, "norm", "neuron", "Flatten", linear(7, "synaptic"), shape=(2, 5, 5))
    first, second = net.layers[0], net.layers[4]
    assert isinstance(first.delay, AxonalDelay) and first.delay.delay.shape == (2,)
    assert isinstance(second, SynapticDelay) and second.delay.shape == (7, 36)
    assert net.output_shapes == ((4, 3, 3), (4, 3, 3), (4, 3, 3), (36,), (7,))
    assert first.delay.how.max == 6 and second.how.max == 4
    assert net(torch.rand(3, 2, 2, 5, 5)).shape == (3, 2, 7)


def test_weights_start_as_the_entry_says():
    for kind in ("axonal", "synaptic"):
        net = built(linear(kind=kind, init={"weight": 0.5, "bias": 0}), init={"Linear": {"bias": 1}})
        assert (net.layers[0].layer.weight == 0.5).all() and not net.layers[0].layer.bias.any()


def test_a_block_may_fill_in_its_settings():
    blocks = {"late": [linear(max="$most"), "neuron"]}
    net = built({"name": "late", "most": 2}, {"name": "late", "most": 9}, blocks=blocks)
    assert [line.how.max for line in delay_lines(net).values()] == [2, 9]


CUBA = {"name": "CubaLIFNode", "current_decay": 0.5, "voltage_decay": 0.25}


def test_neurons_of_loihi_read_delayed_spikes():
    net = built({"lava_block": [linear(bias=False), "neuron"]}, neuron=CUBA)
    delay, block = net.layers[0]
    assert isinstance(delay, AxonalDelay) and isinstance(block, BlockContainer)
    assert block.synapse.weight.shape == (3, 5)


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(("axonal", "synaptic")), training=st.booleans(), seed=st.integers(0, 99))
def test_feedback_may_be_delayed(kind: str, training: bool, seed: int):
    """i[t] = x[t] + Σ_j V[j]·y[t − 1 − j]: the feedback's first delay is the step that a loop takes anyhow."""
    feedback = linear(5, kind, bias=False)
    net = built({"recurrent": [{"name": "neuron", "v_threshold": 0.5}], "feedback": [feedback]}).train(training)
    (line,) = delay_lines(net).values()
    weight = next(p for name, p in net.named_parameters() if name.endswith("weight")).detach()
    x = torch.rand(9, 2, 5, generator=torch.Generator().manual_seed(seed))
    y = net(x)
    taps = line.window().detach() if training else torch.stack([(line.steps() == j).float() for j in range(4)])
    taps = taps if kind == "synaptic" else taps[:, None, :].expand(4, 5, 5)
    v, past = torch.zeros(2, 5), []
    for step in x:
        back = sum((past[-1 - j] @ (taps[j] * weight).T for j in range(min(4, len(past)))), torch.zeros(2, 5))
        v = v + step + back
        past.append((v >= 0.5).float())
        v = v * (1 - past[-1])
    assert (y != torch.stack(past)).float().mean() < 0.02  # sums in another order may cross the threshold
    assert torch.equal(y[:1], past[0][None])
    functional.reset_net(net)
    assert line.line == 0.0


@pytest.mark.parametrize("kind", ("axonal", "synaptic"))
def test_exact_chunks_have_the_gradients_of_the_whole_sequence(kind: str):
    net = built(linear(6, kind, max=6), "neuron", linear(3, kind, max=3))
    x = (torch.rand(11, 3, 5) < 0.4).float()
    gradients = []
    for chunk in (11, 3, 1):
        functional.reset_net(net)
        y = run_in_chunks(net, x, chunk)
        gradients.append((y, *torch.autograd.grad(y.square().sum(), list(net.parameters()))))
    for parts in gradients[1:]:
        for ours, theirs in zip(parts, gradients[0], strict=True):
            assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_real_steps_of_padded_sequences_do_not_see_the_padding():
    net = built(linear(6), "neuron", linear(3, "synaptic")).eval()
    x = torch.rand(8, 2, 5)
    x[5:, 1] = 9.0  # whatever stands behind the end of the second sequence
    whole = net(x)
    functional.reset_net(net)
    assert_close(net(x[:5, 1:]), whole[:5, 1:])


def test_each_weight_counts_one_product_a_step():
    net = built(linear(7, "synaptic", max=4), "neuron", linear(3, max=4))
    macs = {row["path"]: row["macs"] for row in profile(net, (5,), T=6)}
    assert macs["layers.0"] == 5 * 7 and macs["layers.2.layer"] == 7 * 3 and macs["layers.2.delay"] == 0


def refusal(*layers: Any, **more: Any) -> str:
    return message_of(LayerError, built, *layers, **more)


def test_what_is_no_delay_is_refused_by_place():
    assert "model.layers[0] {name: Linear, out_features: 3, delay: 4}: delay must be a mapping such as" in refusal(
        {"name": "Linear", "out_features": 3, "delay": 4}
    )
    assert "delay.maxi is not an argument of delay. Did you mean max?" in refusal(
        {"name": "Linear", "out_features": 3, "delay": {"maxi": 4}}
    )
    assert "max must be an integer ≥ 1" in refusal(linear(max=0))
    assert "Flatten is none of them" in refusal({"name": "Flatten", "delay": {"max": 3}})
    assert "model.layers[1].delay: it belongs to a layer with weights" in refusal(
        linear(), {"name": "neuron", "delay": {"max": 3}}
    )
    block = {"lava_block": [linear(kind="synaptic", bias=False), "neuron"]}
    assert "Use kind: axonal" in refusal(block, neuron=CUBA)
    assert "layers.0.delay delays what it reads, and an OTTT neuron" in refusal(
        linear(), "neuron", neuron="OTTTLIFNode", step_mode="s"
    )


def test_a_layer_with_an_argument_delay_keeps_it(monkeypatch):
    registry.names("layer")
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(held) for kind, held in registry._ENTRIES.items()})

    @registry.register("layer", "WithDelayOfItsOwn")
    class WithDelayOfItsOwn(nn.Module):
        def __init__(self, delay: dict) -> None:
            super().__init__()
            self.given = delay

        def forward(self, x: Tensor) -> Tensor:
            return x

    net = built({"name": "WithDelayOfItsOwn", "delay": {"anything": 1}})
    assert net.layers[0].given == {"anything": 1} and not delay_lines(net)


def test_the_page_on_delays_has_every_key_with_its_default():
    page = (Path(__file__).resolve().parents[3] / "docs/delays.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert list(rows) == [field.name for field in fields(DelaySettings)]
    told = {"max": "required", "start_width": "`max`", "learn": "`true`"}
    for field in fields(DelaySettings):
        assert rows[field.name].strip("`") == told.get(
            field.name, f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        ).strip("`")
