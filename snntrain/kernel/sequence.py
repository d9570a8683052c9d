"""Fused sequences: layouts, kept states and autograd around the kernels of one device."""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from snntrain.kernel.call import Gradients, Inputs, Results
from snntrain.kernel.norm import Norm
from snntrain.kernel.plan import Plan
from snntrain.kernel.pooled import PooledLayout
from snntrain.leftover import note_backward


def is_dense(x: Tensor) -> bool:
    """Whether the elements of x fill one stretch of memory, in any order of dimensions."""
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
    if device.type == "cuda":
        from snntrain.kernel import cuda

        return cuda if cuda.unavailable() is None else None
    return None


def reason_against_device(device: torch.device) -> str:
    """Why driver_for(device) is None."""
    if device.type == "cuda":
        from snntrain.kernel import cuda

        return str(cuda.unavailable())
    return f"there are no kernels for the device {device}"


def run(
    plan: Plan,
    x: Tensor,
    states: list[Tensor | float],
    parameters: list[Tensor],
    store: bool = False,
    repeats: int | None = None,
    norm: Norm | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Run a sequence through a neuron.

    Args:
        plan: its graphs.
        x: [T, N, *], or one step [N, *] if repeats is given; in one of the driver's dtypes. Of a neuron with branches
            [T, N, branches·C, *], all channels of the first branch before those of the second.
        states: a tensor [N, *] each ([N, C, *] with branches), or the value that all neurons start from.
        parameters: 0-d tensors; [C] with a value for each channel of [N, C, *], or [T, C] also for each step, in both
            of which C may be 1.
        store: also return the states of every step.
        repeats: T, if all steps have the input x; its gradient is then summed over time.
        norm: a batch normalization of x, before the neuron; x then lies on a CPU, its steps one after the other.

    Returns: outputs [T, N, *]; final states; states of every step (empty unless store).
    """
    if plan.branches > 1:
        x = _branch_by_branch(x, plan.branches, channel=1 if repeats is not None else 2)
    step = x[0] if repeats is None else x
    if not is_dense(step) or overlaps(x, repeats):
        x = x.contiguous()
    tensors, scalars = _initial(plan, states)
    options = _Options(scalars, store, repeats, norm=norm)
    out, *rest = _Sequence.apply(plan, options, x, *options.weights, *tensors, *parameters)
    return out, rest[: plan.states], rest[plan.states :]


def run_pooled(
    plan: Plan,
    pooled: PooledLayout,
    x: Tensor,
    states: list[Tensor | float],
    parameters: list[Tensor],
    repeats: int | None,
    fired: Tensor,
    norm: Norm | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Run a sequence through a neuron and the pooling after it, without writing the outputs in between.

    Args:
        plan, states, parameters, repeats, norm: as in run.
        pooled: that of a step of x.
        x: as in run, [T, N, C, H, W], with steps that do not overlap.
        fired: int64 [1], which gets the number of outputs that were not zero before the pooling; [0]: nobody asks.

    Returns: pooled outputs [T, N, C, height, width]; final states.
    """
    tensors, scalars = _initial(plan, states)
    options = _Options(scalars, False, repeats, pooled, fired, norm)
    out, *rest = _Sequence.apply(plan, options, x, *options.weights, *tensors, *parameters)
    return out.unflatten(0, (x.shape[0] if repeats is None else repeats, -1)), rest[: plan.states]


def overlaps(x: Tensor, repeats: int | None) -> bool:
    """Whether steps of x share memory, other than by being one and the same."""
    return repeats is None and x.stride(0) != 0 and x.stride(0) < x[0].numel()


def _initial(plan: Plan, states: list[Tensor | float]) -> tuple[list[Tensor], tuple[float | None, ...]]:
    """The states that came as tensors, and the values of the others."""
    # A step that detaches a state cuts the graph there, so that each step can be learned from on its own.
    tensors = [
        state if gradient != 0.0 else state.detach()
        for state, gradient in zip(states, plan.backward.outputs[1 : 1 + plan.states], strict=True)
        if isinstance(state, Tensor)
    ]
    return tensors, tuple(None if isinstance(state, Tensor) else float(state) for state in states)


def _branch_by_branch(x: Tensor, branches: int, channel: int) -> Tensor:
    """[…, N, branches·C, *] as […, branches, N, C, *], with the neurons of each branch in one stretch of memory."""
    return x.unflatten(channel, (branches, -1)).movedim(channel, channel - 1).contiguous()


@dataclass(frozen=True)
class _Layout:
    """The memory layout of T steps of M neurons: step after step, each in the memory order of x.

    Of a neuron with branches, x holds all neurons of the first branch before those of the second in each step.
    """

    T: int
    M: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    x_stride: int  # from step to step in x itself, 0 where it repeats one
    branches: int

    @classmethod
    def of(cls, x: Tensor, repeats: int | None, branches: int) -> "_Layout":
        step = x[0] if repeats is None else x
        T = x.shape[0] if repeats is None else repeats
        step = step if branches == 1 else step[0]
        M = step.numel()
        return cls(T, M, (T, *step.shape), (M, *step.stride()), x.stride(0) if repeats is None else 0, branches)

    @property
    def channel_stride(self) -> int:
        """Neurons from one channel to the next."""
        return self.strides[2] if len(self.shape) > 2 and self.shape[2] > 1 else max(self.M, 1)

    def vector(self, x: Tensor, steps: int) -> Tensor:
        """The elements of x, a sequence or (steps = 1) one step, in this order; copied only if they lie in another."""
        strides = self.strides[-x.dim() :] if x.dim() else ()
        lies_so = x.numel() == steps * self.M and all(
            size == 1 or stride == wanted for size, stride, wanted in zip(x.shape, x.stride(), strides, strict=True)
        )
        if not lies_so:
            x = torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)
        return x.detach().as_strided((steps * self.M,), (1,))

    def inputs(self, x: Tensor) -> Tensor:
        """All memory from the first to the last element of x."""
        size = self.branches * self.M
        return x.detach().as_strided(((self.T - 1) * self.x_stride + size if size else 0,), (1,))

    def like_inputs(self, vector: Tensor, over_time: bool) -> Tensor:
        """The gradient of the inputs in the shape of x."""
        if self.branches == 1:
            return self.step(vector) if over_time else self.sequence(vector)
        shape, strides = (self.branches, *self.shape[1:]), (self.M, *self.strides[1:])
        if not over_time:
            shape, strides = (self.T, *shape), (self.branches * self.M, *strides)
        return vector.as_strided(shape, strides, vector.storage_offset())

    def sum_over_neurons(self, vector: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of a parameter [C] or [T, C] from that of every neuron, summed in float64."""
        if len(shape) == 2:
            return torch.stack([self.sum_over_neurons(step, shape[1:]) for step in vector.view(self.T, self.M)])
        if shape[0] == 1:
            return vector.sum(dtype=torch.float64).view(1)
        return self.step(vector).movedim(1, -1).flatten(0, -2).sum(0, dtype=torch.float64)

    def sequence(self, vector: Tensor) -> Tensor:
        return vector.as_strided(self.shape, self.strides, vector.storage_offset())

    def step(self, vector: Tensor) -> Tensor:
        return vector.as_strided(self.shape[1:], self.strides[1:], vector.storage_offset())


@dataclass(frozen=True)
class _Options:
    """What a call asks for beside its tensors.

    Attributes:
        scalars: of each state, the value that all neurons start from; None if it came as a tensor.
        store, repeats, norm: as in run.
        pooled, fired: as in run_pooled.
    """

    scalars: tuple[float | None, ...]
    store: bool
    repeats: int | None
    pooled: PooledLayout | None = None
    fired: Tensor | None = None
    norm: Norm | None = None

    @property
    def weights(self) -> tuple[Tensor | None, Tensor | None]:
        """Of the normalization."""
        return (None, None) if self.norm is None else (self.norm.weight, self.norm.bias)

    def kernel_arguments(self) -> dict[str, Any]:
        """The arguments of the kernels for pooling and normalization."""
        found: dict[str, Any] = {}
        if self.pooled is not None:
            found |= {"pooling": self.pooled.pooling, "pictures": self.pooled.pictures}
        if self.norm is not None:
            found["affine"] = self.norm.affine
        return found


class _Sequence(torch.autograd.Function):
    """Forward stores x and, every K steps, the state; backward recomputes each chunk of K steps from there."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        options: _Options,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *more: Tensor,
    ) -> tuple[Tensor, ...]:
        driver, layout = driver_for(x.device), _Layout.of(x, options.repeats, plan.branches)
        pooled, store, scalars = options.pooled, options.store, options.scalars
        T, M = layout.T, layout.M
        kind = {"dtype": plan.dtype, "device": x.device}
        given = iter(more)
        first = [
            torch.full((1,), value, **kind) if value is not None else layout.vector(next(given), 1) for value in scalars
        ]
        parameters = list(given)
        K = driver.chunk_length(plan, x.dtype, T)
        kept = torch.empty(plan.states, (T - 1) // K if any(ctx.needs_input_grad) else 0, M, **kind)
        values = [parameters[index].detach() for index in plan.scalars]
        values = torch.stack(values) if values else torch.empty(0, **kind)
        spread = [parameters[index].detach().contiguous() for index in plan.spread]
        results = Results(
            out=torch.empty(T * M if pooled is None else math.prod(pooled.shape), dtype=x.dtype, device=x.device),
            last=torch.empty(plan.states, M, **kind),
            sequences=torch.empty(plan.states, T * M if store else 0, **kind),
            fired=options.fired,
        )
        if M:
            given = (layout.inputs(x), layout.x_stride, first, kept, values, spread, layout.channel_stride)
            driver.forward(plan, Inputs(*given, T, K, M, **options.kernel_arguments()), results)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, kept, values, *spread, *first)
        ctx.plan, ctx.options, ctx.K = plan, options, K
        stored = map(layout.sequence, results.sequences.unbind(0)) if store else ()
        out = layout.sequence(results.out) if pooled is None else results.out.as_strided(pooled.shape, pooled.strides)
        return out, *map(layout.step, results.last.unbind(0)), *stored

    @staticmethod
    def backward(ctx: Any, g_out: Tensor | None, *g_more: Tensor | None) -> tuple[Tensor | None, ...]:
        note_backward()
        with torch.no_grad():
            found = _pull_back(ctx, g_out, g_more)
        if torch.is_grad_enabled():  # create_graph=True, also from gradcheck, which does not use the graph
            given = [value for value in (*ctx.saved_tensors, g_out, *g_more) if value is not None]
            found = [None if g is None else _OnceOnly.apply(g, *given) for g in found]
        return None, None, *found


