"""Operations on whole models."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.base import MemoryModule, StepModule
from snntrain.layer import Conv2d, Linear
from snntrain.neuron import PSN, IFNode, LIFNode, OTTTLIFNode, ParametricLIFNode


class Count(MemoryModule):
    """States that are no plain tensors, and a stateful child."""

    def __init__(self, child: nn.Module) -> None:
        super().__init__()
        self.child = child
        self.register_memory("steps", 0)
        self.register_memory("queue", [])

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.steps = self.steps + 1
        self.queue = [*self.queue[-1:], x]
        return self.child(x)


def nested_model() -> nn.Module:
    """Stateful modules in a sequence, in a list, in a dict, inside a stateful module, and as an activation."""
    layer = nn.TransformerEncoderLayer(4, 2, 4)
    layer.activation = IFNode()
    return nn.Sequential(
        OrderedDict(
            first=LIFNode(),
            block=nn.Sequential(Linear(4, 4), nn.Sequential(IFNode(v_reset=None))),
            listed=nn.ModuleList([ParametricLIFNode()]),
            named=nn.ModuleDict({"a": LIFNode()}),
            counting=Count(IFNode()),
            layer=layer,
        )
    )


PATHS = ["first", "block.1.0", "listed.0", "named.a", "counting", "counting.child", "layer.activation"]
STATES = [
    "first.v",
    "block.1.0.v",
    "listed.0.v",
    "named.a.v",
    "counting.steps",
    "counting.queue",
    "counting.child.v",
    "layer.activation.v",
]


def run_each(model: nn.Module, x: Tensor) -> None:
    for path in PATHS:
        if path != "counting.child":
            model.get_submodule(path)(x)


def test_stateful_modules_are_found_wherever_they_are():
    assert [path for path, _ in functional.stateful_modules(nested_model())] == PATHS
    assert [name for name, _ in functional.named_states(nested_model())] == STATES
    node = LIFNode()
    assert list(functional.stateful_modules(node)) == [("", node)]
    assert list(functional.named_states(node)) == [("v", 0.0)]
    assert list(functional.named_states(nn.Linear(2, 2))) == []


def test_reset_net_resets_every_state():
    model = nested_model()
    fresh = functional.get_states(model)
    run_each(model, torch.rand(2, 4))
    assert not any(value == 0 for _, value in functional.named_states(model) if isinstance(value, (int, float)))
    functional.reset_net(model)
    assert functional.get_states(model) == fresh
    assert fresh["counting.queue"] == [] and fresh["first.v"] == 0.0


def test_a_module_swapped_in_later_is_reset_too_and_one_that_is_used_twice_has_one_state():
    model = nn.Sequential(LIFNode())
    functional.reset_net(model)
    model[0] = IFNode()
    model.append(LIFNode())
    model(torch.ones(2))
    functional.reset_net(model)
    assert [value for _, value in functional.named_states(model)] == [0.0, 0.0]
    node = IFNode()
    assert list(functional.get_states(nn.Sequential(node, node))) == ["0.v"]


def test_detach_net_cuts_every_graph_and_keeps_values():
    model = nested_model()
    run_each(model, torch.rand(2, 4, requires_grad=True))
    before = functional.get_states(model)
    functional.detach_net(model)
    for name, value in functional.named_states(model):
        for tensor, expected in zip(*(v if isinstance(v, list) else [v] for v in (value, before[name])), strict=True):
            if isinstance(tensor, Tensor):
                assert not tensor.requires_grad and torch.equal(tensor, expected), name
            else:
                assert tensor == expected


def test_truncated_backpropagation_equals_a_loop_that_starts_from_detached_values():
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    model = nn.Sequential(*(LIFNode(tau, step_mode="m", backend="torch") for tau in (2.0, 3.0)))
    total = model(x[:4]).sum()
    functional.detach_net(model)
    (truncated,) = torch.autograd.grad(total + model(x[4:]).sum(), x)

    functional.reset_net(model)
    model(x[:4].detach())
    (second,) = torch.autograd.grad(model(x[4:]).sum(), x)
    functional.reset_net(model)
    (first,) = torch.autograd.grad(model(x[:4]).sum(), x)
    assert torch.equal(truncated[4:], second[4:]) and torch.equal(truncated[:4], first[:4])
    functional.reset_net(model)
    (whole,) = torch.autograd.grad(model(x).sum(), x)
    assert not torch.equal(whole, truncated)


# --- settings --------------------------------------------------------------------------------------------------------


def test_set_step_mode_reaches_layers_and_neurons_and_keeps_states():
    model = nested_model()
    model.first(torch.ones(3))
    v = model.first.v
    functional.set_step_mode(model, "m")
    modes = {name: module.step_mode for name, module in model.named_modules() if isinstance(module, StepModule)}
    assert set(modes) == {*PATHS, "block.0"} and set(modes.values()) == {"m"}
    assert model.first.v is v
    functional.set_step_mode(model, "s")
    assert model.block[0].step_mode == model.counting.child.step_mode == "s"


class Looping(StepModule, nn.Sequential):
    """A container that hands its modules single steps."""

    keeps_children_in_s = True


class SequencesOnly(Looping):
    _step_mode = "m"

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)


def step_modes(model: nn.Module) -> dict[str, str]:
    return {path: module.step_mode for path, module in model.named_modules() if isinstance(module, StepModule)}


@pytest.mark.parametrize("model", [nn.Sequential(LIFNode()), nn.Sequential(SequencesOnly()), nn.Linear(1, 1)])
@pytest.mark.parametrize("mode", ["x", None, "sm"])
def test_set_step_mode_refuses_an_unknown_mode_whatever_the_model(model, mode):
    with pytest.raises(ValueError, match=rf"^set_step_mode: step_mode must be 's' .* or 'm' .* got {mode!r}\.$"):
        functional.set_step_mode(model, mode)


def test_set_step_mode_does_not_enter_containers_that_hand_out_single_steps():
    inside = nn.Sequential(Linear(4, 4), Looping(LIFNode()))
    model = nn.Sequential(Looping(inside, PSN(4)), nn.Sequential(SequencesOnly(LIFNode())), LIFNode())
    keeps = {"0.0.0": "s", "0.0.1": "s", "0.0.1.0": "s", "0.1": "m", "1.0": "m", "1.0.0": "s"}
    for mode in ("m", "s"):
        functional.set_step_mode(model, mode)
        assert step_modes(model) == keeps | {"0": mode, "2": mode}
    functional.set_step_mode(inside, "m")  # what is handed over itself is switched
    assert step_modes(inside) == {"0": "m", "1": "m", "1.0": "s"}


@pytest.mark.parametrize(
    "odd, mode, words",
    [
        (lambda: PSN(4), "s", "PSN: step_mode 's' is not supported, it runs in 'm' only"),
        (OTTTLIFNode, "m", "OTTTLIFNode: step_mode must be 's' .* got 'm'"),
    ],
)
def test_set_step_mode_names_what_cannot_follow_and_switches_nothing(odd, mode, words):
    model = nn.Sequential(LIFNode(), nn.ModuleDict({"block": nn.Sequential(odd(), Linear(4, 4))}), Looping())
    model[0].store_v_seq = True
    before = "m" if mode == "s" else "s"
    for module in (model[0], model[1]["block"][1], model[2]):
        module.step_mode = before
    model[0](torch.ones(2, 3))
    kept = model[0].v_seq
    modes = step_modes(model)
    with pytest.raises(ValueError, match=rf"^set_step_mode: at 1\.block\.0: {words}\.$"):
        functional.set_step_mode(model, mode)
    assert step_modes(model) == modes and model[0].v_seq is kept


def test_set_backend_reaches_neurons_and_skips_what_has_no_backend():
    model = nn.Sequential(Conv2d(1, 1, 1), LIFNode(), nn.ReLU(), nn.Sequential(IFNode()))
    functional.set_backend(model, "torch")
    assert model[1].backend == model[3][0].backend == "torch" and not hasattr(model[0], "backend")
    with pytest.raises(ValueError, match=r"^set_backend: backend must be one of .*'fused', got 'lava'\.$"):
        functional.set_backend(model, "lava")


# --- saving and restoring --------------------------------------------------------------------------------------------


def test_get_states_returns_copies_that_later_steps_do_not_change():
    model = nested_model()
    x = torch.rand(2, 4, requires_grad=True)
    run_each(model, x)
    kept = functional.get_states(model)
    assert list(kept) == STATES
    v = kept["first.v"].clone()
    assert not kept["first.v"].requires_grad and not kept["counting.queue"][0].requires_grad
    assert kept["first.v"].data_ptr() != model.first.v.data_ptr()
    run_each(model, x)
    assert torch.equal(kept["first.v"], v) and kept["counting.steps"] == 1 and len(kept["counting.queue"]) == 1


def test_set_states_restores_copies_and_the_sequence_goes_on_bit_for_bit(tmp_path):
    model, other = nested_model(), nested_model()
    x = torch.rand(4, 2, 4)
    run_each(model, x[0])
    torch.save(functional.get_states(model), tmp_path / "states.pt")
    kept = torch.load(tmp_path / "states.pt", weights_only=True)
    functional.set_states(other, kept)
    assert other.first.v.data_ptr() != kept["first.v"].data_ptr()
    for step in x[1:]:
        run_each(model, step)
        run_each(other, step)
    assert not torch.equal(kept["first.v"], model.first.v)
    for (name, mine), (_, theirs) in zip(functional.named_states(model), functional.named_states(other), strict=True):
        pairs = zip(mine, theirs, strict=True) if isinstance(mine, list) else [(mine, theirs)]
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs), name


def test_set_states_restores_the_state_before_the_first_step():
    model = nested_model()
    fresh = functional.get_states(model)
    run_each(model, torch.rand(2, 4))
    functional.set_states(model, fresh)
    assert functional.get_states(model) == fresh
    run_each(model, torch.rand(5, 4))  # another batch size is no error


@pytest.mark.parametrize(
    "change, parts",
    [
        (lambda d: d.pop("first.v"), ["missing: first.v"]),
        (lambda d: d.update(extra=1.0), ["not in the model: extra"]),
        (lambda d: (d.pop("named.a.v"), d.pop("first.v")), ["missing: first.v, named.a.v"]),
        (
            lambda d: (d.pop("first.v"), d.update({"1.v": 0.0, "0.v": 0.0})),
            ["missing: first.v", "not in the model: 0.v, 1.v"],
        ),
        (lambda d: d.clear(), ["missing: block.1.0.v, "]),
    ],
)
def test_set_states_refuses_missing_and_extra_names_before_it_changes_anything(change, parts):
    model = nested_model()
    run_each(model, torch.rand(2, 4))
    v = model.first.v
    states = functional.get_states(model)
    change(states)
    with pytest.raises(ValueError) as error:
        functional.set_states(model, states)
    assert str(error.value).startswith("set_states: ")
    assert all(part in str(error.value) for part in parts)
    assert ("missing" in str(error.value)) == any("missing" in part for part in parts)
    assert model.first.v is v


# --- folding time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T, N", [(3, 4), (1, 1), (3, 0), (5, 1)])
def test_seq_to_ann_forward_equals_the_module_on_each_step(T, N):
    x = torch.rand(T, N, 2, 3, 3)
    conv = nn.Conv2d(2, 5, 2)
    out = functional.seq_to_ann_forward(x, conv)
    assert out.shape == (T, N, 5, 2, 2)
    torch.testing.assert_close(out, torch.stack([conv(step) for step in x]))


def test_seq_to_ann_forward_calls_the_module_once_and_copies_nothing():
    x, seen = torch.rand(3, 4, 2), []
    out = functional.seq_to_ann_forward(x, lambda y: seen.append(y) or y)
    assert len(seen) == 1 and seen[0].shape == (12, 2)
    assert seen[0].data_ptr() == out.data_ptr() == x.data_ptr()


def test_seq_to_ann_forward_folds_every_input_and_splits_every_output():
    x, y = torch.rand(3, 4, 2), torch.rand(3, 4)

    def module(a: Tensor, b: Tensor) -> Any:
        assert a.shape == (12, 2) and b.shape == (12,)
        return a.t().contiguous().t(), (b, {"sum": a.sum(1) + b})  # the first output is not contiguous

    a, (b, rest) = functional.seq_to_ann_forward((x, y), module)
    assert torch.equal(a, x) and torch.equal(b, y)
    torch.testing.assert_close(rest["sum"], x.sum(2) + y)


def test_seq_to_ann_forward_refuses_inputs_of_different_lengths():
    for shape in ((3, 5, 2), (2, 4, 2)):
        with pytest.raises(ValueError) as error:
            functional.seq_to_ann_forward((torch.rand(3, 4, 2), torch.rand(shape)), torch.add)
        assert "[3, 4, 2]" in str(error.value) and str(list(shape)) in str(error.value)


def test_multi_step_forward_stacks_the_outputs_of_each_step():
    x = torch.rand(4, 2, 3)
    assert torch.equal(functional.multi_step_forward(x, IFNode()), IFNode(step_mode="m")(x))
    assert torch.equal(functional.multi_step_forward(x, lambda step: step.sum(1)), x.sum(2))
    pair, total = functional.multi_step_forward(x, lambda step: ([step, -step], step.sum(1)))
    assert type(pair) is list and torch.equal(pair[0], x) and torch.equal(pair[1], -x) and torch.equal(total, x.sum(2))


def test_a_repeated_step_is_recognized_by_its_time_stride_of_0():
    x = torch.rand(2, 3)
    for x_seq in (functional.repeat(x, 4), x.expand(4, 2, 3), functional.repeat(x, 4)[:2]):
        assert functional.repeated_step(x_seq) is x
    for x_seq in (torch.stack([x] * 4), functional.repeat(x, 4) + 0, functional.repeat(x, 1), torch.tensor(1.0)):
        assert functional.repeated_step(x_seq) is None
    with torch.inference_mode():
        x = torch.rand(2, 3)
        assert torch.equal(functional.repeated_step(functional.repeat(x, 4)), x)


def made_without_grad(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return functional.repeat(x, 4).requires_grad_()


SEQUENCES = {
    "a parameter": lambda x: functional.repeat(x, 4),
    "a view": lambda x: functional.repeat((2 * x).view(3, 2), 4),
    "another library's expand of a view": lambda x: (2 * x).view(3, 2).expand(4, 3, 2),
    "a leaf": lambda x: x.detach().expand(4, 2, 3).requires_grad_(),
    "a leaf made of a tensor with gradient": made_without_grad,
    "a view of the start of a longer tensor": lambda x: (2 * x)[:1].expand(4, 1, 3),
}


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
def test_the_gradient_of_a_repeated_step_reaches_what_it_was_made_of(make):
    """The step is the expanded tensor itself wherever functional.repeat made the sequence."""
    x = torch.rand(2, 3, requires_grad=True)
    x_seq = make(x)
    step = functional.repeated_step(x_seq)
    weights = torch.rand(step.shape)
    leaf = x_seq if x_seq.is_leaf else x
    (gradient,) = torch.autograd.grad((step * weights).sum(), leaf, retain_graph=True)
    (expected,) = torch.autograd.grad((x_seq[0] * weights).sum(), leaf)
    assert torch.equal(step, x_seq[0]) and torch.equal(gradient, expected) and gradient.any()
    if make in (SEQUENCES["a parameter"], SEQUENCES["a view"]):
        assert step is x_seq._base, "its gradient is of the size of one step"


def test_multi_step_forward_hands_out_a_repeated_step_itself():
    step, seen = torch.rand(2, 3), []
    out = functional.multi_step_forward(functional.repeat(step, 4), lambda x: seen.append(x) or x + len(seen))
    assert len(seen) == 4 and all(x is step for x in seen)
    assert torch.equal(out, torch.stack([step + t for t in (1, 2, 3, 4)]))


def test_multi_step_forward_refuses_a_sequence_without_steps():
    with pytest.raises(ValueError, match=r"T ≥ 1 steps, got shape \[0, 3\]"):
        functional.multi_step_forward(torch.rand(0, 3), IFNode())


@pytest.mark.parametrize("kind", [list, tuple, nn.ModuleList, lambda modules: nn.Sequential(*modules)])
@pytest.mark.parametrize("run", [functional.multi_step_forward, functional.seq_to_ann_forward])
def test_several_modules_run_one_after_the_other_and_none_are_refused(kind, run):
    x = torch.rand(4, 2, 3)
    conv, norm = nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5).eval()
    y = run(x.unsqueeze(-1), kind([conv, norm]))
    assert torch.equal(y, torch.stack([norm(conv(step)) for step in x.unsqueeze(-1)]))
    with pytest.raises(ValueError, match=rf"^{run.__name__}: the list of modules is empty"):
        run(torch.rand(4, 2, 3), [])
