"""What every stateful neuron promises besides its equations, as checks that the neurons' own test files call.

`make` is a function without required arguments that constructs the neuron under test.
"""

import copy
import inspect
import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from snntrain import functional
from snntrain.base import MemoryModule, StateMismatchError

Make = Callable[..., MemoryModule]
INF, NAN = float("inf"), float("nan")
NOT_FINITE = [True, False, "1.0", NAN, INF, -INF, 10**400, 1j, None, [1.0], torch.tensor(1.0)]
NOT_A_FLAG = [0, 1, None, "True", 1.0]
#: What no neuron takes for the settings that all of them have.
REFUSED_SETTINGS = {
    "step_mode": [("'s'", "x")],
    "backend": [("one of 'auto', 'torch', 'fused'", "numba")],
    "store_v_seq": [("True or False", value) for value in NOT_A_FLAG],
}
NOT_AN_INTEGER = [True, 2.0, "2", None, NAN]


# --- running a neuron ------------------------------------------------------------------------------------------------


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 1.5) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)


def seeded(make: Make) -> MemoryModule:
    """Two neurons made by this start from the same random parameters."""
    torch.manual_seed(0)
    return make()


def in_steps(node: MemoryModule, x_seq: Tensor) -> Tensor:
    node.step_mode = "s"
    return torch.stack([node(x) for x in x_seq.unbind(0)])


