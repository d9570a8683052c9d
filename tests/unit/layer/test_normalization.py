"""BatchNorm and GroupNorm: whose statistics, and how often."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from snntrain import layer

C = 3
SAMPLES = [("BatchNorm1d", ()), ("BatchNorm1d", (5,)), ("BatchNorm2d", (4, 5)), ("BatchNorm3d", (2, 4, 3))]
EVERY_BATCH_NORM = pytest.mark.parametrize(("name", "spatial"), SAMPLES)


def sequence(spatial: tuple[int, ...], t: int = 4, n: int = 2) -> Tensor:
    x = torch.randn(t, n, C, *spatial, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    # Steps of different mean and scale: statistics over one step and over all of them differ.
    return x * torch.arange(1, t + 1).view(-1, *[1] * (x.dim() - 1)) + torch.arange(t).view(-1, *[1] * (x.dim() - 1))


@EVERY_BATCH_NORM
def test_statistics_are_taken_over_time_batch_and_space(name: str, spatial: tuple[int, ...]):
    """Against the definition, written out."""
    bn, x = getattr(layer, name)(C, eps=1e-3, step_mode="m").double(), sequence(spatial)
    over = [dim for dim in range(x.dim()) if dim != 2]
    mean, var = x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)
    assert_close(bn(x), (x - mean) / (var + 1e-3).sqrt())
    assert_close(bn.running_mean, 0.1 * mean.flatten())
    assert_close(bn.running_var, 0.9 + 0.1 * x.var(over).flatten())


@EVERY_BATCH_NORM
@pytest.mark.parametrize("momentum", [0.3, None])
def test_one_update_per_sequence_as_torch_on_the_folded_tensor(name: str, spatial: tuple[int, ...], momentum):
    ours = getattr(layer, name)(C, momentum=momentum, step_mode="m").double()
    theirs = getattr(nn, name)(C, momentum=momentum).double()
    for call in range(1, 4):
        x = sequence(spatial) + call
        assert torch.equal(ours(x).flatten(0, 1), theirs(x.flatten(0, 1)))
        assert ours.num_batches_tracked.item() == call
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


@EVERY_BATCH_NORM
def test_one_update_per_step_in_s(name: str, spatial: tuple[int, ...]):
    ours, theirs = getattr(layer, name)(C).double(), getattr(nn, name)(C).double()
    for x in sequence(spatial):
        assert torch.equal(ours(x), theirs(x))
    assert ours.num_batches_tracked.item() == 4
    assert torch.equal(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("name_spatial_shape", [("BatchNorm1d", (1, 1, 2)), ("BatchNorm2d", (1, 1, 2, 1, 1))])
def test_a_single_value_per_channel_is_torchs_error(name_spatial_shape):
    name, shape = name_spatial_shape
    bn = getattr(layer, name)(2, step_mode="m")
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        bn(torch.zeros(shape))
    assert bn.eval()(torch.zeros(shape)).shape == shape


def test_two_steps_of_one_sample_are_enough_to_train():
    y = layer.BatchNorm1d(1, eps=1e-9, step_mode="m")(torch.tensor([1.0, 3.0]).view(2, 1, 1))
    assert_close(y.flatten(), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_without_affine_or_running_statistics(affine: bool, track: bool):
    arguments = {"affine": affine, "track_running_stats": track}
    ours, theirs = layer.BatchNorm2d(C, **arguments, step_mode="m"), nn.BatchNorm2d(C, **arguments)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = sequence((4, 5)).float()
    for module in (ours, theirs):
        module.eval()
    assert torch.equal(ours(x).flatten(0, 1), theirs(x.flatten(0, 1)))


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("track", [True, False])
def test_a_checkpointed_forward_counts_once(use_reentrant: bool, mode: str, track: bool):
    def trained(checkpointed: bool) -> tuple[dict[str, Tensor], Tensor]:
        torch.manual_seed(0)
        bn = layer.BatchNorm2d(C, track_running_stats=track, step_mode=mode)
        net = nn.Sequential(layer.Conv2d(C, C, 3, step_mode=mode), bn).double()
        x = sequence((4, 5)) if mode == "m" else sequence((4, 5))[0]
        x.requires_grad_()
        y = checkpoint(net, x, use_reentrant=use_reentrant) if checkpointed else net(x)
        (y**3).sum().backward()
        gradients = {f"grad of {key}": value.grad for key, value in net.named_parameters()}
        return net.state_dict() | gradients, x.grad

    plain, plain_gradient = trained(False)
    checkpointed, gradient = trained(True)
    assert torch.equal(gradient, plain_gradient)
    assert list(plain) == list(checkpointed)
    for key, value in plain.items():
        assert torch.equal(checkpointed[key], value), key


def test_updates_go_on_after_a_checkpointed_step():
    """The copies that recomputation works on must not stay in the module."""
    bn = layer.BatchNorm1d(C, step_mode="m").double()
    mean = bn.running_mean
    for call in range(1, 4):
        checkpoint(bn, sequence(()).requires_grad_(), use_reentrant=False).sum().backward()
        assert bn.num_batches_tracked.item() == call
    assert bn.running_mean is mean


@settings(max_examples=25, deadline=None)
@given(
    t=st.integers(1, 3),
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    spatial=st.lists(st.integers(2, 4), max_size=4),
    training=st.booleans(),
)
def test_group_norm_is_the_same_in_both_modes(t: int, n: int, groups: int, spatial: list[int], training: bool):
    torch.manual_seed(0)
    gn = layer.GroupNorm(groups, 2 * groups).double().train(training)
    nn.init.normal_(gn.weight)
    nn.init.normal_(gn.bias)
    x = torch.randn(t, n, 2 * groups, *spatial, dtype=torch.double)
    steps = torch.stack([gn(step) for step in x])
    gn.step_mode = "m"
    assert_close(gn(x), steps)
    per_group = x.view(t, n, groups, -1)
    normal = (per_group - per_group.mean(-1, keepdim=True)) / (
        per_group.var(-1, keepdim=True, correction=0) + 1e-5
    ) ** 0.5
    shape = [2 * groups] + [1] * len(spatial)
    assert_close(gn(x), normal.view_as(x) * gn.weight.view(shape) + gn.bias.view(shape))
