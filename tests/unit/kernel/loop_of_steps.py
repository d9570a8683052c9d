"""A neuron's step in a plain loop over time, which kernels are compared with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from snntrain import neuron, surrogate
from snntrain.kernel import Plan, make_plan, run
from snntrain.neuron.channels import of_step


class Spread(neuron.BaseNode):
    """A leaky neuron with a decay for each channel, a gain for all, and a threshold for each step and channel."""

    def __init__(self, channels: int, T: int, thresholds: int | None = None) -> None:
        super().__init__(surrogate_function=surrogate.ATan(2.0))
        self.decay = nn.Parameter(torch.rand(channels))
        self.gain = nn.Parameter(torch.tensor(0.8))
        self.threshold = nn.Parameter(0.5 + torch.rand(T, thresholds or channels))

    def step_parameters(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return tuple(value.to(dtype) for value in (self.decay, self.gain, self.threshold))

    def step(self, x: Tensor, v: Tensor, decay: Tensor, gain: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
        h = v - v * decay + gain * x
        s = self.surrogate_function(h - threshold)
        return s, h - threshold * s


class Branched(neuron.BaseNode):
    """A neuron with three inputs, each of which leaks at a rate of its own in every channel."""

    branches = 3
    state_names = ("v", "d0", "d1", "d2")

    def __init__(self, channels: int) -> None:
        super().__init__(surrogate_function=surrogate.ATan(2.0))
        self.decays = nn.Parameter(torch.rand(3, channels))
        self.register_memory("d0", 0.0), self.register_memory("d1", 0.0), self.register_memory("d2", 0.0)

    def step_parameters(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.decays.to(dtype).unbind(0)

    def step(self, *values: Tensor) -> tuple[Tensor, ...]:
        x, (v, *d), decays = values[:3], values[3:7], values[7:]
        d = [kept - kept * decay + 0.5 * more for kept, decay, more in zip(d, decays, x, strict=True)]
        h = v - v / 4 + (d[0] + d[1] + d[2])
        s = self.fire(h)
        return s, self.reset_potential(h, s), *d


ADAPTIVE = {"tau_v": (2.0, 4.0), "tau_w": (10.0, 20.0), "q": 5.0, "v_threshold": 0.2}
NODES = {
    "IF, soft reset": lambda: neuron.IFNode(v_reset=None, surrogate_function=surrogate.ATan(2.0)),
    "LIF": lambda: neuron.LIFNode(tau=2.7, v_reset=-0.1, surrogate_function=surrogate.ATan(2.0)),
    "LIF, soft reset, Sigmoid": lambda: neuron.LIFNode(tau=1.3, decay_input=False, v_reset=None),
    "PLIF": lambda: neuron.ParametricLIFNode(init_tau=1.7, detach_reset=True, surrogate_function=surrogate.ATan(2.0)),
    "QIF": lambda: neuron.QIFNode(surrogate_function=surrogate.ATan(2.0)),
    "Izhikevich": lambda: neuron.IzhikevichNode(
        a=0.3, b=0.4, v_reset=0.2, w_rest=0.05, surrogate_function=surrogate.ATan(2.0)
    ),
    "KLIF": lambda: neuron.KLIFNode(scale_reset=True, surrogate_function=surrogate.ATan(2.0)),
    "CubaLIF": lambda: neuron.FloatCubaLIFNode(requires_grad=True, surrogate_function=surrogate.ATan(2.0)),
    "RAF": lambda: neuron.RAFNode(b_offset=2.0, surrogate_function=surrogate.ATan(2.0)),
    "ALIF": lambda: neuron.ALIFNode(5.0, 10.0, 0.5, surrogate_function=surrogate.ATan(2.0)),
    "adLIF": lambda: neuron.AdLIFNode(**ADAPTIVE, surrogate_function=surrogate.ATan(2.0)),
    "SE-adLIF": lambda: neuron.SEAdLIFNode(**ADAPTIVE, surrogate_function=surrogate.ATan(2.0)),
    "TC-LIF": lambda: neuron.TCLIFNode(surrogate_function=surrogate.ATan(2.0)),
    "DH-LIF": lambda: neuron.DHLIFNode(1, v_threshold=0.1, surrogate_function=surrogate.ATan(2.0)),
    "ILIF": lambda: neuron.ILIFNode(tau=1.9),
    "ternary LIF": lambda: neuron.TernaryLIFNode(learnable_amplitude=True),
    "ATIF": lambda: neuron.ATIFNode(),
    "OTTT": lambda: neuron.OTTTLIFNode(surrogate_function=surrogate.ATan(2.0)),
}
#: Memory layouts of a sequence [4, 2, C, H, W].
LAYOUTS = {
    "channels last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2)),
    "the same at every step": lambda x: x[:1].expand(4, -1, -1, -1, -1),
    "every second neuron": lambda x: x[..., ::2],
}


def planned(node: nn.Module, dtype: torch.dtype, device: str = "cpu") -> tuple[Plan, list[Tensor]]:
    """A neuron's plan and the values of its parameters."""
    parameters = node.step_parameters(dtype)
    learnable = [index for index, value in enumerate(parameters) if isinstance(value, Tensor)]
    values = [torch.as_tensor(value, dtype=dtype, device=device) for value in parameters]
    dims = [value.dim() for value in values]
    return make_plan(node.step, len(node.state_names), len(values), learnable, dtype, dims, node.branches), values


