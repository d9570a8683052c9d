"""What holds for every plain wrapper: a folded sequence equals torch's layer on each step, and the rest is torch's."""

import copy
import inspect
import pickle
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from torch_layers import CASES, EVERY_CASE, EXACT_RANK, NAMES, Case

from snntrain import functional, layer, registry
from snntrain.layer import FoldedLayer


def as_list(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def step_by_step(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The slow plain version: call module on each time step, stack each of its outputs."""
    steps = [as_list(module(*(x[t] for x in inputs))) for t in range(inputs[0].shape[0])]
    return [torch.stack(outputs) for outputs in zip(*steps, strict=True)]


def test_the_table_covers_the_specification():
    families = ["Conv", "ConvTranspose", "BatchNorm", "MaxPool", "MaxUnpool", "AvgPool", "AdaptiveAvgPool"]
    families.append("AdaptiveMaxPool")
    wanted = {f"{family}{d}d" for family in families for d in (1, 2, 3)}
    wanted |= {"Linear", "GroupNorm", "Upsample", "Flatten"}
    assert set(NAMES) == wanted
    assert wanted <= set(registry.names("layer"))
    assert wanted <= set(layer.__all__)


@EVERY_CASE
def test_a_sequence_equals_torchs_layer_on_every_step(case: Case):
    inputs = case.inputs(3, 2)
    outputs = as_list(case.build(step_mode="m").eval()(*inputs))
    expected = step_by_step(case.torch_layer().eval(), inputs)
    assert len(outputs) == len(expected)
    for got, want in zip(outputs, expected, strict=True):
        assert_close(got, want)


@EVERY_CASE
def test_one_step_equals_torchs_layer(case: Case):
    inputs = case.inputs(5)
    ours, theirs = case.build(), case.torch_layer()
    for got, want in zip(as_list(ours(*inputs)), as_list(theirs(*inputs)), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("case", [c for c in CASES if not c.name.startswith("Flatten")], ids=lambda c: c.name)
def test_gradients_of_a_sequence_are_those_of_its_steps(case: Case):
    ours, theirs = case.build(step_mode="m").eval(), case.torch_layer().eval()
    inputs = case.inputs(3, 2)
    x, reference_x = inputs[0].clone().requires_grad_(), inputs[0].clone().requires_grad_()
    out = as_list(ours(x, *inputs[1:]))[0]
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    (out * weights).sum().backward()
    (step_by_step(theirs, (reference_x, *inputs[1:]))[0] * weights).sum().backward()
    assert x.grad.abs().sum() > 0
    assert_close(x.grad, reference_x.grad)
    for (name, mine), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(mine.grad, their.grad, msg=name)


@EVERY_CASE
def test_an_empty_batch_keeps_its_shape(case: Case):
    outputs = as_list(case.build(step_mode="m").eval()(*case.inputs(3, 0)))
    expected = as_list(case.torch_layer().eval()(*case.inputs(2)))
    assert [list(y.shape) for y in outputs] == [[3, 0, *y.shape[1:]] for y in expected]


@EVERY_CASE
def test_an_empty_sequence_is_refused(case: Case):
    with pytest.raises(ValueError, match=rf"{case.name}: .*T ≥ 1.*\[0, 2, "):
        case.build(step_mode="m")(*case.inputs(0, 2))


# --- rank errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", EXACT_RANK, ids=lambda case: case.name)
@pytest.mark.parametrize("leading", [(2,), (2, 3, 2)])
def test_a_wrong_rank_in_m_names_layer_letters_and_shape(case: Case, leading: tuple[int, ...]):
    inputs = case.inputs(*leading) if case.name != "BatchNorm1d" else case.inputs(2, 3, 2)  # it takes rank 3 as well
    with pytest.raises(ValueError) as error:
        case.build(step_mode="m")(*inputs)
    text = str(error.value)
    assert text.startswith(f"{case.name}: ")
    assert f"[{case.letters}]" in text
    assert str(list(inputs[0].shape)) in text
    assert "is step_mode still" not in text


@pytest.mark.parametrize("case", EXACT_RANK, ids=lambda case: case.name)
def test_a_sequence_given_in_s_asks_about_the_step_mode(case: Case):
    inputs = case.inputs(3, 2)
    with pytest.raises(ValueError) as error:
        case.build()(*inputs)
    text = str(error.value)
    assert text.startswith(f"{case.name}: ") and "is step_mode still 's'?" in text
    assert f"[{case.letters.removeprefix('T, ')}]" in text and str(list(inputs[0].shape)) in text


@pytest.mark.parametrize("case", EXACT_RANK, ids=lambda case: case.name)
def test_other_ranks_in_s_are_judged_by_torch(case: Case):
    """Two dims too many: torch's own complaint, without our hint."""
    inputs = case.inputs(2, 3, 2)
    with pytest.raises(Exception, match=r"\w") as theirs:
        case.torch_layer()(*inputs)
    with pytest.raises(type(theirs.value), match=re.escape(str(theirs.value)[:30])) as ours:
        case.build()(*inputs)
    assert "step_mode" not in str(ours.value)


@pytest.mark.parametrize(
    ("name", "arguments", "mode", "shape", "letters"),
    [
        ("BatchNorm1d", {"num_features": 3}, "m", (2, 3), "[T, N, C] or [T, N, C, L]"),
        ("BatchNorm1d", {"num_features": 3}, "m", (2, 2, 2, 3, 4), "[T, N, C] or [T, N, C, L]"),
        ("GroupNorm", {"num_groups": 1, "num_channels": 3}, "m", (2, 3), "[T, N, C, *]"),
        ("Flatten", {}, "m", (2, 3), "[T, N, C, *]"),
        ("Upsample", {"scale_factor": 2}, "m", (2, 3, 4), "[T, N, C, L] or [T, N, C, H, W] or [T, N, C, D, H, W]"),
        ("Upsample", {"scale_factor": 2}, "m", (1,) * 7, "[T, N, C, L] or [T, N, C, H, W] or [T, N, C, D, H, W]"),
        ("Upsample", {"scale_factor": 2}, "s", (1,) * 6, "[N, C, L] or [N, C, H, W] or [N, C, D, H, W]"),
    ],
)
def test_open_rank_rules(name: str, arguments: dict, mode: str, shape: tuple[int, ...], letters: str):
    with pytest.raises(ValueError) as error:
        getattr(layer, name)(**arguments, step_mode=mode)(torch.zeros(shape))
    assert name in str(error.value) and letters in str(error.value) and str(list(shape)) in str(error.value)
    assert ("is step_mode still 's'?" in str(error.value)) == (mode == "s")


def test_the_error_says_where_in_the_model_the_layer_is():
    net = nn.Sequential(nn.Identity(), nn.Sequential(layer.Conv2d(1, 1, 1, step_mode="m")))
    with pytest.raises(ValueError, match=r"^1\.0 \(Conv2d\): "):
        net(torch.zeros(2, 1, 3, 3))


# --- the rest is torch's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_signature_is_torchs_with_step_mode_last(name: str):
    ours = list(inspect.signature(getattr(layer, name)).parameters.values())
    theirs = [
        (p.name, p.default)
        for p in inspect.signature(getattr(nn, name)).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("device", "dtype")
    ]
    assert [(p.name, p.default) for p in ours] == [*theirs, ("step_mode", "s")]
    assert all(p.annotation is not p.empty for p in ours)


@EVERY_CASE
def test_weights_and_keys_are_torchs(case: Case):
    """Same seed, same weights, same random numbers used up."""
    torch.manual_seed(11)
    ours, after_ours = registry.build("layer", case.name, **case.arguments, step_mode="m"), torch.rand(3)
    torch.manual_seed(11)
    theirs, after_theirs = getattr(nn, case.name)(**case.torch_arguments()), torch.rand(3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    assert torch.equal(after_ours, after_theirs)
    ours.load_state_dict(theirs.state_dict())
    assert isinstance(ours, getattr(nn, case.name))


@EVERY_CASE
def test_the_repr_is_torchs_and_the_step_mode(case: Case):
    theirs = getattr(nn, case.name)(**case.torch_arguments()).extra_repr()
    assert case.build(step_mode="m").extra_repr() == f"{theirs}, step_mode=m"


@EVERY_CASE
def test_copies_keep_mode_and_result(case: Case):
    module, inputs = case.build(step_mode="m").eval(), case.inputs(2, 3)
    expected = as_list(module(*inputs))
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert copied.step_mode == "m"
        assert all(torch.equal(a, b) for a, b in zip(as_list(copied(*inputs)), expected, strict=True))


@EVERY_CASE
def test_step_mode_can_be_switched_and_is_checked(case: Case):
    module = case.build()
    assert module.step_mode == "s"
    functional.set_step_mode(nn.Sequential(module), "m")
    assert module.step_mode == "m"
    for wrong in ("M", "x", None, 1):
        with pytest.raises(ValueError, match=rf"{case.name}: step_mode"):
            case.build(step_mode=wrong)


# --- the fold itself --------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Keeps what it was given."""

    def forward(self, x: Tensor, *more: Tensor, scale: float = 1.0) -> Tensor:
        self.seen = (x, *more)
        return x * scale


class FoldedRecorder(FoldedLayer, Recorder):
    step_shapes = ("N, C, H, W",)


@settings(max_examples=30, deadline=None)
@given(t=st.integers(1, 5), n=st.integers(0, 4), c=st.integers(1, 3), h=st.integers(1, 3), w=st.integers(1, 3))
def test_time_is_the_outer_dim_of_the_fold(t: int, n: int, c: int, h: int, w: int):
    module = FoldedRecorder()
    module.step_mode = "m"
    x = torch.arange(t * n * c * h * w, dtype=torch.float).view(t, n, c, h, w)
    assert torch.equal(module(x, scale=2.0), 2 * x)
    (seen,) = module.seen
    assert seen.shape == (t * n, c, h, w)
    assert all(torch.equal(seen[step * n + sample], x[step, sample]) for step in range(t) for sample in range(n))


def test_the_fold_does_not_copy():
    module = FoldedRecorder()
    module.step_mode = "m"
    x = torch.randn(3, 2, 4, 5, 6)
    module(x)
    assert module.seen[0].data_ptr() == x.data_ptr()
    last = torch.randn(3, 2, 5, 6, 4).permute(0, 1, 4, 2, 3)
    module(last)
    assert module.seen[0].data_ptr() == last.data_ptr()
    assert module.seen[0].is_contiguous(memory_format=torch.channels_last)


def test_a_transposed_sequence_is_folded_correctly():
    module = FoldedRecorder()
    module.step_mode = "m"
    x = torch.randn(2, 3, 1, 4, 5).transpose(0, 1)
    assert torch.equal(module(x), x)
    assert torch.equal(module.seen[0][2], x[1, 0])


def test_tensors_folded_together_need_equal_t_and_n():
    module = FoldedRecorder()
    module.step_mode = "m"
    with pytest.raises(ValueError, match=r"\[2, 3, 1, 1, 1\], \[3, 2, 1, 1, 1\]"):
        module(torch.zeros(2, 3, 1, 1, 1), torch.zeros(3, 2, 1, 1, 1))


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if len(c.sample) in (3, 4) and c.letters and not c.name.startswith(("MaxUnpool", "Adaptive"))],
    ids=lambda c: c.name,
)
def test_channels_last_stays_as_torch_keeps_it(case: Case):
    (x,) = case.inputs(3, 2)
    memory_format = torch.channels_last if len(case.sample) == 3 else torch.channels_last_3d
    folded = x.flatten(0, 1).to(memory_format=memory_format)
    x_last = folded.unflatten(0, (3, 2))
    assert x_last.flatten(0, 1).data_ptr() == folded.data_ptr()
    outputs = as_list(case.build(step_mode="m")(x_last))
    expected = as_list(case.torch_layer()(folded))
    for got, want in zip(outputs, expected, strict=True):
        assert torch.equal(got.flatten(0, 1), want)
        assert got.stride()[1:] == want.stride()
    for got, want in zip(outputs, as_list(case.build(step_mode="m")(x)), strict=True):
        assert_close(got, want)


def test_a_whole_sequence_model_compiles_without_graph_breaks():
    torch.manual_seed(0)
    net = nn.Sequential(layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), layer.MaxPool2d(2), layer.Flatten())
    net.append(layer.Linear(16, 3))
    functional.set_step_mode(net, "m")
    x = torch.randn(3, 2, 2, 6, 6)
    expected = copy.deepcopy(net)(x)
    assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(x), expected)


