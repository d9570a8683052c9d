"""What parallel neurons promise besides their sums: arguments, dtypes, shapes, copies, states."""

import copy
import warnings
from typing import Any

import promises
import pytest
import torch
from cases import Sum, causal
from promises import in_chunks, in_steps, random

from snntrain.base import StateMismatchError
from snntrain.neuron.parallel import PSN, MaskedPSN, SlidingPSN


def test_a_lambda_without_data_can_be_printed():
    assert "lambda_=nan" in repr(MaskedPSN(2, 3).to("meta"))
    assert "surrogate_function=sigmoid" in repr(PSN(3, torch.sigmoid))


MAKERS = {
    "PSN": lambda: PSN(4),
    "MaskedPSN": lambda: MaskedPSN(2, 4, 0.5, step_mode="m"),
    "causal MaskedPSN": lambda: causal(2, 4),
    "SlidingPSN": lambda: SlidingPSN(3),
    "SlidingPSN conv": lambda: SlidingPSN(3, algorithm="conv"),
}
over_makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def runs_of(make: Any) -> list:
    node = make()
    return [in_chunks] if isinstance(node, PSN) or "lambda_=0.5" in repr(node) else [in_steps, in_chunks]


@over_makers
def test_sums_are_computed_in_the_state_dtype_also_with_half_parameters(make):
    for run in runs_of(make):
        promises.assert_half_precision_is_computed_in_float32(make, run)
        half = make().half()
        assert run(half, random(4, 5, dtype=torch.float16)).dtype == torch.float16
        assert all(item.dtype == torch.float32 for item in promises.state_tensors(half).values())


def test_autocast_does_not_reach_into_the_sum():
    x = random(4, 64)
    for make in MAKERS.values():
        for run in runs_of(make):
            node, twin = promises.seeded(make), promises.seeded(make)
            node.surrogate_function = twin.surrogate_function = Sum()
            with torch.autocast("cpu", torch.bfloat16):
                out = run(node, x)
            assert out.dtype == torch.float32 and torch.equal(out, run(twin, x))


@over_makers
def test_each_element_is_treated_on_its_own_whatever_the_shape(make):
    promises.assert_any_shape(make, runs_of(make), T=4)


@over_makers
def test_copies_own_their_parameters_and_kept_inputs(make):
    x = random(4, 3, dtype=torch.float64).requires_grad_()
    for run in runs_of(make):
        node = promises.seeded(make)
        if isinstance(node, SlidingPSN) or run is in_steps:
            run(node, x[:2])
        twin = copy.deepcopy(node)
        assert twin.weight.data_ptr() != node.weight.data_ptr()
        for a, b in zip(promises.state_tensors(node).values(), promises.state_tensors(twin).values(), strict=True):
            assert torch.equal(a, b) and a.data_ptr() != b.data_ptr() and not b.requires_grad
        rest = x[2:] if promises.state_tensors(node) else x
        assert torch.equal(run(twin, rest), run(node, rest))


@pytest.mark.parametrize("make", [lambda: causal(2, 6), lambda: SlidingPSN(3)])
def test_states_are_restored_and_stay_out_of_the_state_dict(make):
    promises.assert_copies_go_on_alike(make, in_steps)
    promises.assert_states_can_be_restored(make, in_steps)
    promises.assert_state_dict_holds(make, list(make().state_dict()), torch.ones(3))
    promises.assert_states_never_change_in_place(make, random(4, 3), in_steps)
    if isinstance(make(), SlidingPSN):
        promises.assert_states_never_change_in_place(make, random(4, 3), in_chunks)
        promises.assert_states_can_be_restored(make, in_chunks)


def test_another_batch_size_without_reset_is_an_error_that_explains_itself():
    promises.assert_forgotten_reset_is_explained(lambda: causal(2, 6), "queue", torch.zeros(4, 3), torch.zeros(2, 3))
    promises.assert_forgotten_reset_is_explained(lambda: SlidingPSN(2), "queue", torch.zeros(4, 3), torch.zeros(2, 3))
    sequences = torch.zeros(2, 4, 3), torch.zeros(2, 2, 3)
    promises.assert_forgotten_reset_is_explained(lambda: SlidingPSN(2, step_mode="m"), "queue", *sequences)
    node = causal(2, 2)
    in_chunks(node, torch.zeros(2, 4))
    with pytest.raises(StateMismatchError):
        in_chunks(node, torch.zeros(2, 3))


@over_makers
def test_eval_changes_nothing_and_wrong_inputs_are_refused(make):
    for run in runs_of(make):
        promises.assert_eval_is_train(make, random(4, 3), run)
        promises.assert_inputs_are_refused(make, "s" if run is in_steps else "m")


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in MAKERS.values():
            for run in runs_of(make):
                run(make(), random(4, 2, 3)).sum().backward()