class _OnceOnly(torch.autograd.Function):
    """A gradient that says why it has none of its own."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, *origins: Tensor) -> Tensor:
        return g.view_as(g)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> NoReturn:
        raise RuntimeError(
            "A fused neuron can be differentiated once only. Set backend='torch' on the neurons for second derivatives "
            "(functional.set_backend(model, 'torch'))."
        )


def _pull_back(ctx: Any, g_out: Tensor | None, g_more: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Gradients of x, of a normalization's weights, of the states that came as tensors, and of the parameters."""
    x, weight, kept, values, *first = ctx.saved_tensors
    plan, options, driver = ctx.plan, ctx.options, driver_for(x.device)
    layout, norm = _Layout.of(x, options.repeats, plan.branches), options.norm
    spread, first = first[: len(plan.spread)], first[len(plan.spread) :]
    T, M = layout.T, layout.M
    over_time = options.repeats is not None
    scalars, others = (list(filter(plan.learnable.__contains__, some)) for some in (plan.scalars, plan.spread))
    g_out, g_last, g_sequences = _incoming(ctx, layout, x, g_out, g_more)
    gradients = Gradients(
        out=g_out,
        last=g_last,
        sequences=g_sequences,
        x=torch.empty(plan.branches * (M if over_time else T * M), dtype=x.dtype, device=x.device),
        over_time=over_time,
        first=torch.empty(plan.states, M if None in options.scalars else 0, dtype=plan.dtype, device=x.device),
        parameters=torch.zeros(len(scalars), -(-M // driver.BLOCK), dtype=torch.float64, device=x.device),
        spread=[torch.empty(T * M if plan.dims[p] == 2 else M, dtype=plan.dtype, device=x.device) for p in others],
    )
    if M:
        given = (layout.inputs(x), layout.x_stride, first, kept, values, spread, layout.channel_stride)
        driver.backward(plan, Inputs(*given, T, ctx.K, M, **options.kernel_arguments()), gradients)
    of_states = [
        layout.step(g) for g, value in zip(gradients.first.unbind(0), options.scalars, strict=True) if value is None
    ]
    sums: dict[int, Tensor] = dict(zip(scalars, gradients.parameters.sum(1).to(plan.dtype).unbind(0), strict=True))
    shapes = {p: value.shape for p, value in zip(plan.spread, spread, strict=True)}
    for p, g in zip(others, gradients.spread, strict=True):
        sums[p] = layout.sum_over_neurons(g, shapes[p]).to(plan.dtype)
    found = layout.like_inputs(gradients.x, over_time), None, None
    if norm is not None:
        found = _through_norm(norm, found[0], x, weight, ctx.needs_input_grad[2:5], over_time)
    return [*found, *of_states, *(sums.get(p) for p in range(plan.parameters))]


def _through_norm(
    norm: Norm,
    g: Tensor,
    x: Tensor,
    weight: Tensor | None,
    wanted: tuple[bool, bool, bool],
    over_time: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x, weight and bias, from that of what the neurons have read."""
    if over_time:
        return norm.pull_back(g, x, weight, wanted)
    of_x, *others = norm.pull_back(g.flatten(0, 1), x.flatten(0, 1), weight, wanted)
    return None if of_x is None else of_x.unflatten(0, x.shape[:2]), *others


def _incoming(
    ctx: Any, layout: _Layout, x: Tensor, g_out: Tensor | None, g_more: tuple[Tensor | None, ...]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The gradients of outputs, final states and stored states, as vectors in the memory order of x."""
    states, T = ctx.plan.states, layout.T
    kind = {"dtype": ctx.plan.dtype, "device": x.device}

    def vector(g: Tensor | None, steps: int, length: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(length, dtype=dtype, device=x.device) if g is None else layout.vector(g, steps)

    g_last = [vector(g, 1, 1, ctx.plan.dtype) for g in g_more[:states]]
    g_stored = torch.empty(states, 0, **kind)
    if ctx.options.store and any(g is not None for g in g_more[states:]):
        g_stored = torch.stack([vector(g, T, T * layout.M, ctx.plan.dtype) for g in g_more[states:]])
    pooled = ctx.options.pooled
    if pooled is None:
        return vector(g_out, T, T * layout.M, x.dtype), g_last, g_stored
    return pooled.vector(x.new_zeros(pooled.shape) if g_out is None else g_out), g_last, g_stored
