"""A batch normalization in the kernel of the neuron after it: exactly as torch computes it, and fast."""

from collections.abc import Callable
from functools import partial

import cases
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import sampled
from torch import Tensor, nn

from snntrain import functional, kernel, layer, monitor
from snntrain.hooks import watching
from snntrain.kernel import norm as folding
from snntrain.layer import BatchNorm1d, BatchNorm2d, MaxPool2d, Sequential, SyncBatchNorm, normalization
from snntrain.layer.padding import padded
from snntrain.neuron import BaseNode, LIFNode
from snntrain.surrogate import ATan

LIF = partial(LIFNode, v_threshold=0.5, surrogate_function=ATan(), detach_reset=True)
ORDERS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}

Modules = Callable[[], tuple[nn.Module, ...]]


class Through(BaseNode):
    """Hand on what is read."""

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return x * 1.0, v


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[folding.Norm]:
    """The normalizations that ran in the kernel of a neuron."""
    found: list[folding.Norm] = []
    fold = normalization.FoldedBatchNorm.fold

    def noting(self: nn.Module, x: Tensor, exact: bool) -> folding.Norm | None:
        norm = fold(self, x, exact)
        found.extend([] if norm is None else [norm])
        return norm

    monkeypatch.setattr(normalization.FoldedBatchNorm, "fold", noting)
    return found


def net(modules: Modules, fuse: str, dtype: torch.dtype = torch.float32) -> Sequential:
    """With weights and running statistics of a net that has been trained."""
    torch.manual_seed(1)
    made = Sequential(*modules()).to(dtype)
    functional.set_step_mode(made, "m")
    layer.set_fuse(made, fuse)
    generator = torch.Generator().manual_seed(2)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            kept = [*module.parameters(), module.running_mean, module.running_var]
            for value in (value for value in kept if value is not None):
                value.data.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return made