def looped(
    step: Callable[..., Sequence[Tensor]],
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Sequence[Tensor],
    branches: int = 1,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """What kernel.run returns with store=True, in the dtype of the states."""
    outputs, stored = [], []
    for t, x_t in enumerate(x.to(states[0].dtype)):
        inputs = x_t.chunk(branches, 1) if branches > 1 else (x_t,)
        out, *states = step(*inputs, *states, *of_step(parameters, t, x_t))
        outputs.append(out.to(x.dtype))
        stored.append(states)
    return torch.stack(outputs), list(states), [torch.stack(sequence) for sequence in zip(*stored, strict=True)]


def assert_kernel_is_loop(
    node: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32, exact: bool = True, rtol: float = 0.0
) -> None:
    """Compare a fused run with the loop: every output, every state and every gradient.

    Args:
        node: the neuron, on the device of x.
        x: [T, *].
        dtype: of states and arithmetic.
        exact: whether outputs and states are to be equal to the last bit.
        rtol: of the gradients, where their dtype does not ask for more.
    """
    plan, parameters = planned(node, dtype, x.device)
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int, like: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(x.device, like)

    shape = node.neurons_of(x[0])
    given = [(0.3 * random(*shape)).requires_grad_() for _ in node.state_names]
    x = x.detach().requires_grad_()
    weights = [random(len(x), *shape, like=x.dtype)]
    weights += [random(len(x), *shape) for _ in given] + [random(*shape) for _ in given]
    found = []
    for out, last, stored in (
        run(plan, x, given, parameters, store=True),
        looped(node.step, x, given, parameters, node.branches),
    ):
        loss = sum((w.double() * value.double()).sum() for w, value in zip(weights, [out, *stored, *last], strict=True))
        wanted = [x, *given, *node.parameters()]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True, retain_graph=True)
        found.append(([out, *last, *stored], gradients))
    (ours, our_gradients), (theirs, their_gradients) = found
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        if exact:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        if one is None or other is None:
            assert one is None and other is None
            continue
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}.get(one.dtype, torch.finfo(one.dtype).eps)
        tolerance = max(tolerance, rtol)
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


def assert_a_repeated_step_is_read_once(node: nn.Module, x: Tensor, T: int = 21) -> None:
    """Compare a fused run of T steps with the one input x, whose gradient is summed over time, with the loop."""
    plan, parameters = planned(node, torch.float32, x.device)
    x = x.detach().requires_grad_()
    spikes, last, _ = run(plan, x, [0.25] * plan.states, parameters, repeats=T)
    start = torch.full(node.neurons_of(x), 0.25, device=x.device)
    expected, last_expected, _ = looped(
        node.step, x.expand(T, *x.shape), [start] * plan.states, parameters, node.branches
    )
    assert torch.equal(spikes, expected) and all(map(torch.equal, last, last_expected))
    weights = torch.randn(spikes.shape, device=x.device)
    wanted = [x, *node.parameters()]
    ours, theirs = (
        torch.autograd.grad((s.float() * weights).sum(), wanted, retain_graph=True) for s in (spikes, expected)
    )
    tolerance = 1e-5 if x.dtype == torch.float32 else 2 * torch.finfo(x.dtype).eps
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))
