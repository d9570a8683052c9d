"""Fused sequences: layouts, kept states and autograd around the kernels of one device."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snntrain.kernel.plan import Plan


def is_dense(x: Tensor) -> bool:
    """Whether the elements of x fill one stretch of memory, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def driver_for(device: torch.device) -> ModuleType | None:
    """The module that runs kernels on this kind of device, if there is one.

    A driver has BLOCK, the neurons whose parameter gradients it sums, IO_DTYPES, those x may have, and the functions
    chunk_length, forward and backward.
    """
    if device.type == "cpu":
        from snntrain.kernel import cpu

        return cpu
    return None


def run(
    plan: Plan, x_seq: Tensor, states: list[Tensor | float], parameters: list[Tensor], store: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Run a sequence through a neuron.

    Args:
        plan: its graphs.
        x_seq: [T, N, *] in one of the driver's dtypes.
        states: a tensor of one step's shape each, or the value that all neurons start from.
        parameters: 0-d tensors.
        store: also return the states of every step.

    Returns: outputs like x_seq; final states; states of every step (empty unless store).
    """
    if not is_dense(x_seq[0]) or (x_seq.stride(0) != 0 and x_seq.stride(0) < x_seq[0].numel()):
        x_seq = x_seq.contiguous()
    tensors = [state for state in states if isinstance(state, Tensor)]
    scalars = tuple(None if isinstance(state, Tensor) else float(state) for state in states)
    out, *rest = _Sequence.apply(plan, scalars, store, x_seq, *tensors, *parameters)
    return out, rest[: plan.states], rest[plan.states :]


class _Sequence(torch.autograd.Function):
    """Forward stores x and, every K steps, the state; backward recomputes each chunk of K steps from there."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, scalars: tuple[float | None, ...], store: bool, x_seq: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        driver = driver_for(x_seq.device)
        T, step_strides = x_seq.shape[0], x_seq[0].stride()
        M = x_seq[0].numel()
        kind = {"dtype": plan.dtype, "device": x_seq.device}
        given = iter(more)
        first = [
            torch.full((1,), value, **kind) if value is not None else _like(next(given), step_strides, M)
            for value in scalars
        ]
        parameters = list(given)
        K = driver.chunk_length(T)
        kept = torch.empty(plan.states, (T - 1) // K if any(ctx.needs_input_grad) else 0, M, **kind)
        out = torch.empty(T * M, dtype=x_seq.dtype, device=x_seq.device)
        last = torch.empty(plan.states, M, **kind)
        sequences = torch.empty(plan.states, T * M if store else 0, **kind)
        values = torch.stack(parameters).detach() if parameters else torch.empty(0, **kind)
        if M:
            driver.forward(plan, _flat(x_seq), x_seq.stride(0), first, last, kept, out, sequences, values, (T, K, M))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_seq, kept, values, *first)
        ctx.plan, ctx.scalars, ctx.store, ctx.K = plan, scalars, store, K
        shape = x_seq.shape
        finals = [state.as_strided(shape[1:], step_strides) for state in last.unbind(0)]
        stored = [s.as_strided(shape, (M, *step_strides)) for s in sequences.unbind(0)] if store else []
        return out.as_strided(shape, (M, *step_strides)), *finals, *stored

    @staticmethod
    def backward(ctx: Any, g_out: Tensor | None, *g_more: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "A fused neuron can be differentiated once only, and create_graph=True asks for more. "
                "Set backend='torch' on the neurons for second derivatives."
            )
        x_seq, kept, values, *first = ctx.saved_tensors
        plan, T, K = ctx.plan, x_seq.shape[0], ctx.K
        driver = driver_for(x_seq.device)
        step_strides, M = x_seq[0].stride(), x_seq[0].numel()
        over_time = x_seq.stride(0) == 0 and T > 1
        kind = {"dtype": plan.dtype, "device": x_seq.device}
        g_all, g_last, g_stored = _incoming(ctx, x_seq, g_out, g_more)
        gx = torch.empty(M if over_time else T * M, dtype=x_seq.dtype, device=x_seq.device)
        g_first = torch.empty(plan.states, M, **kind)
        g_parameters = torch.zeros(len(plan.learnable), -(-M // driver.BLOCK), dtype=torch.float64, device=x_seq.device)
        if M:
            driver.backward(
                plan,
                _flat(x_seq),
                x_seq.stride(0),
                first,
                kept,
                g_all,
                g_last,
                g_stored,
                gx,
                over_time,
                g_first,
                g_parameters,
                values,
                (T, K, M),
            )
        if over_time:
            # The sum over time, handed to an expanded input whose gradient autograd sums over time again.
            whole = gx.new_zeros(T * M)
            whole[:M] = gx
            gx = whole
        g_states = [
            g.as_strided(x_seq.shape[1:], step_strides)
            for g, value in zip(g_first.unbind(0), ctx.scalars, strict=True)
            if value is None
        ]
        sums = iter(g_parameters.sum(1).to(plan.dtype).unbind(0))
        by_parameter = [next(sums) if index in plan.learnable else None for index in range(values.numel())]
        return None, None, None, gx.as_strided(x_seq.shape, (M, *step_strides)), *g_states, *by_parameter


def _incoming(
    ctx: Any, x_seq: Tensor, g_out: Tensor | None, g_more: tuple[Tensor | None, ...]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The gradients of outputs, final states and stored states, as vectors in the memory order of x."""
    plan, T = ctx.plan, x_seq.shape[0]
    step_strides, M = x_seq[0].stride(), x_seq[0].numel()
    kind = {"dtype": plan.dtype, "device": x_seq.device}

    def sequence(g: Tensor | None, dtype: torch.dtype) -> Tensor:
        if g is None:
            return torch.zeros(T * M, dtype=dtype, device=x_seq.device)
        return _like(g, (M, *step_strides), T * M)

    g_last = [torch.zeros(1, **kind) if g is None else _like(g, step_strides, M) for g in g_more[: plan.states]]
    g_stored = torch.zeros(plan.states, 0, **kind)
    if ctx.store and any(g is not None for g in g_more[plan.states :]):
        g_stored = torch.stack([sequence(g, plan.dtype) for g in g_more[plan.states :]])
    return sequence(g_out, x_seq.dtype), g_last, g_stored


def _like(x: Tensor, strides: tuple[int, ...], size: int) -> Tensor:
    """The elements of x in a given memory order, as a vector; copied only if x lies in another one."""
    if x.numel() != size or x.stride() != strides:
        x = torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)
    return x.detach().as_strided((size,), (1,))


def _flat(x_seq: Tensor) -> Tensor:
    """All memory from the first to the last element of a sequence whose steps are dense."""
    T, M = x_seq.shape[0], x_seq[0].numel()
    span = (T - 1) * x_seq.stride(0) + M if M else 0
    return x_seq.detach().as_strided((span,), (1,))
