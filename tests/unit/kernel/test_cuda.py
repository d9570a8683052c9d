"""Generated kernels on a GPU against the torch loop over the same step."""

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

from snntrain import neuron, surrogate
from snntrain.kernel import cuda, run


def _why_not() -> str | None:
    return cuda.unavailable() if torch.cuda.is_available() else "torch finds no GPU"


pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(_why_not()), reason=f"no kernels here: {_why_not()}")]

IO = [torch.float32, torch.float16, torch.bfloat16]


def lif(**settings) -> neuron.LIFNode:
    return neuron.LIFNode(surrogate_function=surrogate.ATan(2.0), **settings).cuda()


@pytest.mark.parametrize("io", IO, ids=str)
@pytest.mark.parametrize("name", NODES)
def test_a_kernel_computes_what_the_loop_computes(name, io):
    torch.manual_seed(0)
    assert_kernel_is_loop(NODES[name]().cuda(), (1.5 * torch.randn(35, 3, 150)).to("cuda", io), rtol=1e-4)


@pytest.mark.parametrize("io", IO, ids=str)
def test_parameters_may_differ_between_channels_and_steps_and_inputs_may_have_branches(io):
    torch.manual_seed(0)
    for shape in ((20, 3, 111), (18, 5, 64), (4, 2, 6, 8, 7)):
        x = (2.0 * torch.randn(shape)).to("cuda", io)
        assert_kernel_is_loop(Spread(shape[2], shape[0]).cuda(), x, rtol=1e-4)
    assert_kernel_is_loop(Branched(50).cuda(), torch.randn(20, 5, 150).to("cuda", io), rtol=1e-4)


def test_double_precision_stays_double():
    assert_kernel_is_loop(NODES["PLIF"]().cuda(), torch.randn(20, 333, dtype=torch.float64).cuda(), torch.float64)


@pytest.mark.parametrize("node", [neuron.EIFNode, neuron.ComplementaryLIFNode])
def test_a_neuron_with_an_exponential_agrees_to_rounding(node):
    torch.manual_seed(0)
    assert_kernel_is_loop(node().cuda(), torch.randn(20, 500).cuda(), exact=False, rtol=1e-3)


def test_denormal_potentials_are_not_flushed_to_zero():
    node = lif()
    plan, parameters = planned(node, torch.float32, "cuda")
    x = torch.zeros(136, 64, device="cuda")
    x[0] = 0.5  # halved in every step
    _, (v,), _ = run(plan, x, [0.0], parameters)
    assert 0 < v.max() < torch.finfo(torch.float32).tiny
    assert torch.equal(v, looped(node.step, x, [torch.zeros(64, device="cuda")], parameters)[1][0])


@pytest.mark.parametrize("io", IO, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_memory_layout_of_the_input_changes_nothing(layout, io):
    assert_kernel_is_loop(lif(), layout(torch.randn(4, 2, 6, 8, 8).to("cuda", io)))


@pytest.mark.parametrize("io", IO, ids=str)
def test_a_repeated_step_is_read_once_and_its_gradient_summed_over_time(io):
    assert_a_repeated_step_is_read_once(lif(), torch.randn(3, 50).to("cuda", io))


def test_kernels_run_on_the_current_stream_forward_and_backward():
    node, stream = lif(), torch.cuda.Stream()
    plan, parameters = planned(node, torch.float32, "cuda")
    source = torch.randn(16, 2**20, device="cuda")
    expected, _, _ = run(plan, source, [0.0], parameters)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # a kernel on another stream would read x before it is written
        x = source.clone().requires_grad_()
        spikes, _, _ = run(plan, x, [0.0], parameters)
        spikes.sum().backward()
    stream.synchronize()
    assert torch.equal(spikes, expected)
    reference = source.clone().requires_grad_()
    run(plan, reference, [0.0], parameters)[0].sum().backward()
    assert torch.equal(x.grad, reference.grad)


def test_a_run_repeats_to_the_last_bit():
    node = NODES["PLIF"]().cuda()
    plan, parameters = planned(node, torch.float32, "cuda")
    x = torch.randn(8, 40_000, device="cuda", requires_grad=True)
    found = []
    for _ in range(2):
        spikes, _, _ = run(plan, x, [0.0], parameters)
        found.append(torch.autograd.grad(spikes.sum(), [x, node.w], retain_graph=True))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_a_cuda_graph_captures_a_fused_sequence():
    plan, parameters = planned(lif(), torch.float32, "cuda")
    x = torch.randn(8, 1000, device="cuda")
    expected, _, _ = run(plan, x, [0.0], parameters)  # compiled before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        spikes, _, _ = run(plan, x, [0.0], parameters)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(spikes, expected)


def test_an_empty_batch_gives_an_empty_result():
    plan, parameters = planned(neuron.IFNode(), torch.float32, "cuda")
    spikes, (v,), _ = run(plan, torch.zeros(3, 0, 5, device="cuda"), [0.0], parameters)
    assert spikes.shape == (3, 0, 5) and v.shape == (0, 5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU only")
def test_the_second_gpu_computes_the_same():
    node = lif().to("cuda:1")
    assert_kernel_is_loop(node, torch.randn(20, 333, device="cuda:1"))


def test_more_than_two_to_the_31_elements_are_addressed():
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip("needs 16 GiB of GPU memory")
    x = torch.full((9, 2**28), 0.6, dtype=torch.bfloat16, device="cuda")
    plan, parameters = planned(neuron.IFNode(v_reset=None), torch.float32, "cuda")
    spikes, _, _ = run(plan, x, [0.0], parameters)
    few, _, _ = run(plan, x[:, :64].contiguous(), [0.0], parameters)
    assert torch.equal(spikes[:, -64:], few) and torch.equal(spikes[:, :64], few)
