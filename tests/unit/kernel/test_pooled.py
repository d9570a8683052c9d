"""A neuron and its pooling as one kernel against the same modules called one by one: equal to the last bit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cases
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import sampled
from torch import Tensor, fx, nn

from snntrain import functional, layer, monitor
from snntrain.hooks import watching
from snntrain.layer import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d, Sequential
from snntrain.layer.padding import padded
from snntrain.neuron import BaseNode, LIFNode, ParametricLIFNode
from snntrain.surrogate import ATan

LIF = partial(LIFNode, surrogate_function=ATan(), detach_reset=True)


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[BaseNode]:
    """The neurons that ran together with their pooling."""
    calls = []
    run = layer.sequential.run_pooled_node

    def noting(neuron: BaseNode, *arguments: Any) -> Tensor | None:
        out = run(neuron, *arguments)
        if out is not None:
            calls.append(neuron)
        return out

    monkeypatch.setattr(layer.sequential, "run_pooled_node", noting)
    return calls


def net(*modules: nn.Module, fuse: str = "exact") -> Sequential:
    made = Sequential(*modules)
    functional.set_step_mode(made, "m")
    layer.set_fuse(made, fuse)
    return made


def pictures(shape: tuple[int, ...], order: str, static: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    """[T, N, C, H, W] with a gradient; its memory is that of a convolution's output."""
    T, N, *sizes = shape
    x = 1.5 * torch.randn(N if static else T * N, *sizes, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last if order == "channels last" else torch.contiguous_format)
    x = x.requires_grad_() * 1.0
    return functional.repeat(x, T) if static else x.unflatten(0, (T, N))


def bits(value: Tensor) -> Tensor:
    """Tell −0.0 from 0.0, and find every NaN equal to every other."""
    value = torch.where(value.isnan(), torch.nan, value)
    return value.detach().contiguous().view(torch.int64 if value.dtype == torch.float64 else torch.int32)


def results(modules: Callable[[], tuple[nn.Module, ...]], x: Tensor, fuse: str, calls: int = 1) -> list[Tensor]:
    """Outputs, gradients, states and count of spikes of a net that is called so many times in a row."""
    torch.manual_seed(1)
    sequence = net(*modules(), fuse=fuse)
    counts: list[Tensor] = []
    neurons = {name: module for name, module in sequence.named_modules() if isinstance(module, BaseNode)}
    with watching(
        neurons,
        lambda path, module, output: counts.append(torch.count_nonzero(output)),
        at_once=True,
        count=lambda path, fired, size: counts.append(fired),
    ):
        outputs = [sequence(part) for part in x.split(-(-len(x) // calls))] if calls > 1 else [sequence(x)]
    assert counts
    generator = torch.Generator().manual_seed(2)
    states = [value for _, value in functional.named_states(sequence) if isinstance(value, Tensor)]
    loss = sum(0.1 * state.sum() for state in states if state.requires_grad)
    for y in outputs:
        weights = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        weights[weights.abs() < 0.3] = -0.0  # of the two zeros torch's sums give the other one
        loss = loss + (y * weights).sum()
    step = functional.repeated_step(x)
    gradients = torch.autograd.grad(loss, [x if step is None else step, *sequence.parameters()], allow_unused=True)
    assert gradients[0] is not None
    return [*outputs, *states, *(g for g in gradients if g is not None), *(count.double() for count in counts)]


def assert_no_bit_changes(modules: Callable[[], tuple[nn.Module, ...]], x: Tensor, calls: int = 1) -> None:
    for fused, unfused in zip(*(results(modules, x, fuse, calls) for fuse in ("exact", "off")), strict=True):
        assert fused.stride() == unfused.stride()
        assert torch.equal(bits(fused), bits(unfused))


# --- what is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", sampled(["channels last", "contiguous"], 2))
@pytest.mark.parametrize("static", sampled([False, True], 2), ids=["sequence", "one step"])
@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d])
def test_fusing_changes_no_bit(pool, static, order, fused_calls):
    """The sizes are such that rows and columns remain, blocks are several, and the potentials of 20 steps are kept."""
    assert_no_bit_changes(lambda: (LIF(), pool(2)), pictures((20, 2, 20, 9, 33), order, static))
    assert len(fused_calls) == 1


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 3, *[st.integers(2, 11)] * 2),
    order=st.sampled_from(["channels last", "contiguous"]),
    static=st.booleans(),
    pool=st.sampled_from([MaxPool2d, AvgPool2d]),
)
def test_fusing_changes_no_bit_whatever_the_sizes(sizes, order, static, pool):
    torch.manual_seed(sum(sizes))
    assert_no_bit_changes(lambda: (LIF(), pool(2)), pictures(sizes, order, static))


