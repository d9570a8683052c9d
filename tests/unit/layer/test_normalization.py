"""BatchNorm and GroupNorm: whose statistics, and how often; batch normalization over several processes."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed, multiprocessing, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from snntrain import functional, layer, registry
from snntrain.layer import temporal_normalization as temporal
from snntrain.layer.normalization import SyncBatchNorm, convert_sync_batchnorm

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


# --- statistics over all processes -----------------------------------------------------------------------------------

# Every batch normalization there is, with the sizes of one sample.
SYNCHRONISED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "SyncBatchNorm": (lambda: SyncBatchNorm(C, step_mode="m"), (4, 2)),
    "SyncBatchNorm of vectors": (lambda: SyncBatchNorm(C, momentum=None, step_mode="m"), ()),
    "BatchNorm1d": (lambda: layer.BatchNorm1d(C, step_mode="m"), ()),
    "BatchNorm2d": (lambda: layer.BatchNorm2d(C, momentum=None, step_mode="m"), (4, 2)),
    "BatchNorm3d": (lambda: layer.BatchNorm3d(C, affine=False, step_mode="m"), (2, 4, 3)),
    "tdBN": (lambda: temporal.ThresholdDependentBatchNorm2d(0.5, 3, C), (4, 2)),
    "TEBN": (lambda: temporal.TemporalEffectiveBatchNorm2d(4, C, step_mode="m"), (4, 2)),
    "BNTT": (lambda: temporal.BatchNormThroughTime2d(4, C, step_mode="m"), (4, 2)),
}
RUNS = ["plain", "checkpointed", "repeated"]


def built(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A module with parameters that are not the trivial 0 and 1."""
    build, spatial = SYNCHRONISED[name]
    module = build().double()
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return module, spatial


def trained(module: nn.Module, x: Tensor, run: str) -> dict[str, list[Tensor]]:
    """What one step of training leaves: things per sample, things that add up over samples, things all share."""
    leaf = (x[0] if run == "repeated" else x).clone().requires_grad_()
    x_seq = functional.repeat(leaf, len(x)) if run == "repeated" else leaf
    y = checkpoint(module, x_seq, use_reentrant=False) if run == "checkpointed" else module(x_seq)
    (y**3).sum().backward()
    samples = [y.detach().movedim(1, 0), leaf.grad if run == "repeated" else leaf.grad.movedim(1, 0)]
    summed = [parameter.grad for parameter in module.parameters()]
    return {"samples": samples, "summed": summed, "shared": list(module.buffers())}


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_synchronized_in_a_single_process_is_what_it_was(name: str):
    plain, spatial = built(name)
    converted = convert_sync_batchnorm(copy.deepcopy(plain))
    assert type(converted) is type(plain) and converted.step_mode == "m"
    assert list(converted.state_dict()) == list(plain.state_dict())
    assert "synchronized=True" in repr(converted)
    for module in (plain, converted):
        module.outcome = trained(module, sequence(spatial), "plain")
        functional.reset_net(module)
        module.outcome["eval"] = [module.eval()(sequence(spatial))]
    for key, tensors in plain.outcome.items():
        assert all(map(torch.equal, tensors, converted.outcome[key])), key


def test_conversion_reaches_every_batch_norm_and_keeps_what_it_is():
    net = nn.Sequential(layer.Conv2d(C, C, 1), nn.ModuleDict({"a": layer.BatchNorm2d(C), "b": nn.BatchNorm2d(C)}))
    net.extend([nn.SyncBatchNorm(C), temporal.BatchNormThroughTime1d(2, C), layer.GroupNorm(1, C)])
    functional.set_step_mode(net, "m")
    before, keys = list(net.modules()), list(net.state_dict())
    parameters = list(net.parameters())
    assert convert_sync_batchnorm(net) is net
    after = list(net.modules())
    changed = [index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new]
    assert [type(before[index]) for index in changed] == [nn.BatchNorm2d]
    assert [type(after[index]) for index in changed] == [nn.SyncBatchNorm]
    assert [module.synchronized for module in after if hasattr(module, "synchronized")] == [True] * 3
    assert list(net.state_dict()) == keys and all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm1d(C)), nn.SyncBatchNorm)
    assert pickle.loads(pickle.dumps(net))[1]["a"].synchronized


@EVERY_BATCH_NORM
def test_sync_batch_norm_alone_is_the_batch_norm_of_any_rank(name: str, spatial: tuple[int, ...]):
    ours = registry.build("layer", "SyncBatchNorm", num_features=C, step_mode="m").double()
    theirs = getattr(layer, name)(C, step_mode="m").double()
    assert isinstance(ours, nn.SyncBatchNorm)
    assert torch.equal(ours(sequence(spatial)), theirs(sequence(spatial)))
    ours.step_mode = theirs.step_mode = "s"
    assert torch.equal(ours(sequence(spatial)[0]), theirs(sequence(spatial)[0]))
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    ours.step_mode = "m"
    with pytest.raises(ValueError, match=r"SyncBatchNorm: .* must be \[T, N, C, \*\], got shape \[2, 3\]"):
        ours(torch.zeros(2, 3))