# --- a step that repeats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@EVERY_CASE
def test_a_repeated_step_gives_what_its_copies_give(case, training):
    if case.name.startswith("MaxUnpool"):
        pytest.skip("it takes two tensors, and folds them")
    once, often = (case.build(step_mode="m").train(training) for _ in range(2))
    (x,) = case.inputs(4)
    x.requires_grad_()
    runs = []
    for module, x_seq in ((once, functional.repeat(x, 3)), (often, torch.stack([x] * 3))):
        outputs = as_list(module(x_seq))
        assert all((functional.repeated_step(y) is not None) == (module is once) for y in outputs)
        floating = [y for y in outputs if y.is_floating_point()]
        weights = [torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype) for y in floating]
        loss = sum((y * w).sum() for y, w in zip(floating, weights, strict=True))
        gradients = torch.autograd.grad(loss, [x, *module.parameters()])
        runs.append([*outputs, *gradients, *module.buffers()])
    for ours, theirs in zip(*runs, strict=True):
        assert_close(ours, theirs)


def test_a_layer_runs_on_a_repeated_step_once():
    seen = []

    class Counting(layer.Conv1d):
        def _conv_forward(self, x: Tensor, *more: Any) -> Tensor:
            seen.append(x.shape)
            return super()._conv_forward(x, *more)

    y = Counting(2, 3, 1, step_mode="m")(functional.repeat(torch.ones(5, 2, 7), 4))
    assert seen == [(5, 2, 7)] and y.shape == (4, 5, 3, 7) and y.stride(0) == 0
