"""Sequences of neurons whose output is fed back through weights: products by torch, steps by generated kernels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snntrain.kernel.plan import Plan
from snntrain.kernel.product import linear_into
from snntrain.kernel.sequence import _OnceOnly
from snntrain.kernel.shares import run_side_by_side, shares_of
from snntrain.kernel.sparse_product import weight_gradient
from snntrain.kernel.steps import Backward, Forward, Parameters, chunk_length, steps_driver_for
from snntrain.leftover import note_backward


@dataclass(frozen=True)
class Wiring:
    """How the current i[t] comes from x[t] and the last output y[t−1], and the neurons' input z[t] from the current.

    add     i[t] = x[t] + y[t−1]
    sum     i[t] = x[t] + W·y[t−1] + b
    concat  i[t] = W·[x[t], y[t−1]] + b

    z[t] = i[t], or U·i[t] + c.

    Attributes:
        kind: add, sum or concat.
        bias: whether there is b.
        inner, inner_bias: whether there are U and c.
    """

    kind: str
    bias: bool = False
    inner: bool = False
    inner_bias: bool = False

    @property
    def given(self) -> tuple[bool, bool, bool, bool]:
        """Which of W, b, U and c there are."""
        return self.kind != "add", self.bias, self.inner, self.inner_bias


def run(
    plan: Plan,
    wiring: Wiring,
    x: Tensor,
    y: Tensor,
    states: list[Tensor | float],
    weights: list[Tensor],
    parameters: list[Tensor],
    repeats: int | None = None,
    sparse: bool = False,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a sequence.

    The outputs are those of a loop over torch's own products, to the last bit: its products are these.

    Args:
        plan: the graphs of the neurons.
        wiring: what is fed back, and how.
        x: [T, N, *, F] with contiguous steps, or one such step if repeats is given; of the plan's dtype.
        y: output before the first step.
        states: of the neurons: a tensor each, or the value that all neurons start from.
        weights: those of W, b, U, c that the wiring has.
        parameters: of the neurons, as in sequence.run.
        repeats: T, if all steps have the input x; its gradient is then summed over time.
        sparse: take the gradient of W from what is not zero in its inputs, where that is little.

    Returns: outputs [T, N, *, F]; the last output; final states.
    """
    if repeats is None and not x[0].is_contiguous():
        raise ValueError("the steps of x must be contiguous")
    # A step that detaches a state cuts the graph there, so that each step can be learned from on its own.
    tensors = [
        state if gradient != 0.0 else state.detach()
        for state, gradient in zip(states, plan.backward.outputs[1 : 1 + plan.states], strict=True)
        if isinstance(state, Tensor)
    ]
    scalars = tuple(None if isinstance(state, Tensor) else float(state) for state in states)
    out, last, *rest = _Recurrence.apply(
        plan, wiring, scalars, (repeats, sparse), x, y, *tensors, *weights, *parameters
    )
    return out, last, rest


