"""Readouts against plain loops over time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from snntrain.task import READOUTS
from snntrain.task.readout import read_out

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(1, 5))


def outputs(sizes: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes)), dtype=torch.double)


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_rate_is_the_mean_over_time(sizes):
    y_seq = outputs(sizes)
    expected = [[sum(step[n][k].item() for step in y_seq) / sizes[0] for k in range(sizes[2])] for n in range(sizes[1])]
    assert_close(read_out(y_seq, "rate"), torch.tensor(expected, dtype=torch.double))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.floats(1.01, 50))
def test_membrane_is_the_potential_of_a_leaky_integrator_that_never_fires(sizes, tau):
    y_seq = outputs(sizes)
    v = torch.zeros(sizes[1:], dtype=torch.double)
    for n in range(sizes[1]):
        for k in range(sizes[2]):
            for t in range(sizes[0]):
                v[n, k] = v[n, k] + (y_seq[t, n, k] - v[n, k]) / tau
    assert_close(read_out(y_seq, "membrane", tau), v)


def test_membrane_of_a_constant_approaches_it_as_the_closed_form_says():
    steps, tau = 9, 3.0
    v = read_out(torch.full((steps, 1, 1), 2.0, dtype=torch.double), "membrane", tau)
    assert v.item() == pytest.approx(2.0 * (1 - (1 - 1 / tau) ** steps))


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_last_is_the_last_step_and_max_the_largest(sizes):
    y_seq = outputs(sizes)
    assert torch.equal(read_out(y_seq, "last"), y_seq[sizes[0] - 1])
    largest = y_seq[0].clone()
    for step in y_seq:
        largest = torch.where(step > largest, step, largest)
    assert torch.equal(read_out(y_seq, "max"), largest)


@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_flow_through_every_readout(readout):
    y_seq = torch.randn(4, 2, 3, dtype=torch.double, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: read_out(y, readout), y_seq)
    gradient = torch.autograd.grad(read_out(y_seq, readout).sum(), y_seq)[0]
    assert gradient.sum(0).gt(0).all()  # every score depends on some step
    reached = gradient.ne(0).flatten(1).any(1).tolist()
    if readout != "max":
        assert reached == ([False, False, False, True] if readout == "last" else [True] * 4)


@pytest.mark.parametrize("readout", READOUTS)
def test_one_step_is_its_own_readout(readout):
    y_seq = outputs((1, 2, 3))
    expected = y_seq[0] / 2 if readout == "membrane" else y_seq[0]
    assert_close(read_out(y_seq, readout, tau=2.0), expected)
