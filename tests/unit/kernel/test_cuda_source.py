"""The generated CUDA C without a GPU: compiled for one, and run on the CPU by way of a C++ compiler."""

import re

import pytest
import torch
from cuda_emulator import Emulator, assembly, forbidden, needs_compiler, needs_nvcc
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
from torch import Tensor

from snntrain import neuron, surrogate
from snntrain.kernel import cuda, make_plan, run, sequence
from snntrain.kernel.cuda_source import BLOCK, chunk_length, source

HALVES = (torch.float16, torch.bfloat16)


# --- the driver with the CPU in place of the GPU ----------------------------------------------------------------------


@pytest.fixture
def emulator(tmp_path, monkeypatch) -> Emulator:
    emulator = Emulator(tmp_path)
    monkeypatch.setattr(sequence, "driver_for", lambda device: cuda)
    monkeypatch.setattr(cuda, "_launch", emulator)
    return emulator


def lif() -> neuron.LIFNode:
    return NODES["LIF"]()


# --- what it computes -------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("name", sampled(NODES, 3))
def test_every_neuron_computes_what_the_loop_computes(emulator, name):
    torch.manual_seed(0)
    assert_kernel_is_loop(
        NODES[name](), 1.5 * torch.randn(20, 3, 111)
    )  # several chunks, several blocks, the last short


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, torch.bfloat16], ids=str)
def test_parameters_may_differ_between_channels_and_steps(emulator, io):
    for shape in ((20, 3, 111), (18, 5, 64), (4, 2, 6, 8, 7)):
        assert_kernel_is_loop(Spread(shape[2], shape[0]), (2.0 * torch.randn(shape)).to(io))
    assert_kernel_is_loop(Spread(6, 4, 1), LAYOUTS["channels last"](2.0 * torch.randn(4, 2, 6, 8, 8)).to(io))
    assert_a_repeated_step_is_read_once(Spread(50, 21), torch.randn(4, 50).to(io))


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, torch.bfloat16], ids=str)
def test_a_neuron_may_have_several_inputs(emulator, io):
    assert_kernel_is_loop(Branched(50), torch.randn(20, 5, 150).to(io))
    assert_kernel_is_loop(Branched(2), LAYOUTS["channels last"](torch.randn(4, 2, 6, 8, 8)).to(io))
    assert_a_repeated_step_is_read_once(Branched(50), torch.randn(4, 150).to(io))


@needs_compiler
@pytest.mark.parametrize("io", [torch.float64, *HALVES], ids=str)
@pytest.mark.parametrize("name", sampled(["PLIF", "RAF", "ILIF"], 3))
def test_the_input_may_come_in_other_dtypes(emulator, name, io):
    torch.manual_seed(0)
    x = (1.5 * torch.randn(35, 2, 150)).to(io)
    assert_kernel_is_loop(NODES[name](), x, torch.float64 if io == torch.float64 else torch.float32)
    pairs = all("V = 2;" in text for _, text in emulator.launched)
    assert pairs == (io in HALVES)


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("T", [1, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("M", [1, BLOCK, BLOCK + 2])
def test_any_length_fits_the_chunks_and_any_size_the_blocks(emulator, T, M, io):
    torch.manual_seed(0)
    assert_kernel_is_loop(lif(), (1.5 * torch.randn(T, M)).to(io))


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["steps apart", "steps an odd number apart", "at an odd address", "expanded"])
def test_the_place_of_the_input_in_memory_changes_nothing(emulator, layout, io):
    base = torch.randn(12, 60).to(io)
    x = {
        "steps apart": lambda: base[:, :40],
        "steps an odd number apart": lambda: torch.randn(12, 61).to(io)[:, :40],
        "at an odd address": lambda: base.flatten()[1:601].view(10, 60),
        "expanded": lambda: base[:1].expand(12, -1),
    }[layout]()
    assert_kernel_is_loop(lif(), x)
    halves_in_pairs = io == torch.bfloat16 and layout in ("steps apart", "expanded")
    assert ("V = 2;" in emulator.launched[0][1]) == halves_in_pairs


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, *HALVES], ids=str)
def test_a_repeated_step_is_read_once_and_its_gradient_summed_over_time(emulator, io):
    assert_a_repeated_step_is_read_once(NODES["PLIF"](), torch.randn(3, 50).to(io))


@needs_compiler
def test_inference_keeps_no_states_and_numbers_do_not_change_the_kernel(emulator):
    texts = set()
    for threshold in (0.7, 1.3):
        node = neuron.IFNode(v_threshold=threshold)
        plan, _ = planned(node, torch.float32)
        x = torch.rand(20, 100)
        spikes, _, _ = run(plan, x, [0.0], [])
        assert torch.equal(spikes, looped(node.step, x, [torch.zeros(100)], [])[0])
        texts |= {text for _, text in emulator.launched}
    assert len(texts) == 1