class _Recurrence(torch.autograd.Function):
    """Forward stores the inputs of the neurons, their outputs and, every K steps, the states."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        wiring: Wiring,
        scalars: tuple[float | None, ...],
        options: tuple[int | None, bool],
        x: Tensor,
        y: Tensor,
        *more: Tensor,
    ) -> tuple[Tensor, ...]:
        given, (repeats, sparse) = iter(more), options
        first = [torch.full((1,), s, dtype=x.dtype, device=x.device) if s is not None else next(given) for s in scalars]
        weights = [next(given).detach() if there else None for there in wiring.given]
        parameters = _parameters(plan, list(given), y)
        learns = any(ctx.needs_input_grad)
        T, shape = (x.shape[0], x.shape[1:]) if repeats is None else (repeats, x.shape)
        loop = _Loop(wiring, weights, x.detach(), y.detach(), T, shape[:-1].numel(), learns)
        M = loop.out[0].numel()
        K = chunk_length(plan)
        states = x.new_empty(plan.states, 2, M)
        for place, state in zip(states[:, 0], first, strict=True):
            place.copy_(state.detach().reshape(-1))
        kept = x.new_empty(plan.states, (T - 1) // K if learns else 0, M)
        if M:
            out = loop.out.view(T, M)
            call = Forward(loop.inputs.view(-1, M), loop.added, loop.added_stride, states, kept, out, parameters, K)
            driver, shares = steps_driver_for(x.device), _shares(wiring, loop.out)

            def run_steps(rows: slice) -> None:
                step = driver.forward(plan, call, *_neurons(rows, loop.out))
                for t in loop.prepared(rows):
                    step(t)

            run_side_by_side(run_steps, shares)
        ctx.set_materialize_grads(False)
        out, last = loop.whole, loop.whole[-1].clone()
        if learns:
            needs_x = x if wiring.kind == "concat" else None
            currents = loop.currents if wiring.inner else None
            given = (loop.inputs, kept, out, y, needs_x, currents, loop.W, loop.U, parameters.values)
            ctx.save_for_backward(*given, *parameters.spread, *first)
        ctx.plan, ctx.wiring, ctx.scalars, ctx.repeats, ctx.K, ctx.shape = plan, wiring, scalars, repeats, K, shape
        ctx.sparse = sparse
        return out, last, *(state.view(y.shape).clone() for state in states[:, T % 2])

    @staticmethod
    def backward(ctx: Any, g_out: Tensor | None, g_last: Tensor | None, *g_states: Tensor | None) -> tuple:
        note_backward()
        with torch.no_grad():
            found = _pull_back(ctx, g_out, g_last, g_states)
        if torch.is_grad_enabled():  # create_graph=True, also from gradcheck, which does not use the graph
            given = [value for value in (*ctx.saved_tensors, g_out, g_last, *g_states) if value is not None]
            found = [None if g is None else _OnceOnly.apply(g, *given) for g in found]
        return None, None, None, None, *found


class _Loop:
    """What forward computes before each step of the neurons.

    Attributes:
        whole: the outputs, [T, N, *, features]; out: the same as [T, rows, features].
        inputs: of the neurons, [T, rows, features], or [1, rows, features] if nothing learns.
        currents: i[t], where it is not the input of the neurons.
        added: the vector that the step itself adds to the inputs, empty if there is none, and its stride over time.
    """

    def __init__(
        self, wiring: Wiring, weights: list[Tensor | None], x: Tensor, y: Tensor, T: int, rows: int, learns: bool
    ) -> None:
        self.W, self.b, self.U, self.c = weights
        self.wiring = wiring
        self.is_repeated = x.dim() == y.dim()
        steps = T if learns else 1
        self.x = x
        self.whole = x.new_empty(T, *y.shape)
        self.out = self.whole.view(T, rows, y.shape[-1])
        self.first = y.reshape(rows, -1)
        self.inputs = x.new_empty(steps, rows, y.shape[-1])
        self.currents = x.new_empty(steps, rows, self.U.shape[1]) if wiring.inner else self.inputs
        self.added, self.added_stride = x.new_empty(0), 0
        if wiring.kind == "concat":
            self.joined = x.new_empty(rows, self.W.shape[1])
            self.x_part, self.y_part = self.joined.split([x.shape[-1], y.shape[-1]], dim=1)
            if self.is_repeated:
                self.x_part.copy_(x.view(rows, -1))
        elif not wiring.inner:
            self.added_stride = 0 if self.is_repeated else x.stride(0)
            length = (T - 1) * self.added_stride + y.numel()
            self.added = x.as_strided((length if x.numel() else 0,), (1,))
        self.W_t = None if self.W is None else self.W.t()
        self.U_t = None if self.U is None else self.U.t()

    def prepared(self, rows: slice) -> Iterator[int]:
        """Compute the input of each step for these rows and yield its number; the step's kernel adds x where it can."""
        T, (kind, has_inner) = len(self.out), (self.wiring.kind, self.wiring.inner)
        # A view takes as long as the product of a small step, so that only those are made which are read.
        before = [self.first[rows], *self.out[:-1, rows].unbind(0)]
        currents = _each_step(self.currents[:, rows], T)
        inputs = _each_step(self.inputs, T) if has_inner else currents
        x_seq = self.x.view(-1 if self.x.numel() else T, len(self.first), self.x.shape[-1])
        x_seq = _each_step(x_seq, T) if has_inner or kind == "concat" else before
        for t, (x, y, current) in enumerate(zip(x_seq, before, currents, strict=True)):
            if kind == "concat":
                if not self.is_repeated:
                    self.x_part.copy_(x)
                self.y_part.copy_(y)
                linear_into(self.joined, self.W_t, self.b, current)
            elif kind == "sum":
                linear_into(y, self.W_t, self.b, current)
            else:
                current.copy_(y)
            if has_inner:
                if kind != "concat":
                    current.add_(x)
                linear_into(current, self.U_t, self.c, inputs[t])
            yield t


