"""Chunks of a sequence against the whole one: outputs, states, gradients, memory."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import sampled
from small_training import SGD
from torch import Tensor, nn
from torch.testing import assert_close

from snntrain import functional
from snntrain.encoding import DirectEncoder
from snntrain.layer import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d
from snntrain.layer.attention import TemporalWiseAttention
from snntrain.layer.container import MultiStepContainer, SeqToANNContainer
from snntrain.layer.dropout import Dropout
from snntrain.layer.synapse import Delay
from snntrain.layer.temporal_normalization import TemporalEffectiveBatchNorm1d, ThresholdDependentBatchNorm1d
from snntrain.neuron import PSN, IFNode, LIFNode, MaskedPSN, ParametricLIFNode, SlidingPSN
from snntrain.task import Classification
from snntrain.task.chunk import run_in_chunks


class DrawOnce(nn.Module):
    """A mask drawn at every call, as torch's Dropout draws it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) > 0.3)


def dense(*neurons: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    first, second = neurons
    return in_sequences(nn.Sequential(Linear(5, 7), first, Linear(7, 6), second, Linear(6, 3)))


def in_sequences(net: nn.Module) -> nn.Module:
    functional.set_step_mode(net, "m")
    return net


def convolutional(backend: str = "torch", normalization: Callable[[int], nn.Module] = BatchNorm2d) -> nn.Module:
    torch.manual_seed(0)
    common = {"v_threshold": 0.1, "detach_reset": True, "backend": backend}
    layers = [
        *(Conv2d(1, 4, 3, padding=1, bias=False), normalization(4), LIFNode(**common), MaxPool2d(2)),
        *(Conv2d(4, 5, 3, padding=1), BatchNorm2d(5), LIFNode(**common), Flatten(), Linear(80, 3)),
    ]
    return in_sequences(nn.Sequential(*layers))


def lif(**more: object) -> LIFNode:
    return LIFNode(v_threshold=0.2, backend="torch", **more)


NETS = {
    "lif": lambda: dense(lif(), lif(v_reset=None)),
    "plif": lambda: dense(*(ParametricLIFNode(v_threshold=0.2, backend="torch") for _ in range(2))),
    "queues": lambda: dense(SlidingPSN(k=3), Delay(2)),
    "containers": lambda: dense(MultiStepContainer(lif()), SeqToANNContainer(nn.Linear(6, 6), nn.Tanh())),
    "dropout": lambda: dense(lif(), Dropout(0.4)),  # one mask for the whole sequence
}


def sequence(T: int, *shape: int) -> Tensor:
    return torch.rand(T, *shape, generator=torch.Generator().manual_seed(T)) * 2


def learned(net: nn.Module, run: Callable[[nn.Module], Tensor]) -> tuple[Tensor, list[Tensor], dict[str, object]]:
    """Outputs, gradients of a loss that weighs every output differently, and the states afterward."""
    net.zero_grad()
    functional.reset_net(net)
    torch.manual_seed(7)
    y_seq = run(net)
    before = functional.get_states(net)
    (y_seq.square() * torch.linspace(1, 2, y_seq.numel()).view_as(y_seq)).sum().backward()
    after = functional.get_states(net)
    assert_close(after, before, rtol=0, atol=0)  # backward leaves the states as they are
    return y_seq.detach(), [parameter.grad.clone() for parameter in net.parameters()], after


def check_equal(net: nn.Module, x_seq: Tensor, chunk: int) -> None:
    chunks = learned(net, lambda net: run_in_chunks(net, x_seq, chunk, "exact"))  # first: kernels are not yet traced
    whole = learned(net, lambda net: net(x_seq))
    assert_close(chunks, whole, rtol=1e-4, atol=1e-6)
    assert len(x_seq) < 3 or whole[1][0].count_nonzero() > 0  # the first layer learns (later than Delay delays)


# --- exact -----------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(NETS)), st.integers(1, 8), st.integers(1, 9))
def test_exact_chunks_give_outputs_states_and_gradients_of_the_whole(name, T, chunk):
    check_equal(NETS[name](), sequence(T, 4, 5), chunk)


@pytest.mark.parametrize("backend", sampled(["auto", "torch"], 2))
def test_exact_chunks_of_a_convolutional_network(backend):
    """BatchNorm in evaluation; with 'auto' the kernels' own autograd function is recomputed."""
    check_equal(convolutional(backend).eval(), sequence(5, 2, 1, 8, 8), 2)


def test_the_gradient_of_the_input_is_exact_too():
    net, found = NETS["lif"](), []
    for run in (net, lambda x_seq: run_in_chunks(net, x_seq, 2)):
        x_seq = sequence(5, 4, 5).requires_grad_()
        functional.reset_net(net)
        found.append(torch.autograd.grad(run(x_seq).square().sum(), x_seq)[0])
    assert_close(found[1], found[0])
    assert found[0].flatten(1).any(1).all()


def test_recomputed_chunks_draw_what_they_drew_the_first_time():
    """Equal to one graph over all chunks, which draws in the same order."""
    net = in_sequences(nn.Sequential(Linear(5, 7), DrawOnce(), lif(), DrawOnce(), Linear(7, 3)))
    x_seq, found = sequence(6, 4, 5), []
    for run in (lambda x: run_in_chunks(net, x, 2), lambda x: torch.cat([net(part) for part in x.split(2)])):
        found.append(learned(net, lambda net, run=run: run(x_seq)))
    assert_close(found[0], found[1])


class TorchsOwn(nn.BatchNorm2d):
    """Knows nothing of recomputation."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.seq_to_ann_forward(x, super().forward)


@pytest.mark.parametrize("normalization", [BatchNorm2d, TorchsOwn])
def test_running_statistics_are_updated_once_per_chunk(normalization):
    net = convolutional(normalization=normalization)
    by_hand, x_seq = copy.deepcopy(net), sequence(6, 3, 1, 8, 8)
    run_in_chunks(net, x_seq, 2).sum().backward()
    for part in x_seq.split(2):
        by_hand(part)
    assert_close(dict(net.named_buffers()), dict(by_hand.named_buffers()))
    assert [int(net[place].num_batches_tracked) for place in (1, 5)] == [3, 3]


def test_a_repeated_step_stays_one_inside_the_chunks():
    """As DirectEncoder makes it: layers before the first neuron see it once per chunk."""
    net = convolutional().eval()
    step, seen = sequence(1, 2, 1, 8, 8)[0], []
    handle = net[1].register_forward_pre_hook(lambda module, inputs: seen.append(functional.repeated_step(inputs[0])))
    check_equal(net, functional.repeat(step, 6), 2)
    handle.remove()
    assert len(seen) == 1 + 2 * 3 and all(part is not None for part in seen)


def saved_bytes(net: nn.Module, run: Callable[[nn.Module], Tensor]) -> int:
    """Memory of the tensors that backward would use."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    functional.reset_net(net)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(net).sum()
    return sum(storages.values())


def test_chunks_keep_a_fraction_of_the_activations():
    net, x_seq = convolutional().eval(), sequence(12, 2, 1, 8, 8)
    whole, truncated, exact = (
        saved_bytes(net, run)
        for run in (
            lambda net: net(x_seq),
            lambda net: run_in_chunks(net, x_seq, 3, "truncated"),
            lambda net: run_in_chunks(net, x_seq, 3, "exact"),
        )
    )
    assert exact < whole / 4 and truncated < whole / 4


@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_stored_potentials_are_those_of_the_whole_sequence(gradient):
    net, x_seq, found = dense(lif(store_v_seq=True), lif()), sequence(5, 4, 5), []
    for run in (net, lambda x_seq: run_in_chunks(net, x_seq, 2, gradient)):
        functional.reset_net(net)
        y_seq = run(x_seq)
        y_seq.sum().backward()
        found.append(net[1].v_seq)
    assert found[0].shape[0] == 5
    assert_close(found[1], found[0])


# --- truncated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_truncated_chunks_are_the_whole_with_detached_states_in_between(chunk):
    net, x_seq = NETS["lif"](), sequence(5, 4, 5)

    def by_hand(net: nn.Module) -> Tensor:
        functional.set_step_mode(net, "s")
        outputs = []
        for t, x in enumerate(x_seq):
            if t % chunk == 0:
                functional.detach_net(net)
            outputs.append(net(x))
        functional.set_step_mode(net, "m")
        return torch.stack(outputs)

    expected = learned(net, by_hand)
    assert_close(learned(net, lambda net: run_in_chunks(net, x_seq, chunk, "truncated")), expected)
    whole = learned(net, lambda net: net(x_seq))
    assert_close(whole[0], expected[0])  # some processors round a product of more rows otherwise
    assert torch.allclose(whole[1][0], expected[1][0]) == (chunk == 5)


def test_without_gradients_every_way_gives_the_same_outputs():
    net, x_seq = convolutional().eval(), sequence(7, 2, 1, 8, 8)
    with torch.no_grad():
        whole = net(x_seq)
        for gradient in ("exact", "truncated"):
            functional.reset_net(net)
            assert_close(run_in_chunks(net, x_seq, 3, gradient), whole)


# --- in the task -----------------------------------------------------------------------------------------------------


def task(net: nn.Module, T: int = 4, **more: object) -> Classification:
    return Classification(net, DirectEncoder(), T, num_classes=3, optim=SGD, **more)


@pytest.mark.parametrize("gradient", ["exact", "truncated"])
def test_the_task_runs_its_network_in_chunks(gradient):
    seen, net = [], NETS["lif"]()
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[0]))
    x, target = sequence(1, 4, 5)[0], torch.tensor([0, 1, 2, 1])
    chunked = task(net, T=5, chunk=2, chunk_gradient=gradient)
    y_seq = chunked(x)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(y_seq, task(net, T=5)(x))
    seen.clear()
    chunked.compute_loss(y_seq, target).backward()
    assert seen == [1, 2, 2]


