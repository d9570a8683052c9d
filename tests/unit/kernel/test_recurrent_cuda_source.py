"""Recurrence with CUDA C for its steps: run on the CPU, and on a GPU where there is one."""

import re

import pytest
import torch
from cuda_emulator import Emulator, assembly, forbidden, needs_compiler, needs_nvcc
from recurrent_containers import CONTAINERS, NEURONS, assert_fused_is_loop
from seeded_inputs import normal
from torch import Tensor, nn

from snntrain import functional
from snntrain.kernel import cuda, cuda_steps, plan_for, recurrent
from snntrain.kernel.cuda_step_source import source


@pytest.fixture
def emulator(tmp_path, monkeypatch) -> Emulator:
    emulator = Emulator(tmp_path)
    monkeypatch.setattr(recurrent, "steps_driver_for", lambda device: cuda_steps)
    monkeypatch.setattr(cuda, "_launch", emulator)
    return emulator


def case(container: str, node: str, T: int, F: int = 50, N: int = 7) -> tuple[nn.Module, Tensor]:
    """A container with many neurons, the last block of which is short, and a sequence for it."""
    made = CONTAINERS[container](NEURONS[node](F), F, True)
    return made, 3 * normal(T, N, F + 2 if container == "joined_with_weights" else F)


@needs_compiler
@pytest.mark.parametrize("node", NEURONS)
@pytest.mark.parametrize("container", ["add", "summed", "joined_with_weights"])
def test_steps_in_cuda_c_compute_what_the_loop_computes(emulator, container, node):
    assert_fused_is_loop(*case(container, node, 9), [4, 5])
    assert {kernel for kernel, _ in emulator.launched} == {"forward", "again", "backward"}


@needs_compiler
@pytest.mark.parametrize("T", [1, 8, 9, 70])
def test_any_length_fits_the_chunks(emulator, T):
    assert_fused_is_loop(*case("summed", "PLIF", T))


@needs_compiler
def test_double_precision_and_repeated_steps(emulator):
    container, x = case("summed", "PLIF", 9)
    assert_fused_is_loop(container.double(), x.double())
    container.float()
    functional.set_backend(container, "fused")
    functional.reset_net(container)
    repeated = container(functional.repeat(x[0], 9))
    container.reset()
    assert torch.equal(repeated, container(x[:1].repeat(9, 1, 1)))


@needs_nvcc
def test_it_compiles_for_a_gpu_and_its_arithmetic_is_ieee(tmp_path):
    plans = [plan_for(make(6), torch.zeros(2, 6)) for make in NEURONS.values()]
    ptx = assembly(tmp_path, [source(plan) for plan in plans], "sm_90", "-cubin")
    assert len(re.findall(r"\.entry", ptx)) == 3 * len(plans)
    assert not forbidden(ptx)


def _why_not() -> str | None:
    return cuda.unavailable() if torch.cuda.is_available() else "torch finds no GPU"


@pytest.mark.cuda
@pytest.mark.skipif(bool(_why_not()), reason=f"no kernels here: {_why_not()}")
@pytest.mark.parametrize("node", NEURONS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_on_a_gpu_it_computes_what_the_loop_computes(container, node):
    made, x = case(container, node, 9)
    assert_fused_is_loop(made.cuda(), x.cuda(), [4, 5])