def _each_step(sequence: Tensor, T: int) -> list[Tensor]:
    """The T steps of a sequence; of one step, that step T times."""
    return list(sequence.unbind(0)) * (T // len(sequence))


def _shares(wiring: Wiring, out: Tensor) -> list[slice]:
    """The rows that each thread takes through all steps."""
    _, rows, features = out.shape
    if wiring.kind != "sum" or wiring.inner:
        return [slice(0, rows)]
    return shares_of(rows, features, out.dtype, out.device)


def _neurons(rows: slice, out: Tensor) -> list[range]:
    """The driver's argument `share`, the neurons of these rows; empty if they are all rows."""
    _, all_rows, features = out.shape
    return [] if rows.stop - rows.start == all_rows else [range(rows.start * features, rows.stop * features)]


def _pull_back(
    ctx: Any, g_out: Tensor | None, g_last: Tensor | None, g_more: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Gradients of x, y, of the states that came as tensors, of the weights and of the parameters."""
    inputs, kept, out, y, x, currents, W, U, values, *first = ctx.saved_tensors
    plan, wiring, K = ctx.plan, ctx.wiring, ctx.K
    spread, first = first[: len(plan.spread)], first[len(plan.spread) :]
    parameters = Parameters(values, spread, _channel_stride(y))
    T, rows, features = inputs.shape
    M = rows * features
    empty = inputs.new_empty(0, M)
    # The memory of the inputs becomes that of their gradients, unless another backward is to follow.
    g_inputs = torch.empty_like(inputs) if _keeps_graph() else inputs
    g_currents = torch.empty_like(currents) if wiring.inner else g_inputs
    g_fed_back = inputs.new_zeros(rows, features) if g_last is None else g_last.reshape(rows, features).clone()
    g_states = inputs.new_zeros(plan.states, M)
    for g, given in zip(g_states, g_more, strict=True):
        if given is not None:
            g.copy_(given.reshape(-1))
    history = inputs.new_empty(plan.states, min(K, T), M)
    sums = inputs.new_zeros(len(plan.learnable), M)
    totals = _Totals(plan, sums, spread, T, y)
    W_y = W if wiring.kind != "concat" else W[:, -features:].contiguous()
    needs = iter(ctx.needs_input_grad[4:])
    needs_x, needs_y = next(needs), next(needs)
    if M:
        call = Backward(
            inputs.view(T, M),
            history,
            empty if g_out is None else g_out.reshape(T, M).contiguous(),
            g_fed_back.view(M),
            g_inputs.view(T, M),
            g_states,
            sums,
            parameters,
            K,
        )
        driver, shares = steps_driver_for(inputs.device), _shares(wiring, inputs)
        if totals.of_steps:
            shares = [slice(0, rows)]  # their sums are over all rows, in each step

        def run_steps_back(share: slice) -> None:
            again, step = driver.backward(plan, call, *_neurons(share, inputs))
            neurons, fed_back = slice(share.start * features, share.stop * features), g_fed_back[share]
            of_currents = g_currents[:, share].unbind(0)
            of_inputs = g_inputs.unbind(0) if wiring.inner else of_currents
            for begin in range((T - 1) // K * K, -1, -K):
                end = min(begin + K, T)
                for s, state in enumerate(first):
                    before = kept[s, begin // K - 1] if begin else state.reshape(-1).expand(M)
                    history[s, 0, neurons] = before[neurons]
                if plan.states and end - begin > 1:
                    again(begin, end)
                for t in range(end - 1, begin - 1, -1):
                    step(t)
                    if totals.of_steps:
                        totals.add(t)
                    if wiring.inner:
                        torch.mm(of_inputs[t], U, out=of_currents[t])
                    if t or needs_y:
                        if W_y is None:
                            fed_back.copy_(of_currents[t])
                        else:
                            torch.mm(of_currents[t], W_y, out=fed_back)

        run_side_by_side(run_steps_back, shares)
    step_of_x = ctx.shape if ctx.repeats is not None else (T, *ctx.shape)
    return [
        _gradient_of_x(wiring, g_currents, W, features, ctx.repeats is not None).view(step_of_x) if needs_x else None,
        g_fed_back.view(y.shape) if needs_y else None,
        *(g.view(y.shape) for g, value in zip(g_states, ctx.scalars, strict=True) if value is None),
        *_gradients_of_weights(wiring, g_inputs, g_currents, currents, out.view(T, rows, features), y, x, ctx.sparse),
        *totals.gradients(),
    ]


def _keeps_graph() -> bool:
    """Whether the backward under way leaves the graph for another one."""
    known = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return known is None or known()


def _gradient_of_x(wiring: Wiring, g_currents: Tensor, W: Tensor | None, features: int, is_repeated: bool) -> Tensor:
    g = g_currents.sum(0) if is_repeated else g_currents.flatten(0, 1)
    return g @ W[:, :-features] if wiring.kind == "concat" else g


def _gradients_of_weights(
    wiring: Wiring,
    g_inputs: Tensor,
    g_currents: Tensor,
    currents: Tensor | None,
    out: Tensor,
    y: Tensor,
    x: Tensor | None,
    sparse: bool,
) -> list[Tensor]:
    """Those of W, b, U and c that there are, each a product, or a sum, over all steps at once."""
    found: list[Tensor] = []
    g, features = g_currents.flatten(0, 1), out.shape[-1]
    if wiring.kind != "add":
        of_W = g_currents[0].t() @ y.reshape(-1, features)
        if len(out) > 1:
            given = g_currents[1:].flatten(0, 1), out[:-1].flatten(0, 1)
            of_W.add_(weight_gradient(*given)) if sparse else of_W.addmm_(given[0].t(), given[1])
        if wiring.kind == "concat":
            x = x.reshape(-1, x.shape[-1])
            g_of_x = g if len(x) == len(g) else g_currents.sum(0)
            of_W = torch.cat([weight_gradient(g_of_x, x) if sparse else g_of_x.t() @ x, of_W], dim=1)
        found.append(of_W)
    if wiring.bias:
        found.append(g.sum(0))
    if wiring.inner:
        found.append(g_inputs.flatten(0, 1).t() @ currents.flatten(0, 1))
    if wiring.inner_bias:
        found.append(g_inputs.sum((0, 1)))
    return found


def _channel_stride(y: Tensor) -> int:
    """Neurons from one channel, dimension 1 of a step, to the next."""
    return y.shape[2:].numel() if y.dim() > 1 and y.shape[1] > 1 else max(y.numel(), 1)


def _parameters(plan: Plan, given: list[Tensor], y: Tensor) -> Parameters:
    values = [given[index].detach() for index in plan.scalars]
    spread = [given[index].detach().contiguous() for index in plan.spread]
    return Parameters(torch.stack(values) if values else y.new_empty(0), spread, _channel_stride(y))


class _Totals:
    """The gradients of the learnable parameters from those of every neuron, summed in float64.

    First over the rows and then over the features: whatever the number of threads, each sum is one thread's.
    """

    def __init__(self, plan: Plan, sums: Tensor, spread: list[Tensor], T: int, y: Tensor) -> None:
        self.plan, self.sums, self.y = plan, sums, y
        self.sizes = {p: value.shape[-1] for p, value in zip(plan.spread, spread, strict=True)}
        self.of_steps = {
            p: sums.new_zeros(T, self.sizes[p], dtype=torch.float64) for p in plan.learnable if plan.dims[p] == 2
        }

    def add(self, t: int) -> None:
        """Take the gradients of step t of the parameters with values of their own for each step."""
        for p, found in self.of_steps.items():
            found[t] = self.total(p)

    def total(self, p: int) -> Tensor:
        """The sum over the neurons that have the same value of parameter p: 0-d, or [C]."""
        g = self.sums[self.plan.learnable.index(p)].view(self.y.shape)
        if self.sizes.get(p, 1) > 1:
            return g.movedim(1, -1).flatten(0, -2).sum(0, dtype=torch.float64)
        g = g.reshape(-1, g.shape[-1]).sum(0, dtype=torch.float64).sum()
        return g.view(1) if p in self.sizes else g

    def gradients(self) -> list[Tensor | None]:
        """One for each parameter; None where it is not learnable."""
        found = {p: self.of_steps[p] if p in self.of_steps else self.total(p) for p in self.plan.learnable}
        return [found[p].to(self.plan.dtype) if p in found else None for p in range(self.plan.parameters)]
