"""Single steps on NVIDIA GPUs."""

from collections.abc import Callable

from snntrain.kernel import cuda
from snntrain.kernel.cuda_source import BLOCK
from snntrain.kernel.cuda_step_source import source
from snntrain.kernel.plan import Plan
from snntrain.kernel.steps import Backward, Forward, Parameters, Step


def forward(plan: Plan, call: Forward) -> Step:
    """A function that runs step t."""
    T, M = call.out.shape
    before = (
        cuda._address(call.inputs),
        call.inputs.shape[0],
        cuda._address(call.x),
        call.x_stride,
        cuda._address(call.states),
        cuda._address(call.kept),
        call.K,
        cuda._address(call.out),
        *_parameters(call.parameters),
        T,
        M,
    )
    run = _caller(plan, "forward", M, call)
    return lambda t: run((*before, t, *plan.constants[0]))


def backward(plan: Plan, call: Backward) -> tuple[Callable[[int, int], None], Step]:
    """A function that computes the states before the steps begin … end − 1 again, and one that pulls back step t."""
    T, M = call.inputs.shape
    inputs, history, rows = cuda._address(call.inputs), cuda._address(call.history), call.history.shape[1]
    after = (*_parameters(call.parameters), T, M)
    before = (
        inputs,
        history,
        rows,
        cuda._address(call.g_out),
        cuda._address(call.g_fed_back),
        cuda._address(call.g_inputs),
        cuda._address(call.g_states),
        cuda._address(call.sums),
        *after,
    )
    run, run_again = _caller(plan, "backward", M, call), _caller(plan, "again", M, call)

    def again(begin: int, end: int) -> None:
        run_again((inputs, history, rows, *after, begin, end, *plan.constants[0]))

    return again, lambda t: run((*before, t, *plan.constants[1]))


def _parameters(parameters: Parameters) -> list[int]:
    """The arguments for the parameters of the neurons."""
    found = [cuda._address(parameters.values)]
    if parameters.spread:
        found += [parameters.channel_stride]
        found += [number for value in parameters.spread for number in (cuda._address(value), value.shape[-1])]
    return found


def _caller(plan: Plan, kernel: str, M: int, call: Forward | Backward) -> Callable[[tuple], None]:
    """A function that launches a kernel with these arguments, one thread for each of M neurons."""
    if "cuda steps" not in plan.compiled:
        plan.compiled["cuda steps"] = source(plan)
    text, blocks, device = plan.compiled["cuda steps"], -(-M // BLOCK), call.inputs.device
    return lambda arguments: cuda._launch(text, kernel, blocks, BLOCK, arguments, device)
