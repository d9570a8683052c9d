"""The filter over time of each channel, against a sum of shifted sequences; the order of its sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from snntrain.kernel import time_filter


def shifted(line: Tensor, x: Tensor, taps: Tensor) -> Tensor:
    inputs, most = torch.cat([line, x]), len(taps)
    return sum(taps[j] * inputs[most - 1 - j : most - 1 - j + len(x)] for j in range(most))


def drawn(T: int, N: int, C: int, most: int, dtype: torch.dtype, seed: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    shapes = ((most - 1, N, C), (T, N, C), (most, C))
    return [torch.randn(*shape, generator=source, dtype=dtype).requires_grad_() for shape in shapes]


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 20),
    N=st.integers(1, 3),
    C=st.sampled_from([1, 3, 63, 64, 65, 130]),
    most=st.integers(1, 18),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_are_those_of_the_sum(T: int, N: int, C: int, most: int, seed: int):
    given, found = drawn(T, N, C, most, torch.float64, seed), []
    for run in (time_filter.filtered, shifted):
        y = run(*given)
        found.append((y, *torch.autograd.grad(y.sin().sum(), given, materialize_grads=True)))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_neither_threads_nor_the_length_change_a_bit():
    line, x, taps = drawn(64, 8, 130, 16, torch.float32, 0)
    gradients = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        y = time_filter.filtered(line, x, taps)
        gradients.append((y, *torch.autograd.grad(y.square().sum(), (line, x, taps))))
        torch.set_num_threads(before)
    assert all(map(torch.equal, *gradients))
    first = time_filter.filtered(line, x[:21], taps)
    rest = time_filter.filtered(x[6:21], x[21:], taps)
    assert torch.equal(torch.cat([first, rest]), gradients[0][0])


@pytest.mark.parametrize("run", ["filtered", "shifted"])
def test_a_line_of_one_expanded_number_is_that_number_everywhere(run: str):
    _, x, taps = drawn(9, 2, 130, 5, torch.float32, 0)
    by = taps if run == "filtered" else torch.arange(130) % 5
    for number in (0.0, 0.5):
        found = []
        for line in (torch.tensor(number).expand(4, 2, 130), torch.full((4, 2, 130), number)):
            y = getattr(time_filter, run)(line, x, by)
            wanted = (x, taps) if run == "filtered" else (x,)
            found.append((y, *torch.autograd.grad(y.square().sum(), wanted)))
        assert all(map(torch.equal, *found))


def test_only_gradients_that_are_asked_for_are_computed():
    line, x, taps = (tensor.detach() for tensor in drawn(5, 2, 3, 4, torch.float32, 0))
    taps.requires_grad_()
    (of_taps,) = torch.autograd.grad(time_filter.filtered(line, x, taps).sum(), taps)
    inputs = torch.cat([line, x])
    assert_close(of_taps, torch.stack([inputs[3 - j : 8 - j].sum((0, 1)) for j in range(4)]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_dtypes_are_left_to_torch(dtype: torch.dtype):
    assert not time_filter.serves(torch.zeros(2, 2, 2, dtype=dtype))
    assert time_filter.serves(torch.zeros(2, 2, 2)) and not time_filter.serves(torch.zeros(2, 0, 2))


@settings(max_examples=15, deadline=None)
@given(T=st.integers(1, 9), C=st.sampled_from([1, 3, 129]), most=st.integers(1, 12), seed=st.integers(0, 99))
def test_shifts_are_exact_and_so_are_their_gradients(T: int, C: int, most: int, seed: int):
    line, x, _ = drawn(T, 2, C, most, torch.float32, seed)
    steps = torch.randint(most, (C,), generator=torch.Generator().manual_seed(seed))
    places = (torch.arange(most - 1, most - 1 + T)[:, None] - steps)[:, None, :].expand(T, 2, C)
    gradient, found = torch.randn(T, 2, C, generator=torch.Generator().manual_seed(1)), []
    for y in (time_filter.shifted(line, x, steps), torch.cat([line, x]).gather(0, places)):
        found.append((y, *torch.autograd.grad(y, (line, x), gradient, materialize_grads=True)))
    assert all(map(torch.equal, *found))
