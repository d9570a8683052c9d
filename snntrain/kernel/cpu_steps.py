"""Single steps on the CPU: compiled with numba."""

from collections.abc import Callable
from typing import Any

from snntrain.kernel.compiled import Compiled
from snntrain.kernel.numba_source import BLOCK
from snntrain.kernel.plan import Plan
from snntrain.kernel.step_source import source
from snntrain.kernel.steps import Backward, Forward, Parameters, Step

_SHARE = 65_536  # neurons that are worth waking another thread for


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
        call.parameters.values.numpy(),
        plan.constants[0],
        *_spread(call.parameters),
    )
    return lambda t: run(arrays, (t, call.K, M))


def backward(plan: Plan, call: Backward) -> tuple[Callable[[int, int], None], Step]:
    """A function that computes the states before the steps begin … end − 1 again, and one that pulls back step t."""
    M, run, run_again = call.inputs.shape[1], _caller(plan, "backward"), _caller(plan, "again")
    inputs, history, values = call.inputs.numpy(), call.history.numpy(), call.parameters.values.numpy()
    spread = _spread(call.parameters)
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
        *spread,
    )

    def again(begin: int, end: int) -> None:
        run_again((inputs, history, values, plan.constants[0], *spread), (begin, end, M))

    return again, lambda t: run(arrays, (t, call.K, M))


def _spread(parameters: Parameters) -> tuple[Any, ...]:
    """The arguments for parameters that differ between neurons."""
    spread = [value.numpy() for value in parameters.spread]
    return (*spread, parameters.channel_stride) if spread else ()


def _caller(plan: Plan, name: str) -> Callable[[tuple[Any, ...], tuple[int, int, int]], None]:
    """A function that runs a kernel on all neurons; the sizes end with their number."""
    if "cpu steps" not in plan.compiled:
        plan.compiled["cpu steps"] = Compiled(source(plan))
    kernels = plan.compiled["cpu steps"]

    def run(arrays: tuple[Any, ...], sizes: tuple[int, int, int]) -> None:
        M = sizes[2]
        kernels.run(name, (*arrays, *sizes), M, BLOCK, threads=M // _SHARE)

    return run
