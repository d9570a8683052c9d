"""tdBN, TEBN and BNTT: their equations, their time step, and what they share with BatchNorm."""

import copy
import inspect
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from snntrain import functional, registry
from snntrain.base import MemoryModule, StateMismatchError
from snntrain.layer import temporal_normalization as temporal
from snntrain.layer.convolution import Conv2d

T, N, C = 4, 3, 2
FAMILIES = {
    "ThresholdDependentBatchNorm": {"alpha": 0.5, "v_th": 3},
    "TemporalEffectiveBatchNorm": {"T": T},
    "BatchNormThroughTime": {"T": T},
}
PER_STEP = ["TemporalEffectiveBatchNorm", "BatchNormThroughTime"]
SPATIAL = [(1, ()), (1, (5,)), (2, (4, 5)), (3, (2, 4, 3))]
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
EVERY_PER_STEP = pytest.mark.parametrize("family", PER_STEP)
EVERY_RANK = pytest.mark.parametrize(("d", "spatial"), SPATIAL)


def make(family: str, d: int = 2, mode: str = "m", randomized: bool = True, **more) -> nn.Module:
    arguments = FAMILIES[family] | {"num_features": C} | more
    module = registry.build("layer", f"{family}{d}d", **arguments)
    if "step_mode" in inspect.signature(type(module)).parameters:
        module.step_mode = mode
    module = module.double()
    if randomized:
        generator = torch.Generator().manual_seed(3)
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                low = 0.5 if "var" in name else -1.0
                value.copy_(torch.rand(value.shape, generator=generator) + low)
    return module


def sequence(spatial: tuple[int, ...] = (4, 5), steps: int = T, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, n, C, *spatial, generator=generator, dtype=torch.double)
    ramp = torch.arange(1, steps + 1).view(-1, *[1] * (x.dim() - 1))
    return x * ramp + ramp  # the statistics of one step are not those of all


