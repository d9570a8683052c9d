"""Which calls of a neuron are fused, and why the others are not."""

import copy
import logging
import multiprocessing
import pickle

import pytest
import torch
from loop_of_steps import NODES
from sampled import sampled
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from snntrain import functional, neuron, surrogate
from snntrain.kernel import Plan
from snntrain.kernel.backend import plan_for
from snntrain.neuron import BaseNode
from snntrain.registry import register


class Leaky(BaseNode):
    """What a user writes: one step function with a state, a number and a parameter of its own."""

    state_names = ("v", "fatigue")

    def __init__(self, gain: float = 0.5, **more):
        super().__init__(**more)
        self.gain = gain
        self.decay = nn.Parameter(torch.tensor(0.9))
        self.register_memory("fatigue", 0.0)

    def step_parameters(self, dtype):
        return (self.decay.to(dtype),)

    def step(self, x: Tensor, v: Tensor, fatigue: Tensor, decay: Tensor):
        h = decay * v + self.gain * x - fatigue
        s = self.fire(h)
        return s, self.reset_potential(h, s), 0.5 * (fatigue + s)


class Averaging(BaseNode):
    """Not pointwise: it looks at its neighbors."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return v + x - x.mean()


class OldStyle(BaseNode):
    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


class ReadsItself(BaseNode):
    """Takes its potential from where SpikingJelly keeps it."""

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        return self.v + x


class WritesItself(BaseNode):
    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        self.v = v + x
        return v + x


class Counts(BaseNode):
    """Fires from its third step on."""

    steps = 0

    def charge(self, x: Tensor, v: Tensor) -> Tensor:
        self.steps += 1
        return v + x * (self.steps > 2)


def outcome(node: BaseNode, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    s = node(x)
    weights = torch.linspace(-1, 1, s.numel(), dtype=s.dtype).view_as(s)
    gradients = torch.autograd.grad((s * weights).sum(), [x, *node.parameters()])
    return [s.detach(), *(getattr(node, name).detach() for name in node.state_names), *gradients]


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, *(pytest.param(x, marks=pytest.mark.slow) for x in (torch.float64, torch.float16))],
    ids=str,
)
def test_a_users_own_step_is_fused_as_ours_are(dtype):
    torch.manual_seed(0)
    x = (2 * torch.randn(9, 3, 40)).to(dtype)
    for step_mode, given in (("m", x), ("s", x[0])):
        fused, loop = (Leaky(step_mode=step_mode, backend=backend) for backend in ("fused", "torch"))
        spikes, *rest = outcome(fused, given)
        expected, *others = outcome(loop, given)
        assert torch.equal(spikes, expected) and 0 < float(spikes.float().mean()) < 1
        for ours, theirs in zip(rest, others, strict=True):
            assert ours.dtype == theirs.dtype
            tolerance = 1e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-5
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_settings_may_change_after_the_first_call():
    node = Leaky(step_mode="m", surrogate_function=surrogate.ATan(2.0))
    x = torch.randn(5, 30)
    for change in (
        lambda n: None,
        lambda n: setattr(n, "gain", 2.0),
        lambda n: setattr(n, "v_threshold", 0.3),
        lambda n: setattr(n.surrogate_function, "alpha", 5.0),
        lambda n: setattr(n, "v_reset", None),
        lambda n: setattr(n, "detach_reset", True),
    ):
        change(node)
        twin = copy.deepcopy(node)
        twin.backend = "torch"
        node.reset(), twin.reset()
        for ours, theirs in zip(outcome(node, x), outcome(twin, x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_neurons_with_equal_settings_share_a_plan_and_the_state_is_their_own():
    one, two = neuron.LIFNode(step_mode="m"), neuron.LIFNode(step_mode="m")
    x = torch.zeros(2, 3)
    assert plan_for(one, x) is plan_for(two, x)
    assert plan_for(one, x) is not plan_for(neuron.LIFNode(tau=3.0, decay_input=False), x[0])


@pytest.mark.parametrize(
    "make, reason",
    [
        (Averaging, "mean"),
        (OldStyle, "replaces hooks"),
        (lambda: neuron.IFNode(surrogate_function=nn.Sigmoid()), "surrogate_function"),
        (ReadsItself, "its step reads self.v"),
        (WritesItself, "its step writes self.v"),
        (Counts, "its step writes self.steps"),
    ],
    ids=[
        *("not pointwise", "hooks", "foreign surrogate"),
        *("reads a state", "writes a state", "counts its steps"),
    ],
)
def test_what_cannot_be_fused_runs_in_torch_and_is_refused_when_asked_for(make, reason):
    x = torch.randn(2, 3)
    assert reason in plan_for(make(), x)
    assert make()(x).shape == x.shape
    with pytest.raises(
        ValueError, match=rf"backend 'fused' cannot serve this neuron: .*{reason}.*Use 'auto' or 'torch'"
    ):
        node = make()
        node.backend = "fused"
        node(x)


@pytest.mark.parametrize("make", [ReadsItself, WritesItself, Counts])
def test_a_step_that_uses_its_neuron_as_memory_computes_what_the_loop_computes(make):
    x = torch.full((6, 2), 0.4)
    assert torch.equal(make(step_mode="m")(x), make(step_mode="m", backend="torch")(x))


class PerChannel(BaseNode):
    """A user's neuron with a decay for each channel."""

    def __init__(self, channels: int, **more):
        super().__init__(**more)
        self.decay = nn.Parameter(torch.full((channels,), 0.75))

    def step_parameters(self, dtype):
        return (self.decay.to(dtype),)

    def charge(self, x: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        return decay * v + x


@pytest.mark.parametrize("backend", ["torch", "fused"])
@pytest.mark.parametrize("step_mode, shape", [("s", (2, 4)), ("s", (3,)), ("m", (5, 2, 1)), ("m", (5, 2, 4, 3))])
def test_parameters_that_do_not_fit_the_channels_are_named(backend, step_mode, shape):
    one = list(shape[step_mode == "m" :])
    with pytest.raises(
        ValueError, match=r"^PerChannel: step_parameters returns values of shape \[3\]; for an input "
    ) as e:
        PerChannel(3, step_mode=step_mode, backend=backend)(torch.zeros(shape))
    assert str(one) in str(e.value)


def test_parameters_of_a_users_channels_broadcast_in_the_loop():
    node = PerChannel(3, step_mode="m", backend="torch", v_threshold=9.0)
    with torch.no_grad():
        node.decay.copy_(torch.tensor([0.0, 0.5, 1.0]))
    node(torch.ones(2, 4, 3, 5))
    assert torch.equal(node.v, torch.tensor([1.0, 1.5, 2.0]).view(1, 3, 1).expand(4, 3, 5))
    assert isinstance(plan_for(node, torch.ones(2, 4, 3, 5)), Plan)


def test_an_unsupported_operator_is_logged_once(caplog):
    class AlsoAveraging(Averaging):
        """A class of its own: reasons are remembered."""

    with caplog.at_level(logging.INFO):
        for _ in range(3):
            AlsoAveraging()(torch.randn(2, 3))
    assert [record.message for record in caplog.records if "AlsoAveraging" in record.message] == [
        "AlsoAveraging runs unfused: its step uses aten.mean.default, for which no kernel code is known."
    ]


def test_calls_that_something_else_watches_are_left_to_torch():
    node, x = neuron.IFNode(), torch.randn(2, 3)
    assert isinstance(plan_for(node, x), Plan)
    assert "device" in plan_for(node, x.to("meta"))
    found = []

    def call(x: Tensor) -> Tensor:
        found.append(plan_for(node, x))
        return x

    torch.func.vmap(call)(x)
    torch.func.grad(lambda x: call(x).sum())(x)
    with FlopCounterMode(display=False):
        call(x)
    with torch.autograd.forward_ad.dual_level():
        call(x)
    assert found == ["the call is being traced, compiled or transformed"] * 4


def test_autocast_and_copies_in_mid_sequence():
    node = neuron.LIFNode(step_mode="m", backend="fused")
    x = torch.randn(6, 2, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = node(x[:3])
    twin = pickle.loads(pickle.dumps(node))
    assert first.dtype == torch.float32 and torch.equal(node(x[3:]), twin(x[3:]))
    whole = neuron.LIFNode(step_mode="m", backend="torch")
    assert torch.equal(whole(x)[:3], first)


def test_a_repeated_step_is_not_copied_and_its_gradient_is_the_sum():
    x = torch.randn(4, 30, requires_grad=True)
    loop = neuron.LIFNode(step_mode="m", backend="torch")(functional.repeat(x, 6))
    fused = neuron.LIFNode(step_mode="m", backend="fused")(functional.repeat(x, 6))
    assert torch.equal(loop, fused)
    weights = torch.randn_like(loop)
    (expected,), (found,) = (torch.autograd.grad((y * weights).sum(), x) for y in (loop, fused))
    torch.testing.assert_close(found, expected)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.untyped_storage().nbytes()), lambda t: t):
        neuron.LIFNode(step_mode="m", backend="fused")(functional.repeat(x, 6))
    assert max(kept) == x.untyped_storage().nbytes()


