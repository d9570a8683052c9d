"""A batch normalization in the kernel of the neuron after it, exactly as torch computes it."""

from collections.abc import Callable
from functools import partial

import cases
import pytest
import torch
from sampled import sampled
from torch import Tensor, nn

from snntrain import functional, kernel, layer, monitor
from snntrain.hooks import watching
from snntrain.kernel import norm as folding
from snntrain.layer import BatchNorm1d, BatchNorm2d, MaxPool2d, Sequential, SyncBatchNorm, normalization
from snntrain.layer.padding import padded
from snntrain.neuron import LIFNode
from snntrain.surrogate import ATan

LIF = partial(LIFNode, v_threshold=0.5, surrogate_function=ATan(), detach_reset=True)
ORDERS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}

Modules = Callable[[], tuple[nn.Module, ...]]


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[folding.Norm]:
    """The normalizations that ran in the kernel of a neuron."""
    found: list[folding.Norm] = []
    fold = normalization.FoldedBatchNorm.fold

    def noting(self: nn.Module, x: Tensor) -> folding.Norm | None:
        norm = fold(self, x)
        found.extend([] if norm is None else [norm])
        return norm

    monkeypatch.setattr(normalization.FoldedBatchNorm, "fold", noting)
    return found


def net(modules: Modules, fuse: str = "exact") -> Sequential:
    """With weights and running statistics of a net that has been trained."""
    torch.manual_seed(1)
    made = Sequential(*modules())
    functional.set_step_mode(made, "m")
    layer.set_fuse(made, fuse)
    generator = torch.Generator().manual_seed(2)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            kept = [*module.parameters(), module.running_mean, module.running_var]
            for value in (value for value in kept if value is not None):
                value.data.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return made


def results(modules: Modules, fuse: str, steps: list[Tensor], T: int) -> list[Tensor]:
    """Outputs, gradients, statistics and counts of a net in training, evaluation and training again.

    Args:
        modules: of the net.
        fuse: how it runs.
        steps: of each of the three, all steps [T·N, *]; or the one, [N, *], that is repeated −T times.
        T: steps of the sequence; negative: repeat one.
    """
    made, found = net(modules, fuse), []
    generator = torch.Generator().manual_seed(3)
    for index, step in enumerate(steps):
        made.train(index != 1)
        functional.reset_net(made)
        x = step.clone(memory_format=torch.preserve_format).requires_grad_()
        z = x * 1.0
        y = made(functional.repeat(z, -T) if T < 0 else z.unflatten(0, (T, -1)))
        weights = torch.randn(y.shape, generator=generator)
        made.zero_grad()
        (y * weights).sum().backward()
        found += [y.detach(), x.grad, *(p.grad.clone() for p in made.parameters())]
        found += [value.clone().double() for value in made.buffers()]
    return found