def normal(x: Tensor, over: list[int], eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance over some dims, by the definition."""
    return (x - x.mean(over, keepdim=True)) / (x.var(over, keepdim=True, correction=0) + eps).sqrt()


def all_but(x: Tensor, *kept: int) -> list[int]:
    return [dim for dim in range(x.dim()) if dim not in kept]


def along(values: Tensor, x: Tensor, dim: int) -> Tensor:
    """values [n] with as many dims as x, so that they multiply x along dim."""
    return values.view([-1 if i == dim else 1 for i in range(x.dim())])


# --- the equations ---------------------------------------------------------------------------------------------------


@EVERY_RANK
def test_tdbn_normalizes_over_time_batch_and_space_and_scales_to_the_threshold(d: int, spatial: tuple[int, ...]):
    tdbn, x = make("ThresholdDependentBatchNorm", d, randomized=False, eps=1e-3), sequence(spatial)
    assert_close(tdbn(x), 1.5 * normal(x, all_but(x, 2), 1e-3))
    assert_close(tdbn.running_mean, 0.1 * x.mean(all_but(x, 2)))
    assert_close(tdbn.running_var, 0.9 + 0.1 * x.var(all_but(x, 2)))
    tdbn.eval()
    nn.init.normal_(tdbn.bias)
    mean, var = along(tdbn.running_mean, x, 2), along(tdbn.running_var, x, 2)
    assert_close(tdbn(x), 1.5 * (x - mean) / (var + 1e-3).sqrt() + along(tdbn.bias, x, 2))


@settings(max_examples=20, deadline=None)
@given(alpha=st.floats(1e-3, 1e3) | st.integers(1, 9), v_th=st.floats(1e-3, 1e3) | st.integers(1, 9))
def test_tdbn_starts_again_at_alpha_times_the_threshold(alpha: float, v_th: float):
    tdbn = temporal.ThresholdDependentBatchNorm1d(alpha, v_th, C)
    for _ in range(2):
        assert_close(tdbn.weight, torch.full((C,), float(alpha * v_th))), assert_close(tdbn.bias, torch.zeros(C))
        nn.init.normal_(tdbn.weight), nn.init.normal_(tdbn.bias)
        tdbn.reset_parameters()


@EVERY_RANK
def test_tebn_scales_each_step_of_a_batch_norm_over_the_sequence(d: int, spatial: tuple[int, ...]):
    tebn, x = make("TemporalEffectiveBatchNorm", d), sequence(spatial)
    mean, var = tebn.running_mean.clone(), tebn.running_var.clone()
    bn = normal(x, all_but(x, 2)) * along(tebn.weight, x, 2) + along(tebn.bias, x, 2)
    y = tebn(x)
    assert y.shape == x.shape
    assert_close(y, along(tebn.scale, x, 0) * bn)
    assert_close(tebn.running_mean, 0.9 * mean + 0.1 * x.mean(all_but(x, 2)))
    assert_close(tebn.running_var, 0.9 * var + 0.1 * x.var(all_but(x, 2)))


@EVERY_RANK
def test_tebn_in_s_uses_the_scale_of_its_step(d: int, spatial: tuple[int, ...]):
    tebn, x = make("TemporalEffectiveBatchNorm", d, "s"), sequence(spatial)
    for t, step in enumerate(x):
        bn = normal(step, all_but(step, 1)) * along(tebn.weight, step, 1) + along(tebn.bias, step, 1)
        assert_close(tebn(step), tebn.scale[t] * bn)
    assert tebn.num_batches_tracked == T


@EVERY_RANK
@pytest.mark.parametrize("mode", ["s", "m"])
def test_bntt_normalizes_each_step_by_itself(d: int, spatial: tuple[int, ...], mode: str):
    bntt, x = make("BatchNormThroughTime", d, mode), sequence(spatial)
    means = torch.stack([bn.running_mean for bn in bntt.bn])
    weights = torch.stack([bn.weight for bn in bntt.bn]).view(T, 1, C, *[1] * len(spatial))
    y = bntt(x) if mode == "m" else torch.stack([bntt(step) for step in x])
    assert_close(y, normal(x, all_but(x, 0, 2)) * weights)
    updated = torch.stack([bn.running_mean for bn in bntt.bn])
    assert_close(updated, 0.9 * means + 0.1 * x.mean(all_but(x, 0, 2)))
    assert [int(bn.num_batches_tracked) for bn in bntt.bn] == [1] * T


@EVERY_PER_STEP
@EVERY_RANK
def test_a_sequence_equals_its_steps(family: str, d: int, spatial: tuple[int, ...]):
    """In evaluation; the gradients too."""
    module, x = make(family, d).eval(), sequence(spatial)
    loop = copy.deepcopy(module)
    loop.step_mode = "s"
    y, steps = module(x), torch.stack([loop(step) for step in x])
    assert_close(y, steps)
    assert module.t == loop.t == T
    for out in (y, steps):
        (out**3).sum().backward()
    for (name, ours), theirs in zip(module.named_parameters(), loop.parameters(), strict=True):
        assert ours.grad.abs().sum() > 0 and assert_close(ours.grad, theirs.grad) is None, name


# --- the time step ---------------------------------------------------------------------------------------------------


@EVERY_PER_STEP
def test_a_step_after_the_last_needs_a_reset(family: str):
    module, x = make(family, mode="s"), sequence()
    first = [module(step) for step in x]
    text = rf"{T} of T = {T} time steps have been run.*reset"
    with pytest.raises(StateMismatchError, match=text):
        module(x[0])
    functional.reset_net(module)
    for step, y in zip(x, first, strict=True):
        assert torch.equal(module(step), y)  # in training statistics are those of the step
    module.reset()
    module.step_mode = "m"
    module(x), module(x)  # a whole sequence may follow another: nothing of it depends on the one before
    module.step_mode = "s"
    with pytest.raises(StateMismatchError, match=text):
        module(x[0])


@EVERY_PER_STEP
def test_a_sequence_may_not_begin_in_the_middle_of_one(family: str):
    module, x = make(family, mode="s"), sequence()
    module(x[0])
    module.step_mode = "m"
    with pytest.raises(StateMismatchError, match=r"1 of T = 4 time steps have been run.*reset"):
        nn.Sequential(module)(x)
    module.reset()
    assert module(x).shape == x.shape


@EVERY_PER_STEP
def test_a_refused_step_does_not_count(family: str):
    module = make(family, mode="s")
    with pytest.raises(ValueError):
        module(torch.zeros(N, C, 4, dtype=torch.double))
    assert module.t == 0


@EVERY_PER_STEP
@pytest.mark.parametrize("steps", [1, T - 1, T + 1])
def test_a_sequence_of_another_length_is_refused(family: str, steps: int):
    shape = re.escape(str(list(sequence(steps=steps).shape)))
    with pytest.raises(ValueError, match=rf"{family}2d: .*T = 4 time steps, got {steps} \(input shape {shape}\)"):
        make(family)(sequence(steps=steps))
    with pytest.raises(ValueError, match="T = 1 time steps, got 4"):  # it would broadcast
        make(family, T=1)(sequence())


@EVERY_PER_STEP
def test_the_time_step_is_a_state(family: str):
    module, x = make(family, mode="s"), sequence()
    assert isinstance(module, MemoryModule)
    module(x[0]), module(x[1])
    net = nn.Sequential(module)
    assert functional.get_states(net) == {"0.t": 2}
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(x[2]), copy.deepcopy(net)(x[2])) and copied[0].t == 3
    assert module.t == 2 and not any(key.endswith(".t") for key in net.state_dict())
    functional.detach_net(net), functional.reset_net(net)
    assert module.t == 0


# --- what they share with BatchNorm ----------------------------------------------------------------------------------


@EVERY_FAMILY
def test_the_step_mode_of_a_model_is_followed(family: str):
    module, net = make(family), nn.Sequential(make(family))
    assert "step_mode=m" in repr(module)
    if family == "ThresholdDependentBatchNorm":
        for switch in (lambda: setattr(module, "step_mode", "s"), lambda: functional.set_step_mode(net, "s")):
            with pytest.raises(ValueError, match=r"'s' is not supported.* whole sequence"):
                switch()
        with pytest.raises(ValueError, match=r"step_mode must be 's' .* got 'x'"):
            module.step_mode = "x"
        return
    functional.set_step_mode(net, "s")
    assert net(sequence()[0]).shape == sequence()[0].shape
    functional.reset_net(net), functional.set_step_mode(net, "m")
    assert net(sequence()).shape == sequence().shape


@EVERY_FAMILY
@pytest.mark.parametrize("d", [1, 2, 3])
def test_wrong_ranks_are_refused_before_anything_else(family: str, d: int):
    shape = [5, C, 4, 4, 4, 4, 4][: {1: 2, 2: 4, 3: 5}[d]]
    expected = {1: "[T, N, C] or [T, N, C, L]", 2: "[T, N, C, H, W]", 3: "[T, N, C, D, H, W]"}[d]
    with pytest.raises(
        ValueError, match=re.escape(f"{family}{d}d: the input in step_mode 'm' must be {expected}, got")
    ):
        make(family, d)(torch.zeros(shape, dtype=torch.double))
    empty = torch.zeros(0, N, *shape[1:], dtype=torch.double)
    with pytest.raises(ValueError, match="T ≥ 1 steps"):
        make(family, d)(empty)
    if family in PER_STEP and d > 1:
        with pytest.raises(ValueError, match="is step_mode still 's'"):
            make(family, d, "s")(torch.zeros(T, *shape, dtype=torch.double))


@EVERY_FAMILY
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_keys(family: str, affine: bool, track: bool):
    theirs = list(nn.BatchNorm2d(C, affine=affine, track_running_stats=track).state_dict())
    if family == "ThresholdDependentBatchNorm":
        affine, theirs = True, list(nn.BatchNorm2d(C, track_running_stats=track).state_dict())
    wanted = {
        "ThresholdDependentBatchNorm": theirs,
        "TemporalEffectiveBatchNorm": [*theirs, "scale"],
        "BatchNormThroughTime": [f"bn.{t}.{key}" for t in range(T) for key in theirs if key != "bias"],
    }[family]
    module = make(family, affine=affine, track_running_stats=track)
    assert sorted(module.state_dict()) == sorted(wanted)
    assert module(sequence()).shape == sequence().shape
    assert any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def test_tebn_reads_checkpoints_that_hold_the_batch_norm_as_a_child():
    new, target = nn.Sequential(make("TemporalEffectiveBatchNorm")), nn.Sequential(make("TemporalEffectiveBatchNorm"))
    new[0].scale.data.uniform_(), new[0].running_mean.uniform_()
    old = {key if key == "0.scale" else key.replace("0.", "0.bn."): value for key, value in new.state_dict().items()}
    assert "0.bn.weight" in old
    target.load_state_dict(old)
    assert torch.equal(target(sequence()), new(sequence()))


@EVERY_PER_STEP
def test_reset_parameters_starts_again(family: str):
    module = make(family)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    fresh = make(family, randomized=False).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in module.state_dict().items())


@EVERY_FAMILY
@pytest.mark.parametrize("training", [True, False])
def test_a_repeated_step_gives_what_its_copies_give(family: str, training: bool):
    runs = []
    for make_sequence in (functional.repeat, lambda x, steps: x.expand(steps, *x.shape)):
        module, x = make(family).train(training), sequence()[0].requires_grad_()
        y = module(make_sequence(x, T))
        runs.append([y, *torch.autograd.grad((y**3).sum(), [x, *module.parameters()]), *module.buffers()])
    for ours, theirs in zip(*runs, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("family", ["ThresholdDependentBatchNorm", "TemporalEffectiveBatchNorm"])
def test_a_repeated_step_is_normalized_once(family: str, monkeypatch: pytest.MonkeyPatch):
    seen, plain = [], nn.functional.batch_norm
    spy = lambda x, *more, **options: seen.append(x.shape) or plain(x, *more, **options)  # noqa: E731
    monkeypatch.setattr(nn.functional, "batch_norm", spy)
    x = sequence()[0]
    make(family)(functional.repeat(x, T))
    assert seen == [x.shape]


@EVERY_FAMILY
@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("repeated", [True, False])
def test_a_checkpointed_sequence_counts_once(family: str, use_reentrant: bool, repeated: bool):
    def trained(checkpointed: bool) -> list[Tensor]:
        torch.manual_seed(0)
        norm = make(family)
        net = nn.Sequential(Conv2d(C, C, 3, step_mode="m").double(), norm)
        leaf = (sequence()[0] if repeated else sequence()).requires_grad_()
        x = functional.repeat(leaf, T) if repeated else leaf
        y = checkpoint(net, x, use_reentrant=use_reentrant) if checkpointed else net(x)
        (y**3).sum().backward()
        counts = [value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")]
        assert counts and all(count == 1 for count in counts)
        return [leaf.grad, *(parameter.grad for parameter in net.parameters()), *net.buffers()]

    for got, expected in zip(trained(True), trained(False), strict=True):
        assert_close(got, expected)


@EVERY_FAMILY
def test_low_precision_layout_and_an_empty_batch_pass(family: str):
    x = sequence().float().flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, N))
    y = make(family).float()(x)
    assert y.stride() == x.stride()
    assert make(family).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert make(family).eval()(sequence(n=0)).shape == (T, 0, C, 4, 5)


@EVERY_FAMILY
def test_a_sequence_compiles_without_graph_breaks(family: str):
    module, x = make(family), sequence()
    expected = copy.deepcopy(module)(x)
    assert torch.equal(torch.compile(module, backend="eager", fullgraph=True)(x), expected)


@pytest.mark.parametrize(
    ("family", "wrong", "text"),
    [
        ("ThresholdDependentBatchNorm", {"alpha": 0}, "alpha must be a finite number > 0, got 0"),
        ("ThresholdDependentBatchNorm", {"v_th": -1.0}, "v_th must be a finite number > 0, got -1.0"),
        ("ThresholdDependentBatchNorm", {"v_th": True}, "v_th must be"),
        ("ThresholdDependentBatchNorm", {"affine": False}, "affine must be True"),
        ("ThresholdDependentBatchNorm", {"step_mode": "m"}, "step_mode is not an argument"),
        *((family, {"T": wrong}, "T must be an integer ≥ 1") for family in PER_STEP for wrong in (0, 2.0, True)),
        *((family, {"step_mode": "x"}, "step_mode must be") for family in PER_STEP),
    ],
)
def test_wrong_arguments_are_named(family: str, wrong: dict, text: str):
    with pytest.raises(ValueError, match=text):
        registry.build("layer", f"{family}1d", **{**FAMILIES[family], "num_features": C, **wrong})
