"""Counts of spikes in one pass, against torch's own sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.kernel.spike_count import spike_counts, spike_total


@settings(deadline=None)  # the first call compiles
@given(
    rows=st.integers(1, 9),
    columns=st.sampled_from([1, 15, 16, 17, 4095, 4096, 4097, 9000]),
    share=st.floats(0, 1),
    threads=st.sampled_from([1, 3]),
)
def test_columns_of_spikes_are_added_up(rows, columns, share, threads):
    x = (torch.rand(rows, columns, generator=torch.Generator().manual_seed(rows)) < share).float()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(spike_counts(x), x.sum(0))
        assert spike_total(x) == x.sum()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, 1e-30, float("inf"), float("nan")])
@pytest.mark.parametrize("place", [(0, 0), (3, 4099), (6, 9999)])
def test_a_value_that_is_no_spike_is_found_anywhere(value, place):
    x = torch.ones(7, 10_000)
    x[place] = value
    assert spike_counts(x) is None
    assert spike_total(x) is None


def test_the_order_of_memory_does_not_matter():
    x = (torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    assert spike_total(x.permute(4, 0, 2, 1, 3)) == spike_total(x[..., ::2]) + spike_total(x[..., 1::2]) == x.sum()
    assert spike_total(torch.ones(())) == 1


def test_what_a_kernel_cannot_read_is_left_to_the_caller():
    assert spike_counts(torch.ones(2, 3, dtype=torch.float64)) is None