@pytest.mark.parametrize("name", sampled(["PLIF", "LIF", "IF, soft reset"], 3))
def test_training_with_a_surrogate_of_plain_arithmetic_is_the_same_to_the_last_bit(name):
    x = torch.randn(4, 700, requires_grad=True)
    trained = []
    for backend in ("fused", "torch"):
        node = NODES[name]()
        node.step_mode, node.backend = "m", backend
        for given in (functional.repeat(x, 6), (x * torch.linspace(0.5, 1.5, 6).view(6, 1, 1))):
            node.reset()
            spikes = node(given)
            weights = torch.linspace(-1, 1, spikes.numel()).view_as(spikes)
            trained += [spikes, *torch.autograd.grad((spikes * weights).sum(), x)]
    for ours, theirs in zip(trained[:4], trained[4:], strict=True):
        assert torch.equal(ours, theirs)


def _spikes_of_a_child(queue, x):
    torch.set_num_threads(2)
    spikes = neuron.LIFNode(step_mode="m", backend="fused")(x)
    torch.set_num_threads(1)  # torch's own threads do not survive a fork
    queue.put(float(spikes.sum()))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*")
def test_kernels_run_after_a_fork_with_threads():
    x = torch.randn(4, 8, 9000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = float(neuron.LIFNode(step_mode="m", backend="fused")(x).sum())
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_spikes_of_a_child, args=(queue, x))
        child.start()
        assert queue.get(timeout=60) == expected
        child.join(60)
    finally:
        torch.set_num_threads(before)


class _OnTheFly(torch.utils.data.Dataset):
    """Encodes each sample with a spiking layer, in the loader's worker."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return neuron.LIFNode(step_mode="m", backend="fused")(torch.full((4, 10), 0.4 + 0.3 * index))


def test_kernels_run_in_loader_workers():
    plain, parallel = (
        torch.stack(list(torch.utils.data.DataLoader(_OnTheFly(), batch_size=None, num_workers=workers)))
        for workers in (0, 2)
    )
    assert torch.equal(plain, parallel) and plain.sum() > 0


@pytest.mark.slow
def test_a_registered_neuron_of_a_users_trains_fused_in_a_model():
    from snntrain.model import build

    register("neuron")(Leaky)
    net = build(["Flatten", {"name": "Linear", "out_features": 4}, "neuron"], (1, 3, 3), neuron="Leaky")
    node = net.layers[-1]
    assert isinstance(plan_for(node, torch.zeros(2, 5, 4)), Plan)
    net(functional.repeat(torch.rand(5, 1, 3, 3), 4)).sum().backward()
    assert node.decay.grad is not None