@pytest.mark.parametrize("window", [3, (3, 2), (1, 4)])
@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d])
@pytest.mark.slow
def test_windows_have_any_size(pool, window, fused_calls):
    for order in ("channels last", "contiguous"):
        assert_no_bit_changes(lambda: (LIF(), pool(window)), pictures((3, 2, 5, 10, 13), order, False))
    assert len(fused_calls) == 2


FUSABLE = cases.POINTWISE | {name: cases.NODES[name] for name in ("GLIF", "CE-LIF")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name == "PLIF" else pytest.param(name, marks=pytest.mark.slow) for name in FUSABLE]
)
def test_every_fused_neuron_is_fused_with_its_pooling(name, fused_calls):
    """Also those that learn parameters: for all neurons, for each channel, and for each step."""
    kind = FUSABLE[name]
    make = partial(kind.func, *kind.args, **{**kind.keywords, "backend": "auto"})
    x = pictures((10, 2, 16, 16, 17), "channels last", False)
    assert_no_bit_changes(lambda: (make(), MaxPool2d(2)), x)
    if name != "PLIF":
        assert_no_bit_changes(lambda: (make(), AvgPool2d(2)), pictures((3, 2, 16, 6, 4), "contiguous", True))
    assert len(fused_calls) == 1 + (name != "PLIF")


@pytest.mark.slow
def test_float64_and_special_values_are_pooled_as_torch_does_it(fused_calls):
    """A neuron that hands on its input: of equal numbers the first gets the gradient, and a NaN wins."""

    class Through(BaseNode):
        def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            return x * 1.0, v

    values = torch.tensor([0.0, -0.0, 1.0, 1.0, torch.nan, -torch.inf, torch.inf, -1.0], dtype=torch.float64)
    for order in (torch.channels_last, torch.contiguous_format):
        x = values[torch.randint(8, (2, 12, 10, 10))].contiguous(memory_format=order)[None].requires_grad_()
        for pool in (MaxPool2d, AvgPool2d):
            assert_no_bit_changes(lambda pool=pool: (Through(), pool(2)), x)
    assert len(fused_calls) == 4


def test_states_carry_over_from_call_to_call(fused_calls):
    assert_no_bit_changes(lambda: (LIF(), MaxPool2d(2)), pictures((7, 2, 5, 6, 6), "channels last", False), calls=3)
    assert len(fused_calls) == 3


@pytest.mark.slow
def test_a_chain_may_reach_across_containers_and_convolutions_see_the_same(fused_calls):
    def modules() -> tuple[nn.Module, ...]:
        block = Sequential(Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), LIF())
        return block, nn.Sequential(nn.Sequential(MaxPool2d(2))), Conv2d(8, 4, 3), LIF(), AvgPool2d(2)

    assert_no_bit_changes(modules, pictures((3, 2, 3, 12, 12), "channels last", True))
    assert len(fused_calls) == 2


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit():
    before = torch.get_num_threads()
    x = pictures((4, 4, 64, 16, 16), "channels last", False)
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(results(lambda: (ParametricLIFNode(), MaxPool2d(2)), x, "exact"))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


# --- where nothing is fused ------------------------------------------------------------------------------------------


def looked_at(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, inputs, output: None)
    return module


def storing(module: BaseNode) -> BaseNode:
    module.store_v_seq = True
    return module


