"""Single steps on the CPU: compiled with numba."""

import pickle
from collections.abc import Callable
from typing import Any

from snntrain.kernel import cache, cpu
from snntrain.kernel.plan import Plan
from snntrain.kernel.step_source import source
from snntrain.kernel.steps import Backward, Forward, Step

_SMALLER = 8  # a thread is worth waking for so many times the neurons of a kernel that runs a whole sequence
_DAMAGED = (pickle.UnpicklingError, EOFError, ImportError, AttributeError, ValueError, KeyError, IndexError)


def forward(plan: Plan, call: Forward) -> Step:
    """A function that runs step t."""
    M, run = call.out.shape[1], _caller(plan, "forward")
    arrays = (
        call.inputs.numpy(),
        call.x.numpy(),
        call.x_stride,
        call.states.numpy(),
        call.kept.numpy(),
        call.out.numpy(),
        call.values.numpy(),
        plan.constants[0],
    )
    return lambda t: run(arrays, (t, call.K, M))


def backward(plan: Plan, call: Backward) -> tuple[Callable[[int, int], None], Step]:
    """A function that computes the states before the steps begin … end − 1 again, and one that pulls back step t."""
    M, run, run_again = call.inputs.shape[1], _caller(plan, "backward"), _caller(plan, "again")
    inputs, history, values = call.inputs.numpy(), call.history.numpy(), call.values.numpy()
    arrays = (
        inputs,
        history,
        call.g_out.numpy(),
        call.g_fed_back.numpy(),
        call.g_inputs.numpy(),
        call.g_states.numpy(),
        call.sums.numpy(),
        values,
        plan.constants[1],
    )

    def again(begin: int, end: int) -> None:
        run_again((inputs, history, values, plan.constants[0]), (begin, end, M))

    return again, lambda t: run(arrays, (t, call.K, M))


def _caller(plan: Plan, name: str) -> Callable[[tuple[Any, ...], tuple[int, int, int]], None]:
    if "cpu steps" not in plan.compiled:
        plan.compiled["cpu steps"] = cache.module(source(plan))

    def run(arrays: tuple[Any, ...], sizes: tuple[int, int, int]) -> None:
        try:
            cpu._spread(getattr(plan.compiled["cpu steps"], name), arrays, sizes, sizes[2] // _SMALLER)
        except _DAMAGED:  # a damaged entry of the on-disk cache fails while it is loaded
            plan.compiled["cpu steps"] = cache.rebuild(plan.compiled["cpu steps"])
            cpu._spread(getattr(plan.compiled["cpu steps"], name), arrays, sizes, sizes[2] // _SMALLER)

    return run
