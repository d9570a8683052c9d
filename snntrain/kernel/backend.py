"""Whether a neuron's call can be fused, and the call itself."""

import logging
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.base import autocast_off, state_dtype
from snntrain.functional import repeated_step
from snntrain.kernel.call import Pooling
from snntrain.kernel.device_status import note_call
from snntrain.kernel.graph import Unsupported, has_exact_inverse
from snntrain.kernel.norm import Norm
from snntrain.kernel.plan import DTYPES, Plan, make_plan
from snntrain.kernel.pooled import PooledLayout, pooled_layout
from snntrain.kernel.sequence import driver_for, overlaps, reason_against_device, run, run_pooled
from snntrain.surrogate import SurrogateFunction

_log = logging.getLogger(__name__)

# Traced plans, or why there is none, by everything a step may read from its neuron. Shared by all neurons: tracing
# takes a tenth of a second. Bounded: a setting that is annealed needs a new plan at each value.
_plans: dict[Hashable, Plan | str] = {}
_MOST_PLANS = 1024

# Attributes of a neuron that its step does not read. (Tensors reach it as states and parameters.)
_NOT_READ = {"_memories", "_reset_values", "_last_call", "_step_mode", "_backend", "_stored"} | (
    vars(nn.Module()).keys() - {"training"}
)


def plan_for(node: Any, x: Tensor) -> Plan | str:
    """The plan that serves a call of node, a BaseNode, with x, or the reason why there is none."""
    found = _plan_for(node, x)
    note_call(node, found if isinstance(found, str) else None)
    return found


def _plan_for(node: Any, x: Tensor) -> Plan | str:
    reason = node.reason_against_fusion() or _reason_against_call(node, x)
    if reason:
        return reason
    dtype = state_dtype(x.dtype)
    parameters = node.step_parameters(dtype)
    dims = tuple(value.dim() if isinstance(value, Tensor) else 0 for value in parameters)
    learnable = tuple(
        index for index, value in enumerate(parameters) if isinstance(value, Tensor) and value.requires_grad
    )
    # Powers of two alone, by which kernels need not divide: one plan serves a neuron whose other numbers are annealed.
    values = tuple(
        (index, value)
        for index, value in enumerate(parameters)
        if isinstance(value, float) and has_exact_inverse(value)
    )
    key = (dtype, learnable, dims, values, _what_a_step_reads(node))
    if key not in _plans:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[key] = _traced(node, learnable, dims, dtype, dict(values))
    return _plans[key]


def reason_against(node: Any) -> str | None:
    """Why no kernel can be generated from the step of this neuron; None if there is no such reason."""
    if node.overrides_hooks():
        return f"{type(node).__name__} replaces hooks of the step, which only the loop calls; define charge or step"
    if not isinstance(node.surrogate_function, SurrogateFunction):
        return "its surrogate_function is not one of snntrain.surrogate (or a subclass of SurrogateFunction)"
    return None


def run_node(node: Any, plan: Plan, x: Tensor, norm: Norm | None = None) -> Tensor:
    """A fused call: reads and writes the states of node as the loop does.

    Args:
        node: the neuron.
        plan: that of the call.
        x: its input; with a norm, that of the batch normalization before it.
        norm: the one before it, on a CPU.
    """
    sequence = node.step_mode == "m"
    step = repeated_step(x) if sequence else None
    with autocast_off(x.device):
        z = x.unsqueeze(0) if not sequence else x if step is None else step
        if z.dtype not in driver_for(x.device).IO_DTYPES:
            z = z.to(plan.dtype)
        one = (z[0] if step is None else z).to(plan.dtype)
        steps = x.shape[0] if sequence else 1
        states, parameters = _arguments(node, one, steps)
        stored = node.stored_states if sequence else ()
        out, last, sequences = run(plan, z, states, parameters, bool(stored), None if step is None else steps, norm)
        for name in stored:
            setattr(node, f"{name}_seq", sequences[node.state_names.index(name)])
        _finish(node, last, steps)
        return (out if sequence else out.squeeze(0)).to(x.dtype)


def pooled_for(pooling: Pooling, x: Tensor) -> PooledLayout | None:
    """How the pooled outputs of a neuron lie for a sequence x; None if no kernel pools them."""
    step, steps = repeated_step(x), x.shape[0]
    one, repeats = (x[0], None) if step is None else (step, steps)
    return None if overlaps(x, repeats) else pooled_layout(pooling, one, steps)