UNFUSED = {
    "a hook on the neuron": lambda: (looked_at(LIF()), MaxPool2d(2)),
    "a hook on the pooling": lambda: (LIF(), looked_at(MaxPool2d(2))),
    "stored potentials": lambda: (storing(LIF()), MaxPool2d(2)),
    "backend torch": lambda: (LIF(backend="torch"), MaxPool2d(2)),
    "overlapping windows": lambda: (LIF(), MaxPool2d(3, stride=2)),
    "windows with gaps": lambda: (LIF(), AvgPool2d(2, stride=3)),
    "padding": lambda: (LIF(), MaxPool2d(2, padding=1)),
    "ceil_mode": lambda: (LIF(), MaxPool2d(2, ceil_mode=True)),
    "dilation": lambda: (LIF(), MaxPool2d(2, dilation=2)),
    "another divisor": lambda: (LIF(), AvgPool2d(2, divisor_override=3)),
    "torch's layer": lambda: (LIF(), layer.SeqToANNContainer(nn.MaxPool2d(2))),
    "something between": lambda: (LIF(), nn.Identity(), MaxPool2d(2)),
}


@pytest.mark.parametrize("modules", UNFUSED.values(), ids=UNFUSED)
def test_what_cannot_be_fused_runs_one_by_one(modules, fused_calls):
    x = pictures((2, 2, 3, 7, 7), "channels last", False)
    made = modules()
    assert torch.equal(net(*made)(x), nn.Sequential(*(functional.reset_net(m) or m for m in made))(x))
    assert not fused_calls


def test_a_look_at_the_neuron_shows_its_spikes(fused_calls):
    sequence = net(LIF(), MaxPool2d(2))
    x = pictures((3, 2, 4, 6, 6), "channels last", False)
    with monitor.recording(sequence) as seen:
        sequence(x)
    functional.reset_net(sequence)
    assert torch.equal(seen["0"]["spikes"], sequence[0](x)) and not fused_calls
    functional.reset_net(sequence)
    assert sequence(x).shape == (3, 2, 4, 3, 3) and len(fused_calls) == 1


def test_counts_leave_out_padding_so_a_padded_batch_is_not_fused(fused_calls):
    sequence, x, seen = net(LIF(), MaxPool2d(2)), pictures((3, 2, 4, 6, 6), "channels last", False), []
    looking = watching({"0": sequence[0]}, lambda *output: seen.append(output), at_once=True, count=seen.append)
    with padded(torch.tensor([1, 3]), 3), looking:
        sequence(x)
    assert len(seen) == 1 and not fused_calls


def test_autocast_and_single_steps_are_not_fused(fused_calls):
    sequence, x = net(LIF(), MaxPool2d(2)), pictures((3, 2, 4, 6, 6), "channels last", False)
    with torch.autocast("cpu", torch.bfloat16):
        sequence(x)
    functional.reset_net(sequence)
    functional.set_step_mode(sequence, "s")
    sequence(x[0])
    assert not fused_calls


@pytest.mark.parametrize("value", ["all", "Exact", True, None])
def test_another_value_of_fuse_is_refused(value):
    for refused in (lambda: layer.set_fuse(net(LIF()), value), lambda: setattr(net(LIF()), "fuse", value)):
        with pytest.raises(ValueError, match="fuse must be one of 'exact', 'fast', 'off'"):
            refused()


# --- what others see of it -------------------------------------------------------------------------------------------


def test_it_is_nn_sequential_to_state_dicts_printing_and_tracing():
    ours = net(Conv2d(3, 4, 3), Sequential(LIF(), MaxPool2d(2)))
    theirs = nn.Sequential(ours[0], nn.Sequential(*ours[1]))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert str(ours) == str(theirs)
    assert [node.target for node in fx.symbolic_trace(ours).graph.nodes if node.op == "call_module"] == [
        "0",
        "1.0",
        "1.1",
    ]


def test_errors_of_the_neuron_name_its_place():
    outer = nn.Sequential(net(LIF(), MaxPool2d(2)))
    outer(torch.zeros(2, 3, 1, 4, 4))
    with pytest.raises(RuntimeError, match=r"0\.0 \(LIFNode\): state v has shape \[3, 1, 4, 4\]"):
        outer(torch.zeros(2, 5, 1, 4, 4))


def test_memory_kept_for_backward_is_the_input():
    sequence, x = net(LIF(), MaxPool2d(2)), pictures((8, 2, 16, 8, 8), "channels last", False)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = sequence(x)
    kept.pop(x.untyped_storage().data_ptr())
    assert sum(kept.values()) < 100 < y.nbytes
