"""Step modes and the state contract, on modules made for the purpose; neuron/test_contract.py tests the neurons'."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntrain.base import MemoryModule, StateMismatchError, StepModule, state_dtype


class Delay(MemoryModule):
    """Returns the input of two steps ago: a queue, a step index, a tensor made late, a float."""

    def __init__(self, step_mode: str = "s") -> None:
        super().__init__(step_mode)
        self.register_memory("queue", [])
        self.register_memory("steps", 0)
        self.register_memory("last", None)
        self.register_memory("total", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.steps = self.steps + 1
        self.total = self.total + x
        self.last = x
        self.queue = [*self.queue, x]
        out = self.queue[0] if len(self.queue) > 2 else torch.zeros_like(x)
        self.queue = self.queue[-2:]
        return out


class ChannelMean(MemoryModule):
    """A state of another shape than the input: the running mean of each sample over its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("mean", 0.5)

    def state_shape(self, name: str, x: Tensor) -> torch.Size:
        return torch.Size([x.shape[0], 1])

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * x.mean(1, keepdim=True)
        return x - self.mean


class Pair(MemoryModule):
    """Returns more than one tensor."""

    def single_step_forward(self, x: Tensor) -> Any:
        return [x, {"twice": (x * 2,), "name": "pair"}]


# --- step modes ------------------------------------------------------------------------------------------------------


class OneStepOnly(StepModule, nn.Identity):
    def supported_step_mode(self) -> tuple[str, ...]:
        return ("s",)


def test_step_mode_is_s_by_default_and_can_be_switched():
    for module in (Delay(), type("Plain", (StepModule, nn.Identity), {})()):
        assert module.step_mode == "s" and module.supported_step_mode() == ("s", "m")
        module.step_mode = "m"
        assert module.step_mode == "m"
    assert repr(Delay("m")) == "Delay(step_mode=m)" and Delay().step_mode == "s"


@pytest.mark.parametrize("value", ["x", "S", "", None, 0, ["s"]])
def test_an_unknown_step_mode_is_refused(value):
    with pytest.raises(ValueError) as error:
        Delay(value)
    assert str(error.value) == f"Delay: step_mode must be 's' (one step) or 'm' (a sequence), got {value!r}."


def test_a_step_mode_that_the_module_does_not_support_is_refused_by_naming_those_it_does():
    module = OneStepOnly()
    with pytest.raises(ValueError, match=r"^OneStepOnly: step_mode 'm' is not supported, it runs in 's' only\.$"):
        module.step_mode = "m"
    assert module.step_mode == "s"


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [2, 4], [3, 1, 2]])
def test_a_sequence_is_a_loop_over_steps_with_the_state_carried_on(sizes):
    x = torch.arange(12.0).view(6, 2)
    by_step, by_sequence = Delay("s"), Delay("m")
    expected = torch.stack([by_step(step) for step in x])
    assert torch.equal(expected, torch.cat([torch.zeros(2, 2), x[:4]]))
    assert torch.equal(torch.cat([by_sequence(chunk) for chunk in x.split(sizes)]), expected)
    assert by_step.steps == by_sequence.steps == 6 and torch.equal(by_sequence.total, x.sum(0))


def test_a_module_without_a_step_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"^MemoryModule must define single_step_forward\(x\)\.$"):
        MemoryModule()(torch.zeros(2))


def test_outputs_of_any_nesting_come_back_in_the_dtype_of_the_input():
    first, rest = Pair()(torch.ones(2, dtype=torch.bfloat16))
    assert first.dtype == rest["twice"][0].dtype == torch.bfloat16 and rest["name"] == "pair"
    assert isinstance(rest["twice"], tuple)


class Gated(MemoryModule):
    """Two inputs, and an option; returns two tensors."""

    def __init__(self, step_mode: str = "s") -> None:
        super().__init__(step_mode)
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Tensor, gate: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        self.v = self.v * gate + x * scale
        return self.v, gate


@pytest.mark.parametrize("options", [{}, {"scale": 2.0}])
def test_several_inputs_are_steps_or_sequences_of_one_length(options):
    x, gate = torch.rand(5, 3, dtype=torch.bfloat16), torch.rand(5, 3, dtype=torch.bfloat16)
    by_step, by_sequence = Gated(), Gated("m")
    steps = [by_step(*inputs, **options) for inputs in zip(x, gate, strict=True)]
    v, passed = by_sequence(x, gate, **options)
    assert torch.equal(v, torch.stack([step[0] for step in steps])) and torch.equal(passed, gate)
    assert v.dtype == torch.bfloat16 and by_sequence.v.dtype == torch.float32
    assert torch.equal(Gated("m")(x, 0.5)[0], Gated("m")(x, torch.full_like(x, 0.5))[0])
    with pytest.raises(ValueError, match=r"^Gated: all inputs must be sequences of the same T .* \[4, 3\]\.$"):
        by_sequence(x, gate[:4])


