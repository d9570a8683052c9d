"""Generated kernels against the torch loop over the same step."""

import platform

import pytest
import torch
from loop_of_steps import (
    LAYOUTS,
    NODES,
    Branched,
    Spread,
    assert_a_repeated_step_is_read_once,
    assert_kernel_is_loop,
    looped,
    planned,
)
from sampled import sampled
from torch import Tensor, nn

from snntrain import neuron
from snntrain.kernel import Unsupported, make_plan, run


def fused(node: nn.Module, x: Tensor):
    plan, parameters = planned(node, x.dtype)
    return run(plan, x, [getattr(node, name) for name in node.state_names], parameters)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("Izhikevich", "KLIF")]


# test_backend.py runs the first three too: compiling a kernel takes seconds.
@pytest.mark.parametrize("name", ["IF, soft reset", "LIF", "PLIF", *SLOW])
def test_a_kernel_computes_what_the_loop_computes(name):
    x = 1.5 * torch.randn(20, 3, 3000)  # three chunks of steps, several blocks of neurons
    assert_kernel_is_loop(NODES[name](), x, rtol=1e-4)


def test_the_gradient_reaches_the_initial_state_and_sequences_may_be_cut_in_two():
    node = NODES["LIF"]()
    plan, parameters = planned(node, torch.float64)
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    v = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    whole, (last,), _ = run(plan, x, [v], parameters, False)
    first, (middle,), _ = run(plan, x[:4], [v], parameters, False)
    second, (end,), _ = run(plan, x[4:], [middle], parameters, False)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(end, last)
    (ours,) = torch.autograd.grad(whole.sum() + last.sum(), v)
    (cut,) = torch.autograd.grad(first.sum() + second.sum() + end.sum(), v)
    torch.testing.assert_close(ours, cut, rtol=1e-12, atol=1e-12)
    assert ours.abs().max() > 0


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_memory_layout_of_the_input_changes_nothing(layout):
    assert_kernel_is_loop(NODES["LIF"](), layout(torch.randn(4, 2, 6, 8, 8)))


@pytest.mark.parametrize(
    "shape, layout",
    sampled(
        [((4, 2, 6, 38, 40), "channels last"), ((4, 2, 6, 38, 40), None), ((20, 3, 3000), None), ((9, 70, 64), None)], 2
    ),
)
@pytest.mark.parametrize("thresholds", sampled([None, 1], 2), ids=["one per channel", "one for all"])
def test_parameters_may_differ_between_channels_and_steps(shape, layout, thresholds):
    x = 2.0 * torch.randn(shape)
    assert_kernel_is_loop(Spread(shape[2], shape[0], thresholds), LAYOUTS[layout](x) if layout else x)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for instructions of x86-64")
def test_a_step_with_a_dozen_parameters_of_channels_is_vector_code():
    """LLVM gives up by default where so many arrays might overlap."""

    def step(x: Tensor, v: Tensor, *p: Tensor) -> tuple[Tensor, ...]:
        h = v
        for index, value in enumerate(p):
            h = h * value if index % 2 else h + x * value
        return h, h

    plan = make_plan(step, 1, 12, range(12), torch.float32, [1] * 12)
    values = [torch.rand(64, requires_grad=True) for _ in range(12)]
    out, _, _ = run(plan, torch.randn(4, 8, 64), [0.0], values)
    out.sum().backward()
    pull_back = plan.compiled["cpu"].module.pull_back
    if not pull_back.signatures:
        pytest.skip("the kernel comes compiled from the cache")
    assembly = pull_back.inspect_asm(pull_back.signatures[0])
    assert "mulps" in assembly


@pytest.mark.slow
def test_a_neuron_may_have_several_inputs():
    assert_kernel_is_loop(Branched(1500), torch.randn(20, 3, 3 * 1500))
    assert_kernel_is_loop(Branched(2), LAYOUTS["channels last"](torch.randn(4, 2, 6, 8, 8)))
    assert_a_repeated_step_is_read_once(Branched(50), torch.randn(7, 150))


def test_a_step_that_is_repeated_is_read_once_and_its_gradient_summed_over_time():
    x = torch.randn(2, 6, 8, 8).contiguous(memory_format=torch.channels_last)
    assert_a_repeated_step_is_read_once(NODES["LIF"](), x, T=5)


def test_the_number_of_threads_changes_no_bit():
    node = Spread(9000, 8)
    x = torch.randn(8, 4, 9000, requires_grad=True)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            spikes, _, _ = fused(node, x)
            found.append([spikes, *torch.autograd.grad(spikes.sum(), [x, *node.parameters()])])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_an_empty_batch_gives_an_empty_result():
    spikes, (v,), _ = fused(neuron.IFNode(), torch.zeros(3, 0, 5))
    assert spikes.shape == (3, 0, 5) and v.shape == (0, 5)


def test_a_step_that_is_not_pointwise_is_refused_with_its_operator():
    with pytest.raises(Unsupported, match="mean"):
        make_plan(lambda x, v: (x - x.mean(), v + x), 1, 0, [], torch.float32)


def test_a_step_that_branches_on_values_is_refused():
    with pytest.raises(Unsupported, match="cannot be traced"):
        make_plan(lambda x, v: (x, v) if v.max() > 0 else (v, x), 1, 0, [], torch.float32)


def test_a_second_derivative_is_refused_with_the_way_out():
    x = torch.randn(3, 4, requires_grad=True)
    spikes, _, _ = fused(neuron.LIFNode(), x)
    (gradient,) = torch.autograd.grad(spikes.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="backend='torch'"):
        torch.autograd.grad(gradient.sum(), x)


@pytest.mark.slow
def test_a_clamp_with_two_bounds_and_a_sign_are_differentiated():
    def step(x, v):
        h = (v + x).clamp(-0.5, 0.75)
        return h * torch.sign(x) + x.abs(), h

    x = torch.tensor([[-1.0, -0.5, -0.0, 0.0, 0.5, 0.75, 2.0, torch.nan]]).repeat(3, 1).requires_grad_()
    out, last, _ = run(make_plan(step, 1, 0, [], torch.float32), x, [0.0], [])
    expected, states, _ = looped(step, x, [torch.zeros(8)], [])
    torch.testing.assert_close([out, *last], [expected, *states], rtol=0, atol=0, equal_nan=True)
    ours, theirs = (torch.autograd.grad(y.nansum(), x)[0] for y in (out, expected))
    torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rounding_and_both_zeros_are_torchs_also_of_infinities_and_nan(dtype):
    """One operation per row, chosen by the state: a kernel of one output compiles faster than one of five."""
    special = [0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, 0.99999994, -1e-40, 8388607.5, 3e38, torch.inf, -torch.inf]
    x = torch.tensor([[*special, torch.nan]] * 5, dtype=dtype)
    row = torch.arange(5.0, dtype=dtype)[:, None].expand_as(x).contiguous()

    def step(x: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        y = torch.where(x > 0, 0.0, -0.0).to(dtype)
        for index, z in enumerate((x.floor(), x.ceil(), x.trunc(), x.round())):
            y = torch.where(row == index, z, y)
        return y.detach(), row

    out, _, _ = run(make_plan(step, 1, 0, [], dtype), x.unsqueeze(0), [row], [])
    expected, _ = step(x, row)
    torch.testing.assert_close(out[0], expected, rtol=0.0, atol=0.0, equal_nan=True)
    assert torch.equal(torch.signbit(out[0, -1]), torch.signbit(expected[-1]))