class Foreign(nn.Module):
    """A state that is not registered, which can be detached but not restored."""

    def __init__(self) -> None:
        super().__init__()
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for step in x:
            self.v = 0.5 * self.v + step
            outputs.append(self.v)
        return torch.stack(outputs)

    def reset(self) -> None:
        self.v = 0.0

    def detach(self) -> None:
        self.v = self.v.detach() if isinstance(self.v, Tensor) else self.v


def test_truncated_chunks_with_states_that_cannot_be_restored_run_once():
    seen, net, x_seq = [], nn.Sequential(nn.Linear(5, 3), Foreign()), sequence(5, 4, 5)
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[0]))
    run_in_chunks(net, x_seq, 2, "truncated").square().sum().backward()
    assert seen == [2, 2, 1]
    found = net[0].weight.grad.clone()
    net.zero_grad()
    net[1].reset()
    for part in x_seq.split(2):
        net[1].detach()
        net(part).square().sum().backward()
    assert_close(found, net[0].weight.grad)


@pytest.mark.parametrize(
    "module",
    [
        PSN(T=4),
        MaskedPSN(k=2, T=4),
        ThresholdDependentBatchNorm1d(1.0, 1.0, 7),
        TemporalEffectiveBatchNorm1d(4, 7),
        TemporalWiseAttention(4, reduction=2, dimension=2),
    ],
)
def test_what_needs_the_whole_sequence_is_refused_by_name(module):
    net = in_sequences(nn.Sequential(Linear(5, 7), module, Linear(7, 3)))
    with pytest.raises(ValueError, match=rf"Classification: chunk .* 1 \({type(module).__name__}\) needs all"):
        task(net, chunk=2)
    assert task(net).chunk is None


@pytest.mark.parametrize(("argument", "value"), [("chunk", 0), ("chunk", True), ("chunk_gradient", "detached")])
def test_arguments_out_of_range_are_refused(argument, value):
    with pytest.raises(ValueError, match=rf"Classification: {argument} must be .*got {value!r}"):
        task(dense(IFNode(), IFNode()), **{argument: value})