def in_chunks(node: MemoryModule, x_seq: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """One call per size in mode 'm'; one call for all without sizes."""
    node.step_mode = "m"
    return torch.cat([node(chunk) for chunk in x_seq.split(list(sizes or [len(x_seq)]))])


def with_potentials(node: MemoryModule, x_seq: Tensor, step_mode: str) -> tuple[Tensor, Tensor]:
    """Outputs and potentials after reset, [T, *] each."""
    node.step_mode = step_mode
    if step_mode == "m":
        node.store_v_seq = True
        return node(x_seq), node.v_seq
    return tuple(map(torch.stack, zip(*[(node(x), node.v) for x in x_seq], strict=True)))


def one_call(node: nn.Module, x: Tensor, step_mode: str) -> Tensor:
    """x is one step [N, *]; in 'm' it is run as a sequence of one."""
    node.step_mode = step_mode
    return node(x[None])[0] if step_mode == "m" else node(x)


def inside_a_model(node: nn.Module) -> nn.Module:
    """A model whose neuron has the path block.neuron."""
    return nn.Sequential(OrderedDict(block=nn.Sequential(OrderedDict(first=nn.Identity(), neuron=node))))


def state_tensors(node: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the state, also those in queues."""
    found = {}
    for name, value in functional.named_states(node):
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, Tensor):
                found[f"{name}[{index}]" if isinstance(value, list) else name] = item
    return found


def outcome(node: MemoryModule, x: Tensor, run: Callable[[MemoryModule, Tensor], Tensor]) -> dict[str, Any]:
    """Outputs, final states, and gradients of a weighted sum of both for input and parameters."""
    x = x.detach().requires_grad_()
    weights = random(*x.shape, seed=99, dtype=x.dtype)
    out = run(node, x)
    states = state_tensors(node)
    loss = (out * weights).sum() + sum((value * weights[0]).sum() for value in states.values())
    named = [("x", x), *node.named_parameters()]
    gradients = torch.autograd.grad(loss, [value for _, value in named], materialize_grads=True, allow_unused=True)
    others = {name: value for name, value in functional.named_states(node) if isinstance(value, int)}
    return {
        "out": out.detach(),
        **{name: value.detach() for name, value in states.items()},
        **others,
        **{f"{name}.grad": gradient for (name, _), gradient in zip(named, gradients, strict=True)},
    }


def assert_same(actual: dict[str, Any], expected: dict[str, Any], exact: bool = True) -> None:
    """Equal outcomes; parameter gradients, and all without `exact`, up to the order of summation."""
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        if not isinstance(value, Tensor):
            assert actual[key] == value, key
        elif exact and (key == "x.grad" or not key.endswith(".grad")):
            assert torch.equal(actual[key], value), key
        else:
            close = 1e-10 if value.dtype == torch.float64 else 1e-4
            torch.testing.assert_close(
                actual[key], value, rtol=close, atol=close, msg=lambda text, k=key: f"{k}: {text}"
            )


# --- the promises ----------------------------------------------------------------------------------------------------


def assert_signature(node_class: type, expected: dict[str, Any]) -> None:
    actual = {name: p.default for name, p in inspect.signature(node_class).parameters.items()}
    assert list(actual.items()) == list(expected.items())


def assert_refused(make: Make, name: str, value: Any, wanted: str) -> None:
    """ValueError that names class, argument, range and value."""
    with pytest.raises(ValueError) as error:
        make(**{name: value})
    text = str(error.value)
    title = make.__name__ if isinstance(make, type) else type(make()).__name__
    assert text.startswith(f"{title}: {name} must be {wanted}"), text
    assert text.endswith(f", got {value!r}."), text


def assert_modes_agree(make: Make, x: Tensor, sizes: Sequence[int], exact: bool = True) -> dict[str, Any]:
    """'s' called T times, one 'm' call, 'm' in chunks, and a mix of modes; returns the outcome."""

    def mixed(node: MemoryModule, x: Tensor) -> Tensor:
        runs = (in_chunks, in_steps) * len(sizes)
        return torch.cat([run(node, chunk) for run, chunk in zip(runs, x.split(list(sizes)), strict=False)])

    expected = outcome(seeded(make), x, in_steps)
    for run in (in_chunks, lambda node, x: in_chunks(node, x, sizes), mixed):
        assert_same(outcome(seeded(make), x, run), expected, exact)
    return expected


def assert_any_shape(make: Make, runs: Sequence[Callable[..., Tensor]] = (in_steps, in_chunks), T: int = 3) -> None:
    """Each element is treated on its own, whatever the shape and the memory layout."""
    for shape in ((), (3,), (0,), (2, 0, 4), (2, 3, 4), (1, 2, 1, 2, 1, 2)):
        for run in runs:
            node, x = seeded(make), random(T, *shape)
            expected = run(seeded(make), x.reshape(T, -1)).reshape(T, *shape)
            assert torch.equal(run(node, x), expected)
            assert all(value.shape == shape for value in state_tensors(node).values())
            node.reset()
            layout = x.permute(*range(x.dim())[::-1]).contiguous().permute(*range(x.dim())[::-1])
            assert torch.equal(run(node, layout), expected)


def through_a_file(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def assert_copies_go_on_alike(
    make: Make, run: Callable[..., Tensor], shape: tuple[int, ...] = (3,), T: int = 6
) -> None:
    """deepcopy, pickle and torch.save in mid-sequence give detached clones that share nothing."""
    for make_copy in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), through_a_file):
        model = inside_a_model(node := seeded(make))
        if hasattr(node, "store_v_seq") and "v" in node.state_names:
            node.store_v_seq = True
        x = random(T, *shape).requires_grad_()
        first = run(node, x[:3])
        states = state_tensors(node)
        assert any(value.requires_grad for value in states.values())
        twin = make_copy(model).block.neuron
        copied = state_tensors(twin)
        assert copied.keys() == states.keys() and twin.step_mode == node.step_mode
        pairs = [(value, copied[name]) for name, value in states.items()]
        pairs += [] if getattr(node, "v_seq", None) is None else [(node.v_seq, twin.v_seq)]
        for value, copied_value in [*pairs, *zip(node.parameters(), twin.parameters(), strict=True)]:
            assert torch.equal(value, copied_value) and value.data_ptr() != copied_value.data_ptr()
            assert copied_value.grad_fn is None
        if isinstance(getattr(node, "surrogate_function", None), nn.Module):
            assert twin.surrogate_function is not node.surrogate_function
        out = run(twin, x.detach()[3:])
        assert all(torch.equal(value, state_tensors(node)[name]) for name, value in states.items())
        assert torch.equal(run(node, x.detach()[3:]), out)
        twin.reset()
        assert state_tensors(node) and not state_tensors(twin)
        first.sum().backward()  # the graph of the original is intact
        assert x.grad is not None


def assert_states_can_be_restored(make: Make, run: Callable[..., Tensor], shape: tuple[int, ...] = (3,), T: int = 6):
    """Also in another model, whose states have another shape, and before the first step."""
    x = random(T, *shape)
    for at in (0, 1, 3):
        model, other = inside_a_model(node := seeded(make)), inside_a_model(seeded(make))
        if at:
            run(node, x[:at])
        kept = functional.get_states(model)
        assert set(kept) == {f"block.neuron.{name}" for name in node._memories}
        expected, final = run(node, x[at:]), functional.get_states(model)
        functional.reset_net(model)
        assert list(functional.get_states(node).values()) == list(node._reset_values.values())
        other.block.neuron.materialize(random(5, *shape))
        for restored in (model, other, other):
            functional.set_states(restored, kept)
            assert torch.equal(run(restored.block.neuron, x[at:]), expected)
            for name, value in functional.get_states(restored).items():
                assert_equal(value, final[name])


def assert_equal(actual: Any, expected: Any) -> None:
    """Equal states: tensors, numbers, or lists of them."""
    if isinstance(expected, Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(expected, list):
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other)
    else:
        assert actual == expected


def assert_half_precision_is_computed_in_float32(
    make: Make, run: Callable[..., Tensor], shape: tuple[int, ...] = (5,), T: int = 4
) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = random(T, *shape, dtype=dtype).requires_grad_()
        wide = x.detach().float().requires_grad_()
        node, in_full = seeded(make), seeded(make)
        for each in (node, in_full):
            if hasattr(each, "store_v_seq") and "v" in each.state_names:
                each.store_v_seq = True
        out, expected = run(node, x), run(in_full, wide)
        assert out.dtype == dtype and torch.equal(out, expected.to(dtype))
        if getattr(node, "v_seq", None) is not None:
            assert node.v_seq.dtype == torch.float32 and torch.equal(node.v_seq, in_full.v_seq)
        states = state_tensors(in_full)
        for name, value in state_tensors(node).items():
            assert value.dtype == torch.float32 and torch.equal(value, states[name])
        out.sum().backward()
        expected.sum().backward()
        assert x.grad.dtype == dtype and torch.equal(x.grad, wide.grad.to(dtype))
        node.half()
        assert all(value.dtype == torch.float32 for value in state_tensors(node).values())
    node = seeded(make)
    assert run(node, random(T, *shape, dtype=torch.float64)).dtype == torch.float64
    assert all(value.dtype == torch.float64 for value in state_tensors(node).values())


def assert_state_dict_holds(make: Make, keys: list[str], x: Tensor) -> None:
    """Parameters (and such buffers) only; loading leaves the states alone."""
    node = seeded(make)
    node(x)
    before = state_tensors(node)
    assert list(node.state_dict()) == keys == [name for name, _ in (*node.named_parameters(), *node.named_buffers())]
    result = inside_a_model(node).load_state_dict(inside_a_model(seeded(make)).state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert all(value is state_tensors(node)[name] for name, value in before.items())


def assert_forgotten_reset_is_explained(make: Make, state: str, first: Tensor, second: Tensor) -> None:
    model = inside_a_model(node := make())
    model(first)
    before = state_tensors(node)
    with pytest.raises(StateMismatchError) as error:
        model(second)
    text = str(error.value)
    assert isinstance(error.value, RuntimeError) and "reset()" in text
    assert text.startswith(f"block.neuron ({type(node).__name__}): state {state} ")
    sizes = [list(x.shape[node.step_mode == "m" :]) for x in (first, second)]
    assert all(str(size) in text for size in sizes), text
    assert all(value is state_tensors(node)[name] for name, value in before.items())
    functional.reset_net(model)
    model(second)


def assert_eval_is_train(make: Make, x: Tensor, run: Callable[..., Tensor]) -> None:
    in_train, in_eval = (outcome(seeded(make).train(training), x, run) for training in (True, False))
    assert in_train["x.grad"].abs().sum() > 0
    assert_same(in_eval, in_train)


def assert_inputs_are_refused(make: Make, step_mode: str) -> None:
    """Dtypes that are no floats, and sequences without steps."""
    node = make()
    node.step_mode = step_mode
    title = rf"^block\.neuron \({type(node).__name__}\): "
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.complex64):
        with pytest.raises(ValueError, match=f"{title}.*{dtype}; cast spikes to a float dtype"):
            inside_a_model(node)(torch.ones(2, 3).to(dtype))
    if step_mode == "m":
        for shape in ((0,), (0, 3), (0, 2, 3, 4, 4), ()):
            with pytest.raises(ValueError, match=title + r".*T ≥ 1.*" + re.escape(str(list(shape)))):
                inside_a_model(node)(torch.zeros(shape))
    assert not state_tensors(node)


def assert_states_never_change_in_place(make: Make, x: Tensor, run: Callable[..., Tensor]) -> None:
    """Neither by the neuron, nor by what its caller does to input and output afterward."""
    node, twin = seeded(make), seeded(make)
    x_own, original = x.clone(), x.clone()
    with torch.no_grad():
        out = run(node, x_own)
        assert torch.equal(x_own, original) and x_own._version == 0
        kept = [*state_tensors(node).values(), out]
        before = [value.clone() for value in kept]
        run(node, original[:1])  # what a caller holds of an earlier call stays as it is
        assert all(torch.equal(value, then) for value, then in zip(kept, before, strict=True))
        before = {name: value.clone() for name, value in state_tensors(node).items()}
        x_own.fill_(7.0)
        out.fill_(7.0)
    assert all(torch.equal(value, state_tensors(node)[name]) for name, value in before.items())
    node.reset()
    assert torch.equal(run(node, original), run(twin, original))


def assert_traceable(node: Any, learnable: int) -> None:
    """The step and its gradient become graphs of pointwise aten operations, which give the same numbers."""
    states, parameters = len(node.state_names), len(node.step_parameters(torch.float32))

    def inputs(seed: int) -> list[Tensor]:
        scalars = [torch.tensor(1.25 + 0.5 * index + 0.125 * seed) for index in range(parameters)]
        return [*(random(5, seed=seed + index) for index in range(1 + states)), *scalars]

    def gradients(*values: Tensor) -> tuple[Tensor, ...]:
        return torch.func.vjp(node.step, *values[1 + states :])[1](values[: 1 + states])

    cotangents = [random(5, seed=30 + index) for index in range(1 + states)]
    # Behind a lambda: make_fx counts the self of a bound method as an argument.
    forward = make_fx(lambda *values: node.step(*values))(*inputs(0))
    backward = make_fx(gradients)(*cotangents, *inputs(0))
    for graph in (forward, backward):
        graph.graph.eliminate_dead_code()
        calls = [n for n in graph.graph.nodes if n.op not in ("placeholder", "output")]
        assert calls and all(isinstance(n.target, torch._ops.OpOverload) for n in calls)
        assert all(n.target.namespace == "aten" for n in calls)
        names = {n.target.overloadpacket.__name__ for n in calls}
        assert not names & {"copy_", "add_", "mul_", "index", "mm", "matmul", "_local_scalar_dense", "cat"}, names
    others = inputs(1)
    leaves = [value.clone().requires_grad_() for value in others]
    out = node.step(*leaves)
    expected = torch.autograd.grad(out, leaves, cotangents, materialize_grads=True, allow_unused=True)
    assert all(torch.equal(a, b) for a, b in zip(forward(*others), out, strict=True))
    for actual, wanted in zip(backward(*cotangents, *others), expected, strict=True):
        torch.testing.assert_close(actual, wanted)
    taken = node.step_parameters(torch.float32)
    assert sum(isinstance(value, Tensor) and value.requires_grad for value in taken) == learnable
    assert all(isinstance(value, float) or value.shape == () for value in taken)
