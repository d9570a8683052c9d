"""A layer that knows nothing of time runs at every step as a loop over the steps would run it, or is refused."""

import copy
import pickle

import pytest
import torch
from refused import message_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from snntrain import functional, graph
from snntrain.layer import MultiStepContainer, convert_sync_batchnorm
from snntrain.layer.per_step import PerStep, per_step
from snntrain.model import LayerError, build
from snntrain.neuron import LIFNode

SHAPE = (4, 6, 5)


class Gate(nn.Module):
    """Multiply each channel by a gate that its mean opens."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.weights = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x.mean((2, 3))).sigmoid()[:, :, None, None]


class Block(nn.Module):
    """Layers of torch, one of which takes its statistics of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).flatten(1)


PLAIN = {
    "a gate": Gate,
    "layer norm": lambda: nn.LayerNorm(SHAPE),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "activation": nn.GELU,
    "convolution": lambda: nn.Conv2d(4, 3, 3),
    "lazy": lambda: nn.LazyConv2d(3, 3),
    "softmax": lambda: nn.Softmax(dim=1),
    "several": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.PReLU(), nn.Flatten(), nn.Linear(36, 2)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 3, 3)),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=list(PLAIN))
def test_a_sequence_gives_what_a_loop_over_its_steps_gives(make):
    torch.manual_seed(0)
    layer = per_step(make(), SHAPE)
    by_hand = copy.deepcopy(layer)
    layer.step_mode = "m"
    x = torch.rand(3, 2, *SHAPE)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(ours), torch.stack([by_hand(step) for step in theirs])
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    for side in (y, expected):
        side.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for parameter, other in zip(layer.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


@pytest.mark.parametrize("make", [nn.GELU, lambda: nn.LayerNorm(SHAPE), lambda: nn.Softmax(dim=1)])
def test_what_computes_each_value_by_itself_is_the_loop_to_the_last_bit(make):
    layer = per_step(make(), SHAPE)
    x = torch.rand(5, 2, *SHAPE)
    expected = torch.stack([layer(step) for step in x])
    layer.step_mode = "m"
    assert torch.equal(layer(x), expected)


def test_the_layer_stays_what_it_was():
    made = Gate()
    keys = list(made.state_dict())
    layer = per_step(made, SHAPE)
    assert layer is made and isinstance(layer, Gate) and type(layer).__name__ == "Gate"
    assert list(layer.state_dict()) == keys and layer.training and "step_mode=s" in repr(layer)
    copied = pickle.loads(pickle.dumps(layer))
    assert type(copied) is type(layer) and torch.equal(copied(torch.ones(1, *SHAPE)), layer(torch.ones(1, *SHAPE)))


def test_statistics_are_those_of_a_whole_sequence_as_in_snntrains_own():
    torch.manual_seed(0)
    net = build(["torch.nn.GELU", "BatchNorm2d"], SHAPE)
    theirs = per_step(nn.Sequential(nn.GELU(), nn.BatchNorm2d(4)), SHAPE)
    theirs.step_mode = "m"
    x = torch.rand(3, 2, *SHAPE)
    assert torch.equal(theirs(x), net(x))
    assert torch.equal(theirs[1].running_var, net.layers[1].running_var) and theirs[1].num_batches_tracked == 1


class Counting(nn.Module):
    """The identity, which counts the samples that it has seen."""

    samples = 0

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        Counting.samples += len(x)
        return self.inner(x)


@pytest.mark.parametrize(
    ("inner", "in_training", "in_evaluation"),
    [(nn.GELU(), 2, 2), (nn.Dropout(0.5), 6, 2), (nn.BatchNorm2d(4), 6, 2)],
    ids=["exact", "draws", "counts"],
)
def test_a_repeated_step_is_computed_once_where_that_changes_nothing(inner, in_training, in_evaluation):
    layer = per_step(Counting(inner), SHAPE)
    layer.step_mode = "m"
    x = functional.repeat(torch.rand(2, *SHAPE), 3)
    for training, expected in ((True, in_training), (False, in_evaluation)):
        layer.train(training)
        Counting.samples = 0
        y = layer(x)
        assert y.shape == x.shape and Counting.samples == expected


def test_building_leaves_statistics_and_random_numbers_alone():
    torch.manual_seed(7)
    expected = Block().state_dict(), torch.rand(1)
    torch.manual_seed(7)
    layer = per_step(Block(), SHAPE)
    assert torch.equal(torch.rand(1), expected[1])
    assert all(torch.equal(value, expected[0][name]) for name, value in layer.state_dict().items())


# --- what is refused -------------------------------------------------------------------------------------------------


class Shift(nn.Module):
    """A layer for sequences that does not say so: it moves channels from step to step."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, 1, dims=0)


class Own(nn.Module):
    """Keeps something from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x if self.kept is None else self.kept + x
        return self.kept


class Resettable(Own):
    """The same, with a way to forget."""

    def reset(self) -> None:
        self.kept = None


class BatchMean(nn.Module):
    """Normalizes by the batch in training only."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0) if self.training else x


class Taken(nn.Module):
    """Has a name of ours."""

    def check_sequence(self) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        return x


def set_forward() -> nn.Module:
    layer = nn.GELU()
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Shift, "Shift lets a sample's output depend on the other samples of the batch"),
        (BatchMean, "BatchMean lets a sample's output depend on the other samples"),
        (lambda: nn.Softmax(dim=0), "Softmax lets a sample's output depend"),
        (Own, "Own gives another output when it is called again with the same input, so it keeps a state"),
        (Resettable, "Resettable has no step_mode, and it can be reset, so it carries a state"),
        (lambda: nn.Sequential(Resettable()), "0 (Resettable) in it can be reset"),
        (lambda: nn.LSTM(5, 5), "Use the entry recurrent"),
        (lambda: nn.GRUCell(5, 5), "Use the entry recurrent"),
        (lambda: nn.Flatten(0), "the first dim of its output must be that of its input"),
        (lambda: torch.jit.script(nn.GELU()), "snntrain.layer.SeqToANNContainer"),
        (set_forward, "snntrain.layer.SeqToANNContainer"),
        (Taken, "Taken has check_sequence already"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_what_time_would_change_is_refused_with_the_remedy(make, said):
    assert said in message_of(ValueError, per_step, make(), SHAPE)


def test_the_remedies_work():
    class Sequences(Shift):
        step_mode = "m"

    x = torch.rand(4, 2, *SHAPE)
    shift = per_step(Sequences(), SHAPE)
    assert not isinstance(shift, PerStep) and torch.equal(shift(x)[1], x[0])
    stepped = per_step(MultiStepContainer(Resettable()), SHAPE)
    assert torch.equal(stepped(x), torch.stack([x[: t + 1].sum(0) for t in range(4)]))
    stepped.reset()
    assert stepped[0].kept is None
    folded = per_step(MultiStepContainer(BatchMean()), SHAPE)
    torch.testing.assert_close(folded(x), x - x.mean(1, keepdim=True))


def test_a_layer_with_parts_that_have_step_modes_gets_sequences_and_the_error_says_so():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lif = nn.Conv2d(4, 3, 3), LIFNode(backend="torch")

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.conv(x))

    from snntrain import registry

    registry.register("layer")(Mixed)
    try:
        said = message_of(LayerError, build, ["Mixed"], SHAPE)
    finally:
        del registry._ENTRIES["layer"]["Mixed"]
    assert "Mixed holds lif (LIFNode), which has step modes" in said and "use the layers of snntrain.layer" in said


# --- with the rest of the library ------------------------------------------------------------------------------------


def test_a_graph_of_the_net_enters_the_layer():
    net = build([{"name": "torch.nn.Conv2d", "out_channels": 3, "kernel_size": 3}, "torch.nn.GELU"], SHAPE)
    net.layers.append(per_step(Gate(3), (3, 4, 3)))
    functional.set_step_mode(net, "m")
    x = torch.rand(2, 3, *SHAPE)
    gm = graph.trace(graph.working_copy(net))
    assert any("sigmoid" in str(node.target) for node in gm.graph.nodes)
    torch.testing.assert_close(gm(x[0]), net(x)[0])
    assert isinstance(net.layers[2], PerStep)


def test_synchronized_statistics_keep_the_step_modes():
    layer = per_step(nn.BatchNorm2d(4), SHAPE)
    layer.step_mode = "m"
    x = torch.rand(3, 2, *SHAPE)
    layer.eval()
    converted = convert_sync_batchnorm(layer)
    assert isinstance(converted, nn.SyncBatchNorm) and converted.step_mode == "m"
    torch.testing.assert_close(converted.eval()(x), layer(x))