def emulate_torchs_kernels() -> None:
    """torch has the five kernels of its SyncBatchNorm for GPUs only: their definitions, for this process on a CPU."""

    def per_channel(values: Tensor, x: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.dim() - 2))

    def over_all_but_channels(x: Tensor) -> list[int]:
        return [dim for dim in range(x.dim()) if dim != 1]

    def stats(x, eps):
        over = over_all_but_channels(x)
        return x.mean(over), (x.var(over, correction=0) + eps) ** -0.5

    def gather(x, means, invstds, running_mean, running_var, momentum, eps, counts):
        counts = counts.view(-1, 1)
        n = counts.sum()
        mean = (means * counts).sum(0) / n
        var = ((invstds**-2 - eps + means**2) * counts).sum(0) / n - mean**2
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * n / (n - 1), momentum)
        return mean, (var + eps) ** -0.5

    def elemt(x, weight, bias, mean, invstd, eps):
        y = (x - per_channel(mean, x)) * per_channel(invstd, x)
        y = y if weight is None else y * per_channel(weight, x)
        return y if bias is None else y + per_channel(bias, x)

    def backward_reduce(dy, x, mean, invstd, weight, *wanted):
        over = over_all_but_channels(x)
        sum_dy, sum_dy_xmu = dy.sum(over), (dy * (x - per_channel(mean, x))).sum(over)
        return sum_dy, sum_dy_xmu, sum_dy_xmu * invstd, sum_dy

    def backward_elemt(dy, x, mean, invstd, weight, sum_dy, sum_dy_xmu, counts):
        n = counts.sum()
        centered = (
            dy - per_channel(sum_dy / n, x) - (x - per_channel(mean, x)) * per_channel(invstd**2 * sum_dy_xmu / n, x)
        )
        return centered * per_channel(invstd if weight is None else invstd * weight, x)

    torch.batch_norm_stats, torch.batch_norm_gather_stats_with_counts, torch.batch_norm_elemt = stats, gather, elemt
    torch.batch_norm_backward_reduce, torch.batch_norm_backward_elemt = backward_reduce, backward_elemt
    # Its module, and only that, sees the CPU among the devices it accepts.
    accepted = SimpleNamespace(_get_privateuse1_backend_name=lambda: "cpu")
    nn.modules.batchnorm.torch = SimpleNamespace(**{**vars(torch), "_C": accepted})


def run_in_a_group(rank: int, device: str, samples: list[int], folder: Path) -> None:
    """One of two processes, on its share of the samples."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    if device == "cpu":
        with pytest.raises(ValueError, match="expected input tensor to be on GPU"):
            convert_sync_batchnorm(layer.BatchNorm1d(C))(torch.ones(4, C))
        emulate_torchs_kernels()
    outcomes = {}
    for name in SYNCHRONISED:
        for run in RUNS:
            module, spatial = built(name)
            share = sequence(spatial, n=sum(samples)).split(samples, dim=1)[rank]
            outcome = trained(convert_sync_batchnorm(module).to(device), share.to(device), run)
            outcomes[name, run] = {key: [value.cpu() for value in values] for key, values in outcome.items()}
    torch.save(outcomes, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_two_processes_train_as_one_does_on_both_batches(device: str, tmp_path: Path):
    """Of different sizes: outputs, gradients, running statistics, also recomputed and for a repeated step."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    # A process that has used CUDA cannot be forked; a fork need not import torch again.
    method = "spawn" if torch.cuda.is_available() else "fork"
    samples = [1, 3]
    multiprocessing.start_processes(run_in_a_group, (device, samples, tmp_path), nprocs=2, start_method=method)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for (name, run), outcome in first.items():
        module, spatial = built(name)
        expected = trained(module, sequence(spatial, n=sum(samples)), run)
        got = {
            "samples": [torch.cat(both) for both in zip(outcome["samples"], second[name, run]["samples"], strict=True)],
            "summed": [a + b for a, b in zip(outcome["summed"], second[name, run]["summed"], strict=True)],
            "shared": outcome["shared"],
        }
        for key, values in expected.items():
            assert_close(got[key], values, msg=lambda text, at=(name, run, key): f"{at}: {text}")
        assert_close(second[name, run]["shared"], expected["shared"])
    assert len(first) == len(SYNCHRONISED) * len(RUNS)