def results(
    modules: Modules, fuse: str, steps: list[Tensor], T: int, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Outputs, gradients, statistics and counts of a net in training, evaluation and training again.

    Args:
        modules: of the net.
        fuse: how it runs.
        steps: of each of the three, all steps [T·N, *]; or the one, [N, *], that is repeated −T times.
        T: steps of the sequence; negative: repeat one.
        dtype: of the net.
    """
    made, found = net(modules, fuse, dtype), []
    generator = torch.Generator().manual_seed(3)
    for index, step in enumerate(steps):
        made.train(index != 1)
        functional.reset_net(made)
        x = step.clone(memory_format=torch.preserve_format).requires_grad_()
        z = x * 1.0
        y = made(functional.repeat(z, -T) if T < 0 else z.unflatten(0, (T, -1)))
        weights = torch.randn(y.shape, generator=generator).to(dtype)
        made.zero_grad()
        (y * weights).sum().backward()
        found += [y.detach(), x.grad, *(p.grad.clone() for p in made.parameters())]
        found += [value.clone().double() for value in made.buffers()]
    return found


def pictures(shape: tuple[int, ...], order: str, count: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [(2 * torch.randn(shape, dtype=dtype) + 1).contiguous(memory_format=ORDERS[order]) for _ in range(count)]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def assert_close(one: list[Tensor], other: list[Tensor], share: float) -> None:
    """Within a share of the largest value."""
    for a, b in zip(one, other, strict=True):
        assert (a - b).abs().max() <= share * b.abs().max()


# --- exact -----------------------------------------------------------------------------------------------------------


NORMS = {
    "as it is": BatchNorm2d,
    "without weights": partial(BatchNorm2d, affine=False),
    "with the mean of all batches": partial(BatchNorm2d, momentum=None),
    "without running statistics": partial(BatchNorm2d, track_running_stats=False),
}


@pytest.mark.parametrize("T", sampled([3, -3], 2), ids=["sequence", "one step"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", sampled(NORMS.values(), 2), ids=NORMS)
def test_the_exact_kernel_changes_no_bit(norm, order, T, folded):
    """Statistics, running averages, outputs and gradients: of 11 channels, and of blocks that end in a picture."""
    x = pictures((12, 11, 23, 19), order)
    for modules in (lambda: (norm(11), LIF(), MaxPool2d(2)), lambda: (norm(11), LIF())):
        assert_equal(*(results(modules, fuse, x, T) for fuse in ("exact", "off")))
    assert len(folded) == 6 and all(found.exact for found in folded)


@pytest.mark.parametrize("shape", [(8, 5), (8, 300), (6, 7, 33)], ids=str)
def test_vectors_and_signals_are_normalized_in_the_kernel_too(shape, folded):
    torch.manual_seed(0)
    x = [torch.randn(shape) + 1 for _ in range(3)]
    assert_equal(*(results(lambda: (BatchNorm1d(shape[1]), LIF()), fuse, x, 2) for fuse in ("exact", "off")))
    assert len(folded) == 3


def test_torchs_formula_is_met_on_this_processor():
    """Where it is not, as it might be on others, a normalization is torch's and the rest of the chain is fused."""
    assert folding.meets_torch()


@pytest.mark.slow
def test_where_the_formula_is_not_met_torch_normalizes(monkeypatch, folded):
    monkeypatch.setattr(normalization, "meets_torch", lambda: False)
    x = pictures((6, 11, 23, 19), "channels last")
    modules = lambda: (BatchNorm2d(11), LIF(), MaxPool2d(2))  # noqa: E731
    assert_equal(*(results(modules, fuse, x, 3) for fuse in ("exact", "off")))
    assert not folded


@pytest.mark.slow
@pytest.mark.parametrize("name", [*cases.POINTWISE, "GLIF", "CE-LIF"])
def test_every_fused_neuron_takes_its_normalization_in(name, folded):
    kind = cases.NODES[name]
    make = partial(kind.func, *kind.args, **{**kind.keywords, "backend": "auto"})
    modules = lambda: (BatchNorm2d(16), make(), MaxPool2d(2))  # noqa: E731
    x = pictures((30, 16, 9, 8), "channels last")
    exact, off, fast = (results(modules, fuse, x, 10) for fuse in ("exact", "off", "fast"))
    assert_equal(exact, off)
    assert len(folded) == 6
    assert (fast[0] != off[0]).float().mean() < 1e-3


# --- fast ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_what_a_neuron_reads_is_as_close_to_its_true_value_as_stated(order, folded):
    """4·eps·(|scale·x| + |scale·mean| + |bias|), with means up to a thousand times the deviation."""
    means = torch.tensor([0.0, 1.0, -30.0, 1000.0, 0.1])
    for x in pictures((12, 5, 13, 9), order, count=2):
        x = (x + means.view(5, 1, 1)).contiguous(memory_format=ORDERS[order])
        made, true = net(lambda: (BatchNorm2d(5), Through()), "fast"), x.double()
        mean, variance = true.mean((0, 2, 3)), true.var((0, 2, 3), correction=0)
        weight, bias = (value.detach().double() for value in made[0].parameters())
        scale, shape = weight / (variance + made[0].eps).sqrt(), (1, 5, 1, 1)
        wanted = true * scale.view(shape) + (bias - mean * scale).view(shape)
        limit = (true * scale.view(shape)).abs() + ((mean * scale).abs() + bias.abs()).view(shape)
        found = made(x.unflatten(0, (3, 4))).flatten(0, 1)
        assert ((found - wanted).abs() <= 4 * EPS[torch.float32] * limit).all()
    assert len(folded) == 2


@pytest.mark.slow
@pytest.mark.parametrize("T", [3, -3], ids=["sequence", "one step"])
@pytest.mark.parametrize("order", ORDERS)
def test_in_float64_the_fast_kernel_gives_what_torch_gives(order, T, folded):
    x = pictures((12, 11, 23, 19), order, dtype=torch.float64)
    modules = lambda: (BatchNorm2d(11), LIF())  # noqa: E731
    fast, off = (results(modules, fuse, x, T, torch.float64) for fuse in ("fast", "off"))
    assert_close(fast, off, 1e-12)
    assert len(folded) == 3


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_in_float32_the_fast_kernel_is_within_rounding(norm, folded):
    """With these numbers no neuron is so close to its threshold that it fires in one of the two only."""
    x = pictures((12, 11, 23, 19), "channels last")
    modules = lambda: (norm(11), LIF(), MaxPool2d(2))  # noqa: E731
    fast, off = (results(modules, fuse, x, 3) for fuse in ("fast", "off"))
    assert torch.equal(fast[0], off[0])
    assert_close(fast, off, 2e-5)
    assert len(folded) == 3


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    order=st.sampled_from(list(ORDERS.values())),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    mean=st.sampled_from([0.0, -3.0, 1e4]),
)
def test_statistics_are_those_of_numpy(sizes, order, dtype, mean):
    generator = torch.Generator().manual_seed(sum(sizes))
    x = torch.randn(sizes, generator=generator, dtype=dtype) + mean
    if len(sizes) == 4:
        x = x.contiguous(memory_format=order)
    found, variance = folding.moments(x)
    axes = tuple(axis for axis in range(len(sizes)) if axis != 1)
    values = x.double().numpy()
    np.testing.assert_allclose(found, values.mean(axes), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(variance, values.var(axes), rtol=1e-7, atol=1e-12)


def test_the_number_of_threads_changes_no_bit():
    before, found = torch.get_num_threads(), []
    x = pictures((16, 16, 32, 32), "channels last")
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(results(lambda: (BatchNorm2d(16), LIF(), MaxPool2d(2)), "fast", x, 4))
    finally:
        torch.set_num_threads(before)
    assert_equal(*found)


def test_an_input_without_gradient_and_frozen_weights_get_none():
    made = net(lambda: (BatchNorm2d(4), LIF()), "fast")
    made[0].bias.requires_grad_(False)
    (x,) = pictures((6, 4, 8, 8), "contiguous", count=1)
    made(x.unflatten(0, (2, 3))).sum().backward()
    assert made[0].weight.grad.abs().max() > 0 and made[0].bias.grad is None


# --- who looks, and where nothing is folded --------------------------------------------------------------------------


def test_counted_spikes_are_those_of_the_kernel_and_recorded_ones_of_torchs_normalization(folded):
    (x,) = pictures((12, 4, 8, 8), "channels last", count=1)
    made = net(lambda: (BatchNorm2d(4), LIF(), MaxPool2d(2)), "fast").eval()
    sequence = x.unflatten(0, (4, 3))
    with monitor.recording(made) as seen:
        made(sequence)
    assert seen["1"]["spikes"].shape == sequence.shape and not folded
    functional.reset_net(made)
    counts: list[Tensor] = []
    with watching({"1": made[1]}, print, at_once=True, count=lambda path, fired, size: counts.append(fired)):
        made(sequence)
    assert counts == [seen["1"]["spikes"].count_nonzero()] and len(folded) == 1
    functional.reset_net(made)
    with kernel.watching_fusion() as calls:
        made(sequence)
    assert calls == dict.fromkeys(made)  # all three are fused


def looked_at(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, inputs, output: None)
    return module


UNFOLDED = {
    "a hook on the normalization": lambda: (looked_at(BatchNorm2d(4)), LIF()),
    "a hook on the neuron": lambda: (BatchNorm2d(4), looked_at(LIF())),
    "backend torch": lambda: (BatchNorm2d(4), LIF(backend="torch")),
    "torch's layer": lambda: (layer.SeqToANNContainer(nn.BatchNorm2d(4)), LIF()),
    "another normalization": lambda: (layer.GroupNorm(2, 4), LIF()),
    "something between": lambda: (BatchNorm2d(4), nn.Identity(), LIF()),
}


@pytest.mark.parametrize("modules", UNFOLDED.values(), ids=UNFOLDED)
def test_what_cannot_be_folded_runs_one_by_one(modules, folded):
    x = pictures((12, 4, 8, 8), "channels last")
    assert_equal(*(results(modules, fuse, x, 4) for fuse in ("fast", "off")))
    assert not folded


def test_the_order_of_the_memory_decides_too(folded):
    made = net(lambda: (BatchNorm2d(4), LIF()), "fast")
    made(torch.randn(3, 8, 9, 4, 2).movedim(2, 4))  # rows innermost
    assert not folded


def test_padded_batches_are_torchs_in_training(folded):
    made = net(lambda: (BatchNorm2d(4), LIF()), "fast")
    x = torch.randn(3, 2, 4, 6, 6)
    with padded(torch.tensor([1, 3]), 3):
        made(x)
        assert not folded
        functional.reset_net(made.eval())
        made(x)
    assert len(folded) == 1


def test_a_synchronized_normalization_in_one_process_is_folded(folded):
    x = pictures((6, 4, 8, 8), "channels last")
    assert_equal(*(results(lambda: (SyncBatchNorm(4), LIF()), fuse, x, 2) for fuse in ("exact", "off")))
    assert len(folded) == 3


@pytest.mark.parametrize("fuse", ["exact", "fast"])
def test_a_single_value_is_refused_as_torch_refuses_it(fuse, folded):
    made = net(lambda: (BatchNorm2d(4), LIF()), fuse)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        made(torch.randn(1, 1, 4, 1, 1))
    assert not folded
