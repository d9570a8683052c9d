"""What every neuron promises besides its equations: step modes, shapes, state, dtypes, devices, copies."""

import itertools
from functools import partial
from typing import Any

import promises
import pytest
import torch
from cases import HOOKED, LEARNT, LINEAR, NODES, PLAIN, VARIANTS
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import in_chunks, in_steps, inside_a_model, one_call, random
from torch import Tensor

from snntrain import functional
from snntrain.base import StateMismatchError
from snntrain.neuron import BaseNode, IFNode, LIFNode
from snntrain.neuron.linear_form import NoLinearForm, linear_form_of

pytestmark = pytest.mark.filterwarnings("ignore:.*v_reset=None:UserWarning")

over_nodes = pytest.mark.parametrize("make", NODES.values(), ids=NODES)
over_named_nodes = pytest.mark.parametrize("name, make", NODES.items(), ids=NODES)
over_plain_nodes = pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
over_modes = pytest.mark.parametrize("step_mode", ["s", "m"])
RUNS = (in_steps, in_chunks)


# --- step modes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", (NODES | VARIANTS).values(), ids=NODES | VARIANTS)
@settings(max_examples=2, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_steps_one_sequence_chunks_and_mixed_modes_agree(make, sizes, seed):
    for dtype in (torch.float32, torch.float64):
        promises.assert_modes_agree(make, random(sum(sizes), 2, 3, seed=seed, dtype=dtype), sizes)


@over_named_nodes
def test_the_sequences_of_these_tests_make_spikes_and_silence(name, make):
    levels = promises.outcome(promises.seeded(make), random(6, 2, 3), in_steps)["out"].unique().numel()
    assert levels > 10 if name.startswith(("LIAF", "readout")) else 2 <= levels <= 5


@over_nodes
def test_eval_mode_changes_neither_values_nor_gradients(make):
    for run in RUNS:
        promises.assert_eval_is_train(make, random(6, 4), run)


# --- shapes ----------------------------------------------------------------------------------------------------------


@over_nodes
def test_any_shape_and_memory_layout_is_taken_by_each_element_on_its_own(make):
    promises.assert_any_shape(make)


@over_nodes
def test_bad_inputs_are_refused(make):
    for step_mode in ("s", "m"):
        promises.assert_inputs_are_refused(make, step_mode)


def other_memory_layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values as x [T, N, C, H, W], otherwise laid out."""
    return {
        "channels last": x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        "reversed": x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0),
        "every second": torch.stack([x, x + 1], -1).flatten(-2)[..., ::2],
    }


@over_plain_nodes
@pytest.mark.parametrize("layout", ["channels last", "reversed", "every second"])
def test_the_memory_layout_of_the_input_does_not_matter(make, layout):
    x = random(3, 2, 4, 3, 5, dtype=torch.float64)
    otherwise = other_memory_layouts(x)[layout]
    assert torch.equal(x, otherwise) and not otherwise.is_contiguous()
    assert otherwise[0].is_contiguous(memory_format=torch.channels_last) == (layout == "channels last")
    for run in (in_steps, in_chunks, lambda node, x: in_chunks(node, x, [1, 2])):
        expected, actual = promises.outcome(make(), x, run), promises.outcome(make(), otherwise, run)
        assert all(torch.allclose(value, actual[key], rtol=1e-12) for key, value in expected.items())


@over_plain_nodes
def test_a_time_broadcast_input_gets_the_summed_gradient(make):
    x = random(3, 4, dtype=torch.float64).requires_grad_()
    copied = x.detach().clone().requires_grad_()
    for leaf, sequence in ((x, x.expand(5, 3, 4)), (copied, torch.stack([copied] * 5))):
        node = make(step_mode="m")
        (node(sequence).sum() + node.v.sum()).backward()
        assert leaf.grad.abs().sum() > 0
    torch.testing.assert_close(x.grad, copied.grad)


@over_nodes
def test_inputs_and_states_are_never_modified_in_place(make):
    for run in RUNS:
        promises.assert_states_never_change_in_place(make, random(4, 3), run)


@over_plain_nodes
@over_modes
def test_a_potential_set_by_the_user_stays_as_it_is(make, step_mode):
    node, v_init = make(), random(3, seed=1)
    before = v_init.clone()
    node.v = v_init
    one_call(node, random(3), step_mode)
    node.detach()
    node.reset()
    assert torch.equal(v_init, before) and v_init._version == 0


# --- the state -------------------------------------------------------------------------------------------------------


@over_plain_nodes
@pytest.mark.parametrize("v_reset, start", [(None, 0.0), (0.0, 0.0), (-0.2, -0.2), (0.5, 0.5)])
def test_v_is_its_reset_value_until_the_first_step_makes_it_a_tensor(make, v_reset, start):
    node = make(v_reset=v_reset, v_threshold=2.0)
    for step_mode, shape in (("s", (2, 3)), ("m", (4,))):
        assert isinstance(node.v, float) and node.v == start
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        node.materialize(x)
        assert torch.equal(node.v, torch.full_like(x, start)) and not node.v.requires_grad
        one_call(node, x, step_mode)
        assert node.v.shape == shape and node.v.requires_grad
        node.reset()


@over_nodes
def test_after_reset_a_neuron_is_as_new(make):
    x, node = random(5, 3), promises.seeded(make)
    node.step_mode = "m"
    before = dict(node.named_memories())
    expected = node(x)
    node.reset()
    assert dict(node.named_memories()) == before and getattr(node, "v_seq", None) is None
    assert torch.equal(node(x), expected)


@over_plain_nodes
@over_modes
def test_gradient_reaches_an_initial_potential_set_by_the_user(make, step_mode):
    node = make(v_reset=-0.2)
    node.v = v_init = random(3, seed=4).requires_grad_()
    one_call(node, random(3), step_mode)
    (gradient,) = torch.autograd.grad(node.v.sum(), v_init)
    assert gradient.abs().min() > 0


@over_named_nodes
def test_another_batch_size_without_reset_is_an_error_that_explains_itself(name, make):
    state = "u" if name == "GLIF" else "v"
    shapes = (((4, 3), (2, 3)), ((4, 3), (1, 3)), ((1, 3), (4, 3)), ((4, 3), (12,)))
    for (step_mode, leading), (first, second) in itertools.product((("s", ()), ("m", (2,))), shapes):
        inputs = torch.zeros(*leading, *first), torch.zeros(*leading, *second)
        promises.assert_forgotten_reset_is_explained(partial(make, step_mode=step_mode), state, *inputs)


def test_the_error_of_a_neuron_outside_any_model_names_its_class_only():
    node = LIFNode()
    node(torch.zeros(4))
    with pytest.raises(StateMismatchError, match=r"^LIFNode: state v has shape \[4\], .* has shape \[3\]\."):
        node(torch.zeros(3))


@pytest.mark.parametrize("name, make", [pair for pair in NODES.items() if pair[1]().follows_input("v")])
def test_every_state_is_checked_for_its_shape(name, make):
    """States that a user's hooks write may take a shape of their own."""
    node = make(step_mode="s")
    node(torch.zeros(3))
    for name in promises.state_tensors(node):
        kept = getattr(node, name)
        setattr(node, name, torch.zeros(1))
        with pytest.raises(RuntimeError, match=rf"state {name} has shape \[1\], .* has shape \[3\]"):
            node(torch.zeros(3))
        setattr(node, name, kept)


@over_plain_nodes
@over_modes
def test_state_and_input_on_different_devices_are_an_error_naming_both(make, step_mode):
    node = make()
    model = inside_a_model(node)
    one_call(node, torch.zeros(3), step_mode)
    x = torch.zeros((1, 3) if step_mode == "m" else (3,), device="meta")
    with pytest.raises(RuntimeError) as error:
        model(x)
    text = str(error.value)
    assert text.startswith(f"block.neuron ({type(node).__name__}): state v is on cpu, the input on meta")
    assert not isinstance(error.value, StateMismatchError)


@over_nodes
def test_moving_a_model_moves_its_states_and_lowering_it_does_not_lower_them(make):
    node = make(step_mode="s")
    node(random(3))
    before = promises.state_tensors(node)
    node.half()
    assert all(torch.equal(value, before[name]) for name, value in promises.state_tensors(node).items())
    assert all(value.dtype == torch.float16 for value in node.parameters())
    out = node(random(3, dtype=torch.float16))
    assert out.dtype == torch.float16
    node.to("meta")
    assert {value.device.type for value in promises.state_tensors(node).values()} == {"meta"}
    assert node(torch.zeros(3, device="meta")).device.type == "meta"
    repr(node)


@over_plain_nodes
@over_modes
def test_moving_a_model_moves_its_states(make, step_mode):
    node = make(store_v_seq=True)
    model = inside_a_model(node)
    one_call(node, torch.zeros(3), step_mode)
    model.to("meta")
    assert node.v.device.type == "meta"
    out = one_call(node, torch.zeros(3, device="meta"), step_mode)
    assert out.device.type == "meta" and out.shape == (3,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("node_class, leak", [(IFNode, {}), (LIFNode, {"tau": 49.0, "decay_input": True})])
@pytest.mark.parametrize("v_reset", [None, -0.2])
def test_cpu_and_cuda_agree_bit_for_bit_and_a_sequence_may_move_between_them(node_class, leak, v_reset):
    x = torch.cat([random(8, 1000), torch.full((1, 1000), 49.0), random(8, 1000, seed=1)])
    on_cpu, moved = (node_class(**leak, v_reset=v_reset, step_mode="m", store_v_seq=True) for _ in range(2))
    expected = on_cpu(x)
    outputs, potentials = [], []
    for chunk, device in zip(x.split([6, 6, 5]), ("cuda", "cpu", "cuda"), strict=True):
        moved.to(device)
        outputs.append(moved(chunk.to(device)).cpu())
        potentials.append(moved.v_seq.cpu())
    assert torch.equal(torch.cat(outputs), expected) and torch.equal(torch.cat(potentials), on_cpu.v_seq)
    with pytest.raises(RuntimeError, match="state v is on cuda:0, the input on cpu"):
        moved(x)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@over_named_nodes
def test_cpu_and_cuda_agree(name, make):
    x = random(12, 4, 50)
    on_cpu = promises.outcome(promises.seeded(make), x, in_chunks)
    on_gpu = promises.outcome(promises.seeded(make).cuda(), x.cuda(), in_chunks)
    for key, value in on_cpu.items():
        if key in ("out", "v", "w", "i") and name.split()[0] in ("QIF", "Izhikevich", "KLIF", "Cuba", "Loihi"):
            assert torch.equal(value, on_gpu[key].cpu()), key
        elif isinstance(value, Tensor):
            torch.testing.assert_close(value, on_gpu[key].cpu(), rtol=1e-4, atol=1e-4)


# --- v_seq -----------------------------------------------------------------------------------------------------------


def test_v_seq_holds_the_potentials_after_reset_of_the_last_sequence():
    node = IFNode(v_reset=None, step_mode="m", store_v_seq=True)
    assert node.v_seq is None
    node(torch.tensor([[0.5], [0.75], [2.0]]))
    assert node.v_seq.tolist() == [[0.5], [0.25], [1.25]]
    node(torch.tensor([[0.0]]))
    assert node.v_seq.tolist() == [[0.25]] and node.v.tolist() == [0.25]


@pytest.mark.parametrize("make", HOOKED.values(), ids=HOOKED)
def test_v_seq_lives_only_in_mode_m_while_switched_on(make):
    x = random(3, 2)

    def filled(**arguments: Any) -> BaseNode:
        node = make(step_mode="m", store_v_seq=True, **arguments)
        node(x)
        assert node.v_seq.shape == x.shape
        return node

    node = filled()
    node.reset()
    assert node.v_seq is None

    node = filled()
    node.store_v_seq = False
    assert node.v_seq is None
    node(x)
    assert node.v_seq is None
    node.store_v_seq = True
    assert node.v_seq is None
    node(x)
    assert node.v_seq is not None

    node = filled()
    functional.set_step_mode(node, "s")
    assert node.v_seq is None
    node(x[0])
    assert node.v_seq is None

    node = make(step_mode="m")
    node(x)
    assert node.v_seq is None and "v_seq" not in dict(node.named_memories())


@over_plain_nodes
def test_v_seq_carries_gradient(make):
    node = make(step_mode="m", store_v_seq=True)
    x = random(3, 2).requires_grad_()
    node(x)
    node.v_seq[1].sum().backward()
    assert x.grad[:2].abs().min() > 0 and x.grad[2].abs().max() == 0


# --- copies ----------------------------------------------------------------------------------------------------------


@over_nodes
def test_detach_cuts_the_graph_and_keeps_the_values(make):
    for run in RUNS:
        node, x = promises.seeded(make), random(5, 3).requires_grad_()
        if hasattr(node, "store_v_seq") and "v" in node.state_names:
            node.store_v_seq = True
        run(node, x[:2])
        before = promises.state_tensors(node)
        node.detach()
        assert getattr(node, "v_seq", None) is None or not node.v_seq.requires_grad
        after = promises.state_tensors(node)
        assert all(torch.equal(value, after[name]) and not after[name].requires_grad for name, value in before.items())
        total = run(node, x[2:]).sum() + sum(state.sum() for state in promises.state_tensors(node).values())
        (gradient,) = torch.autograd.grad(total, x)
        assert gradient[:2].abs().max() == 0 and gradient[2:].abs().max() > 0


@over_nodes
def test_copies_in_mid_sequence_own_detached_clones_and_go_on_alike(make):
    for run in RUNS:
        promises.assert_copies_go_on_alike(make, run)


@over_nodes
def test_a_replica_of_data_parallel_owns_its_states(make):
    node = make(step_mode="s")
    node(torch.full((2,), 0.25))
    before = promises.state_tensors(node)
    replica = node._replicate_for_data_parallel()  # what torch.nn.DataParallel makes per device
    replica._parameters = dict(node._parameters)  # and then fills
    replica._modules = dict(node._modules)
    replica(torch.full((2,), 0.25))
    after = promises.state_tensors(replica)
    assert all(value is before[name] for name, value in promises.state_tensors(node).items())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


@over_named_nodes
def test_state_dict_holds_the_learnable_parameters_and_nothing_else(name, make):
    promises.assert_state_dict_holds(partial(make, step_mode="m"), LEARNT.get(name, []), random(3, 2))


@over_nodes
def test_restored_states_continue_a_sequence_bit_for_bit(make):
    for run in RUNS:
        promises.assert_states_can_be_restored(make, run)


@over_named_nodes
def test_a_neuron_has_a_linear_form_if_it_is_linear_below_the_threshold(name, make):
    """Also where it inherits from one that is: CLIF, KLIF and LIAF are LIF neurons with other dynamics."""
    if name.startswith("readout") or name == "GLIF":
        return  # they do not fire, or are no BaseNode
    try:
        has_form = linear_form_of(make()) is not None
    except NoLinearForm:
        has_form = False
    said = "has a linear form: add its name to LINEAR" if has_form else "has no linear form, but is in LINEAR"
    assert has_form == (name in LINEAR), f"{name} {said} (tests/unit/neuron/cases.py)."