def run_pooled_node(
    node: Any, plan: Plan, pooled: PooledLayout, x: Tensor, fired: Tensor, norm: Norm | None = None
) -> Tensor:
    """A call of node with a sequence x and of the pooling after it, fused.

    Args:
        node: whose potentials are not stored.
        plan: that of the call.
        pooled: what `pooled_for` found.
        x: [T, N, C, H, W] on a CPU, in the dtype of the plan.
        fired: int64 [1], for the number of outputs that were not zero before the pooling; [0]: nobody asks.
        norm: a batch normalization before the neuron, folded into it.
    """
    step, steps = repeated_step(x), x.shape[0]
    one, repeats = (x[0], None) if step is None else (step, steps)
    states, parameters = _arguments(node, one, steps)
    out, last = run_pooled(plan, pooled, x if step is None else step, states, parameters, repeats, fired, norm)
    _finish(node, last, steps)
    return out


def _arguments(node: Any, one: Tensor, steps: int) -> tuple[list[Tensor | float], list[Tensor]]:
    """States and parameters for a call with so many steps like one."""
    states = [_checked(node, name, one) for name in node.state_names]
    parameters = node.parameter_tensors(one)
    node.note_call(one)
    return states, [value[:steps] if value.dim() == 2 else value for value in parameters]


def _finish(node: Any, last: list[Tensor], steps: int) -> None:
    for name, value in zip(node.state_names, last, strict=True):
        setattr(node, name, value)
    node.count_steps(steps)


def _checked(node: Any, name: str, x: Tensor) -> Tensor | float:
    value = getattr(node, name)
    return node.checked_state(name, value, x) if isinstance(value, Tensor) else value


def _reason_against_call(node: Any, x: Tensor) -> str | None:
    driver = driver_for(x.device)
    if driver is None:
        return reason_against_device(x.device)
    if state_dtype(x.dtype) not in DTYPES:
        return f"kernels compute in float32 or float64, not {x.dtype}"
    if is_traced(x):
        return "the call is being traced, compiled or transformed"
    for name in node.state_names:
        if not hasattr(node, name):
            return f"its state {name} was not registered with register_memory"
        value = getattr(node, name)
        if not isinstance(value, (float, Tensor)):
            return f"its state {name} is neither a number nor a tensor"
        one = x if node.step_mode == "s" else x[0]
        if node.state_shape(name, one) != node.neurons_of(one):
            return f"its state {name} has another shape than its input"
    return None


def is_traced(x: Tensor) -> bool:
    """Whether a compiler, functorch, forward-mode AD or a dispatch mode records torch's operators in this call."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or type(x) not in (Tensor, nn.Parameter)
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch.autograd.forward_ad._current_level >= 0
    )


def _what_a_step_reads(module: nn.Module) -> Hashable:
    """The settings of a neuron and of the modules in it, surrogate included."""
    own = tuple(
        (name, _hashable(value))
        for name, value in vars(module).items()
        if name not in _NOT_READ and not name.endswith("_seq")
    )
    return type(module), own, tuple((name, _what_a_step_reads(child)) for name, child in module._modules.items())


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return None  # the tracer refuses a step that reads one which it is not given
    if isinstance(value, dict):
        return tuple((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return tuple(map(_hashable, value))
    # 1 and True are equal, and hash alike, but a step may tell them apart.
    return (type(value), value) if isinstance(value, Hashable) else (type(value), id(value))


def _traced(
    node: Any, learnable: tuple[int, ...], dims: tuple[int, ...], dtype: torch.dtype, values: dict[int, float]
) -> Plan | str:
    before = dict(vars(node))
    vars(node)["_memories"] = _OutOfReach(node._memories)
    try:
        # Activation checkpointing, which a call may be part of, counts the tensors that autograd saves. Those saved by
        # tracing, at the first call only, are not its concern.
        with torch.autograd.graph.saved_tensors_hooks(_itself, _itself):
            states = len(node.state_names)
            plan = make_plan(node.step, states, len(dims), learnable, dtype, dims, node.branches, values)
        _refuse_new_attributes(node, before)
        return plan
    except Unsupported as error:
        if node.backend == "auto":
            _log.info("%s runs unfused: %s.", type(node).__name__, error)
        return str(error)
    finally:
        vars(node).clear()
        vars(node).update(before)


class _OutOfReach(dict):
    """The states of a neuron whose step is being traced: a kernel would keep what it finds there for good."""

    def __getitem__(self, name: str) -> Any:
        raise Unsupported(f"its step reads self.{name}; a step is given the states as arguments")

    def __setitem__(self, name: str, value: Any) -> None:
        raise Unsupported(f"its step writes self.{name}; a step returns the new states")


def _refuse_new_attributes(node: Any, before: dict[str, Any]) -> None:
    """A kernel computes numbers and leaves the neuron's attributes as they are."""
    for name, value in vars(node).items():
        if name != "_memories" and (name not in before or value is not before[name]):
            raise Unsupported(f"its step writes self.{name}; what lasts from step to step is a state that it returns")


def _itself(tensor: Tensor) -> Tensor:
    return tensor