# Every operation of the kernels. Torch takes functions, and on the CPU even the square root, from a library whose last
# bit is its own.
_ATEN = torch.ops.aten
EXACT = {
    "arithmetic": lambda x, y: ((x + y) * (x - y) / y, 1.0 - x, -x, x.abs(), x.reciprocal(), x.round()),
    "comparisons": lambda x, y: tuple((z).to(x.dtype) for z in (x >= y, x > y, x <= y, x < y, x == y, x != y)),
    "logic": lambda x, y: tuple(z.to(x.dtype) for z in ((x > 0) & (y > 0), (x > 0) | (y > 0), ~(x > 0))),
    "choices": lambda x, y: (
        torch.where(x > y, x, y),
        torch.maximum(x, y),
        torch.minimum(x, y),
        x.clamp(-1.0, 2.0),
        x.clamp(min=0.5),
        x.clamp(max=0.5),
        torch.relu(x),
        torch.sign(x),
        _ATEN.threshold_backward(y, x, 0.5),
    ),
    "rounding": lambda x, y: (x.floor(), x.ceil(), x.trunc()),
}
INEXACT = {
    "functions": lambda x, y: (
        x.sqrt(),
        x.exp(),
        x.log(),
        x.log1p(),
        x.sin(),
        x.cos(),
        x.tanh(),
        x.sigmoid(),
        x.erf(),
    ),
    "gradients": lambda x, y: (_ATEN.sigmoid_backward(y, x), _ATEN.tanh_backward(y, x)),
}


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_operation_is_torchs_also_of_infinities_and_nan(emulator, dtype):
    special = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 88.5, -104.0, 1e-40, -1e-40, 3e38, torch.inf, -torch.inf]
    special = torch.tensor([*special, torch.nan], dtype=dtype)
    x, y = torch.cartesian_prod(special, special).unbind(1)
    groups = [*EXACT.values(), *INEXACT.values()]

    def step(x: Tensor, y: Tensor, *unused: Tensor) -> tuple[Tensor, ...]:
        x, y = x.detach(), y.detach()  # their values are what counts here
        return x, y, *(value for group in groups for value in group(x, y))

    exact = sum(len(group(x, y)) for group in EXACT.values())
    count = sum(len(group(x, y)) for group in groups)
    plan = make_plan(step, 1 + count, 0, [], dtype)
    _, (_, *ours), _ = run(plan, x.unsqueeze(0), [y, *[0.0] * count], [])
    for index, (one, other) in enumerate(zip(ours, step(x, y)[2:], strict=True)):
        tolerance = {} if index >= exact else {"rtol": 0.0, "atol": 0.0}
        torch.testing.assert_close(one, other, equal_nan=True, **tolerance)


@needs_compiler
@pytest.mark.parametrize("io", HALVES, ids=str)
def test_half_precision_is_read_exactly_and_rounded_as_torch_rounds(emulator, io):
    plan = make_plan(lambda x, v: (v, x), 1, 0, [], torch.float32)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(io)
    # Floats between two neighbors: just below, on and just above the middle, and beyond the largest.
    bits = every.float().view(torch.int32) if io == torch.bfloat16 else every.float().nan_to_num().view(torch.int32)
    for offset in (0, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        values = (bits + offset).view(torch.float32)
        out, (last,), _ = run(plan, every.unsqueeze(0), [values], [])
        torch.testing.assert_close(out[0], values.to(io), rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(last, every.float(), rtol=0, atol=0, equal_nan=True)


# --- what it becomes on a GPU -----------------------------------------------------------------------------------------


def test_what_is_kept_for_backward_is_an_eighth_of_the_input_up_to_two_states():
    for name, io, states in (("LIF", torch.float32, 1), ("Izhikevich", torch.float32, 2), ("LIF", torch.bfloat16, 1)):
        plan, _ = planned(NODES[name](), torch.float32)
        assert plan.states == states
        assert states * 4 / (chunk_length(plan, io) * io.itemsize) <= 1 / 8


WITHOUT_EXP = [name for name in NODES if "Sigmoid" not in name and name not in ("ATIF", "ternary LIF")]


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("io", sampled([torch.float32, torch.float64, *HALVES], 4), ids=str)
def test_it_compiles_and_its_arithmetic_is_ieee(tmp_path, io):
    names = WITHOUT_EXP if io == torch.float32 else ["LIF", "PLIF"]
    dtype = torch.float64 if io == torch.float64 else torch.float32
    plans = [planned(NODES[name](), dtype)[0] for name in names]
    ptx = assembly(tmp_path, [source(plan, io, 2 if io in HALVES else 1) for plan in plans], "sm_90", "-cubin")
    assert len(re.findall(r"\.entry", ptx)) == 2 * len(plans)
    assert "div.rn" in ptx and not forbidden(ptx)


@needs_nvcc
def test_functions_are_the_exact_ones_and_older_gpus_are_served(tmp_path):
    nodes = [NODES["LIF, soft reset, Sigmoid"](), NODES["ATIF"](), neuron.EIFNode(), neuron.ComplementaryLIFNode()]
    sources = [source(planned(node, torch.float32)[0], torch.float32, 1) for node in nodes]
    ptx = assembly(tmp_path, sources, "sm_75", "-ptx")
    # expf itself ends in the one approximate instruction there is; __expf would be nothing but that.
    assert {name for name in forbidden(ptx) if not name.startswith("fma.")} == {"ex2.approx.ftz.f32"}
    assert "fma.rn" in ptx and "div.rn.f32" in ptx


def test_a_plan_serves_surrogates_of_any_steepness_with_one_kernel():
    texts = set()
    for alpha in (1.0, 2.5):
        node = neuron.LIFNode(surrogate_function=surrogate.ATan(alpha))
        texts.add(source(planned(node, torch.float32)[0], torch.float32, 1))
    assert len(texts) == 1