# --- registration ----------------------------------------------------------------------------------------------------


def test_states_are_attributes_but_neither_parameters_nor_buffers():
    module = Delay()
    assert module.queue == [] and module.steps == 0 and module.last is None and module.total == 0.0
    assert [name for name, _ in module.named_memories()] == ["queue", "steps", "last", "total"]
    module.total = torch.ones(2)
    assert dict(module.named_memories())["total"] is module.total and "total" in dir(module)
    assert not list(module.parameters()) and not list(module.buffers()) and not module.state_dict()
    assert "total" not in vars(module)


class Crowded(MemoryModule):
    constant = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("running", torch.zeros(1))
        self.child = nn.Identity()
        self.plain = None
        self.register_memory("state", 0.0)

    @property
    def derived(self) -> int:
        return 1


TAKEN = ["weight", "running", "child", "plain", "state", "constant", "derived", "reset", "forward", "step_mode"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_taken_name_cannot_become_a_state(name):
    module = Crowded()
    before = getattr(module, name)
    with pytest.raises(ValueError, match=f"^Crowded: the name '{name}' is taken"):
        module.register_memory(name, 0.0)
    assert getattr(module, name) == before and [n for n, _ in module.named_memories()] == ["state"]


def test_a_state_name_cannot_become_a_parameter_or_buffer():
    for register in (Crowded.register_parameter, Crowded.register_buffer):
        with pytest.raises(KeyError):
            register(Crowded(), "state", None)


def test_a_state_can_be_deleted_and_an_unknown_attribute_is_an_error():
    module = Delay()
    del module.total
    assert not hasattr(module, "total") and "total" not in dict(module.named_memories())
    module.reset()
    assert not hasattr(module, "total")
    with pytest.raises(AttributeError):
        del module.total
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


def test_reset_values_are_not_shared_with_the_caller_or_between_resets():
    start = [torch.zeros(1)]
    module = MemoryModule()
    module.register_memory("queue", start)
    start.append(torch.ones(1))
    module.reset()
    assert len(module.queue) == 1
    module.queue.append(torch.ones(1))
    module.queue[0] += 1
    module.reset()
    assert len(module.queue) == 1 and module.queue[0].item() == 0


def test_a_reset_value_can_be_changed():
    module = Delay()
    module.set_reset_value("total", 0.5)
    assert module.total == 0.0 and list(module.memories()) == [[], 0, None, 0.0]
    module.reset()
    assert module.total == 0.5
    with pytest.raises(ValueError, match=r"^Delay: there is no state 'other'"):
        module.set_reset_value("other", 0.0)


# --- the life of a state ---------------------------------------------------------------------------------------------


def test_reset_restores_every_kind_of_state():
    module = Delay("m")
    module(torch.rand(3, 2))
    assert module.steps == 3 and len(module.queue) == 2
    module.reset()
    assert dict(module.named_memories()) == {"queue": [], "steps": 0, "last": None, "total": 0.0}


def test_detach_reaches_into_queues_and_leaves_the_old_tensors_their_graph():
    module = Delay("m")
    x = torch.rand(3, 2, requires_grad=True)
    module(x)
    queue, total = module.queue, module.total
    module.detach()
    assert all(item.requires_grad for item in queue) and total.requires_grad
    assert not any(item.requires_grad for item in [*module.queue, module.last, module.total])
    assert all(torch.equal(old, new) for old, new in zip(queue, module.queue, strict=True)) and module.steps == 3


def test_a_state_may_have_a_shape_of_its_own():
    module = ChannelMean()
    x = torch.rand(4, 3, dtype=torch.float64)
    y = module(x)
    mean = 0.25 + 0.5 * x.mean(1, keepdim=True)
    torch.testing.assert_close(module.mean, mean)
    torch.testing.assert_close(y, x - mean)
    module(torch.rand(4, 7, dtype=torch.float64))
    with pytest.raises(StateMismatchError, match=r"^ChannelMean: state mean has shape \[4, 1\], .* shape \[3, 3\]"):
        module(torch.rand(3, 3, dtype=torch.float64))


class Hidden(MemoryModule):
    """A state whose shape is that of a hidden layer, made in the step, and one that is a single number."""

    def __init__(self, step_mode: str) -> None:
        super().__init__(step_mode)
        self.register_memory("h", 0.0)
        self.register_memory("total", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.h = x[:, :2] if self.h.shape == x.shape else self.h + x[:, :2]
        self.total = x.sum() + (self.total if self.total.dim() == 0 else 0.0)
        return self.h


def test_a_state_that_the_step_gave_its_own_shape_is_kept_in_both_modes():
    x = torch.rand(6, 4, 3)
    by_step, by_sequence = Hidden("s"), Hidden("m")
    for _ in range(2):
        expected = x[..., :2].cumsum(0)
        torch.testing.assert_close(torch.stack([by_step(step) for step in x]), expected)
        torch.testing.assert_close(torch.cat([by_sequence(chunk) for chunk in x.split([2, 4])]), expected)
        for module in (by_step, by_sequence):
            torch.testing.assert_close(module.total, x.sum())
            with pytest.raises(StateMismatchError, match=r"state h has shape \[4, 2\], .* shape \[5, 3\]"):
                module(torch.rand(5, 3) if module is by_step else torch.rand(2, 5, 3))
            module.reset()


def test_a_state_that_follows_the_input_is_not_broadcast_to_another_one():
    for x, later in ((torch.rand(4, 3), torch.rand(4, 1)), (torch.rand(4, 1), torch.rand(4, 3))):
        module = Delay()
        module(x)
        with pytest.raises(StateMismatchError, match="reset"):
            module(later)


def test_a_state_of_integers_stays_one():
    module = ChannelMean()
    module.register_memory("count", None)
    module.state_shape = lambda name, x: torch.Size([x.shape[0]] + [1] * (name == "mean"))
    module.count = torch.zeros(4, dtype=torch.int64)
    module(torch.rand(4, 3))
    assert module.count.dtype == torch.int64


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_tensors_inside_a_queue_are_checked_too(step_mode):
    module = Delay()
    del module.total
    module.single_step_forward = lambda x: x
    module.queue = [torch.zeros(2)]
    module.step_mode = step_mode
    x = torch.zeros(3) if step_mode == "s" else torch.zeros(1, 3)
    with pytest.raises(StateMismatchError, match=r"^Delay: state queue has shape \[2\], .* shape \[3\].*reset\(\)"):
        module(x)
    with pytest.raises(RuntimeError, match="state queue is on cpu, the input on meta"):
        module(x[..., :2].to("meta"))


def test_a_queue_follows_the_state_dtype_and_may_hold_other_things_than_tensors():
    module = Delay()
    del module.total
    module.queue = [torch.zeros(2), 7]
    module.single_step_forward = lambda x: x
    module(torch.zeros(2, dtype=torch.float64))
    assert module.queue[0].dtype == torch.float64 and module.queue[1] == 7


@pytest.mark.parametrize(
    "given, kept",
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
        (torch.bool, torch.bool),
    ],
)
def test_a_state_is_never_kept_below_float32(given, kept):
    assert state_dtype(given) == kept


# --- copies, devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_holds_detached_clones_inside_queues_as_well(make_copy):
    module = Delay("m")
    module(torch.rand(3, 2, requires_grad=True))
    twin = make_copy(module)
    tensors = [[*m.queue, m.last, m.total] for m in (module, twin)]
    for mine, theirs in zip(*tensors, strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()
        assert mine.requires_grad and not theirs.requires_grad
    assert twin.steps == 3
    twin.reset()
    assert module.steps == 3 and len(module.queue) == 2 and twin.queue == []
    twin(torch.rand(1, 5))
    assert module.steps == 3


def test_a_replica_owns_its_states():
    module = Delay()
    module(torch.ones(2))
    replica = module._replicate_for_data_parallel()  # what torch.nn.DataParallel makes per device
    replica(torch.ones(2))
    replica.reset()
    assert module.steps == 1 and len(module.queue) == 1 and module.total.tolist() == [1, 1]


def test_moving_a_module_reaches_into_queues_and_lowers_no_state():
    module = Delay()
    module(torch.ones(2))
    module.steps = torch.tensor(3)
    for lower in (nn.Module.half, nn.Module.bfloat16):
        lower(module)
        assert module.queue[0].dtype == module.total.dtype == torch.float32 and module.steps.dtype == torch.int64
    module.double()
    assert module.queue[0].dtype == module.total.dtype == torch.float64
    module.to("meta")
    assert module.queue[0].device.type == module.total.device.type == module.steps.device.type == "meta"
