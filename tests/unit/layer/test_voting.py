"""Readout by vote."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain import functional
from snntrain.layer.voting import VotingLayer


@settings(max_examples=25, deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=4),
    classes=st.integers(0, 3),
    size=st.integers(1, 4),
    mode=st.sampled_from("sm"),
)
def test_votes_are_means_over_neighbors_at_any_rank(leading: list[int], classes: int, size: int, mode: str):
    x = torch.rand(*leading, classes * size)
    y = VotingLayer(size, mode)(x)
    assert y.shape == (*leading, classes)
    for c in range(classes):
        torch.testing.assert_close(y[..., c], sum(x[..., c * size + i] for i in range(size)) / size)


def test_two_votes_per_class():
    assert VotingLayer(2)(torch.tensor([[1.0, 3.0, 5.0, 9.0]])).tolist() == [[2, 7]]
    assert VotingLayer(step_mode="m")(torch.zeros(4, 2, 30)).shape == (4, 2, 3)


def test_votes_on_a_repeated_step_are_counted_once():
    y = VotingLayer(2, "m")(functional.repeat(torch.tensor([[1.0, 3.0]]), 4))
    assert y.tolist() == [[[2]]] * 4 and functional.repeated_step(y).tolist() == [[2]]


def test_no_parameters_and_its_text():
    assert VotingLayer().state_dict() == {} and repr(VotingLayer()) == "VotingLayer(voting_size=10, step_mode=s)"


@pytest.mark.parametrize("value", [0, 2.0, True])
def test_voting_size_is_a_count(value):
    with pytest.raises(ValueError, match="VotingLayer: voting_size must be an integer ≥ 1, got"):
        VotingLayer(value)


def test_no_neuron_is_left_over():
    with pytest.raises(ValueError, match=r"VotingLayer: .*multiple of voting_size = 3, got shape \[2, 5, 7\]"):
        VotingLayer(3, "m")(torch.zeros(2, 5, 7))
    with pytest.raises(ValueError, match="multiple"):
        VotingLayer(1)(torch.zeros(()))
    with pytest.raises(ValueError, match="T ≥ 1"):
        VotingLayer(1, "m")(torch.zeros(0, 2, 7))
    assert VotingLayer(2)(torch.zeros(0, 6)).shape == (0, 3)
