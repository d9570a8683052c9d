"""Single steps on the CPU: compiled with numba."""

from collections.abc import Callable
from typing import Any

from snntrain.kernel.compiled import Compiled, divided
from snntrain.kernel.numba_source import BLOCK
from snntrain.kernel.plan import Plan
from snntrain.kernel.step_source import source
from snntrain.kernel.steps import Backward, Forward, Parameters, Step

_SHARE = 65_536  # neurons that are worth waking another thread for


def forward(plan: Plan, call: Forward, share: range | None = None) -> Step:
    """A function that runs step t, of all neurons or of a share of them."""
    M = call.out.shape[1]
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
    return _bound(plan, "forward", (*arrays, call.K, M), M, share)


def backward(plan: Plan, call: Backward, share: range | None = None) -> tuple[Callable[[int, int], None], Step]:
    """A function that computes the states before the steps begin … end − 1 again, and one that pulls back step t."""
    M = call.inputs.shape[1]
    inputs, history, values = call.inputs.numpy(), call.history.numpy(), call.parameters.values.numpy()
    spread = _spread(call.parameters)
    again = (inputs, history, values, plan.constants[0], *spread, M)
    back = (
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
        call.K,
        M,
    )
    return _bound(plan, "again", again, M, share), _bound(plan, "backward", back, M, share)


def _spread(parameters: Parameters) -> tuple[Any, ...]:
    """The arguments for parameters that differ between neurons."""
    spread = [value.numpy() for value in parameters.spread]
    return (*spread, parameters.channel_stride) if spread else ()


def _bound(plan: Plan, name: str, arguments: tuple[Any, ...], M: int, share: range | None) -> Callable[..., None]:
    """A function of the step, or steps, that runs a kernel on all neurons, or in this thread on a share of them."""
    if "cpu steps" not in plan.compiled:
        plan.compiled["cpu steps"] = Compiled(source(plan))
    kernels = plan.compiled["cpu steps"]
    if share is not None:
        return kernels.bound(name, arguments, [(share.start, share.stop)])
    return kernels.bound(name, arguments, divided(M, BLOCK, threads=M // _SHARE))