def pictures(shape: tuple[int, ...], order: str, count: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    return [(2 * torch.randn(shape) + 1).contiguous(memory_format=ORDERS[order]) for _ in range(count)]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


NORMS = {
    "as it is": BatchNorm2d,
    "without weights": partial(BatchNorm2d, affine=False),
    "with the mean of all batches": partial(BatchNorm2d, momentum=None),
    "without running statistics": partial(BatchNorm2d, track_running_stats=False),
}


@pytest.mark.parametrize("T", sampled([3, -3], 2), ids=["sequence", "one step"])
@pytest.mark.parametrize("order", sampled(ORDERS, 2))
@pytest.mark.parametrize("norm", sampled(NORMS.values(), 2), ids=NORMS)
def test_the_kernel_changes_no_bit(norm, order, T, folded):
    """Statistics, running averages, outputs and gradients: of 11 channels, and of blocks that end in a picture."""
    x = pictures((12, 11, 23, 19), order)
    for modules in (lambda: (norm(11), LIF(), MaxPool2d(2)), lambda: (norm(11), LIF())):
        assert_equal(*(results(modules, fuse, x, T) for fuse in ("exact", "off")))
    assert len(folded) == 6


@pytest.mark.parametrize("shape", [(12, 8, 1, 1), (12, 1, 4, 4)], ids=["one pixel", "one channel"])
def test_pictures_that_lie_in_two_orders_have_the_strides_that_torch_gives_them(shape):
    """Convolutions choose by the strides how they compute gradients, so that bits depend on them."""
    channels, pixels = shape[1], shape[2] * shape[3]
    x = torch.randn(shape).as_strided(shape, (channels * pixels, 1, channels * shape[3], channels))
    found = []
    for fuse in ("exact", "off"):
        z = (x.requires_grad_() * 1.0).unflatten(0, (3, -1))
        z.retain_grad()
        y = net(lambda: (BatchNorm2d(channels), LIF()), fuse)(z)
        y.sum().backward()
        found.append((y.detach(), z.grad))
    assert_equal(*found)
    assert [value.stride() for value in found[0]] == [value.stride() for value in found[1]]


@pytest.mark.parametrize("shape", [(8, 5), (8, 300), (6, 7, 33)], ids=str)
def test_vectors_and_signals_are_normalized_in_the_kernel_too(shape, folded):
    torch.manual_seed(0)
    x = [torch.randn(shape) + 1 for _ in range(3)]
    assert_equal(*(results(lambda: (BatchNorm1d(shape[1]), LIF()), fuse, x, 2) for fuse in ("exact", "off")))
    assert len(folded) == 3


def test_torchs_formula_is_met_on_this_processor():
    """Where it is not, as it might be on others, a normalization is torch's and the rest of the chain is fused."""
    assert folding.meets_torch()


def test_in_the_other_fused_mode_it_is_as_exact(folded):
    x = pictures((12, 11, 23, 19), "channels last")
    modules = lambda: (BatchNorm2d(11), LIF(), MaxPool2d(2))  # noqa: E731
    assert_equal(*(results(modules, fuse, x, 3) for fuse in ("fast", "off")))
    assert len(folded) == 3


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
    assert_equal(*(results(modules, fuse, x, 10) for fuse in ("exact", "off")))
    assert len(folded) == 3


def test_an_input_without_gradient_and_frozen_weights_get_none():
    made = net(lambda: (BatchNorm2d(4), LIF()))
    made[0].bias.requires_grad_(False)
    (x,) = pictures((6, 4, 8, 8), "contiguous", count=1)
    made(x.unflatten(0, (2, 3))).sum().backward()
    assert made[0].weight.grad.abs().max() > 0 and made[0].bias.grad is None


# --- who looks, and where nothing is folded --------------------------------------------------------------------------


def test_counted_spikes_are_those_of_the_kernel_and_recorded_ones_of_torchs_normalization(folded):
    (x,) = pictures((12, 4, 8, 8), "channels last", count=1)
    made = net(lambda: (BatchNorm2d(4), LIF(), MaxPool2d(2))).eval()
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
    assert_equal(*(results(modules, fuse, x, 4) for fuse in ("exact", "off")))
    assert not folded


def test_the_order_of_the_memory_decides_too(folded):
    made = net(lambda: (BatchNorm2d(4), LIF()))
    made(torch.randn(3, 8, 9, 4, 2).movedim(2, 4))  # rows innermost
    assert not folded


def test_float64_is_torchs(folded):
    made = net(lambda: (BatchNorm2d(4), LIF())).double()
    made(torch.randn(3, 2, 4, 6, 6, dtype=torch.float64))
    assert not folded


def test_padded_batches_are_torchs_in_training(folded):
    made = net(lambda: (BatchNorm2d(4), LIF()))
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


def test_a_single_value_is_refused_as_torch_refuses_it(folded):
    made = net(lambda: (BatchNorm2d(4), LIF()))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        made(torch.randn(1, 1, 4, 1, 1))
    assert not folded
